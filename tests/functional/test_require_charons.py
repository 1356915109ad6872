"""Stage ``require`` between two real charons over the kernel's ESP, and what left either end meanwhile."""

from __future__ import annotations

import os

import nftables
import pytest
import translating
import withesp

from hostipsec import paths

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
NOTHING = {"east": [], "west": []}
ESP = {"east": ["esp v4", "esp v6"], "west": ["esp v4", "esp v6"]}
CLEAR = {"east": ["clear v4", "clear v6"], "west": ["clear v4", "clear v6"]}
LOOK = 1.2 * paths.KEEPER_INTERVAL
BUSY = 20  # seconds, on a processor that others use


@pytest.fixture(scope="module")
def found():
    translating.unpacked()
    nftables.unpacked()
    return withesp.run("requiring.py", timeout=400)


@pytest.mark.parametrize("damage", ["empty", "cut off", "no text", "a directory"])
def test_a_hold_that_cannot_be_read_lifts_no_guard_and_is_shouted_about(found, damage):
    """The guard's program said nothing of it, and ended well."""
    assert found["damaged"]["before"]["wire"] == CLEAR
    seen = found["damaged"][damage]
    assert seen["wire"] == NOTHING
    for status, said in seen["said"]:
        assert status == 1
        assert "hold.json" in said and "cannot be read" in said and "nothing changes" in said, said
        assert len(said.splitlines()) == 1, said


def test_nothing_goes_either_way_while_one_end_is_in_maintenance(found):
    seen = found["maintained"]
    assert seen["up"] == ESP
    assert seen["there"] == [[], ["east_v4", "east_v6"]]  # of the host itself all stays as it is
    assert seen["wire"] == NOTHING


def test_in_maintenance_in_the_clear_its_peers_send_and_the_host_does_not(found):
    assert found["maintained"]["in the clear"] == {**CLEAR, "west": []}


def test_a_flush_of_nftables_leaves_guard_and_sas(found):
    assert found["flushed"]["ruleset"] == ["", True, ESP]


def test_after_a_flush_of_policies_all_goes_in_the_clear_without_a_keeper_and_is_told(found):
    left, wire, status = found["flushed"]["no keeper"]
    assert (left, wire) == (0, {**ESP, "east": CLEAR["east"]})
    for state, severity, reason in status.values():
        assert (state, severity) == ("no xfrm", "critical")
        assert "no guard (out, in, fwd)" in reason


@pytest.mark.parametrize("keeper", ["guard", "running keeper"])
def test_a_keeper_brings_the_guard_back_at_its_next_look(found, keeper):
    seconds, wire = found["flushed"][keeper]
    assert seconds <= LOOK + BUSY
    assert "clear" not in str(wire), wire


def test_a_keeper_brings_back_charon_s_policies_as_well(found):
    assert found["flushed"]["up"][1] == ESP
    assert found["flushed"]["up again"] == ESP


def test_bypass_lan_is_told_at_both_ends_and_the_wire_shows_it(found):
    """All is up, and goes in the clear, as the verdict says."""
    seen = found["bypassed"]
    assert seen["wire"] == CLEAR
    rows = [row for rows in seen["status"].values() for row in rows.values()]
    assert len(rows) == 4
    for state, severity, reason in rows:
        assert (state, severity) == ("not encrypted", "critical")
        assert "packets leave in the clear, since a policy comes before charon's" in reason
        assert "a policy that passes packets comes before the guard's" in reason


def test_bypass_lan_of_a_file_that_charon_reads_before_ours_is_not_loaded(found):
    seen = found["bypassed by a file before ours"]
    assert seen["wire"] == ESP
    assert {row[1] for rows in seen["status"].values() for row in rows.values()} == {"ok"}


def test_no_packet_to_a_translated_port_is_delivered_encrypted_or_not(found):
    """The kernel's own NAT sends it on to a container, which is none of the two ends of an SA."""
    seen = found["translated"]
    assert seen["nobody guards"] == [True, ["clear"]]
    assert seen["by SAs"] == [False, ["esp"]]
    assert seen["wire"] == ESP
    assert seen["in the clear"] == [False, ["clear"]]
