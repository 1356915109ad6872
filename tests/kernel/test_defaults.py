"""Transport mode with the defaults: what both ends show, and what the line shows."""

import json
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


def test_a_stop_leaves_what_docker_has_between_the_same_hosts(started):
    """Its networks have SAs and policies of their own: they went with ours, and the hold was critical."""
    ends = (ADDRESSES[A][0], ADDRESSES[C][0])
    key = "aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 64"
    for (src, dst), spi in zip((ends, ends[::-1]), ("0xf4faae1b", "0xe1d0d311"), strict=True):
        state = f"src {src} dst {dst} proto esp spi {spi} reqid 13681891 mode transport {key}"
        started.on(A, "ip", "xfrm", "state", "add", *state.split())
    mark = f"src {ends[0]} dst {ends[1]} proto 17 dport 4789 dir out mark 0xd0c4e3"
    template = f"tmpl src {ends[0]} dst {ends[1]} proto esp spi 0xf4faae1b reqid 13681891 mode transport"
    started.on(A, "ip", "xfrm", "policy", "add", *mark.split(), *template.split())
    docker = ("ip", "xfrm", "state", "list", "nokeys"), ("ip", "xfrm", "policy", "list")
    before = [started.on(A, *command).count("13681891") for command in docker]
    try:
        started.on(A, "ipsec-global", "down", "--peer", C, "--reason", "T1")
        assert [started.on(A, *command).count("13681891") for command in docker] == before == [2, 1]
        assert started.sas(A, C) == []
        rows = json.loads(started.on(A, "ipsec-global", "status", "--json", "--peer", C, check=False))
        found = {(row["state"], row["severity"]) for row in rows["connections"].values()}
        assert found == {("held", "warning")}
    finally:
        started.on(A, "ip", "xfrm", "policy", "delete", *mark.split(), check=False)
        started.on(A, "ip", "xfrm", "state", "deleteall", "reqid", "13681891", check=False)
        started.on(A, "ipsec-global", "up", "-b", "--deadline=90", "--peer", C)
    started.wait_up(A, C)
