"""A host behind a real NAT, and its peer outside, over the kernel's ESP."""

from __future__ import annotations

import os

import pytest
import translating
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
EAST, WEST = "east.example", "west.example"
WAYS = [("one to one", EAST), ("one to one", WEST), ("masquerade", EAST)]
MUCH, PORT = 200_000, 7000


@pytest.fixture(scope="module")
def found():
    translating.unpacked()
    return withesp.run("natted.py", timeout=300)


def well(seen):
    """Say whether both ends are up, and both have proven it."""
    up = ["established", "ok", "TRANSPORT, AES_GCM_16_128"]
    assert seen["status"] == {WEST: {"east_v4": up}, EAST: {"west_v4": up}}
    assert seen["proofs"] == {WEST: {"east_v4": [True, []]}, EAST: {"west_v4": [True, []]}}
    assert (seen["out"], seen["in"]) == (MUCH, MUCH)
    assert seen["encap"] == [2, 2]  # SAs in UDP at each end
    return True


@pytest.mark.parametrize(("nat", "starter"), WAYS)
def test_both_ends_are_up_and_proven_whoever_starts_it(found, nat, starter):
    assert well(found[nat][starter])


@pytest.mark.parametrize(("nat", "starter"), WAYS)
def test_outside_there_is_esp_in_udp_alone(found, nat, starter):
    wire = found[nat][starter]["wire"]
    assert {*wire} == {"ike", "esp in udp"} and wire["esp in udp"] > 100, wire


@pytest.mark.parametrize(("nat", "starter"), WAYS)
def test_down_at_one_end_leaves_nothing_at_either(found, nat, starter):
    down = found[nat][f"{starter} down"]
    assert (down["status"], down["left"]) == (0, [0, 0]), down


def test_the_wire_is_seen(found):
    assert {nat: found[nat]["before"].get("clear", 0) > 0 for nat in ("one to one", "masquerade")} == {
        "one to one": True,
        "masquerade": True,
    }


@pytest.mark.whole
def test_only_one_port_is_encrypted_across_it_in_require():
    """All else goes in the clear through the NAT, and that port never does."""
    translating.unpacked()
    seen = withesp.run("natted.py", "only", timeout=300)["only"]
    up = ["established", "ok", f"TRANSPORT, AES_GCM_16_128; only tcp/{PORT} is encrypted"]
    assert seen["status"] == {WEST: {"east_v4": up}, EAST: {"west_v4": up}}
    assert (seen["out"], seen["in"]) == (MUCH, MUCH)
    assert seen["proofs"] == {WEST: {"east_v4": [True, []]}, EAST: {"west_v4": [True, []]}}
    much, sent = seen["port"]
    assert (much, {*sent} - {"ike"}) == (2 * MUCH, {"esp in udp"}), seen["port"]
    assert seen["rest"].get("clear", 0) >= 2 and "esp in udp" not in seen["rest"], seen["rest"]


def test_require_brings_it_up_by_a_trap_and_blocks_without_charon(found):
    assert found["require"]["packets"] == MUCH
    assert well(found["require"])
    assert "clear" not in found["require"]["wire"], found["require"]["wire"]
