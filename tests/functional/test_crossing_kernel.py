"""Both ends of a pair begin before either hears of it: real charons, the kernel's ESP, a slow line."""

from __future__ import annotations

import os

import pytest
import strongswan
import withesp

from hostipsec import paths

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux"),
]
BUSY = 5  # seconds, on a processor that others use


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    return withesp.run("crossing.py", timeout=500)


@pytest.mark.parametrize("who", ["up", "keeper"])
def test_what_starts_connections_never_makes_two_ike_sas(found, who):
    """The one end began what its peer should have, which did so itself: two, for 20 s."""
    assert found[who]["ends"] == [{"came up": 1, "two": 0}] * 2


@pytest.mark.parametrize("who", ["traps", "trap and up"])
def test_of_two_that_packets_to_traps_make_the_next_look_of_the_keeper_ends_one(found, who):
    for end in found[who]["ends"]:
        assert end["came up"] == 2
        assert 0 < end["two"] < 1.2 * paths.KEEPER_INTERVAL + BUSY


@pytest.mark.parametrize("who", ["traps", "trap and up"])
def test_no_packet_is_lost_for_that(found, who):
    """The one was ended by which this end was sending: what it sent until the peer agreed was lost."""
    assert found[who]["lost"] == [[], []]
