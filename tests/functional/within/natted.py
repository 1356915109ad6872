"""East behind a NAT and west outside, as their pillar has them: what both say, and what is on the wire.

Prints, by NAT (``one to one``, ``masquerade``) and who starts, what was found, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import translating
from members import Member
from proofs import KERNEL_CONF
from spaces import hosts, network_of
from strongswan import run, unpacked, wait_for

import authorities

EAST, WEST = "east.example", "west.example"
INSIDE, PUBLIC, NAT, OUTSIDE = "10.0.0.1", "198.51.100.1", "192.0.2.254", "192.0.2.1"
RULES = {
    "one to one": (
        f"-A PREROUTING -d {PUBLIC} -j DNAT --to-destination {INSIDE}",
        f"-A POSTROUTING -s {INSIDE} -o eth1 -j SNAT --to-source {PUBLIC}",
    ),
    "masquerade": ("-A POSTROUTING -o eth1 -j MASQUERADE",),
}
SEEN = {"one to one": PUBLIC, "masquerade": NAT}  # of east, outside
PORT, CLOSED = 7000, 7001
ALL, OUTGOING = 3, 4  # ETH_P_ALL, PACKET_OUTGOING
QUIET = 1.0  # seconds without a packet, after which a connection is over
MUCH = 200_000  # bytes by TCP, whose checksums have been translated


def pillar(nat, stage, **own):
    """Return the pillar; its rule has more of its own."""
    return {
        "hosts": {
            EAST: {"side": "in", "ipv4": SEEN[nat], "local_ipv4": INSIDE},
            WEST: {"side": "out", "ipv4": OUTSIDE},
        },
        "rules": [
            {"name": "all", "between": {"side": "in"}, "and": {"side": "out"}, "stage": stage, **own},
        ],
    }


def lined(inner, router, outer):
    """Connect the three: ``eth0`` inside, ``eth1`` of the router outside."""
    for one, device, other in ((router, "eth0", inner), (router, "eth1", outer)):
        veth = ["ip", "link", "add", device, "netns", str(one.pid), "type", "veth"]
        run([*veth, "peer", "name", "eth0", "netns", str(other.pid)])
    for host, device, address in (
        (inner, "eth0", INSIDE),
        (router, "eth0", "10.0.0.254"),
        (router, "eth1", NAT),
        (outer, "eth0", OUTSIDE),
    ):
        host.run("ip", "link", "set", device, "up")
        host.run("ip", "address", "add", f"{address}/24", "dev", device)
    inner.run("ip", "route", "add", "default", "via", "10.0.0.254")
    outer.run("ip", "route", "add", "default", "via", NAT)
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")


class Wire:
    """What crosses a device, the router's outer one."""

    def __init__(self, router, device="eth1"):
        with network_of(router):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            self.socket.bind((device, 0))
        self.socket.setblocking(False)

    def seen(self):
        """Return how many packets of each kind there were since the last call."""
        found = Counter()
        while True:
            try:
                packet, (_, protocol, *_) = self.socket.recvfrom(1 << 16)
            except BlockingIOError:
                return dict(found)
            if protocol == 0x0800 and packet[16] < 224:  # without IGMP: who is in a group of this line
                found[kind(packet)] += 1

    def settled(self):
        """Return that, and what still comes: the end of a connection is on its way as both have it."""
        found = Counter(self.seen())
        while select.select([self.socket], [], [], QUIET)[0]:
            found.update(self.seen())
        return dict(found)


def payload_of(packet):
    """Return which protocol a packet of IP carries, and what; of IPv6 behind its first header."""
    return (packet[9], packet[(packet[0] & 15) * 4 :]) if packet[0] >> 4 == 4 else (packet[6], packet[40:])


def kind(packet):
    """Return what a packet of IP is: written apart from what is tested."""
    protocol, payload = payload_of(packet)
    if protocol != 17 or len(payload) < 12:
        return {50: "esp"}.get(protocol, "clear")
    ports, marker = struct.unpack("!HH", payload[:4]), payload[8:12]
    if 4500 in ports:
        return "ike" if marker == bytes(4) else "esp in udp"
    return "ike" if 500 in ports else "clear"


def listening(host, address):
    """Return a socket that takes a connection."""
    with network_of(host):
        made = socket.create_server((address, PORT))
    made.settimeout(30)
    return made


def carried(source, target, near, far):
    """Return how many bytes come over from one host to another by TCP, of :data:`MUCH`."""
    taking, got = listening(target, far[0]), []

    def take():
        with taking, taking.accept()[0] as taken:
            while part := taken.recv(1 << 16):
                got.append(len(part))

    thread = threading.Thread(target=take)
    thread.start()
    with network_of(source):
        going = socket.socket()
    going.settimeout(30)
    with going:
        going.bind((near, 0))
        going.connect((far[1], PORT))
        going.sendall(b"x" * MUCH)
    thread.join()
    return sum(got)


def brief(rows):
    """Return state, severity and reason of rows."""
    return {name: [row["state"], row["severity"], row["reason"]] for name, row in rows.items()}


