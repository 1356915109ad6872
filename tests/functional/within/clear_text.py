"""Two hosts on one link, and the table that counts what goes in the clear: beside it, what the wire says.

Prints for each case what the table counted at each end, and what a socket on the line saw in the clear.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import tempfile
import time
from ipaddress import ip_address, ip_network

from overhead_pings import ADDRESSES, commands
from spaces import batch, hosts, network_of
from strongswan import line

from hostipsec import paths
from hostipsec.kernel import cleartext, counting, guard
from hostipsec.model import Connection
from hostipsec.proof import packets
from hostipsec.system import processes

WHICH, *NFT = sys.argv[1:]  # the cases; the command of nft, with where its libraries are
ALL = 3  # ETH_P_ALL: what leaves as well as what comes
OUTGOING = 4  # PACKET_OUTGOING
ESP, UDP, ICMP6, FRAGMENT = 50, 17, 58, 44
PORT, EXCEPTED = 7000, 7001
SETTLED = 0.3  # seconds until all that was sent has come; both ends are on one machine
FAMILIES = ("v4", "v6")
PORTS = (PORT, EXCEPTED, 500)


def connection(family, here):
    """Return what the pillar would give one end."""
    left, right = (ip_address(ADDRESSES[family][end]) for end in (here, 1 - here))
    return Connection(f"peer_{family}", "peer", family, left, right, "CN=a", "CN=b", here == 0, "start")


def other(address):
    """Return a connection with somebody else, so that an edit of the mesh has something to add."""
    ends = (ip_address(ADDRESSES["v4"][0]), ip_address(address))
    return Connection("third_v4", "third", "v4", *ends, "CN=a", "CN=c", True, "start")


class Wire:
    """What leaves a host, as frames on its device. What comes in is seen there once more, decrypted."""

    def __init__(self, host):
        with network_of(host):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self.socket.bind(("eth0", 0))
        self.socket.setblocking(False)

    def left(self):
        """Return how many packets to the other left since the last call: in the clear, and in ESP."""
        found = [0, 0]
        while True:
            try:
                frame, (_, _, kind, *_) = self.socket.recvfrom(1 << 16)
            except BlockingIOError:
                return found
            found[0] += kind == OUTGOING and in_clear(frame)
            found[1] += kind == OUTGOING and ESP in (frame[14 + 9], frame[14 + 6])  # of IPv4, of IPv6


def in_clear(frame):
    """Say whether a frame is between both hosts, and neither ESP, nor IKE, nor of neighbours."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        ends = {socket.inet_ntop(socket.AF_INET, packet[start : start + 4]) for start in (12, 16)}
        return ends == {*ADDRESSES["v4"]} and not passes(packet[9], packet[(packet[0] & 15) * 4 :])
    if kind == b"\x86\xdd":
        ends = {socket.inet_ntop(socket.AF_INET6, packet[start : start + 16]) for start in (8, 24)}
        return ends == {*ADDRESSES["v6"]} and not passes(packet[6], packet[40:])
    return False


def passes(protocol, payload):
    """Say whether it is ESP, IKE, or of neighbours; written apart from the rules that are tested."""
    if protocol == FRAGMENT:
        protocol, payload = payload[0], payload[8:]
    if protocol == UDP:
        return bool({500, 4500} & {*struct.unpack("!HH", payload[:4])})
    return protocol == ESP or (protocol == ICMP6 and payload[0] in (135, 136))


class Link:
    """Both hosts, their tables, a socket at each address, and the wire between them."""

    def __init__(self, both):
        self.both, self.wires = both, [Wire(host) for host in both]
        self.sockets = [
            {(family, port): opened(host, family, here, port) for family in FAMILIES for port in PORTS}
            for here, host in enumerate(both)
        ]
        self.before = [{}, {}]
        self.rule = {}  # what a rule says of both connections

    def keep(self, here, *more):
        """Do what the keeper does at one end; return the packets of each connection."""
        host = self.both[here]
        run = processes.run

        def inside(argv, timeout, stdin=""):
            return run(host.argv([*NFT, *argv[1:]]), timeout, stdin=stdin)

        processes.run = inside
        try:
            own = (connection(family, here)._replace(**self.rule) for family in FAMILIES)
            return counting.keep([*own, *more])
        finally:
            processes.run = run

    def send(self, here, family, times=1, port=PORT, size=8):
        """Send datagrams to the other end; what is blocked is no matter."""
        for _ in range(times):
            try:
                self.sockets[here][family, port].sendto(b"x" * size, (ADDRESSES[family][1 - here], port))
            except OSError as error:
                if error.errno != 1:
                    raise
        time.sleep(0.02)

    def echo(self, family):
        """Send an echo request from east; the other end's kernel replies."""
        kind = (socket.AF_INET, socket.IPPROTO_ICMP) if family == "v4" else (socket.AF_INET6, ICMP6)
        with network_of(self.both[0]), socket.socket(kind[0], socket.SOCK_RAW, kind[1]) as made:
            made.bind((ADDRESSES[family][0], 0))
            made.sendto(packets.echo_request(int(family[1]), 7, 1, b"x" * 8), (ADDRESSES[family][1], 0))
        time.sleep(0.02)

    def counted(self, *more):
        """Return [sent, received] since the last call: as counted at each end, and on the wire at east."""
        time.sleep(SETTLED)
        found = {}
        for here, name in enumerate(("east", "west")):
            now, was = self.keep(here, *([] if here else more)), self.before[here]
            found[name] = {one: since(now[one], was.get(one, cleartext.Packets())) for one in now}
            self.before[here] = now
        clear, sealed = zip(*(wire.left() for wire in self.wires))
        return {**found, "wire": [*clear], **({"ESP on the wire": [*sealed]} if any(sealed) else {})}

    def both_ways(self, times=3, **how):
        """Send both ways in both families."""
        for here in (0, 1):
            for family in FAMILIES:
                self.send(here, family, times, **how)


