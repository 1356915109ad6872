"""Two hosts on a slow line, both of which begin before either hears of the other's attempt: the kernel's ESP.

Prints, by who begins (``up`` at both ends, the keepers of both, packets to the traps of both, ``up`` at one
end and a packet to the trap of the other), for each end how many IKE SAs came up there and for how many
seconds it had two; and, by direction, which datagrams did not come over once there was one. Keepers run.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from changing_clear import Flows
from excepted import ENDS
from members import Member
from proofs import KERNEL_CONF
from spaces import hosts, network_of
from strongswan import line, unpacked, wait_for

import authorities
from hostipsec.system import service

DELAY = "550ms"  # on the line, each way: there and back is less than FAR of emergency/starting
WELL = 12.0  # seconds with one IKE SA; of two that charon sees it ends one after 10
READY = """
import sys
sys.path.insert(0, "/usr/local/lib/hostipsec")
from hostipsec.programs.{name} import main
print("ready", flush=True)
sys.stdin.readline()
sys.exit(main())
"""
STAGES = {"up": "start", "keeper": "start", "traps": "require", "trap and up": "require"}


def pillar(stage):
    """Return the pillar."""
    found = {host: {"side": host[:4], "ipv4": address} for host, address in ENDS.items()}
    rule = {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": stage}
    return {"hosts": found, "rules": [rule]}


class Program:
    """A program of the engine on a host, loaded; it begins at once when it is told."""

    def __init__(self, space, name, *arguments):
        argv = space.argv(["/usr/bin/python3", "-IBc", READY.format(name=name), *arguments])
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def begin(self):
        """Have it begin."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()


class Packet:
    """A packet to the trap of a host."""

    def __init__(self, to, source):
        self.to, self.source = to, source

    def begin(self):
        """Send it."""
        with network_of(self.source.space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"word", (ENDS[self.to.host], 7001))


class Watch:
    """What each end has, looked at all the time."""

    def __init__(self, ends):
        self.ends, self.going = ends, True
        self.looks = [[] for _ in ends]  # of each end: when, and its IKE SAs
        self.threads = [threading.Thread(target=self.look, args=(n,), daemon=True) for n in range(len(ends))]
        for one in self.threads:
            one.start()

    def look(self, number):
        """Look at one end."""
        while self.going:
            self.looks[number].append((time.monotonic(), self.ends[number].backend.glance(60).ike_sas))
            time.sleep(0.02)

    def now(self, number):
        """Return the IKE SAs of an end at the last look."""
        return self.looks[number][-1][1] if self.looks[number] else ()

    def once(self):
        """Whether both ends have had one and the same for long."""
        begin = time.monotonic() - WELL
        for looks in self.looks:
            recent = [established(sas) for when, sas in looks if when > begin]
            if looks[0][0] > begin or {len(one) for one in recent} != {1} or len({*recent}) != 1:
                return False
        return True

    def end(self):
        """Return what was seen."""
        self.going = False
        for one in self.threads:
            one.join()
        return [told(looks) for looks in self.looks]


def established(sas):
    """Return the ids of IKE SAs that are up."""
    return tuple(sorted(sa.uniqueid for sa in sas if sa.state in ("ESTABLISHED", "DELETING")))


def told(looks):
    """Return how many IKE SAs came up at an end, and for how long there were two."""
    ids = {number for _, sas in looks for number in established(sas)}
    spans = zip(looks, looks[1:])
    seconds = sum(after - at for (at, sas), (after, _) in spans if len(established(sas)) > 1)
    return {"came up": len(ids), "two": round(seconds, 1)}


def begin(programs, watch):
    """Have both ends begin: the one that is not to start the pair first, the other while it hears nothing."""
    programs[1].begin()
    wait_for(lambda: watch.now(1), "the first attempt")
    programs[0].begin()


def crossing(case, place):
    """Go through it; the first end is to start the pair."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    with hosts("east", "west", over=unpacked()) as spaces:
        line(*spaces, *([f"{address}/24"] for address in ENDS.values()))
        for one in spaces:
            one.run("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", DELAY)
        ends = [Member(one, pillar(STAGES[case]), host, place) for one, host in zip(spaces, ENDS)]
        ends.sort(key=lambda one: not one.member.connections[0].initiator)
        for one in ends:
            found = one.inspect(authorities.host(f"CN={one.host}", now, ca), ca.pem)
            one.deploy(one.start(found, KERNEL_CONF))
        watch = Watch(ends)
        keepers = [Program(one.space, "keeper") for one in ends]
        ups = [Program(one.space, "ipsec_global", "up", "--blocking") for one in ends]
        begun = {"up": ups, "keeper": keepers, "trap and up": [ups[0], Packet(*ends)]}.get(case)
        if begun:
            begin(begun, watch)
        flows = Flows(ends, (7022,))
        wait_for(lambda: all(established(watch.now(number)) for number in range(2)), "an IKE SA")
        since = flows.sent + 1
        for one in keepers if begun is not keepers else ():
            one.begin()
        try:
            wait_for(watch.once, "a pair with one IKE SA", 90)
        finally:
            seen, lost = watch.end(), flows.end()
            for one in (*keepers, *ups):
                one.process.kill()
    return {"ends": seen, "lost": [[number for number in one if number >= since] for one in lost]}


def main():
    """Go through the cases."""
    service.keeper_runs = lambda: True  # so that charon's starter begins nothing
    found = {}
    for case in sys.argv[1:] or STAGES:
        with tempfile.TemporaryDirectory() as place:
            found[case] = crossing(case, Path(place))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
