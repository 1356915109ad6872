"""What goes in the clear, counted by a real kernel, against what a socket saw on the line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import debiankernel
import nftables
import pytest
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")
ALONE = ["unshare", "--net", "--"]
STATE = "ip xfrm state add src 127.0.0.1 dst 127.0.0.2 proto esp spi 1 mode transport aead"
STATE += " rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f00010203 128"


def able(which):
    """Whether the machine's own kernel can; that of User Mode Linux has no nftables for IP at all."""
    wanted = [[*nftables.command(), "add table inet probe"], *([STATE.split()] if which == "esp" else [])]
    tried = [subprocess.run([*ALONE, *one], check=False, capture_output=True) for one in wanted]
    return not any(one.returncode for one in tried)


def run(which, place):
    """Return what the cases gave, on the machine's own kernel or on Debian's in QEMU's emulation."""
    if not able(which):
        return debiankernel.run(f"clear_text.py {which} nft", place)
    script = [sys.executable, "-B", str(withesp.WITHIN / "clear_text.py"), which, *nftables.command()]
    env = withesp.environment()
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run("plain", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def esp(tmp_path_factory):
    return run("esp", tmp_path_factory.mktemp("esp"))


def ways(sent, received, **more):
    """Return what one end counted, in both families."""
    return {"peer_v4": [sent, received], "peer_v6": [sent, received], **more}


def test_each_packet_in_the_clear_is_counted_at_both_ends_as_on_the_wire(found):
    assert found["in the clear"] == {"east": ways(5, 5), "west": ways(5, 5), "wire": [10, 10]}


def test_what_charon_sends_and_gets_is_not(found):
    assert found["IKE"] == {"east": ways(0, 0), "west": ways(0, 0), "wire": [0, 0]}


def test_a_packet_in_pieces_counts_once(found):
    assert found["in pieces"] == {
        "east": {"peer_v4": [2, 0], "peer_v6": [0, 2]},
        "west": {"peer_v4": [0, 2], "peer_v6": [2, 0]},
        "wire": [6, 6],
    }


def test_what_the_guard_blocks_on_its_way_out_never_was_in_the_clear(found):
    """What the other end sends has passed over the line, blocked or not."""
    assert found["east blocks"] == {"east": ways(0, 4), "west": ways(4, 0), "wire": [0, 8]}


@pytest.mark.parametrize("larval_drop", [0, 1])
def test_what_waits_for_an_sa_is_not_counted(found, larval_drop):
    """At the hook ``output`` it looks like what goes in the clear."""
    got = found[f"east has a trap, xfrm_larval_drop={larval_drop}"]
    assert got == {"east": ways(0, 0), "west": ways(0, 0), "wire": [0, 0]}


def test_neighbours_that_look_for_each_other_are_not_counted(found):
    assert found["neighbours, from cold"] == {"east": ways(2, 2), "west": ways(2, 2), "wire": [4, 4]}


def test_counters_stay_while_peers_come_and_go(found):
    """Counted since the last reading: a counter that began anew would give a number below 0."""
    assert found["a peer more"] == {
        "east": ways(1, 1, third_v4=[0, 0]),
        "west": ways(1, 1),
        "wire": [2, 2],
    }
    assert found["a peer less"] == {"east": ways(1, 1), "west": ways(1, 1), "wire": [2, 2]}


def test_what_rules_leave_in_the_clear_is_not_counted(found):
    """Of each family 2 packets to one port, 3 to the other, and an echo, go each way."""
    for name, number in (
        ("a port in the clear", 3),
        ("a port alone encrypted", 2),
        ("ICMP alone encrypted", 1),
        ("by no rule again", 6),
    ):
        assert found[name] == {"east": ways(number, number), "west": ways(number, number), "wire": [12, 12]}


@pytest.mark.whole  # where the machine's own kernel has no ESP it boots another, by emulation
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize("pieces", ["", ", in pieces"])
def test_what_goes_in_esp_and_comes_out_of_it_is_not_counted(esp, mode, pieces):
    got = esp[f"ESP, {mode}{pieces}"]
    assert any(got.pop("ESP on the wire"))
    assert got == {"east": ways(0, 0), "west": ways(0, 0), "wire": [0, 0]}
