"""Transport mode with the defaults: what both ends show, and what the line shows."""

import re

import pytest
from conftest import ADDRESSES, DEADLINE, A, B, C, probes

from fleetlab.process import wait_for

PAIRS = [(A, B), (A, C), (B, C)]


@pytest.mark.parametrize("host", [A, B, C])
def test_both_ends_use_the_defaults_in_transport_mode(started, host):
    text = started.on(host, "ipsec", "statusall")
    assert text.count("IKE proposal: AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP") == 4
    assert len(re.findall(r"INSTALLED, TRANSPORT", text)) == 4
    assert "TUNNEL" not in text.split("Security Associations")[1]


@pytest.mark.parametrize("host", [A, B, C])
def test_the_spis_of_charon_are_those_of_the_kernel(started, host):
    charon = re.findall(r"SPIs: ([0-9a-f]{8})_i ([0-9a-f]{8})_o", started.on(host, "ipsec", "statusall"))
    kernel = re.findall(r"spi 0x([0-9a-f]{8})", started.on(host, "ip", "xfrm", "state", "list", "nokeys"))
    assert sorted(spi for pair in charon for spi in pair) == sorted(kernel)
    assert len(kernel) == 8


def test_the_line_shows_esp_and_no_probe(started):
    with started.lab.capture() as wire:
        for source, destination in PAIRS:
            for address in ADDRESSES[destination]:
                started.on(source, "ping", "-q", "-c", "3", "-i", "0.1", address)
    assert wire.counts()["clear"] == 0
    assert wire.counts()["esp"] == len(PAIRS) * 2 * 3 * 2
    assert {packet.protocol for packet in wire.packets if packet.kind == "esp"} == {50}


def test_a_forced_rekeying_uses_the_esp_group_and_loses_nothing(started):
    """The group of `esp` is used at the first rekeying only: a mistake in it would show hours later."""
    with started.traffic(A, B, 0.05) as traffic:
        traffic.wait_flows()
        for name in ("cp2001_v4", "cp2001_v6"):
            started.on(A, "ipsec", "stroke", "rekey", name + "{*}")
        for name in ("cp2001_v4", "cp2001_v6"):
            pattern = re.compile(rf"{name}{{\d+}}:  AES_GCM_16_128/ECP_384_BP,")
            wait_for(
                lambda p=pattern: bool(p.search(started.on(A, "ipsec", "statusall"))),
                f"rekeyed {name}",
                DEADLINE,
            )
        traffic.wait_flows()
    assert traffic.lost == 0
    started.wait_up(A, B)


def test_verify_says_encrypted_and_proves_it(started):
    found = started.lab.call(A, "ipsec.verify", "cp2001*", "capture=True", "rekey=True")
    assert (found["plane"], found["problems"]) == ("kernel", [])
    assert sorted(found["connections"]) == ["cp2001_v4", "cp2001_v6"]
    for one in found["connections"].values():
        assert (one["ok"], one["out"], one["in"], one["reason"]) == (True, "encrypted", "encrypted", "")
        assert (one["captured"]["clear"], one["captured"]["dropped"]) == (0, 0)
        assert sum(one["captured"]["esp"].values()) >= 3
        assert (one["rekeyed"]["done"], one["rekeyed"]["lost"]) == (True, 0)
        assert "ECP_384_BP" in one["rekeyed"]["proposal"]


def test_after_down_the_probe_is_seen_in_the_clear(started):
    """What shows that the capture could have seen it; of the pair nothing is left in the kernel."""
    for host, peer in ((A, B), (B, A)):
        said = started.on(host, "ipsec-global", "down", "--peer", peer, "--reason", "T195365")
        assert said.startswith("2 of 2 connections down"), said
        kernel = started.on(host, "ip", "xfrm", "state", "list", "nokeys") + started.on(
            host, "ip", "xfrm", "policy"
        )
        assert not any(address in kernel for address in ADDRESSES[peer])
        assert all(address in kernel for address in ADDRESSES[C])
    with started.lab.capture() as wire:
        for address in ADDRESSES[B]:
            started.on(A, "ping", "-q", "-c", "3", "-i", "0.1", address)
    for host in (A, B):
        started.on(host, "ipsec-global", "up")
    assert probes(wire, A, B) == 12
    assert wire.counts()["esp"] == 0
    started.wait_up(A, B)
