"""East and west, in stage require, while options of their rule by which SAs are made change, edit by edit.

Datagrams go both ways the whole time. By ``swanctl`` charons have no ipsec.conf. Prints, by edit, what both
ends say and how their kernels do ESP once one of them has it, once both have it, and once their SAs are made
anew; how many datagrams were lost, and how they went.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import changing_ciphers
import changing_rule
import excepted
import only
from changing_clear import Flows
from changing_rule import Changing, End, listened, said, up
from excepted import ENDS
from proofs import EAST, WEST
from spaces import hosts
from strongswan import line, unpacked

import authorities
from hostipsec.strongswan import childname

KEYED = re.compile(r"^\tcomp |^\taead ", re.MULTILINE)  # one without a key is waited for, and carries nothing
KEY = re.compile(r"^\taead \S+ 0x([0-9a-f]+)", re.MULTILINE)
HARD = re.compile(r"expire add: .*hard ([1-9][0-9]*)\(sec\)")
SALT = 32  # bits of the key that are not of the cipher (RFC 4106)
EDITS = {
    "type": {"type": "tunnel"},
    "encapsulation": {"encapsulation": "udp"},
    "compress": {"compress": "yes"},
    "esp": {"esp": "aes256gcm16-ecp384bp-noesn!"},
    "lifetime": {"lifetime": "2h"},
    "lifetimes": {"lifetime": "2h", "ikelifetime": "6h", "margintime": "20m"},
}
UPGRADED = {"lifetime": "2h", "ikelifetime": "181m"}  # made anew without a name, by the second


def pillar(own):
    """Return the pillar whose rule says so much."""
    rule = {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "require"}
    return {**excepted.pillar(), "rules": [{**rule, **own}]}


def found_at(ends):
    """Return what both ends say, and how their kernels do ESP.

    By end: modes, bits of keys, hours after which SAs end, whether in UDP, and whether compressed.
    """
    ways = []
    for end in ends:
        states = re.split(r"^(?=src )", end.space.run("ip", "-s", "xfrm", "state"), flags=re.MULTILINE)
        text = "".join(one for one in states if KEYED.search(one))
        modes = {*re.findall(r"proto (?:esp|comp) .* mode (\S+)", text)}
        bits = {4 * len(key) - SALT for key in KEY.findall(text)}
        hours = {int(seconds) // 3600 for seconds in HARD.findall(text)}
        several = [sorted(found) for found in (modes, bits, hours)]
        ways.append([*several, "encap type espinudp" in text, "proto comp" in text])
    sas = [sorted(sa.uniqueid for sa in end.backend.observe().ike_sas) for end in ends]
    return {"said": said(ends), "ways": ways, "sas": sas}


def edited(ends, own):
    """Bring an edit about, at the end that answers first, and make the SAs anew."""
    east, west = ends
    changing_rule.pillar = lambda _: pillar(own)
    found = []
    for end in (west, east):
        changing_rule.edit([end], ())
        found.append(found_at(ends))
    both = End(east, west.host), End(west, east.host)
    reasons = changing_ciphers.replaced(*both, together=True)
    return {"steps": [*found, found_at(ends)], "reasons": reasons}


@contextlib.contextmanager
def unnamed():
    """Write files as the release before did, which had no name for CHILD options."""
    named, childname.told = childname.told, lambda *_: {}
    try:
        yield
    finally:
        childname.told = named


def under_traffic(ends, own, port):
    """Bring an edit about, while datagrams go to a port."""
    wires, flows = [listened(end) for end in ends], Flows(ends, (port,))
    try:
        found = edited(ends, own)
    finally:
        lost = flows.end()
    seen = [wire.seen() for wire in wires]
    return {**found, "lost": [len(way) for way in lost], "sent": flows.sent, "wire": seen}


class BySwanctl(only.BySwanctl, Changing):
    """A host whose pillar is edited, and whose charon is told as swanctl tells it."""


def main():
    """Go there and back by each edit."""
    kinds = {"ipsec.conf": Changing, "swanctl": BySwanctl}
    kind, names = kinds[sys.argv[1]], sys.argv[2:]
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    found = {}
    with hosts("east", "west", over=unpacked()) as spaces, tempfile.TemporaryDirectory() as place:
        line(*spaces, [f"{EAST['v4']}/24"], [f"{WEST['v4']}/24"])
        ends = [kind(one, pillar({}), host, Path(place)) for one, host in zip(spaces, ENDS)]
        for end in ends:
            end.begin(ca, now)
        up(ends)
        with unnamed():
            edited(ends, UPGRADED)
        found["upgraded"] = under_traffic(ends, UPGRADED, 7098)
        edited(ends, {})
        for number, name in enumerate(names):
            there = under_traffic(ends, EDITS[name], 7100 + 2 * number)
            found[name] = {"there": there, "back": under_traffic(ends, {}, 7101 + 2 * number)}
        with unnamed():  # last, as it leaves what nobody wants
            found["unnamed"] = edited(ends, EDITS["compress"])
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
