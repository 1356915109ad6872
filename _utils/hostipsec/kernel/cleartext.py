"""What goes in the clear between this host and its peers, as an nftables table of ours counts it.

It only counts: no rule of it drops, and ``return`` ends nothing but a chain of its own. What leaves is
counted by the peer's address in ``postrouting``, behind every translation and every block, what comes in at
``input`` and ``forward``; neither meets what waits for an SA, or what a policy blocks on its way out. What a
policy blocks on its way in has come in the clear, and counts.

Not counted is what was or will be in ESP (``ipsec``), ESP itself, charon's own packets, and what the guard of
``require`` lets pass as well: neighbour discovery, groups. A packet in pieces counts once, with its first.
On a host where charon does ESP itself, what goes through its device (``ipsec0``) is not in the clear.

Counters belong to elements of sets (nft 0.9.5, Linux 5.7): they stay when peers come and go.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from types import MappingProxyType
from typing import Any, Mapping, NamedTuple

from .. import unicast
from ..errors import HostIPsecError
from ..model import Address, Connection

NAME = "inet hostipsec"  # of the table
OUT, IN = "out", "in"
_IKE = "{ 500, 4500 }"
_ANYWAY = (
    "meta l4proto esp return",
    "icmpv6 type { 135, 136 } return",
    "ip frag-off & 0x1fff != 0 return",
    "frag frag-off != 0 return",
)
CHAINS: Mapping[str, tuple[str, ...]] = {
    "left": (
        "type filter hook postrouting priority 300; policy accept;",
        *("rt ipsec exists return", 'oifname "ipsec*" return', f"udp sport {_IKE} return", *_ANYWAY),
        *("ip daddr @out4", "ip6 daddr @out6"),
    ),
    "came": (
        *("meta ipsec exists return", 'iifname "ipsec*" return', f"udp dport {_IKE} return", *_ANYWAY),
        *("ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return"),
        *("ip saddr @in4", "ip6 saddr @in6"),
    ),
    "input": ("type filter hook input priority -300; policy accept;", "jump came"),
    "forward": ("type filter hook forward priority -300; policy accept;", "jump came"),
}
_RULES = {name: sum(not line.startswith("type filter") for line in lines) for name, lines in CHAINS.items()}
SETS = {f"{way}{version}": (way, version) for way in (OUT, IN) for version in (4, 6)}
Counts = Mapping[Address, int]
_NONE: Mapping[str, Counts] = MappingProxyType({})


class Packets(NamedTuple):
    """What went in the clear with one peer, in one family, since the kernel counts it."""

    received: int = 0
    sent: int = 0


class Table(NamedTuple):
    """The table as the kernel has it: by set, the packets of each address."""

    sets: Mapping[str, Counts] = _NONE
    whole: bool = False  # its sets and chains are those that we make


def parse(text: str) -> Table:
    """Read ``nft -j list table inet hostipsec`` (nft 0.9.8 to 1.0.6). Raises HostIPsecError."""
    try:
        found = json.loads(text)["nftables"]
        sets = {one["name"]: _counts(one) for one in _of(found, "set")}
        rules = [one["chain"] for one in _of(found, "rule")]
        there = {one["name"]: rules.count(one["name"]) for one in _of(found, "chain")}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HostIPsecError(f"nft -j list table {NAME}: cannot be read ({error!r:.200})") from None
    return Table(sets, there == _RULES and set(sets) == set(SETS))


def _of(found: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [one[kind] for one in found if kind in one]


def _counts(found: Mapping[str, Any]) -> Counts:
    elements = (one["elem"] for one in found.get("elem", ()))
    return {unicast.parse(one["val"]): int(one["counter"]["packets"]) for one in elements}


def changes(connections: Iterable[Connection], there: Table) -> str:
    """Return the lines for ``nft -f`` that make the table count the connections' peers; empty for none.

    A pair of which its rule leaves something in the clear is not counted: that would be alarmed at.
    What is counted stays counted; a table that is not whole is made anew, and begins at 0.
    """
    peers = {one.right for one in connections if not one.clear}
    wanted = {
        name: {peer for peer in peers if peer.version == version} for name, (_, version) in SETS.items()
    }
    if not there.whole:
        return _anew(wanted)
    return "".join(
        f"{verb} element {NAME} {name} {{ {_listed(which)} }}\n"
        for name in SETS
        for verb, which in (
            ("add", wanted[name] - there.sets[name].keys()),
            ("delete", there.sets[name].keys() - wanted[name]),
        )
        if which
    )


def _anew(wanted: Mapping[str, Collection[Address]]) -> str:
    sets = [_set(name, version, wanted[name]) for name, (_, version) in SETS.items()]
    chains = [f"chain {name} {{\n{_lines(lines)}}}\n" for name, lines in CHAINS.items()]
    return f"{removal()}table {NAME} {{\n{''.join([*sets, *chains])}}}\n"


def removal() -> str:
    """Return the lines that remove the table, also where there is none."""
    return f"add table {NAME}\ndelete table {NAME}\n"


def _set(name: str, version: int, peers: Collection[Address]) -> str:
    elements = f"elements = {{ {_listed(peers)} }}; " if peers else ""
    return f"set {name} {{ type ipv{version}_addr; counter; {elements}}}\n"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _listed(peers: Collection[Address]) -> str:
    return ", ".join(str(peer) for peer in sorted(peers, key=int))


def counted(connections: Iterable[Connection], there: Table) -> dict[str, Packets]:
    """Return what is counted, by connection; without those that are not counted yet."""
    found = {}
    for one in connections:
        ways = [there.sets.get(f"{way}{one.right.version}", {}).get(one.right) for way in (IN, OUT)]
        if None not in ways:
            found[one.name] = Packets(*(way or 0 for way in ways))
    return found
