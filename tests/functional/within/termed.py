"""A hub and peers whose rules say different things of their SAs, as states leave them: kernel's ESP.

Prints, by peer, what both ends say, what a proof finds, how the kernel does ESP, and what was on the wire.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import tempfile
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from members import Member
from natted import ALL, OUTGOING, brief, kind, payload_of
from proofs import KERNEL_CONF
from spaces import hosts, network_of
from strongswan import run, unpacked, wait_for

import authorities
from hostipsec.kernel import routing

IPV4, IPV6 = 0x0800, 0x86DD  # as Ethernet says
NEIGHBOURS = range(133, 138)  # types of ICMPv6
HUB, ADDRESS = "hub.example", "10.0.0.1"
OWN = {
    "arm": {"esp": "chacha20poly1305-ecp384!", "lifetime": "2h", "mtu": 1400},
    "cloud": {"encapsulation": "udp", "mtu": 1300},
    "inner": {"type": "tunnel", "ike": "aes256gcm16-prfsha384-ecp384!"},
    "packed": {"compress": "yes"},
    "plain": {},
}
NUMBER = {name: number for number, name in enumerate(OWN, 1)}


def address(name):
    """Return the address of a peer."""
    return f"10.0.{NUMBER[name]}.1"


def pillar():
    """Return the pillar: a rule for each peer."""
    peers = {f"{name}.example": {"role": name, "ipv4": address(name)} for name in OWN}
    rules = [
        {"name": name, "between": {"role": "hub"}, "and": {"role": name}, "stage": "passive", **own}
        for name, own in OWN.items()
    ]
    return {"hosts": {HUB: {"role": "hub", "ipv4": ADDRESS}, **peers}, "rules": rules}


def lined(hub, spaces):
    """Connect the hub with each peer, by a device of that number."""
    hub.run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    for name, peer in spaces.items():
        device, far = f"eth{NUMBER[name]}", f"10.0.{NUMBER[name]}.254"
        veth = ["ip", "link", "add", device, "netns", str(hub.pid), "type", "veth"]
        run([*veth, "peer", "name", "eth0", "netns", str(peer.pid)])
        for host, link, here in ((hub, device, far), (peer, "eth0", address(name))):
            host.run("ip", "link", "set", link, "up")
            host.run("ip", "address", "add", f"{here}/24", "dev", link)
        peer.run("ip", "route", "add", ADDRESS, "via", far)


def started(spaces, place):
    """Start all charons by the pillar; return the members, the hub first."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    made = []
    for space, host in zip(spaces, (HUB, *(f"{name}.example" for name in OWN))):
        one = Member(space, pillar(), host, place)
        issued = authorities.host(f"CN={host}", now, ca)
        one.deploy(one.start(one.inspect(issued, ca.pem), KERNEL_CONF))
        made.append(one)
    return made


def ways(space):
    """Return how the kernel does ESP with each peer: mode, whether in UDP, algorithms, protocols."""
    found = {}
    blocks = re.split(r"^(?=src )", space.run("ip", "xfrm", "state"), flags=re.MULTILINE)[1:]
    for name in OWN:
        mine = [block for block in blocks if f" dst {address(name)}\n" in block]
        text = "".join(mine)
        found[name] = {
            "modes": sorted({*re.findall(r"proto esp .*? mode (\S+)", text)}),
            "udp": "encap type espinudp" in text,
            "algorithms": sorted({*re.findall(r"aead (\S+)", text)}),
            "compressed": "proto comp" in text,
        }
    return found


def routes(hub):
    """Lock the MTUs; return what the kernel has then, and what was changed by a second look."""
    routing.apply(hub.member.connections, hub.member.fleet.settings.mtu, hub.space.process)
    again = routing.compare(hub.member.connections, None, hub.space.process).difference
    shown = hub.space.run("ip", "-d", "-o", "route", "show", "proto", "73")
    return {"mtus": dict(re.findall(r"unicast (\S+) .*? mtu lock (\d+)", shown)), "again": again.as_changes()}


def ports(packet):
    """Return the ports of a TCP packet in the clear; none of another."""
    protocol, payload = payload_of(packet)
    ends = (payload[:2], payload[2:4]) if protocol == socket.IPPROTO_TCP else ()
    return {int.from_bytes(one, "big") for one in ends}


def of_the_line(packet):
    """Whether a packet is one of the line's own: groups and neighbours."""
    if packet[0] >> 4 == 4:
        return packet[16] >= 224
    protocol, payload = payload_of(packet)
    return packet[24] == 255 or (protocol == socket.IPPROTO_ICMPV6 and payload[0] in NEIGHBOURS)


class Sent:
    """What leaves by a device; what comes in is shown a second time once tunnel mode is off it."""

    def __init__(self, space, device):
        with network_of(space):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL))
            self.socket.bind((device, 0))
        self.socket.setblocking(False)

    def left(self, *families):
        """Yield the packets of Ethernet protocols that have left since."""
        while True:
            try:
                packet, (_, protocol, which, *_) = self.socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if protocol in families and which == OUTGOING:
                yield packet

    def seen(self, but=(), families=(IPV4, IPV6)):
        """Return how many packets of each kind have left to a host, without those of TCP ports."""
        packets = (one for one in self.left(*families) if not of_the_line(one))
        return dict(Counter(kind(one) for one in packets if not ports(one) & {*but}))


def told(space, there, data):
    """Send a datagram to a port that nobody listens at."""
    with network_of(space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.bind((ADDRESS, 0))
        near.sendto(data, (there, 9))


def main():
    """Have all up, and look."""
    names = [*OWN]
    with hosts("hub", *names, over=unpacked()) as spaces, tempfile.TemporaryDirectory() as place:
        lined(spaces[0], dict(zip(names, spaces[1:])))
        hub, *peers = started(spaces, Path(place))
        hub.backend.initiate([one.name for one in hub.member.connections], timeout=60)
        states = {"established"}
        wait_for(lambda: {row["state"] for row in hub.status().values()} == states, str(hub.status()), 90)
        wires = {
            name: [Sent(hub.space, f"eth{NUMBER[name]}"), Sent(one.space, "eth0")]
            for name, one in zip(names, peers)
        }
        found = {
            "hub": brief(hub.status()),
            "peers": {name: brief(one.status()) for name, one in zip(names, peers)},
            "proofs": {name: [row["ok"], row["reasons"]] for name, row in hub.verify().items()},
        }
        for name in OWN:  # much that can be compressed
            told(hub.space, address(name), bytes(1000))
        found["sent"] = {name: [wire.seen() for wire in both] for name, both in wires.items()}
        found["ways"] = ways(hub.space)
        found["routes"] = routes(hub)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
