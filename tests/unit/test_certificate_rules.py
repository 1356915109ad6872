"""Rules for certificates, over facts alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from hostipsec.certificates import chains, names, rules
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


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CN=a", (("CN", "a"),)),
        ("cn = a ,O=b", (("CN", "a"), ("O", "b"))),
        ("/CN=a/O=b, c", (("CN", "a"), ("O", "b, c"))),
        ("CN=a, emailAddress=r@b", (("CN", "a"), ("E", "r@b"))),
        ("CN=a b ", (("CN", "a b"),)),
        ("CN=a=b", (("CN", "a=b"),)),
    ],
)
def test_names_are_read_as_strongswan_does(text, name):
    assert names.parse(text) == name
    assert names.parse(names.render(name)) == name


@pytest.mark.parametrize("text", ["", "cp1.example", "CN=a, XX=b", "CN=a, b", "2.5.4.3=a"])
def test_what_is_no_name_is_an_error(text):
    assert codes(GOOD, expected=text) == [("error", "bad-identity")]


def test_order_matters_and_is_said():
    facts = leaf(subject=(("O", "Fleet"), ("CN", "cp1.example")))
    assert codes(facts, "O=Fleet, CN=cp1.example") == []
    assert "another order" in only(facts, "CN=cp1.example, O=Fleet")


def test_case_matters_and_is_said():
    assert "upper and lower case" in only(leaf(subject=(("CN", "CP1.example"),)))


# Chains --------------------------------------------------------------------------------------

SUB_LEAF = replace(GOOD, certificate=replace(LEAF, issuer=SUB.subject, signed_by=frozenset({"sub"})))


def test_intermediate_in_the_ca_file_or_after_the_certificate():
    in_bundle = replace(SUB_LEAF, cas=(SUB, ROOT))
    appended = replace(SUB_LEAF, intermediates=(SUB,))
    for facts in (in_bundle, appended):
        assert codes(facts) == []
        assert chains.chain(facts, NOW) == (SUB, ROOT)
        assert set(chains.installable(facts, NOW)) == {SUB, ROOT}


def test_an_intermediate_alone_is_no_trust_anchor():
    """strongSwan accepts only a self-signed CA as the end of a chain."""
    assert "'CN=Sub' was issued by 'CN=Root', and the file has: CN=Sub" in only(replace(SUB_LEAF, cas=(SUB,)))


def test_a_root_after_the_certificate_is_no_trust_anchor():
    other = certificate("other", (("CN", "Other"),), (("CN", "Other"),), "other", is_ca=True)
    facts = replace(GOOD, cas=(other,), intermediates=(ROOT,))
    assert "ends at 'CN=Root', which is not in the CA file" in only(facts)
    assert chains.installable(facts, NOW) == (other,)


@pytest.mark.parametrize(
    ("sub", "said"),
    [
        ({"is_ca": False}, "is not a CA"),
        ({"not_after": NOW - DAY}, "expired on"),
        ({"not_before": NOW + DAY}, "is not valid before"),
    ],
)
def test_an_intermediate_that_cannot_vouch_is_named(sub, said):
    assert f"its CA 'CN=Sub' {said}" in only(replace(SUB_LEAF, intermediates=(replace(SUB, **sub),)))


def test_path_length():
    facts = replace(SUB_LEAF, cas=(replace(ROOT, path_length=0),), intermediates=(SUB,))
    assert "allows 0 CA(s) below it where there are 1" in only(facts)


def test_an_expired_ca_that_is_needed():
    facts = replace(GOOD, cas=(replace(ROOT, not_after=NOW - DAY),))
    assert codes(facts) == [("error", "chain-broken"), ("warning", "ca-expired")]


def test_a_renewed_ca_beside_the_expired_one_of_the_same_key():
    """The charon that got both took the first and did not try the other."""
    old = replace(ROOT, fingerprint="old", not_after=NOW - DAY, signed_by=frozenset({"old", "root"}))
    facts = replace(leaf(signed_by=frozenset({"old", "root"})), cas=(old, ROOT))
    assert codes(facts) == [("warning", "ca-expired")]
    assert chains.installable(facts, NOW) == (ROOT,)


def test_cross_signed_cas_end():
    one = certificate("a", (("CN", "A"),), (("CN", "B"),), "b", is_ca=True)
    two = certificate("b", (("CN", "B"),), (("CN", "A"),), "a", is_ca=True)
    assert codes(replace(leaf(signed_by=frozenset({"a"})), cas=(one, two))) == [("error", "chain-broken")]


# Expiry of what is in use ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "severity", "said"),
    [
        (30 * DAY, "ok", "certificate expires in 30 days"),
        (29 * DAY, "warning", "certificate expires in 29 days"),
        (timedelta(), "warning", "certificate expires in 0 days"),
        (-DAY, "critical", "certificate expired on 2026-05-31 12:00 UTC"),
    ],
)
def test_the_end_of_a_certificate_is_judged(left, severity, said):
    found = rules.expiry(NOW + left, 30, NOW)
    assert (found.severity, found.sentence) == (severity, said)


def test_the_operator_chooses_when_to_be_warned():
    assert rules.expiry(NOW + 29 * DAY, 14, NOW).severity == "ok"
    assert codes(replace(leaf(not_after=NOW + 29 * DAY), warn_days=14)) == []
