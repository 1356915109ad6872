"""SAs and policies of others, and charon's, in a real kernel: what a stop deletes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address

from hostipsec import owner
from hostipsec.kernel import kernel, leftovers
from hostipsec.model import Connection

LEFT, RIGHT = "192.0.2.11", "192.0.2.21"
ONE = Connection(
    *("cp3001_v4", "cp3001.example", "v4", ip_address(LEFT), ip_address(RIGHT), "CN=a", "CN=b", True, "start")
)
KEY = "aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128"
STATES = {  # by SPI: Docker Swarm's, Cilium's, weave's, libreswan's, of an interface, of charon
    "0xf4faae1b": "reqid 13681891 mode transport",
    "0x00000003": "reqid 1 mode tunnel mark 0x3e00 mask 0xff00 output-mark 0xe00 mask 0xf00",
    "0xca3f1c20": "mode transport",
    "0xcb2a9c11": "reqid 16389 mode tunnel",
    "0xc0000077": "reqid 7 mode tunnel if_id 0x2a",
    "0xc0000001": "reqid 1 mode transport",
    "0xc0000002": "reqid 1 mode transport",
}
TEMPLATE = f"tmpl src {LEFT} dst {RIGHT} proto esp"
POLICIES = (
    f"src {LEFT} dst {RIGHT} proto udp dport 4789 dir out mark 0xd0c4e3 {TEMPLATE} reqid 13681891",
    f"src 10.244.0.0/24 dst 10.244.1.0/24 dir out mark 0x3e00 mask 0xff00 {TEMPLATE} reqid 1 mode tunnel",
    f"src {LEFT} dst {RIGHT} proto udp dport 6784 dir out mark 0x20000 mask 0x20000 {TEMPLATE}",
    f"src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 1753280 {TEMPLATE} reqid 16389 mode tunnel",
    f"src {LEFT} dst {RIGHT} dir out priority 367231 {TEMPLATE} reqid 1 mode transport",
    f"src {LEFT} dst {RIGHT} dir in priority 367231 {TEMPLATE} reqid 1 mode transport",
)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def spis(found):
    return sorted(f"0x{one.spi}" for one in found)


def main():
    """Make them, delete what a stop deletes, and print what was deleted and what is left."""
    ip("link", "set", "lo", "up")
    for spi, rest in STATES.items():
        ip(*f"xfrm state add src {LEFT} dst {RIGHT} proto esp spi {spi} {rest} {KEY}".split())
    for policy in POLICIES:
        ip(*f"xfrm policy add {policy}".split())
    ours = owner.Ours([ONE])
    found = leftovers.leftovers(kernel.observe(), ours)
    kernel.delete(found.batch())
    left = kernel.observe()
    said = {
        "deleted": [spis(found.states), len(found.policies)],
        "left": [spis(left.states), len(left.policies)],
        "again": bool(leftovers.leftovers(left, ours)),
    }
    sys.stdout.write(json.dumps(said) + "\n")


main()
