"""What goes in the clear between this host and its peers, as an nftables table of ours counts it.

It only counts: no rule of it drops, and ``return`` ends nothing but a chain of its own. What leaves is
counted by the peer's address in ``postrouting``, behind every translation and every block, what comes in at
``input`` and ``forward``; neither meets what waits for an SA, or what a policy blocks on its way out. What a
policy blocks on its way in has come in the clear, and counts.

Not counted is what was or will be in ESP (``ipsec``), ESP itself, charon's own packets, and what the guard of
``require`` lets pass as well: neighbour discovery, groups. A packet in pieces counts once, with its first.
On a host where charon does ESP itself, what goes through its device (``ipsec0``) is not in the clear.

What a rule leaves in the clear (``clear``, ``only``) is not counted either: sets name such packets.

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
from ..strongswan import exceptions

NAME = "inet hostipsec"  # of the table
OUT, IN = "out", "in"
_IKE = "{ 500, 4500 }"
_ANYWAY = (
    "meta l4proto esp return",
    "icmpv6 type { 135, 136 } return",
    "ip frag-off & 0x1fff != 0 return",
    "frag frag-off != 0 return",
)
_PACKETS = "{0} {1} . meta l4proto . th {2} @{3} {4}"


def _by_rule(side: str, count: str) -> tuple[str, ...]:
    """Return the lines that leave out what rules leave in the clear, by the peer's side of a packet."""
    found = []
    for version, ip in ((4, "ip"), (6, "ip6")):
        for name, verdict in ((f"clear{version}", "return"), (f"only{version}", f"goto {count}")):
            found += [_PACKETS.format(ip, side, port, name, verdict) for port in ("sport", "dport")]
        found += [
            f"{ip} {side} . meta l4proto @kinds{version} goto {count}",
            f"{ip} {side} @some{version} return",
        ]
    return (*found, f"goto {count}")


CHAINS: Mapping[str, tuple[str, ...]] = {
    "sent": ("ip daddr @out4", "ip6 daddr @out6"),
    "got": ("ip saddr @in4", "ip6 saddr @in6"),
    "left": (
        "type filter hook postrouting priority 300; policy accept;",
        *("rt ipsec exists return", 'oifname "ipsec*" return', f"udp sport {_IKE} return", *_ANYWAY),
        *_by_rule("daddr", "sent"),
    ),
    "came": (
        *("meta ipsec exists return", 'iifname "ipsec*" return', f"udp dport {_IKE} return", *_ANYWAY),
        *("ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return"),
        *_by_rule("saddr", "got"),
    ),
    "input": ("type filter hook input priority -300; policy accept;", "jump came"),
    "forward": ("type filter hook forward priority -300; policy accept;", "jump came"),
}
_RULES = {name: sum(not line.startswith("type filter") for line in lines) for name, lines in CHAINS.items()}
SETS = {f"{way}{version}": (way, version) for way in (OUT, IN) for version in (4, 6)}
# of what rules say: what stays in the clear and what alone is encrypted, by peer, protocol and port;
# protocols that are encrypted; peers of which not all is
_KEYS = {
    **dict.fromkeys(("clear", "only"), "{} . inet_proto . inet_service"),
    "kinds": "{} . inet_proto",
    "some": "{}",
}
NAMED = {f"{kind}{v}": key.format(f"ipv{v}_addr") for kind, key in _KEYS.items() for v in (4, 6)}
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
    named: Mapping[str, Collection[str]] = MappingProxyType({})  # the elements of sets that count nothing


def parse(text: str) -> Table:
    """Read ``nft -j list table inet hostipsec`` (nft 0.9.8 to 1.0.6). Raises HostIPsecError."""
    try:
        found = json.loads(text)["nftables"]
        every = {one["name"]: one for one in _of(found, "set")}
        sets = {name: _counts(one) for name, one in every.items() if name not in NAMED}
        named = {name: frozenset(_elements(one)) for name, one in every.items() if name in NAMED}
        rules = [one["chain"] for one in _of(found, "rule")]
        there = {one["name"]: rules.count(one["name"]) for one in _of(found, "chain")}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HostIPsecError(f"nft -j list table {NAME}: cannot be read ({error!r:.200})") from None
    return Table(sets, there == _RULES and {*every} == {*SETS, *NAMED}, named)


