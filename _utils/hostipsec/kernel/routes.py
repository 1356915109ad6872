"""Host routes to peers with a locked MTU: which are wanted, which are there, what is to be done.

A route of ours copies the way that the kernel would take to the peer without it (longest prefix, then
metric, in table main) and adds nothing but the MTU. Reads ``ip -j -d route show table main`` for
ways, and ``ip -d -o route show`` for locks, since iproute2 (5.9 to 6.15) leaves them out of its JSON.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Optional, Union

from ..errors import HostIPsecError
from ..model import Address, Connection

# Marks our routes (rtm_protocol). Up to 4 are the kernel's and the administrator's; of the others, which
# are free to take, no rt_protos that iproute2 ships has 73 (it has 8 to 18, 42, 84, 99, 186 to 189, 192).
PROTOCOL = 73
# Of equal prefixes the lowest metric wins: 0 is IPv4's lowest; in IPv6 0 stands for 1024
METRIC: Mapping[int, int] = {4: 0, 6: 1}
# What a way may have beside its hops and ours must have as well, or locking the MTU would cost it:
# name in JSON -> word and unit in a command. advmss is left out, it follows from the MTU.
COPIED: Mapping[str, tuple[str, str]] = {
    "congestion": ("congctl", ""),
    "hoplimit": ("hoplimit", ""),
    "initcwnd": ("initcwnd", ""),
    "initrwnd": ("initrwnd", ""),
    "quickack": ("quickack", ""),
    "reordering": ("reordering", ""),
    "rto_min": ("rto_min", "ms"),
    "window": ("window", ""),
}
_LOCKED = re.compile(r"\bmtu lock (\d+)\b")
_PREFERENCE = {"high": 0, "medium": 1, "low": 2}  # RFC 4191
Network = Union[IPv4Network, IPv6Network]


@dataclass(frozen=True)
class Hop:
    """One next hop. ``gateway`` is empty where the destination is on the link."""

    device: str
    gateway: str = ""
    onlink: bool = False
    weight: int = 1

    def words(self) -> list[str]:
        """Return the hop as words of ``ip route``."""
        family = ["inet6"] if ":" in self.gateway else []
        via = ["via", *family, self.gateway] if self.gateway else []
        return [*via, "dev", self.device, *(["onlink"] if self.onlink else [])]


@dataclass(frozen=True)
class Way:
    """How packets go: hops, source address, and metrics beside the MTU."""

    hops: tuple[Hop, ...]
    source: str = ""
    metrics: tuple[tuple[str, str], ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the devices, each once."""
        return tuple(dict.fromkeys(hop.device for hop in self.hops))


@dataclass(frozen=True)
class Route:
    """A route of ours, wanted or there."""

    destination: Address
    way: Way
    mtu: Optional[int]
    locked: bool = True

    def words(self) -> list[str]:
        """Return the route as words of ``ip route add``."""
        way = self.way
        found = [*self.selector(), *(["src", way.source] if way.source else [])]
        if len(way.hops) == 1:
            found += way.hops[0].words()
        found += ["mtu", *(["lock"] if self.locked else []), str(self.mtu)]
        for name, value in way.metrics:
            word, unit = COPIED[name]
            found += [word, f"{value}{unit}"]
        if len(way.hops) > 1:
            for hop in way.hops:
                found += ["nexthop", *hop.words(), "weight", str(hop.weight)]
        return found

    def selector(self) -> list[str]:
        """Return the words that say which route is meant, and that it is ours."""
        metric = METRIC[self.destination.version]
        prefix = f"{self.destination}/{self.destination.max_prefixlen}"
        return [prefix, "table", "main", "proto", str(PROTOCOL), *(["metric", str(metric)] if metric else [])]

    def __str__(self) -> str:
        via = " and ".join(" ".join(hop.words()) for hop in self.way.hops)
        lock = "lock " if self.locked else ""
        return f"{via} mtu {lock}{'unset' if self.mtu is None else self.mtu}"


