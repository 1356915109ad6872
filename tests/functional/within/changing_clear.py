"""Two hosts in stage require while what their rule leaves in the clear changes, as a roll-out does it.

Datagrams go from both ends to two ports all the time. Prints for each edit how many were
sent and lost, and how they went before it and after it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import excepted
from excepted import ENDS
from proofs import EAST, WEST
from spaces import hosts, network_of
from strongswan import line, unpacked, wait_for
from termed import Sent

from hostipsec.model import PASSIVE, REQUIRE
from hostipsec.pillar import topology
from hostipsec.store import record

PORTS = (7022, 7023)
EDITS = {
    "clear": ({}, {"clear": ["udp/7022"]}),
    "only": ({"only": ["udp/7022"]}, {"only": ["udp/7022", "udp/7023"]}),
}
RCVBUFFORCE = 33  # SO_RCVBUFFORCE: all that comes is kept until the end
GAP, STEP = 0.05, 1.0  # seconds between two datagrams, and from one step to the next


class Flows:
    """Datagrams from each end to ports of the other."""

    def __init__(self, ends, ports=PORTS):
        self.sent, self.going = 0, True
        ways = [(*way, port) for way in (ends, ends[::-1]) for port in ports]
        self.flows = [
            (opened(one, 0), opened(other, port), (ENDS[other.host], port)) for one, other, port in ways
        ]
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self):
        """Send by all, again and again."""
        while self.going:
            for near, _, to in self.flows:
                with contextlib.suppress(PermissionError):  # of what a policy blocks
                    near.sendto(b"%d" % self.sent, to)
            self.sent += 1
            time.sleep(GAP)

    def end(self):
        """Return of each flow the numbers of those that did not come over."""
        self.going = False
        self.thread.join()
        time.sleep(STEP)
        return [sorted({*range(self.sent)} - {*map(int, received(far))}) for _, far, _ in self.flows]


def received(one):
    """Yield what waits at a socket."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield one.recv(64)


def opened(end, port):
    """Return a socket for datagrams at an end."""
    with network_of(end.space):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((ENDS[end.host], port))
    made.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 1 << 24)
    made.setblocking(False)
    return made


def settle(end, connections):
    """Have an end do as a step of a roll-out says."""
    end.space.write("/var/lib/hostipsec/mesh.json", record.render(record.Record(connections)), 0o644)
    assert end.program("guard").status == 0
    time.sleep(STEP)


def kinds(ends):
    """Return how packets of the flows go, by the way of most of them."""
    wires = [Sent(one.space, "eth0") for one in ends]
    time.sleep(STEP)
    found = sum((Counter(wire.seen()) for wire in wires), Counter())
    return sorted(kind for kind, number in found.items() if kind != "ike" and number > 4)


def edited(ends, old, new):
    """Go from one pillar to another, both ends step by step."""
    for end in ends:
        end.read(pillar(new))
    wanted = [end.member.connections for end in ends]
    half = [topology.limited(after, PASSIVE, before) for after, before in zip(wanted, old)]
    for step in (half, [topology.limited(*one) for one in zip(wanted, (REQUIRE,) * 2, half)]):
        for end, connections in zip(ends, step):
            settle(end, connections)
    return wanted


def pillar(own):
    """Return the pillar whose rule says so much."""
    rule = {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "require"}
    found = {host: {"side": host[:4], "ipv4": address} for host, address in ENDS.items()}
    return {"hosts": found, "rules": [{**rule, **own}]}


def case(name, place):
    """Go there and back."""
    before, after = EDITS[name]
    with hosts("east", "west", over=unpacked()) as spaces:
        line(*spaces, [f"{EAST['v4']}/24"], [f"{WEST['v4']}/24"])
        excepted.pillar = lambda: pillar(before)
        ends = excepted.started(spaces, place)
        ends[0].backend.initiate([one.name for one in ends[0].member.connections], timeout=60)
        up = {"established"}
        wait_for(lambda: all({row["state"] for row in one.status().values()} == up for one in ends), "SAs")
        flows = Flows(ends)
        try:
            found = {"before": kinds(ends)}
            there = edited(ends, [end.member.connections for end in ends], after)
            found["after"] = kinds(ends)
            edited(ends, there, before)
            found["again"] = kinds(ends)
        finally:
            found["lost"] = flows.end()
    return {**found, "many": flows.sent > 50}


def main():
    """Go through the edits."""
    with tempfile.TemporaryDirectory() as place:
        found = {name: case(name, Path(place) / name) for name in sys.argv[1:]}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