def _of(found: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [one[kind] for one in found if kind in one]


def _counts(found: Mapping[str, Any]) -> Counts:
    elements = (one["elem"] for one in found.get("elem", ()))
    return {unicast.parse(one["val"]): int(one["counter"]["packets"]) for one in elements}


def _elements(found: Mapping[str, Any]) -> Iterable[str]:
    """Yield the elements of a set that counts nothing, as :func:`_packets` writes them."""
    for one in found.get("elem", ()):
        parts = one["concat"] if isinstance(one, Mapping) else [one]
        yield " . ".join(
            [str(unicast.parse(parts[0])), *(str(_NUMBERS.get(part, part)) for part in parts[1:])]
        )


_NUMBERS = {**exceptions.PROTOCOLS, "icmp": 1, "ipv6-icmp": 58, "icmpv6": 58}


def changes(connections: Iterable[Connection], there: Table) -> str:
    """Return the lines for ``nft -f`` that make the table count the connections' peers; empty for none.

    What is counted stays counted; a table that is not whole is made anew, and begins at 0.
    """
    every = [one.taking for one in connections]
    peers = {one.right for one in every}
    counted_ = {
        name: {peer for peer in peers if peer.version == version} for name, (_, version) in SETS.items()
    }
    named = {name: _packets(every, name) for name in NAMED}
    if not there.whole:
        return _anew(counted_, named)
    added = [("add", name, named[name] - {*there.named[name]}) for name in NAMED]
    added += [("add", name, _texts(counted_[name] - there.sets[name].keys())) for name in SETS]
    gone = [("delete", name, _texts(there.sets[name].keys() - counted_[name])) for name in SETS]
    gone += [("delete", name, {*there.named[name]} - named[name]) for name in NAMED]
    return "".join(
        f"{verb} element {NAME} {name} {{ {', '.join(sorted(which))} }}\n"
        for verb, name, which in (*added, *gone)
        if which
    )


def _packets(connections: Iterable[Connection], name: str) -> set[str]:
    """Return the elements of a set that counts nothing."""
    kind, version = name[:-1], int(name[-1])
    some = [one for one in connections if one.right.version == version]
    if kind == "some":
        return {str(one.right) for one in some if one.only}
    if kind == "kinds":
        number = exceptions.ICMPS[version]
        return {f"{one.right} . {number}" for one in some if exceptions.ICMP in one.only}
    return {
        f"{one.right} . {what.protocol} . {what.port}"
        for one in some
        for text in (one.clear if kind == "clear" else one.only)
        if (what := exceptions.parse(text))
    }


def _anew(counted_: Mapping[str, Collection[Address]], named: Mapping[str, Collection[str]]) -> str:
    sets = [_set(name, f"ipv{v}_addr; counter", _texts(counted_[name])) for name, (_, v) in SETS.items()]
    sets += [_set(name, key, named[name]) for name, key in NAMED.items()]
    chains = [f"chain {name} {{\n{_lines(lines)}}}\n" for name, lines in CHAINS.items()]
    return f"{removal()}table {NAME} {{\n{''.join([*sets, *chains])}}}\n"


def removal() -> str:
    """Return the lines that remove the table, also where there is none."""
    return f"add table {NAME}\ndelete table {NAME}\n"


def _set(name: str, key: str, which: Collection[str]) -> str:
    elements = f"elements = {{ {', '.join(sorted(which))} }}; " if which else ""
    return f"set {name} {{ type {key}; {elements}}}\n"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _texts(peers: Iterable[Address]) -> set[str]:
    return {str(peer) for peer in peers}


def counted(connections: Iterable[Connection], there: Table) -> dict[str, Packets]:
    """Return what is counted, by connection; without those that are not counted yet."""
    found = {}
    for one in connections:
        ways = [there.sets.get(f"{way}{one.right.version}", {}).get(one.right) for way in (IN, OUT)]
        if None not in ways:
            found[one.name] = Packets(*(way or 0 for way in ways))
    return found