@dataclass(frozen=True)
class Difference:
    """From the routes that are there to those wanted; sorted by destination."""

    added: tuple[Route, ...] = ()
    replaced: tuple[tuple[Route, Route], ...] = ()  # old, new
    deleted: tuple[Route, ...] = ()

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to do."""
        return self == Difference()

    def batch(self) -> str:
        """Return the commands for ``ip -batch``.

        What changes is deleted and added: between the two the kernel takes the way it would take anyway.
        """
        gone = (*(old for old, _ in self.replaced), *self.deleted)
        new = (*(new for _, new in self.replaced), *self.added)
        lines = [["route", "del", *route.selector()] for route in gone]
        lines += [["route", "add", *route.words()] for route in new]
        return "".join(" ".join(words) + "\n" for words in lines)

    def as_changes(self) -> dict[str, object]:
        """Return the difference as a state reports it."""
        changes: dict[str, object] = {}
        if self.added:
            changes["added"] = {str(one.destination): str(one) for one in self.added}
        if self.replaced:
            changes["replaced"] = {
                str(new.destination): {"old": str(old), "new": str(new)} for old, new in self.replaced
            }
        if self.deleted:
            changes["deleted"] = {str(one.destination): str(one) for one in self.deleted}
        return changes


@dataclass(frozen=True)
class Entry:
    """A line of the routing table, ours or not."""

    network: Network
    kind: str  # unicast, unreachable, blackhole, prohibit, throw; encap, which is not copied
    protocol: str
    metric: int
    preference: int
    way: Way
    mtu: Optional[int]


@dataclass(frozen=True)
class Table:
    """What is in table main: the entries of others, and the routes of ours."""

    entries: tuple[Entry, ...] = ()
    ours: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The routes there should be, and the peers that cannot have one."""

    routes: tuple[Route, ...] = ()
    unreachable: tuple[Address, ...] = ()
    conflicts: tuple[Entry, ...] = ()  # of others, where ours would have to be

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say to which peers there is no way that could be copied."""
        return tuple(f"no route to {peer}, so none with a locked MTU" for peer in self.unreachable)

    @property
    def errors(self) -> tuple[str, ...]:
        """Say which routes of others stand in the way."""
        return tuple(
            f"{entry.network.network_address}: a host route of protocol {entry.protocol or 'unknown'} is "
            "there; remove it, or give it another metric"
            for entry in self.conflicts
        )


# Reading -------------------------------------------------------------------------------------


def parse(tables: Mapping[int, str], locks: str) -> Table:
    """Return what is in table main.

    ``tables`` are the texts of ``ip -j -d -4 route show table main`` and of its ``-6``, by IP version;
    ``locks`` is what ``ip -d -o route show table main proto 73`` prints, for both.

    ``Table(ours=(Route(IPv4Address("10.0.0.5"), Way((Hop("eth0", "10.0.0.254"),)), 1450, locked=True),))``
    """
    entries = [_entry(raw, version) for version, text in tables.items() for raw in _array(text)]
    locked = _locks(locks)
    ours = sorted(filter(_is_ours, entries), key=_by_network)
    return Table(
        tuple(entry for entry in entries if not _is_ours(entry)),
        tuple(_route(entry, locked) for entry in ours),
    )


def _is_ours(entry: Entry) -> bool:
    return entry.protocol == str(PROTOCOL) and entry.network.prefixlen == entry.network.max_prefixlen


def _array(text: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON array; ``ip`` prints nothing at all for a family that is not there."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        raise HostIPsecError(f"ip -j route show printed no JSON: {text[:80]!r}") from None
    return [raw for raw in found if raw]


def _entry(raw: Mapping[str, Any], version: int) -> Entry:
    metrics = {key: value for one in raw.get("metrics", ()) for key, value in one.items()}
    everything = "0.0.0.0/0" if version == 4 else "::/0"
    return Entry(
        network=ipaddress.ip_network(everything if raw["dst"] == "default" else raw["dst"]),
        kind="encap" if "encap" in raw else raw.get("type", "unicast"),
        protocol=raw.get("protocol", ""),
        metric=raw.get("metric", 0),
        preference=_PREFERENCE.get(raw.get("pref", "medium"), 1),
        way=Way(
            tuple(_hops(raw)),
            raw.get("prefsrc", ""),
            tuple((name, str(metrics[name])) for name in COPIED if name in metrics),
        ),
        mtu=metrics.get("mtu"),
    )


def _hops(raw: Mapping[str, Any]) -> Iterator[Hop]:
    for one in raw.get("nexthops", (raw,)):
        if "dead" not in one.get("flags", ()) and "dev" in one:
            gateway = one.get("gateway") or one.get("via", {}).get("host", "")
            yield Hop(one["dev"], gateway, "onlink" in one.get("flags", ()), one.get("weight", 1))


def _locks(text: str) -> frozenset[tuple[str, int]]:
    """Return destination and MTU of the routes whose MTU is locked.

    A line is ``unicast 10.0.0.5 dev eth0 proto 73 scope link mtu lock 1450``.
    """
    found = ((line.split(), _LOCKED.search(line)) for line in text.splitlines())
    return frozenset((words[1], int(lock.group(1))) for words, lock in found if lock and len(words) > 1)


def _route(entry: Entry, locked: frozenset[tuple[str, int]]) -> Route:
    destination = entry.network.network_address
    return Route(destination, entry.way, entry.mtu, (str(destination), entry.mtu) in locked)


def _by_network(entry: Entry) -> tuple[int, int]:
    return entry.network.version, int(entry.network.network_address)


# Deciding ------------------------------------------------------------------------------------


def way(destination: Address, entries: Iterable[Entry]) -> Optional[Way]:
    """Return the way that the kernel takes without our routes; None where there is none.

    The longest prefix wins, then the lowest metric, then a router's preference, then the first listed.
    """
    fitting = [entry for entry in entries if destination in entry.network and _usable(entry)]
    best = min(
        fitting, key=lambda entry: (-entry.network.prefixlen, entry.metric, entry.preference), default=None
    )
    return best.way if best and best.kind == "unicast" else None


def _usable(entry: Entry) -> bool:
    return entry.kind != "unicast" or bool(entry.way.hops)


def wanted(connections: Sequence[Connection], mtu: Optional[int], table: Table) -> Wanted:
    """Return the routes to the peers of these connections; none where no MTU is set.

    A connection's own, which is its rule's, counts before ``mtu``.
    """
    sizes = {one.right: one.mtu or mtu for one in connections}
    locked = {peer: size for peer, size in sizes.items() if size is not None}
    conflicts = {entry.network.network_address: entry for entry in table.entries if _in_place_of_ours(entry)}
    peers = sorted(locked, key=lambda one: (one.version, int(one)))
    ways = {peer: way(peer, table.entries) for peer in peers if peer not in conflicts}
    return Wanted(
        tuple(Route(peer, found, locked[peer]) for peer, found in ways.items() if found),
        tuple(peer for peer, found in ways.items() if found is None),
        tuple(conflicts[peer] for peer in peers if peer in conflicts),
    )


def _in_place_of_ours(entry: Entry) -> bool:
    """Say whether the kernel has no room for ours beside an entry: prefix and metric are the same."""
    network = entry.network
    return network.prefixlen == network.max_prefixlen and entry.metric == METRIC[network.version]


def difference(want: Sequence[Route], ours: Sequence[Route]) -> Difference:
    """Compare by value: way, MTU and lock."""
    there = {route.destination: route for route in ours}
    asked = {route.destination: route for route in want}
    return Difference(
        added=tuple(route for route in want if route.destination not in there),
        replaced=tuple(
            (there[route.destination], route)
            for route in want
            if route.destination in there and there[route.destination] != route
        ),
        deleted=tuple(route for route in ours if route.destination not in asked),
    )