class Net:
    """Both ends."""

    def __init__(self, spaces, place):
        self.inner, self.router, self.outer = spaces
        self.now = datetime.now(timezone.utc)
        self.ca = authorities.authority("CN=Fleet CA", self.now)
        self.place, self.wire = place, Wire(self.router)

    def start(self, nat, stage, **own):
        """Start both charons by a pillar."""
        self.nat = nat
        self.router.run(*translating.commands(["-F", *RULES[nat]], str(translating.ROOT)))
        self.ends = []
        for space, host in ((self.outer, WEST), (self.inner, EAST)):
            one = Member(space, pillar(nat, stage, **own), host, self.place)
            found = one.inspect(authorities.host(f"CN={host}", self.now, self.ca), self.ca.pem)
            one.deploy(one.start(found, KERNEL_CONF))
            self.ends.append(one)

    def stop(self):
        """End both charons."""
        for one in self.ends:
            one.space.run("ipsec", "stop")
            one.space.run(
                "rm",
                "-rf",
                "/etc/ipsec.d/hostipsec",
            )

    def up(self, starter):
        """Have one end start; return what both say, and what went over the wire."""
        self.wire.seen()
        starter.backend.initiate([one.name for one in starter.member.connections], timeout=60)
        wait_for(lambda: all(self.states(one) == ["established"] for one in self.ends), "tunnels")
        return {**self.proven(), "wire": self.wire.seen()}

    def states(self, one):
        """Return the states that one end tells."""
        return [row["state"] for row in one.status().values()]

    def proven(self):
        """Return the status, a proof, and what goes by TCP, both ways."""
        outer, inner = self.ends
        proofs = {one.host: one.verify() for one in self.ends}
        ok = {
            host: {name: [row["ok"], row["reasons"]] for name, row in found.items()}
            for host, found in proofs.items()
        }
        return {
            "status": {one.host: brief(one.status()) for one in self.ends},
            "proofs": ok,
            "out": carried(inner.space, outer.space, INSIDE, (OUTSIDE, OUTSIDE)),
            "in": carried(outer.space, inner.space, OUTSIDE, (INSIDE, SEEN[self.nat]))
            if self.nat == "one to one"
            else MUCH,
            "encap": [one.space.run("ip", "xfrm", "state").count("encap type espinudp") for one in self.ends],
        }

    def knocked(self):
        """Send a datagram from both ends, to a port that nobody listens at; what went over the wire."""
        for one, to in zip(self.ends, (SEEN[self.nat], OUTSIDE)):
            with network_of(one.space):
                near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with near, contextlib.suppress(OSError):  # a policy blocks it
                near.sendto(b"word", (to, CLOSED))
        time.sleep(1.0)  # what shall not come takes no less
        return self.wire.seen()

    def carried(self):
        """Send by TCP, both ways; how much came over, and what went over the wire."""
        outer, inner = self.ends
        self.wire.seen()
        much = carried(inner.space, outer.space, INSIDE, (OUTSIDE, OUTSIDE))
        much += carried(outer.space, inner.space, OUTSIDE, (INSIDE, SEEN[self.nat]))
        return [much, self.wire.settled()]

    def down(self, one):
        """End them by one end's emergency stop; return what is left at both."""
        done = one.program("ipsec_global", "down", "--no-hold", "--json")
        wait_for(lambda: not any(end.backend.observe().ike_sas for end in self.ends), "end of all SAs")
        left = [end.space.run("ip", "xfrm", "state").count("proto esp") for end in self.ends]
        return {"status": done.status, "left": left, "said": json.loads(done.stdout)["sentence"]}


def starting(net, nat):
    """Each end that can starts it."""
    net.start(nat, "passive")  # this test starts them
    west, east = net.ends
    found = {"before": net.knocked()}
    for starter in (east, west) if nat == "one to one" else (east,):
        found[starter.host] = net.up(starter)
        found[f"{starter.host} down"] = net.down(starter)
    net.stop()
    return found


def required(net):
    """Stage ``require``, as long as charon lives and after it."""
    net.start("one to one", "require")
    west, east = net.ends
    for one in net.ends:
        assert one.program("guard").status == 0
    net.wire.seen()
    found = {"packets": carried(east.space, west.space, INSIDE, (OUTSIDE, OUTSIDE))}
    found |= net.proven()
    for one in net.ends:
        one.space.run("ipsec", "stop")
    return {**found, "wire": net.knocked()}


def limited(net):
    """The port of what goes by TCP alone encrypted, in stage ``require``."""
    net.start("one to one", "require", only=[f"tcp/{PORT}"])
    for one in net.ends:
        assert one.program("guard").status == 0
    return {**net.proven(), "port": net.carried(), "rest": net.knocked()}


def main(ways):
    """Go through them; each NAT with hosts of its own, since it remembers what it has translated."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for way in ways:
            with hosts("east", "router", "west", over=unpacked()) as spaces:
                lined(*spaces)
                net = Net(spaces, Path(place))
                found[way] = limited(net) if way == "only" else starting(net, way)
                if way == "one to one":
                    found["require"] = required(net)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or RULES)
