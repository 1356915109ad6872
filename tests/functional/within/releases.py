"""A host of Debian 11 and one of 13, as their pillar has them, in stage ``require`` over the kernel's ESP.

Prints what both say, by what release, what became of datagrams of both families, and what left them.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import suites
from members import Member
from natted import brief
from proofs import KERNEL_CONF
from spaces import network_of
from strongswan import Host, line, wait_for

import authorities

SUITES = {"east.example": "bullseye", "west.example": "trixie"}
ADDRESSES = {
    "east.example": {"ipv4": "10.9.0.1", "ipv6": "fd09::1"},
    "west.example": {"ipv4": "10.9.0.2", "ipv6": "fd09::2"},
}
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
PORT, NUMBER = 7041, 50
ALL, OUTGOING = 3, 4  # ETH_P_ALL, PACKET_OUTGOING
PROTOCOLS = {50: "esp", 58: "icmp6"}
DEADLINE = 60.0  # seconds


def pillar():
    """Return the pillar of the two."""
    return {
        "hosts": {host: {"side": host[:4], **own} for host, own in ADDRESSES.items()},
        "rules": [
            {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "require"},
        ],
    }


def began(place):
    """Return both ends, up."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    spaces = [Host(host[:4], place / host[:4], lower=suites.fetched(suite)) for host, suite in SUITES.items()]
    given = ([f"{own['ipv4']}/24", f"{own['ipv6']}/64"] for own in ADDRESSES.values())
    line(*spaces, *given)
    ends = [Member(space, pillar(), host, place) for space, host in zip(spaces, SUITES)]
    for end in ends:
        found = end.inspect(authorities.host(f"CN={end.host}", now, ca), ca.pem)
        end.deploy(end.start(found, KERNEL_CONF))
        assert end.program("guard").status == 0
    ends[0].backend.initiate([one.name for one in ends[0].member.connections], timeout=60)
    well = {"established"}
    wait_for(lambda: all({row["state"] for row in one.status().values()} == well for one in ends), "SAs")
    return ends


def listened(end):
    """Return a socket that has all that leaves an end."""
    with network_of(end.space):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL))
        made.bind(("eth0", 0))
    made.setblocking(False)
    return made


def left(wire):
    """Return how many packets of each kind have left; without what hosts of a line say of themselves."""
    found = Counter()
    while True:
        try:
            packet, (_, protocol, which, *_) = wire.recvfrom(1 << 16)
        except BlockingIOError:
            return dict(found)
        if which == OUTGOING and protocol in (0x0800, 0x86DD):
            inner = packet[9] if protocol == 0x0800 else packet[6]
            ports = packet[20:24] if protocol == 0x0800 else packet[40:44]
            ike = inner == 17 and int.from_bytes(ports[2:4], "big") in (500, 4500)
            found["ike" if ike else PROTOCOLS.get(inner, "clear")] += 1


def carried(ends):
    """Send datagrams by both families, both ways; return by way how many came over."""
    found = {}
    for one, other in (ends, ends[::-1]):
        for key, family in FAMILIES.items():
            with network_of(other.space):
                far = socket.socket(family, socket.SOCK_DGRAM)
                far.bind((ADDRESSES[other.host][key], PORT))
            with network_of(one.space):
                near = socket.socket(family, socket.SOCK_DGRAM)
            with near, far:
                near.bind((ADDRESSES[one.host][key], 0))
                for _ in range(NUMBER):
                    near.sendto(b"word", (ADDRESSES[other.host][key], PORT))
                found[f"{one.host[:4]} {key}"] = received(far)
    return found


def received(far):
    """Return how many of them came."""
    far.settimeout(1.0)
    got, end = 0, time.monotonic() + DEADLINE
    while got < NUMBER and time.monotonic() < end:
        try:
            far.recv(64)
        except TimeoutError:
            continue
        got += 1
    return got


def main():
    """Bring them up, and look."""
    with tempfile.TemporaryDirectory() as place:
        ends = began(Path(place))
        try:
            wires = [listened(end) for end in ends]
            found = {"carried": carried(ends), "wire": [left(wire) for wire in wires]}
            found["said"] = {end.host[:4]: brief(end.status()) for end in ends}
            found["runs"] = [
                end.space.run("sh", "-c", "ipsec --version; cat /etc/debian_version") for end in ends
            ]
            down = ends[0].program("ipsec_global", "down", "--reason", "a test", "--json")
            wait_for(lambda: not any(end.backend.observe().ike_sas for end in ends), "the end of all SAs")
            found["down"] = [down.status, json.loads(down.stdout)["sentence"]]
            found["kernel"] = [end.space.run("ip", "xfrm", "state").count("proto esp") for end in ends]
        finally:
            for end in ends:
                end.space.stop()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
