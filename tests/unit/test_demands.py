"""What peers demand of a host's certificate by the options of both ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certificate_facts import GOOD, LEAF, NOW, ROOT, SUB, certificate, codes, only
from hostipsec.certificates import chains, demands
from hostipsec.certificates.constraints import Policies
from hostipsec.certificates.demands import Demands
from hostipsec.certificates.facts import Asked, Scheme

ECDSA, RSA, ED = ("ECDSA", 384), ("RSA", 2048), ("Ed25519", 256)
BY_ECDSA, BY_RSA = Scheme("ECDSA", "sha256"), Scheme("RSA", "sha256")


def asked(own=RSA, ca=RSA, scheme=BY_RSA, mine=(), theirs=(), **options):
    """Return the facts of a host whose peers demand something."""
    leaf = replace(LEAF, key=own, scheme=scheme, policies=Policies(mine))
    root = replace(ROOT, key=ca, scheme=Scheme("RSA", "sha1"), policies=Policies(theirs))
    return replace(GOOD, certificate=leaf, cas=(root,), asked=Asked(**options))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Demands()),
        ("pubkey", Demands()),
        ("rsa", Demands()),
        ("rsa-4096", Demands((("RSA", 4096),))),
        ("rsa-4096-ecdsa-384", Demands((("RSA", 4096), ("ECDSA", 384)))),
        ("ecdsa-384-sha384", Demands((("ECDSA", 384),), (Scheme("ECDSA", "sha384"),))),
        ("ike:rsa-2048", Demands((("RSA", 2048),))),
        ("rsa/pss-3072-sha512", Demands((("RSA", 3072),), (Scheme("RSA/PSS", "sha512"),))),
        ("pubkey-sha224", Demands((), (Scheme("RSA", "sha224"),))),
        ("pubkey-identity", Demands((), (Scheme("Ed25519", "identity"), Scheme("Ed448", "identity")))),
        ("ecdsa-sha384-ed25519", Demands((), (Scheme("ECDSA", "sha384"),))),  # a kind without its hash
        ("ecdsa-sha256-ed25519-identity", Demands((), (BY_ECDSA, Scheme("Ed25519", "identity")))),
    ],
)
def test_what_a_word_demands(text, wanted):
    found = demands.parse(text, Asked())
    assert found == wanted._replace(signing=wanted.chain)


def test_what_an_end_signs_by_may_be_said_apart():
    found = demands.parse("rsa-2048-sha256-ike:rsa-sha512", Asked())
    assert found == Demands((("RSA", 2048),), (BY_RSA,), (Scheme("RSA", "sha512"),))
    assert demands.parse("ike:ecdsa-sha256", Asked()) == Demands((), (), (BY_ECDSA,))
    assert demands.parse("rsa-sha256", Asked(signing=False)) == Demands((), (BY_RSA,), ())
    assert demands.parse("rsa-sha256", Asked(rsa_pss=True)).chain == (Scheme("RSA/PSS", "sha256"), BY_RSA)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (asked(), []),
        (asked(rightauth="rsa-2048-sha256", rightcertpolicy=""), []),
        (
            asked(rightauth="rsa-4096"),
            [
                "ipsec:connection:rightauth: found 'rsa-4096', and certificate /c.pem has a key of RSA, 2048 "
                "bits: every peer refuses this host; expected RSA of at least 4096 bits; correct rightauth"
            ],
        ),
        (asked(("RSA", 4096), rightauth="rsa-4096"), ["its CA 'CN=Root' has a key of RSA, 2048 bits"]),
        (asked(ECDSA, rightauth="ecdsa-384"), ["its CA 'CN=Root' has a key of RSA", "ECDSA of at least 384"]),
        (asked(ED, rightauth="rsa-2048"), []),
        (
            asked(rightauth="rsa-sha384", leftauth="rsa-sha384"),
            ["certificate /c.pem is signed by RSA over SHA256", "'ike:' before"],
        ),
        (
            asked(scheme=Scheme("RSA", "sha384"), rightauth="rsa-sha384"),
            [
                "this host signs with RSA over SHA256 where it starts",
                "write 'leftauth: rsa-sha384' beside it",
            ],
        ),
        (asked(scheme=Scheme("RSA", "sha384"), rightauth="rsa-sha384", leftauth="rsa-sha384"), []),
        (asked(rightauth="ike:ecdsa-sha256"), ["this host signs with RSA over SHA256 by the key of cert"]),
        (asked(leftauth="ecdsa-sha256"), ["ipsec:connection:leftauth: ", "makes no such signature"]),
        (asked(scheme=Scheme(), rightauth="rsa-sha256"), []),  # of a kind that nobody knows here
        (asked(("", 0), ("", 0), rightauth="rsa-4096-sha256"), []),
        (asked(mine=("1.2",), theirs=("1.2",), rightcertpolicy="1.2"), []),
        (asked(mine=("1.2", "1.3"), theirs=("2.5.29.32.0",), rightcertpolicy="1.2, 1.3"), []),
        (
            asked(mine=("2.5.29.32.0",), theirs=("1.2",), rightcertpolicy="1.2"),
            ["/c.pem has policies: 2.5.29"],
        ),
        (
            asked(mine=("1.2",), rightcertpolicy="1.2"),
            ["its CA 'CN=Root' has policies: none", "expected 1.2"],
        ),
        (
            asked(mine=("1.2",), theirs=("1.2",), rightcertpolicy="1.2,1.3"),
            ["/c.pem has policies: 1.2: every"],
        ),
    ],
)
def test_what_is_demanded_and_not_met_is_one_finding_that_says_why(facts, words):
    if not words:
        assert codes(facts) == []
    else:
        assert all(word in only(facts) for word in words), only(facts)


def test_policies_that_a_ca_maps_are_let_pass():
    below = certificate("leaf", LEAF.subject, SUB.subject, "sub", policies=Policies(("1.2",)))
    middle = replace(SUB, policies=Policies(("1.3",), maps=True))
    facts = replace(asked(rightcertpolicy="1.2", theirs=("1.3",)), certificate=below)
    facts = replace(facts, cas=(*facts.cas, middle))
    assert chains.chain(facts, NOW) and codes(facts) == []
    assert len(codes(replace(facts, cas=(facts.cas[0], replace(middle, policies=Policies(("1.3",))))))) == 1


def test_where_the_chain_is_broken_that_is_all_that_is_said():
    facts = asked(rightauth="rsa-4096")
    stranger = replace(facts.certificate, signed_by=frozenset())
    assert codes(replace(facts, certificate=stranger)) == [("error", "chain-broken")]
