"""Two hosts that require IPsec of each other but for one port, as states leave them: the kernel's ESP.

Prints what both say, what a proof finds while that port is used, and what left each end for TCP to that
port and to another, either way: with SAs, without charon, and after an emergency stop. The
argument is the family.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import tempfile
import threading
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path

from members import Member
from natted import brief
from proofs import EAST, KERNEL_CONF, WEST
from spaces import hosts, network_of
from strongswan import line, unpacked, wait_for
from termed import Sent

import authorities

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ENDS = {"east.example": EAST["v4"], "west.example": WEST["v4"]}
OPEN, OTHER = 7022, 7080
PATIENCE = 3.0  # seconds, for what a policy blocks; many for a busy machine


def pillar():
    """Return the pillar."""
    rule = {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "require"}
    found = {
        host: {"side": host[:4], f"ipv{ip_address(address).version}": address}
        for host, address in ENDS.items()
    }
    return {"hosts": found, "rules": [{**rule, "clear": [f"tcp/{OPEN}"]}]}


def spoken(source, target, port, patience):
    """Return whether a word comes over by TCP, and is answered."""
    with network_of(target.space):
        address = ENDS[target.host]
        listening = socket.create_server((address, port), family=FAMILIES[ip_address(address).version])

    def answer():
        with contextlib.suppress(OSError), listening.accept()[0] as taken:
            taken.sendall(taken.recv(8))

    listening.settimeout(patience)
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with network_of(source.space):
            made = socket.create_connection((ENDS[target.host], port), patience, (ENDS[source.host], 0))
        with made:
            made.sendall(b"word")
            return made.recv(8) == b"word"
    except OSError:
        return False
    finally:
        thread.join()
        listening.close()


def ways(ends, patience=30.0, blocked=PATIENCE):
    """Return what TCP comes over from each end to each port, and what left the ends meanwhile."""
    found = {}
    for source, target in (ends, ends[::-1]):
        for port, waits in ((OPEN, patience), (OTHER, blocked)):
            wires = [Sent(one.space, "eth0") for one in ends]
            said = spoken(source, target, port, waits)
            late = {OPEN, OTHER} - {port}  # the end of what was said before
            sent = sorted({kind for wire in wires for kind in wire.seen(late)} - {"ike"})
            found[f"{source.host[:4]} {port}"] = [said, sent]
    return found


def proven(ends):
    """Return what a proof finds at the first end, while the port that is open is used all the time."""
    going = threading.Event()

    def use():
        while not going.is_set():
            spoken(*ends, OPEN, 30.0)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        return {name: [row["ok"], row["reasons"]] for name, row in ends[0].verify().items()}
    finally:
        going.set()
        thread.join()


def passing(one):
    """Return how many policies of the guard are there that are for the port."""
    return one.space.run("ip", "xfrm", "policy").count(f"port {OPEN}")


def started(spaces, place):
    """Start both charons, and the guard."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    ends = [Member(space, pillar(), host, place) for space, host in zip(spaces, ENDS)]
    for one in ends:
        issued = authorities.host(f"CN={one.host}", now, ca)
        one.deploy(one.start(one.inspect(issued, ca.pem), KERNEL_CONF))
    for one in ends:
        assert one.program("guard").status == 0
    return ends


def main():
    """Go through it, in a family."""
    ENDS.update({"east.example": EAST[sys.argv[1]], "west.example": WEST[sys.argv[1]]})
    length = {"v4": 24, "v6": 64}[sys.argv[1]]
    with hosts("east", "west", over=unpacked()) as spaces, tempfile.TemporaryDirectory() as place:
        line(*spaces, *([f"{address}/{length}"] for address in ENDS.values()))
        ends = started(spaces, Path(place))
        found = {"before": [passing(one) for one in ends]}
        ends[0].backend.initiate([one.name for one in ends[0].member.connections], timeout=60)
        up = {"established"}
        wait_for(lambda: all({row["state"] for row in one.status().values()} == up for one in ends), "SAs")
        found["status"] = {one.host: brief(one.status()) for one in ends}
        found["up"] = ways(ends, blocked=30.0)
        found["proof"] = proven(ends)
        for one in ends:
            one.space.run("ipsec", "stop")
        found["without charon"] = ways(ends)
        done = [one.program("ipsec_global", "down", "--reason", "a test").status for one in ends]
        found["down"] = {"status": done, "left": [passing(one) for one in ends]}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
