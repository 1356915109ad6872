"""Rules that say different things of their pairs' SAs, by real charons over the kernel's ESP."""

from __future__ import annotations

import os

import pytest
import strongswan
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
AES, CHACHA = "rfc4106(gcm(aes))", "rfc7539esp(chacha20,poly1305)"
# by what a rule says: what is told of it; mode, in UDP, cipher, compressed
RULES = {
    "arm": ("TRANSPORT, CHACHA20_POLY1305", ("transport", False, CHACHA, False)),
    "cloud": ("TRANSPORT, AES_GCM_16_128", ("transport", True, AES, False)),
    "inner": ("TUNNEL, AES_GCM_16_128", ("tunnel", False, AES, False)),
    "packed": ("TRANSPORT, AES_GCM_16_128", ("transport", False, AES, True)),
    "plain": ("TRANSPORT, AES_GCM_16_128", ("transport", False, AES, False)),
}


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    return withesp.run("termed.py", timeout=300)


@pytest.mark.parametrize("rule", RULES)
def test_both_ends_are_well_by_the_options_of_their_rule(found, rule):
    well = ["established", "ok", RULES[rule][0]]
    assert found["hub"][f"{rule}_v4"] == found["peers"][rule]["hub_v4"] == well
    assert found["proofs"][f"{rule}_v4"] == [True, []]


@pytest.mark.parametrize("rule", RULES)
def test_the_kernel_does_esp_so(found, rule):
    mode, udp, cipher, compressed = RULES[rule][1]
    expected = {"modes": [mode], "udp": udp, "algorithms": [cipher], "compressed": compressed}
    assert found["ways"][rule] == expected


@pytest.mark.parametrize("rule", RULES)
def test_nothing_else_leaves_either_end(found, rule):
    for sent in found["sent"][rule]:
        assert {*sent} - {"ike"} == {"esp in udp" if RULES[rule][1][1] else "esp"}


def test_the_routes_to_two_peers_lock_two_mtus(found):
    assert found["routes"] == {"mtus": {"10.0.1.1": "1400", "10.0.2.1": "1300"}, "again": {}}
