"""Ping through ESP of the real kernel with what must not be fragmented: the largest, and one byte more.

Prints for each case what was computed, and what became of the two pings: ``reply``, ``too long`` or ``lost``.
"""

from __future__ import annotations

import errno
import itertools
import json
import select
import socket
import sys
import time

from spaces import batch, hosts, network_of, set_mtu
from strongswan import line

from hostipsec.kernel import kernelnames, overhead
from hostipsec.proof import packets

ADDRESSES = {"v4": ("10.9.0.1", "10.9.0.2"), "v6": ("fd09::1", "fd09::2")}
INNER = {"v4": ("10.8.0.1", "10.8.0.2"), "v6": ("fd08::1", "fd08::2")}  # of tunnels across families
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, DO = 10, 23, 2
UDP_ENCAP, ESP_IN_UDP, NATT = 100, 2, 4500
DEADLINE = 5.0
LOCKED = 1450  # by a route, on a link of 1500


def cases():
    """Every mode, family and encapsulation with the default; other ciphers and MTUs in the most used mode."""
    gcm, cbc = "aes128gcm16", "aes256-sha256"
    for esp, mode, family, udp in itertools.product((gcm, cbc), overhead.MODES, ("v4", "v6"), (False, True)):
        yield esp, mode, family, family, udp, 1500
    for outer, inner in (("v4", "v6"), ("v6", "v4")):
        yield gcm, "tunnel", outer, inner, False, 1500
    for esp in ("aes128gcm8", "chacha20poly1305", "3des-sha1", "null-sha512", "aes128ctr-aesxcbc"):
        yield esp, "transport", "v4", "v4", False, 1500
    for family in ("v4", "v6"):
        yield gcm, "transport", family, family, False, LOCKED
    for mtu in (1499, 1498, 1497, 1400, 1280, 9000):
        yield gcm, "transport", "v4", "v4", False, mtu


def commands(esp, mode, family, inner, udp, here, there):
    """Return what makes SAs and policies of one end, the same keys in both directions."""
    (transform,) = kernelnames.transforms(esp)
    words = " ".join(word or '""' for word in transform.words)
    encap = f" encap espinudp {NATT} {NATT} 0.0.0.0" if udp else ""
    ends, selectors = ADDRESSES[family], (INNER if inner != family else ADDRESSES)[inner]
    # as charon does by policies of its sockets: ESP in UDP must not itself be asked for ESP
    yield f"xfrm policy add src {ends[there]} dst {ends[here]} proto udp dport {NATT} dir in priority 1"
    for spi, source, destination in ((0x1000, 0, 1), (0x2000, 1, 0)):
        pair = f"src {ends[source]} dst {ends[destination]}"
        flag = " flag af-unspec" if inner != family else ""
        yield f"xfrm state add {pair} proto esp spi {spi} reqid 1 mode {mode}{flag} {words}{encap}"
        direction = "out" if source == here else "in"
        between = f"src {selectors[source]} dst {selectors[destination]}"
        template = f"priority 2 tmpl {pair} proto esp reqid 1 mode {mode}"
        yield f"xfrm policy add {between} dir {direction} {template}"
        if direction == "in" and mode == "tunnel":
            yield f"xfrm policy add {between} dir fwd {template}"


def lock(family, there):
    """Return what locks the MTU of the route to the other end in one family, and unlocks the other."""
    for name, ends in ADDRESSES.items():
        yield f"route replace {ends[there]} dev eth0{f' mtu lock {LOCKED}' if name == family else ''}"


def pinger(family, source):
    """Return a raw socket that lets nothing be fragmented."""
    if family == "v4":
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
    else:
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, packets.ICMP6)
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DO)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    made.bind((source, 0))
    return made


def ping(sock, family, destination, payload, sequence):
    """Return what becomes of an echo request with that many bytes."""
    version = 4 if family == "v4" else 6
    request = packets.echo_request(version, 4711, sequence, b"x" * payload)
    try:
        sock.sendto(request, (destination, 0))
    except OSError as error:
        return "too long" if error.errno == errno.EMSGSIZE else str(error)
    end = time.monotonic() + DEADLINE
    while (left := end - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
        reply = packets.echo_reply(version, sock.recv(65536))
        if reply and (reply.sequence, len(reply.payload)) == (sequence, payload):
            return "reply"
    return "lost"


def encapsulated():
    """Return sockets that take ESP in UDP for the kernel, as charon has them."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        made = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, ESP_IN_UDP)
        made.bind((address, NATT))
        yield made


def main():
    """Try every case; print them all."""
    found, sequence = [], itertools.count(1)
    with hosts("east", "west") as both:
        line(*both, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        kept = []
        for number, host in enumerate(both, 1):
            inner = [f"address add 10.8.0.{number}/32 dev lo", f"address add fd08::{number}/128 dev lo nodad"]
            other = 3 - number
            # a route by which the inner packet would go without the policy, so that it meets the policy
            inner += [f"route add 10.8.0.{other}/32 dev eth0", f"route add fd08::{other}/128 dev eth0"]
            batch(host, inner)
            with network_of(host):
                kept += encapsulated()
        with network_of(both[0]):
            sockets = {
                (family, table[family][0]): pinger(family, table[family][0])
                for table in (ADDRESSES, INNER)
                for family in ("v4", "v6")
            }
        for case in cases():
            esp, mode, family, inner, udp, mtu = case
            table = INNER if inner != family else ADDRESSES
            source, destination = table[inner]
            for here, host in enumerate(both):
                flush = ["xfrm policy flush", "xfrm state flush"]
                route = lock(family if mtu == LOCKED else "", 1 - here)
                batch(host, [*flush, *route, *commands(esp, mode, family, inner, udp, here, 1 - here)])
                set_mtu(host, "eth0", 1500 if mtu == LOCKED else mtu)
            sizes = overhead.on(overhead.encapsulation(esp, mode, family, udp, inner), mtu)
            said = [
                ping(
                    sockets[inner, source],
                    inner,
                    destination,
                    sizes.icmp_payload + more,
                    next(sequence) % 65536,
                )
                for more in (0, 1)
            ]
            found.append({"case": case, "packet": sizes.packet, "said": said})
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
