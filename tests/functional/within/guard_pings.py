"""Two hosts on one link, and the guard of stage `require`: what passes in the clear, and what does not.

Prints what became of pings and of datagrams of a socket that bypasses policies, as charon's sockets do.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
from ipaddress import ip_address

from overhead_pings import ADDRESSES, commands, ping, pinger
from spaces import batch, hosts, network_of
from strongswan import line

from hostipsec.kernel import guard, kernel
from hostipsec.model import Connection

PORT = 5500
IPV6_XFRM_POLICY, DIRECTIONS = 35, (0, 1)  # in, out: linux/in6.h, linux/xfrm.h
WAIT = 4.0  # seconds; three neighbour solicitations take as long
TRAP_PRIORITY = 375_423  # of charon's for two hosts in transport mode (kernel_netlink_ipsec.c, get_priority)


def connection(family, here):
    """Return what the pillar would give one end."""
    left, right = (ip_address(ADDRESSES[family][end]) for end in (here, 1 - here))
    return Connection("peer", "peer", family, left, right, "CN=a", "CN=b", here == 0, "require")


def policies(here, families=("v4", "v6"), neighbours=True):
    """Return the lines that set the guard of one end; without ``neighbours`` it blocks those, too."""
    wanted = guard.wanted([connection(family, here) for family in families])
    return guard.batch([one for one in wanted if neighbours or not one.kind], ()).splitlines()


def traps(here):
    """Return the lines that set what charon sets for ``auto=route``, on both families."""
    lines = []
    for own, peer in ((ADDRESSES[family][here], ADDRESSES[family][1 - here]) for family in ("v4", "v6")):
        rest = f"priority {TRAP_PRIORITY} tmpl proto esp mode transport"
        lines += [
            f"xfrm policy update src {own} dst {peer} dir out {rest}",
            f"xfrm policy update src {peer} dst {own} dir in {rest}",
        ]
    return lines


def bypassing(address):
    """Return a socket past the policies; a struct xfrm_userpolicy_info that allows all."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for direction in DIRECTIONS:
        info = bytearray(168)
        struct.pack_into("H", info, 40, socket.AF_INET6)
        info[160] = direction
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_XFRM_POLICY, bytes(info))
    made.bind((address, PORT))
    return made


def counted(host, name):
    """Return a counter of the kernel's xfrm statistics."""
    text = host.run("cat", "/proc/net/xfrm_stat")
    return int(next(found.split()[1] for found in text.splitlines() if found.split()[0] == name))


class Link:
    """The two hosts, and the sockets in them."""

    def __init__(self, both):
        self.both = both
        self.pingers, self.sockets = {}, []
        for number, host in enumerate(both):
            with network_of(host):
                self.sockets.append(bypassing(ADDRESSES["v6"][number]))
                if number == 0:
                    self.pingers = {family: pinger(family, ADDRESSES[family][0]) for family in ("v4", "v6")}

    def guard(self, *ends, neighbours=True, trapped=False):
        """Set the guard of these ends, traps if asked, and no other policy; nobody knows a neighbour."""
        for here, host in enumerate(self.both):
            mine = policies(here, neighbours=neighbours) if here in ends else []
            mine += traps(here) if trapped else []
            batch(host, ["xfrm state flush", "xfrm policy flush", *mine, "neigh flush dev eth0"])

    def pings(self, number):
        """Ping from the first to the second, on both families."""
        return [ping(self.pingers[one], one, ADDRESSES[one][1], 64, number) for one in ("v4", "v6")]

    def datagram(self):
        """Send past the policies."""
        self.sockets[0].sendto(b"x", (ADDRESSES["v6"][1], PORT))
        if not select.select([self.sockets[1]], [], [], WAIT)[0]:
            return "lost"
        self.sockets[1].recv(16)
        return "arrived"

    def esp(self):
        """Make SAs for both families, by hand."""
        for family in ("v4", "v6"):
            for here, host in enumerate(self.both):
                batch(host, commands("aes128gcm16", "transport", family, family, False, here, 1 - here))


def cases(link):
    """Go through the cases."""
    east, west = link.both
    yield "nobody guards", link.pings(1)
    link.guard(0, 1)
    before = counted(east, "XfrmOutPolBlock")
    yield "both guard", link.pings(2)
    yield "blocked on the way out", counted(east, "XfrmOutPolBlock") - before
    yield "both guard, past the policies, from cold", link.datagram()
    link.guard(0, 1, neighbours=False)
    yield "the same if neighbours were blocked", link.datagram()
    link.guard(0, 1, trapped=True)
    yield "both guard and trap, past the policies, from cold", link.datagram()
    link.guard(trapped=True)
    yield "the same with traps alone", link.datagram()
    link.guard(1)
    before = counted(west, "XfrmInPolBlock")
    yield "only the other end guards", link.pings(3)
    yield "blocked on the way in", counted(west, "XfrmInPolBlock") - before
    link.guard(0, 1)
    listed = guard.present(kernel.policies(run=west.process))
    wanted = guard.wanted([connection(family, 1) for family in ("v4", "v6")])
    yield "the guard knows its policies", listed == wanted
    link.esp()
    yield "both guard, with ESP", link.pings(4)


def main():
    """Print what became of each case."""
    with hosts("east", "west") as both:
        line(*both, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        found = dict(cases(Link(both)))
    sys.stdout.write(json.dumps(found) + "\n")


main()
