"""A pair in stage ``require`` of which one end moves to swanctl and back, by its states, under traffic.

Datagrams go both ways the whole time. Prints what left both ends, what they say after each move, by what the
one that moves runs, and the longest stretch of datagrams that did not come over.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import byswanctl
from changing_clear import GAP, RCVBUFFORCE, Flows
from excepted import ENDS
from minions import NOW
from strongswan import Host, line
from termed import Sent

import authorities

ENDS |= byswanctl.ADDRESSES
PORT = 7031
FURTHER = 2.0  # seconds of traffic after each move
DEADLINE = 120.0  # seconds


class End(NamedTuple):
    """An end of the flows."""

    space: Host
    host: str


def pillar(backend):
    """Return the pillar of the two; the kernel does ESP."""
    found = byswanctl.pillar_of("require", backend=backend)
    found["hosts"] = {host: found["hosts"][host] for host in (byswanctl.A, byswanctl.B)}
    return {key: value for key, value in found.items() if key not in ("connection", "charon")}


def settle(member, backend):
    """Bring a host to what the pillar says, and its guard."""
    member.settle(pillar(backend))
    guarded = member.minion.state("ipsec.guarded", "ipsec-guard-policies")
    assert guarded["result"] is True, guarded


def up(members):
    """Have the pair up; return what both say of it."""
    answer = members[0].minion.call("ipsec.up")
    assert answer["ok"], answer
    end = time.monotonic() + DEADLINE
    while {state for one in members for state in one.states().values()} != {"established"}:
        assert time.monotonic() < end, [one.status() for one in members]
    return [
        [row["state"], row["severity"]] for one in members for row in one.status()["connections"].values()
    ]


def listened(end):
    """Return what hears all that leaves an end."""
    wire = Sent(end.space, "eth0")
    wire.socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 1 << 26)
    return wire


def longest(numbers):
    """Return how many numbers in a row there are at most."""
    runs = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    return max((len([*run]) for _, run in runs), default=0)


def main():
    """Move the one that starts the pair, and back."""
    ca = authorities.authority("CN=Fleet CA", NOW)
    with tempfile.TemporaryDirectory() as place:
        members = [
            byswanctl.Member(host, Path(place), ca, byswanctl.both_unpacked)
            for host in (byswanctl.A, byswanctl.B)
        ]
        try:
            found = moved(members)
        finally:
            for one in members:
                one.stop()
    sys.stdout.write(json.dumps(found) + "\n")


def moved(members):
    """Go through it."""
    line(*(one.host for one in members), *([f"{byswanctl.ADDRESSES[one.id]}/24"] for one in members))
    for one in members:
        settle(one, "ipsec.conf")
    found = {"said": [up(members)], "ran": [members[0].processes()]}
    ends = [End(one.host, one.id) for one in members]
    wires, flows = [listened(end) for end in ends], Flows(ends, (PORT,))
    try:
        for backend in ("swanctl", "ipsec.conf"):
            settle(members[0], backend)
            found["said"].append(up(members))
            found["ran"].append(members[0].processes())
            time.sleep(FURTHER)
    finally:
        lost = flows.end()
    return {
        **found,
        "wire": [wire.seen() for wire in wires],
        "sent": flows.sent,
        "last": [flows.sent - 1 in one for one in lost],
        "longest": [round(longest(one) * GAP, 2) for one in lost],
    }


if __name__ == "__main__":
    main()
