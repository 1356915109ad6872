"""What charon says of a connection that does not come up, in words that say what to look at.

The log lines are in ``data/charon-reasons.txt``; ``functional/test_up_reasons`` and
``functional/test_reasons_charon`` have real charons say them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hostipsec.charon import reasons
from hostipsec.charon.reasons import Message

TEXT = (Path(__file__).parent / "data/charon-reasons.txt").read_text()
PAIRS = [line for line in TEXT.splitlines() if not line.startswith("#")]
LINES = [(line, said.strip()) for line, said in zip(PAIRS[::2], PAIRS[1::2])]
NOTHING = (
    "received packet: from 10.0.0.1[500] to 10.0.0.2[500] (36 bytes)",
    '  using trusted ca certificate "CN=Fleet CA"',
    "certificate status is not available",
    "certificate status is good",
    "ocsp response verification failed, invalid signature",
    "crl fetching failed",
    "received 1 cert requests for an unknown ca",
    "peer didn't accept DH group ECP_256, it requested ECP_384",
    "authentication of 'CN=a' with ECDSA_WITH_SHA256_DER successful",
    "IKE_SA a[1] established between 10.0.0.1[CN=a]...10.0.0.2[CN=b]",
    "policy 10.0.0.1/32 === 10.0.0.2/32 out already exists, increasing refcount",
    "certificate policy 1.2.3 for 'CN=a' not allowed by trustchain, ignored",
)


@pytest.mark.parametrize(("line", "said"), LINES)
def test_what_a_message_means(line, said):
    assert said in reasons.meaning_of(line)


@pytest.mark.parametrize("line", NOTHING)
def test_what_is_no_trouble(line):
    assert reasons.meaning_of(line) == ""


def explained(*lines, name="a_v4"):
    return reasons.explain(Message(name, line) for line in lines).get(name, "")


def test_what_only_follows_takes_no_reason_s_place():
    untrusted = "no trusted ECDSA public key found for 'CN=a'"
    revoked = "certificate was revoked on Nov 26 06:00:00 UTC 2026, reason: unspecified"
    assert explained(revoked, untrusted) == reasons.meaning_of(revoked)
    constraint = "certificate 'CN=a' matches excluded name constraint 'O=Site'"
    assert explained(constraint, untrusted) == reasons.meaning_of(constraint)
    entry = "unable to add SAD entry with SPI c0ffee00 (FAILED)"
    kernel = "unable to install inbound and outbound IPsec SA (SAD) in kernel"
    child = "failed to establish CHILD_SA, keeping IKE_SA"
    assert explained(entry, kernel, child) == reasons.meaning_of(entry)
    assert explained("retransmit 1 of request with message ID 0", untrusted) == reasons.meaning_of(untrusted)
    assert explained(revoked, "retransmit 1 of request with message ID 0").startswith("no answer")


def test_before_an_ike_sa_has_a_connection_charon_tells_the_address_alone():
    peers = {"10.0.0.2": ["a_v4"], "2001:db8::2": ["a_v6"]}
    limit = "ignoring IKE_SA setup from {}, per-IP half-open IKE_SA limit of 5 reached"
    for address, name in (("10.0.0.2", "a_v4"), ("2001:db8::2", "a_v6")):
        line = limit.format(address)
        assert reasons.explain([Message("", line)], peers) == {name: reasons.meaning_of(line)}
    assert reasons.explain([Message("", limit.format("10.0.0.22"))], peers) == {}
    everybody = "ignoring IKE_SA_INIT, hitting IKE_SA limit (4)"
    assert {*reasons.explain([Message("", everybody)], peers)} == {"a_v4", "a_v6"}
    assert reasons.explain([Message("", "no matching peer config found")], peers) == {}
