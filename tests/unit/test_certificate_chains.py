"""Chains of CAs, over facts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certificate_facts import DAY, GOOD, LEAF, NOW, ROOT, SUB, certificate, codes, leaf, only
from hostipsec.certificates import chains
from hostipsec.certificates.facts import CrlFacts

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


def test_a_renewed_ca_that_is_not_valid_yet_beside_itself_of_now():
    """charon would take either for the issuer, and believe nobody by the one to come."""
    renewed = replace(
        ROOT, fingerprint="renewed", not_before=NOW + DAY, signed_by=frozenset(("root", "renewed"))
    )
    facts = replace(GOOD, cas=(renewed, ROOT))
    assert codes(facts) == [("warning", "ca-to-come")]
    assert chains.installable(facts, NOW) == (ROOT,)
    assert set(chains.installable(facts, NOW + 2 * DAY)) == {renewed, ROOT}
    other = replace(renewed, key_fingerprint="other")
    assert set(chains.installable(replace(facts, cas=(other, ROOT)), NOW)) == {other, ROOT}


def test_cross_signed_cas_end():
    one = certificate("a", (("CN", "A"),), (("CN", "B"),), "b", is_ca=True)
    two = certificate("b", (("CN", "B"),), (("CN", "A"),), "a", is_ca=True)
    assert codes(replace(leaf(signed_by=frozenset({"a"})), cas=(one, two))) == [("error", "chain-broken")]


def test_lists_of_cas_that_charon_shall_have_are_usable():
    ours = CrlFacts(ROOT.subject, NOW + DAY, frozenset({"root"}))
    other = replace(ours, signed_by=frozenset({"other"}))
    assert chains.usable_crls(replace(GOOD, crls=(ours, other)), NOW) == (ours,)
