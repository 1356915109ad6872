"""Facts about the files of a host, good ones to start from, and how the rules judge them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hostipsec.certificates import rules
from hostipsec.certificates.facts import CertificateFacts, Facts, KeyFacts

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
NAME = (("CN", "cp1.example"),)
ROOT_NAME = (("CN", "Root"),)


def certificate(fingerprint, subject, issuer, *signed_by, **other):
    dates = {"not_before": NOW - 100 * DAY, "not_after": NOW + 1000 * DAY, **other}
    return CertificateFacts(fingerprint, subject, issuer, signed_by=frozenset(signed_by), **dates)


ROOT = certificate("root", ROOT_NAME, ROOT_NAME, "root", is_ca=True)
SUB = certificate("sub", (("CN", "Sub"),), ROOT_NAME, "root", is_ca=True)
LEAF = certificate("leaf", NAME, ROOT_NAME, "root")
KEY = KeyFacts("RSA", 2048, 0o600, fits=True)
GOOD = Facts("/c.pem", "/k.pem", "/ca.pem", certificate=LEAF, key=KEY, cas=(ROOT,))


def codes(facts, expected="CN=cp1.example", now=NOW):
    return [(finding.severity, finding.code) for finding in rules.judge(facts, expected, now)]


def only(facts, expected="CN=cp1.example"):
    (finding,) = rules.judge(facts, expected, NOW)
    return str(finding)


def leaf(**other):
    return replace(GOOD, certificate=replace(LEAF, **other))
