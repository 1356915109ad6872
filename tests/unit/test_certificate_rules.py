"""Rules for certificates, over facts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certificate_facts import DAY, GOOD, KEY, LEAF, NOW, ROOT, SUB, certificate, codes, leaf, only
from hostipsec.certificates import der
from hostipsec.certificates.facts import Asked, CrlFacts, KeyFacts


def test_good_files_have_no_findings():
    assert codes(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "severity", "code"),
    [
        (replace(GOOD, certificate=None), "error", "certificate-missing"),
        (leaf(not_after=NOW - DAY), "error", "expired"),
        (leaf(not_before=NOW + DAY), "error", "not-yet-valid"),
        (leaf(not_after=NOW + 29 * DAY), "warning", "expires-soon"),
        (leaf(subject=(("CN", "other"),)), "error", "wrong-subject"),
        (leaf(signed_by=frozenset()), "error", "chain-broken"),
        (replace(GOOD, key=None), "error", "key-missing"),
        (replace(GOOD, key=KeyFacts(encrypted=True)), "error", "key-encrypted"),
        (replace(GOOD, key=replace(KEY, fits=False)), "error", "key-mismatch"),
        (replace(GOOD, key=replace(KEY, type="DSA")), "error", "key-type"),
        (replace(GOOD, key=replace(KEY, mode=0o444)), "warning", "key-readable"),
        (replace(GOOD, key=replace(KEY, bits=1024)), "warning", "key-weak"),
        (replace(GOOD, cas=()), "error", "ca-missing"),
        (replace(GOOD, cas=(replace(ROOT, is_ca=False),)), "error", "not-a-ca"),
        (replace(GOOD, cas=(ROOT, replace(SUB, is_ca=False))), "warning", "ca-ignored"),
        (replace(GOOD, cas=(ROOT, replace(SUB, not_after=NOW - DAY))), "warning", "ca-expired"),
        (replace(GOOD, cas=(replace(ROOT, not_after=NOW + DAY),)), "warning", "ca-expires-soon"),
    ],
)
def test_each_fault_is_one_finding(facts, severity, code):
    assert codes(facts) == [(severity, code)]


def test_key_readable_by_its_group_is_how_puppet_leaves_it():
    assert codes(replace(GOOD, key=replace(KEY, mode=0o640))) == []


def test_exactly_thirty_days_are_enough():
    assert codes(leaf(not_after=NOW + 30 * DAY)) == []


def test_a_sentence_says_found_expected_and_what_to_do():
    assert only(leaf(not_after=NOW - DAY)) == (
        "certificate /c.pem (CN=cp1.example) expired on 2026-05-31 12:00 UTC; expected one that is valid on "
        "2026-06-01 12:00 UTC; renew it, and check the host's clock"
    )
    assert only(leaf(signed_by=frozenset())) == (
        "certificate /c.pem is not from the CA in /ca.pem: 'CN=cp1.example' names 'CN=Root' as its issuer, "
        "but that CA's key does not verify its signature; expected a chain of valid CAs up to a self-signed "
        "one in that file; use the CA file that belongs to the certificate, or have the certificate issued "
        "anew"
    )


def test_two_faults_are_two_findings_errors_first():
    facts = replace(leaf(not_after=NOW - DAY), key=replace(KEY, mode=0o644, fits=False))
    assert codes(facts) == [("error", "expired"), ("error", "key-mismatch"), ("warning", "key-readable")]


# Subjects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "cp1.example", "CN=a, XX=b", "CN=a, b", "2.5.4.3=a"])
def test_what_is_no_name_is_an_error(text):
    assert codes(GOOD, expected=text) == [("error", "bad-identity")]


def test_order_matters_and_is_said():
    facts = leaf(subject=(("O", "Fleet"), ("CN", "cp1.example")))
    assert codes(facts, "O=Fleet, CN=cp1.example") == []
    assert "another order" in only(facts, "CN=cp1.example, O=Fleet")


def test_case_matters_and_is_said():
    assert "upper and lower case" in only(leaf(subject=(("CN", "CP1.example"),)))


def test_a_part_with_several_attributes_is_told_as_the_parts_that_it_is():
    parts = (der.Part("2.5.4.11", 12, b"b"), der.Part("2.5.4.3", 12, b"cp1.example"))
    facts = leaf(subject=(("OU+CN", "b+cp1.example"),), parts=parts)
    assert codes(facts, "OU=b, CN=cp1.example") == []
    assert (
        "(a part of it has several attributes, which strongSwan takes for parts of their own: "
        "'OU=b, CN=cp1.example')" in only(facts, "CN=cp1.example, OU=b")
    )


# CRLs ----------------------------------------------------------------------------------------

LIST = CrlFacts(ROOT.subject, NOW + DAY, frozenset({"root"}))


@pytest.mark.parametrize(
    ("crl", "findings"),
    [
        (LIST, []),
        (replace(LIST, next_update=None), []),
        (replace(LIST, signed_by=frozenset()), [("warning", "crl-ignored")]),
        (replace(LIST, revokes=True), [("error", "revoked")]),
        (replace(LIST, found=False), [("warning", "crl-not-found")]),
        (replace(LIST, next_update=NOW - DAY), [("warning", "crl-outdated")]),
        (replace(LIST, next_update=NOW - DAY, revokes=True, found=False), [("error", "revoked")]),
    ],
)
def test_a_list_has_one_finding_the_gravest(crl, findings):
    assert codes(replace(GOOD, crls=(crl,))) == findings


@pytest.mark.parametrize(
    ("strict", "online", "elsewhere", "findings"),
    [
        ("no", True, True, []),
        ("yes", False, False, [("error", "crl-demanded")]),
        ("yes", True, False, [("warning", "crl-demanded")]),
        ("yes", False, True, [("warning", "crl-demanded")]),
        ("ifuri", False, False, []),
        ("ifuri", True, False, [("warning", "crl-demanded")]),
    ],
)
def test_where_lists_are_demanded_a_ca_without_one_is_told(strict, online, elsewhere, findings):
    """Every authentication failed, and nothing had said so."""
    facts = replace(leaf(online=online), asked=Asked(strict=strict, elsewhere=elsewhere))
    assert codes(facts) == findings
    assert codes(replace(facts, crls=(LIST,))) == []
    assert ("error", "chain-broken") in codes(
        replace(facts, certificate=replace(LEAF, signed_by=frozenset()))
    )


def test_lists_are_demanded_of_each_ca_up_to_the_root():
    below = certificate("leaf", LEAF.subject, SUB.subject, "sub")
    facts = replace(GOOD, certificate=below, cas=(ROOT, SUB), crls=(LIST,), asked=Asked(strict="yes"))
    assert (
        "ipsec:setup:strictcrlpolicy: found 'yes', and no list of 'CN=Sub' that charon finds is named in the "
        "pillar: every peer with a certificate of that CA is refused; expected a list of each CA of hosts;"
    ) in only(facts)
    assert codes(replace(facts, crls=(LIST, replace(LIST, signed_by=frozenset({"sub"}))))) == []
    assert codes(replace(facts, crls=())) == [("error", "crl-demanded")] * 2


def test_the_operator_chooses_when_to_be_warned():
    assert codes(replace(leaf(not_after=NOW + 29 * DAY), warn_days=14)) == []
