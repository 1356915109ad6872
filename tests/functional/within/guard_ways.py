"""A peer of stage `require`, and every way around the two addresses that an SA has.

West has a second address, a family that the pillar does not list, a container behind it, and a port that is
translated to there. East sends in the clear: its own guard is off. Prints what arrived.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from ipaddress import ip_address

import translating
from overhead_pings import commands
from spaces import batch, hosts, network_of
from strongswan import line, run

from hostipsec.kernel import guard, kernel
from hostipsec.model import Connection

EAST, WEST, SECOND, CONTAINER = "10.9.0.1", "10.9.0.2", "10.9.0.9", "172.17.0.2"
PORT, TRANSLATED, GROUP = 5600, 8080, "239.1.2.3"
WAIT = 1.0  # seconds; the hosts are on one machine
NARROW = [  # of the release before: for the one address of the connection
    f"xfrm policy update src 10.9.0.2/31 dst {EAST}/32 dir out action block priority {guard.BLOCK}",
    f"xfrm policy update src {EAST}/32 dst 10.9.0.2/31 dir in action block priority {guard.BLOCK}",
]


def connection(left, right):
    """Return what the pillar gives an end."""
    ends = (ip_address(left), ip_address(right))
    return Connection("peer", "peer", f"v{ends[0].version}", *ends, "CN=a", "CN=b", True, "require")


def blocking(*connections):
    """Return the lines of a guard."""
    return guard.batch(guard.wanted(connections), ()).splitlines()


def opened(host, *addresses, port=PORT):
    """Return a socket at each address of a host."""
    found = []
    with network_of(host):
        for address in addresses:
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((address, port))
            found.append(made)
    return found


def sent(source, target, port, taker):
    """Send a datagram; return what became of it."""
    while select.select([taker], [], [], 0)[0]:
        taker.recv(64)
    try:
        source.sendto(b"x", (target, port))
    except OSError as error:
        return error.strerror
    return "arrived" if select.select([taker], [], [], WAIT)[0] else "lost"


class Ways:
    """The hosts, and a socket for each way."""

    def __init__(self, east, west, box):
        self.east, self.west, self.box = east, west, box
        self.here = dict(zip(("v4", "v6"), opened(east, EAST, "fd09::1")))
        first, second, six, group = opened(west, WEST, SECOND, "fd09::2", GROUP)
        self.there, self.second, self.six, self.group = first, second, six, group
        (self.inside,), (self.outgoing,) = opened(box, CONTAINER), opened(box, CONTAINER, port=PORT + 1)
        joined = socket.inet_aton(GROUP) + socket.inet_aton(WEST)
        with network_of(west):
            group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)

    def comes(self):
        """Return what becomes of what East sends in the clear, by way."""
        four, six = self.here["v4"], self.here["v6"]
        return {
            "to the address": sent(four, WEST, PORT, self.there),
            "to a second address": sent(four, SECOND, PORT, self.second),
            "to a translated port": sent(four, WEST, TRANSLATED, self.inside),
            "to the container": sent(four, CONTAINER, PORT, self.inside),
            "in the other family": sent(six, "fd09::2", PORT, self.six),
            "to a group": sent(four, GROUP, PORT, self.group),
        }

    def goes(self):
        """Return what becomes of what West sends."""
        four, six = self.here["v4"], self.here["v6"]
        return {
            "from the address": sent(self.there, EAST, PORT, four),
            "from a second address": sent(self.second, EAST, PORT, four),
            "from the container": sent(self.outgoing, EAST, PORT, four),
            "in the other family": sent(self.six, "fd09::1", PORT, six),
        }

    def said(self):
        """Return both."""
        return {"comes": self.comes(), "goes": self.goes()}


def cases(ways):
    """Go through the cases."""
    west = ways.west
    both = connection(WEST, EAST), connection("fd09::2", "fd09::1")  # as barred: the pillar has no fd09::2
    yield "nobody guards", ways.said()
    batch(west, NARROW)
    yield "the release before", ways.said()
    there = kernel.policies(run=west.process)
    batch(west, guard.batch(*guard.difference(both, there)).splitlines())
    yield "guarded", ways.said()
    left = guard.present(kernel.policies(run=west.process))
    yield "the guard knows its policies", left == guard.wanted(both)
    for here, host in enumerate((ways.east, west)):
        lines = list(commands("aes128gcm16", "transport", "v4", "v4", False, here, 1 - here))
        batch(host, [line for line in lines if " in priority 1" not in line])
    yield "guarded, with ESP", ways.said()
    batch(west, guard.batch(*guard.difference((), kernel.policies(run=west.process))).splitlines())
    yield "lifted", not guard.present(kernel.policies(run=west.process))


def main():
    """Print what became of each case."""
    with hosts("east", "west", "box") as (east, west, box):
        line(east, west, [f"{EAST}/24", "fd09::1/64"], [f"{WEST}/24", f"{SECOND}/24", "fd09::2/64"])
        veth = ["ip", "link", "add", "docker0", "netns", str(west.pid), "type", "veth"]
        run([*veth, "peer", "name", "eth0", "netns", str(box.pid)])
        batch(west, ["link set docker0 up", "address add 172.17.0.1/16 dev docker0"])
        box.run("ip", "link", "set", "eth0", "up")
        box.run("ip", "address", "add", f"{CONTAINER}/16", "dev", "eth0")
        box.run("ip", "route", "add", "default", "via", "172.17.0.1")
        east.run("ip", "route", "add", "172.17.0.0/16", "via", WEST)
        east.run("ip", "route", "add", "224.0.0.0/4", "dev", "eth0")
        west.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        rule = f"-A PREROUTING -p udp -d {WEST} --dport {TRANSLATED} -j DNAT --to {CONTAINER}:{PORT}"
        west.run(*translating.commands([rule], sys.argv[1]))
        found = dict(cases(Ways(east, west, box)))
    sys.stdout.write(json.dumps(found) + "\n")


main()
