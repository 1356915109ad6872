"""What an operator expects of the fleet (``expect``), and whether rules and hosts make it so. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional

from ..errors import Problem
from ..model import Expectation, Fleet, Host, Rule
from ..strongswan.kinds import shown, unquoted
from . import schema, topology
from .matching import Sides
from .reader import Reader

_OF_HOST = ("host", "pairs_with", "not_pairs_with", "peers")
_OF_RULE = ("rule", "pairs")
_RANGES = {"peers": schema.PEERS, "pairs": schema.PAIRS}
KEYS = schema.below("expect:*")
_ALLOWED = "'host', with 'pairs_with', 'not_pairs_with' or 'peers'; or 'rule', with 'pairs'"


def read(
    reader: Reader, value: object, hosts: Collection[Host], rules: Collection[Rule]
) -> tuple[Expectation, ...]:
    """Return what is expected, of hosts and rules that are there."""
    known = {host.id for host in hosts} - {""}, {rule.name for rule in rules}
    entries = enumerate(reader.items(value, "ipsec:expect"))
    return tuple(_expectation(reader, entry, f"ipsec:expect:{index}", *known) for index, entry in entries)


def _expectation(
    reader: Reader, value: object, path: str, hosts: Collection[str], rules: Collection[str]
) -> Expectation:
    entry = reader.mapping(value, path, KEYS)
    if not isinstance(value, Mapping) or {*entry} - {*KEYS}:
        return Expectation()
    if not any(keys[0] in entry and {*keys} > {*entry} - {keys[0]} > set() for keys in (_OF_HOST, _OF_RULE)):
        reader.wrong(path, f"found {', '.join(sorted(entry)) or 'no key'}", _ALLOWED)
    names = {
        key: _known(reader, entry, key, path, hosts, "the minion id of a host below 'hosts'")
        for key in _OF_HOST[:3]
    }
    for key in _OF_HOST[1:3]:
        if names[key] and names[key] == names["host"]:
            reader.wrong(f"{path}:{key}", f"found {shown(names[key])}, the host itself", "another host")
    return Expectation(
        names["host"] or "",
        names["pairs_with"],
        _count(reader, entry, "peers", path),
        names["not_pairs_with"],
        _known(reader, entry, "rule", path, rules, "the name of a rule") or "",
        _count(reader, entry, "pairs", path),
    )


def _known(
    reader: Reader, entry: Mapping[str, object], key: str, path: str, known: Collection[str], what: str
) -> Optional[str]:
    """Return a name, None where the key is not there."""
    if key not in entry:
        return None
    value, path = entry[key], f"{path}:{key}"
    if not isinstance(value, str):
        reader.wrong(path, f"found {shown(value)}", f"{what}{unquoted(True, value)}")
        return ""
    if known and value not in known:
        reader.wrong(path, f"found {shown(value)}", reader.nearest(value, known))
    return value


def _count(reader: Reader, entry: Mapping[str, object], key: str, path: str) -> Optional[int]:
    if key not in entry:
        return None
    return reader.count(entry[key], f"{path}:{key}", *_RANGES[key], f"a number of {key}, 0 or more")


def problems(fleet: Fleet) -> Iterator[Problem]:
    """Yield what is not as expected; hosts in maintenance count, or each would break it.

    Hosts are put in order once a rule; what is expected of one host is then found in the size of its answer.
    """
    hosts = {host.id: host for host in fleet.hosts}
    both = sides(fleet) if fleet.expectations else []
    decided = _decided(fleet) if any(one.rule for one in fleet.expectations) else {}
    for index, expected in enumerate(fleet.expectations):
        path, host = f"ipsec:expect:{index}", hosts.get(expected.host)
        if host is not None:
            yield from _of_host(path, expected, host, peers(both, host))
        elif expected.pairs is not None and expected.pairs != decided.get(expected.rule, 0):
            found = f"rule {expected.rule!r} decides for {decided.get(expected.rule, 0)} pairs"
            yield Problem(path, found, f"{expected.pairs} pairs")


def _of_host(path: str, expected: Expectation, host: Host, found: Collection[str]) -> Iterator[Problem]:
    if expected.pairs_with is not None and expected.pairs_with not in found:
        some = topology.few(sorted(found)) or "no host"
        yield Problem(path, f"{host.id} pairs with {some}", f"a pair with {expected.pairs_with}")
    if expected.not_pairs_with is not None and expected.not_pairs_with in found:
        yield Problem(path, f"{host.id} pairs with {expected.not_pairs_with}", "no pair of the two")
    if expected.peers is not None and expected.peers != len(found):
        yield Problem(path, f"{host.id} has {len(found)} peers", f"{expected.peers} peers")


def _decided(fleet: Fleet) -> Mapping[str, int]:
    """Return for how many pairs each rule decides, by its name."""
    return Counter(rule.name for rule in topology.decided(fleet.rules, fleet.hosts).values())


def sides(fleet: Fleet) -> list[tuple[Rule, Sides]]:
    """Return the rules, each with the hosts that it fits, in maintenance or not."""
    return [(rule, Sides(rule, fleet.hosts)) for rule in fleet.rules]


def peers(sides: Sequence[tuple[Rule, Sides]], host: Host) -> set[str]:
    """Return the peers of a host: for each pair the first rule that fits it decides."""
    decided: set[str] = set()
    paired: set[str] = set()
    for rule, both in sides:
        fitting = {other.id for other in both.partners(host)} - decided
        decided |= fitting
        paired |= fitting if rule.stage != "off" else set()
    return paired
