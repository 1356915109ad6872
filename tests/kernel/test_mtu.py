"""Routes to peers with a locked MTU: by value, over a reboot, and what fits to the byte."""

import re

import pytest
from conftest import ADDRESSES, DEADLINE, A, B, C

from fleetlab.process import wait_for

PROTOCOL = "73"
BYTES = 3_000_000


def routes(mesh, host):
    """The locked MTU of each route of ours, by destination."""
    text = "".join(
        mesh.on(host, "ip", "-o", f"-{family}", "route", "show", "proto", PROTOCOL) for family in (4, 6)
    )
    found = re.findall(r"^([0-9a-f.:]+) .*?mtu lock (\d+)", text, re.M)
    return {destination: int(mtu) for destination, mtu in found}


def to(mtu, *peers):
    return {address: mtu for peer in peers for address in ADDRESSES[peer]}


@pytest.fixture(scope="module")
def limited(required):
    """A with `mtu: 1450`; at the end without."""
    required.give({"mtu": 1450})
    required.apply(A)
    yield required
    required.give({})
    required.apply(A)
    assert routes(required, A) == {}


def test_every_peer_has_a_route_with_the_value(limited):
    assert routes(limited, A) == to(1450, B, C)
    for address in ADDRESSES[B]:
        assert "mtu lock 1450" in limited.on(A, "ip", "route", "get", address)


def test_a_ping_of_exactly_that_size_passes_and_one_byte_more_does_not(limited):
    sizes = limited.lab.call(A, "ipsec.overhead", "cp2001")
    for family, address in zip(("v4", "v6"), ADDRESSES[B], strict=True):
        found = sizes[f"cp2001_{family}"]
        assert (found["mtu"], found["mode"], found["udp"]) == (1450, "transport", False)
        ping = ["ping", "-q", "-c", "2", "-i", "0.2", "-W", "3", "-M", "do", address, "-s"]
        limited.on(A, *ping, str(found["icmp_payload"]))
        with pytest.raises(Exception, match=r"100% packet loss|too long"):
            limited.on(A, *ping, str(found["icmp_payload"] + 1))


def test_a_large_transfer_passes_in_packets_that_fit(limited):
    for address in ADDRESSES[B]:
        listen = f"exec nc -l {address} 5001 >/run/received 2>/dev/null"
        limited.on(B, "setsid", "--fork", "sh", "-c", listen)
        send = f"head -c {BYTES} /dev/zero | nc -N -w 60 {address} 5001"
        with limited.lab.capture() as wire:
            wait_for(
                lambda: limited.on(B, "ss", "-Hltn", "sport", "=", ":5001").strip() != "",
                "the listener",
                DEADLINE,
            )
            limited.on(A, "sh", "-c", send)
        wait_for(
            lambda: limited.on(B, "stat", "-c", "%s", "/run/received").strip() == str(BYTES),
            "all of it",
            DEADLINE,
        )
        lengths = [packet.length for packet in wire.packets if packet.kind == "esp"]
        assert 1300 < max(lengths) <= 1450
        assert wire.counts()["clear"] == 0


def test_it_survives_a_cable_that_was_pulled(limited):
    for state in ("down", "up"):
        limited.lab.network.set_link(A, state)
    assert routes(limited, A) == to(1450, B, C)


def test_it_survives_a_reboot(limited):
    limited.lab.reboot(A)
    wait_for(lambda: routes(limited, A) == to(1450, B, C), f"the routes of {A} after a reboot", 120, 2)


def test_another_value_takes_the_place_and_a_peer_that_leaves_takes_its_route_along(limited):
    hosts = {**limited.pillar["ipsec"]["hosts"]}
    hosts[C] = {**hosts[C], "maintenance": True}
    limited.give({"mtu": 1400, "hosts": hosts})
    limited.apply(A)
    assert routes(limited, A) == to(1400, B)
