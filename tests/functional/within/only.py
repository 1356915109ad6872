"""Two hosts whose rule says what alone is encrypted, as states leave them: real charons, the kernel's ESP.

Prints, for each stage, what both say, what a proof finds, and what left each end for TCP to the port that is
encrypted and to another, either way: with SAs, without charon, by a trap, and after an emergency stop. With
SAs also for UDP over IPv6. By ``swanctl`` charons have no ipsec.conf, and stage ``require``.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import tempfile
from pathlib import Path

import excepted
from excepted import ENDS, OPEN, ways
from members import Member
from natted import brief
from proofs import EAST, WEST
from spaces import hosts, network_of
from strongswan import line, unpacked, wait_for
from termed import Sent

from hostipsec.strongswan import swanctl

SIX = {"east.example": EAST["v6"], "west.example": WEST["v6"]}
BESIDE = 20.0  # seconds, for what comes over; a busy machine
UDP, CLEAR_UDP = 7053, 7054


def pillar(stage):
    """Return the pillar."""
    rule = {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": stage}
    found = {host: {"side": host[:4], "ipv4": ENDS[host], "ipv6": SIX[host]} for host in ENDS}
    return {"hosts": found, "rules": [{**rule, "only": [f"tcp/{OPEN}", "udp/7053"]}]}


def datagrams(source, target, port):
    """Send a datagram to a port over IPv6, which is answered; how both left their hosts."""
    near, far = (bound(end, 0 if end is source else port) for end in (source, target))
    wires = [Sent(one.space, "eth0") for one in (source, target)]
    near.sendto(b"word", (SIX[target.host], port))
    for one in (far, near):
        if not select.select([one], [], [], BESIDE)[0]:
            return "nothing came"
        _, back = one.recvfrom(64)
        one.sendto(b"word", back) if one is far else None
    return [{kind: number for kind, number in wire.seen().items() if kind != "ike"} for wire in wires]


def bound(end, port):
    """Return a socket for datagrams over IPv6 at an end."""
    with network_of(end.space):
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.bind((SIX[end.host], port))
    return made


def up(ends):
    """Wait until both say so of all; return what they say."""
    wait_for(
        lambda: all({row["state"] for row in one.status().values()} == {"established"} for one in ends), "SAs"
    )
    return {one.host[:4]: brief(one.status()) for one in ends}


class BySwanctl(Member):
    """A member whose charon is told its connections and credentials as swanctl has them."""

    FILES = "etc/swanctl"

    def start(self, found, settings):
        """Start charon without ipsec.conf's connections, and load them over vici."""
        wanted = self.wanted(found)
        self.space.start("config setup\n", "", settings)
        self.space.run("swanctl", "--load-creds", "--noprompt")
        self.take(wanted.configuration)
        return wanted

    def take(self, value):
        """Load the connections."""
        there = (self.space.root / self.FILES).glob("x509*/*.pem")
        files = {path.name: path.read_bytes() for path in there}
        assert self.backend.load({name: swanctl.section(value, name, files) for name in value.names}) == {}


def case(stage, place):
    """Go through one stage."""
    with hosts("east", "west", over=unpacked()) as spaces:
        line(*spaces, *([f"{one['v4']}/24", f"{one['v6']}/64"] for one in (EAST, WEST)))
        excepted.Member = BySwanctl if stage == "swanctl" else Member
        stage = "require" if stage == "swanctl" else stage
        excepted.pillar = lambda: pillar(stage)
        ends = excepted.started(spaces, place)
        found = {"before": {one.host[:4]: brief(one.status()) for one in ends}}
        if stage == "require":  # the first packet brings the SA of the port, and no other does
            found["trap"] = ways(ends, BESIDE, BESIDE)[f"east {OPEN}"]
        ends[0].backend.initiate([one.name for one in ends[0].member.connections], timeout=60)
        found["status"] = up(ends)
        found["up"] = ways(ends, BESIDE, BESIDE)
        found["udp over v6"] = [
            datagrams(*way, port) for way in (ends, ends[::-1]) for port in (UDP, CLEAR_UDP)
        ]
        found["proof"] = {name: [row["ok"], row["reasons"]] for name, row in ends[0].verify().items()}
        for one in ends:
            one.space.run("ipsec", "stop")
        patience = 3.0 if stage == "require" else BESIDE
        found["without charon"] = ways(ends, patience, BESIDE)
        done = [one.program("ipsec_global", "down", "--reason", "a test").status for one in ends]
        left = [one.space.run("ip", "xfrm", "policy").count("priority 7") for one in ends]
        found["down"] = {"status": done, "left": left}
        return found


def main():
    """Go through the stages."""
    with tempfile.TemporaryDirectory() as place:
        found = {stage: case(stage, Path(place) / stage) for stage in sys.argv[1:]}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