def since(now, before):
    """Return the packets between two readings: [sent, received]."""
    return [now.sent - before.sent, now.received - before.received]


def opened(host, family, number, port):
    """Return a datagram socket of a host."""
    with network_of(host):
        made = socket.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((ADDRESSES[family][number], port))
    return made


def flush(link):
    """Take SAs and policies away."""
    for host in link.both:
        batch(host, ["xfrm state flush", "xfrm policy flush"])


def esp(link, mode):
    """Make SAs for both families, by hand."""
    for family in FAMILIES:
        for here, host in enumerate(link.both):
            batch(host, commands("aes128gcm16", mode, family, family, False, here, 1 - here))


def guarded(link, *ends):
    """Set the guard of stage require."""
    for here in ends:
        wanted = guard.wanted([connection(family, here)._replace(stage="require") for family in FAMILIES])
        batch(link.both[here], guard.batch(wanted, ()).splitlines())


def trapped(link, here, larval):
    """Have what leaves one end wait for an SA, or be dropped while there is none."""
    host = link.both[here]
    host.run("sysctl", "-q", f"net.core.xfrm_larval_drop={larval}")
    own, peer = (str(ip_network(ADDRESSES["v4"][end])) for end in (here, 1 - here))
    batch(
        host,
        [f"xfrm policy add src {own} dst {peer} dir out priority 2 tmpl proto esp reqid 1 mode transport"],
    )


def plain_cases(link):
    """Go through those for which any kernel will do."""
    link.both_ways(5)
    yield "in the clear", link.counted()
    link.both_ways(2, port=500)
    yield "IKE", link.counted()
    link.send(0, "v4", 2, size=4000)
    link.send(1, "v6", 2, size=4000)
    yield "in pieces", link.counted()
    guarded(link, 0)
    link.both_ways(4)
    yield "east blocks", link.counted()
    flush(link)
    for larval in (0, 1):
        trapped(link, 0, larval)
        link.send(0, "v4", 3)
        yield f"east has a trap, xfrm_larval_drop={larval}", link.counted()
        flush(link)
    link.both[0].run("ip", "neigh", "flush", "dev", "eth0")
    link.both_ways(2)
    yield "neighbours, from cold", link.counted()
    link.keep(0, other("10.9.0.77"))
    link.both_ways(1)
    yield "a peer more", link.counted(other("10.9.0.77"))
    link.both_ways(1)
    yield "a peer less", link.counted()
    yield from ruled_cases(link)


def ruled_cases(link):
    """Go through what rules leave in the clear: the counters go on, and do not count that."""
    for name, rule in (
        ("a port in the clear", {"clear": (f"udp/{EXCEPTED}",)}),
        ("a port alone encrypted", {"only": (f"udp/{PORT}",)}),
        ("ICMP alone encrypted", {"only": ("icmp",)}),
        ("by no rule again", {}),
    ):
        link.rule = rule
        for here in (0, 1):
            link.keep(here)
        link.both_ways(2)
        link.both_ways(3, port=EXCEPTED)
        for family in FAMILIES:
            link.echo(family)
        yield name, link.counted()


def esp_cases(link):
    """Go through those for which the kernel has to have ESP."""
    for mode in ("transport", "tunnel"):
        esp(link, mode)
        link.both_ways(5)
        yield f"ESP, {mode}", link.counted()
        link.send(0, "v4", 2, size=4000)
        link.send(1, "v6", 2, size=4000)
        yield f"ESP, {mode}, in pieces", link.counted()
        flush(link)


CASES = {"plain": plain_cases, "esp": esp_cases}


def main():
    """Print what became of each case."""
    with tempfile.TemporaryDirectory() as place, hosts("east", "west") as both:
        paths.here = paths.Paths(place)
        line(*both, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        for host in both:
            host.run("sysctl", "-q", "net.ipv6.conf.all.accept_ra=0")
        link = Link(both)
        for here in (0, 1):
            link.keep(here)
        link.both_ways(1)  # neighbours find each other
        link.counted()
        found = dict(CASES[WHICH](link))
    sys.stdout.write(json.dumps(found) + "\n")


main()
