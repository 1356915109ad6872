"""From the pillar's plain data to a checked :class:`~hostipsec.model.Fleet`; all errors at once."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional

from ..errors import PillarError, Problem, nearest
from ..model import STAGES, START, Address, Expectation, Fleet, Host, Rule, Selector
from ..strongswan.kinds import shown
from . import settings, topology
from .reader import Reader

TOP_KEYS = ("hosts", "rules", "expect", *settings.KEYS)
ADDRESS_KEYS = ("ipv4", "ipv6")
HOST_KEYS = (*ADDRESS_KEYS, "maintenance")
RULE_KEYS = ("name", "between", "and", "same", "different", "stage")
EXPECT_KEYS = ("host", "pairs_with", "peers")
_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")

Resolved = Mapping[str, Optional[Mapping[str, Address]]]


def read(data: object, resolved: Optional[Resolved] = None) -> Fleet:
    """Return the fleet that the pillar below ``ipsec`` describes.

    ``data`` is what stands below the key; ``resolved`` gives addresses, as
    ``{minion id: {"v4": ..., "v6": ...}}``, of hosts that have none in the pillar; None where DNS did not
    answer in time.
    Raises :class:`~hostipsec.errors.PillarError` with every problem found.
    """
    reader = Reader()
    fleet = _fleet(reader, data, resolved or {})
    problems = reader.problems or [*_same_subjects(fleet), *_causes(topology.problems(fleet))]
    if problems:
        raise PillarError(problems)
    return fleet


def unaddressed(data: object) -> tuple[str, ...]:
    """Return the ids of hosts that have no address in the pillar, to be resolved elsewhere."""
    hosts = data.get("hosts") if isinstance(data, Mapping) else None
    if not isinstance(hosts, Mapping):
        return ()
    bare = (
        str(host)
        for host, entry in hosts.items()
        if entry is None or (isinstance(entry, Mapping) and not {*ADDRESS_KEYS} & {*entry})
    )
    return tuple(sorted(bare))


def _fleet(reader: Reader, data: object, resolved: Resolved) -> Fleet:
    if not data and not isinstance(data, Mapping):
        reader.wrong("ipsec", f"found {shown(data)}", "a mapping with 'hosts' and 'rules'")
        data = {}
    top = reader.mapping(data, "ipsec", TOP_KEYS)
    rules = _rules(reader, top.get("rules"))
    hosts = _hosts(reader, top.get("hosts"), _labels_of(rules), resolved)
    expectations = _expectations(reader, top.get("expect"), {host.id for host in hosts} - {""})
    return Fleet(hosts, rules, expectations, settings.read(reader, top))


def _causes(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Leave out unmet expectations where a rule that pairs nobody may be why."""
    rules = [problem for problem in problems if problem.path.startswith("ipsec:rules")]
    return rules or problems


# Hosts ---------------------------------------------------------------------------------------


def _hosts(reader: Reader, value: object, used: Collection[str], resolved: Resolved) -> tuple[Host, ...]:
    entries = reader.mapping(value, "ipsec:hosts")
    if not entries and isinstance(value, Mapping):
        reader.wrong("ipsec:hosts", "no host", "at least two hosts by minion id")
    hosts = tuple(
        _host(reader, name, entries[name], used, resolved.get(name, {})) for name in sorted(entries)
    )
    reader.problems += _same_addresses(hosts)
    return hosts


def _host(
    reader: Reader,
    name: str,
    value: object,
    used: Collection[str],
    resolved: Optional[Mapping[str, Address]],
) -> Host:
    path = f"ipsec:hosts:{name}"
    if not _ID.match(name):
        reader.wrong(path, f"found {name!r}", "a minion id of letters, digits, '.', '-' and '_'")
    entry = {} if value is None else reader.mapping(value, path)
    ipv4 = _address(reader, entry, "ipv4", path)
    ipv6 = _address(reader, entry, "ipv6", path)
    if not {*ADDRESS_KEYS} & {*entry}:
        ipv4, ipv6 = (resolved or {}).get("v4"), (resolved or {}).get("v6")
        if ipv4 is None and ipv6 is None and (value is None or isinstance(value, Mapping)):
            nowhere = "no address in the pillar, the Salt mine or DNS"
            late = "no address in the pillar or the Salt mine, and DNS did not answer in time"
            reader.wrong(path, late if resolved is None else nowhere, f"'ipv4' or 'ipv6' of host {name}")
    labels = _host_labels(reader, entry, path, used)
    maintenance = reader.boolean(entry.get("maintenance", False), f"{path}:maintenance")
    return Host(
        name,
        {**labels, "id": name},
        ipv4 if isinstance(ipv4, ipaddress.IPv4Address) else None,
        ipv6 if isinstance(ipv6, ipaddress.IPv6Address) else None,
        maintenance,
    )


def _host_labels(
    reader: Reader, entry: Mapping[str, object], path: str, used: Collection[str]
) -> dict[str, str]:
    labels = {}
    for key in sorted({*entry} - {*HOST_KEYS}):
        if key == "id":
            reader.wrong(f"{path}:id", "found label 'id'", "any other name: 'id' is the minion id itself")
        elif key not in used and (meant := difflib.get_close_matches(key, HOST_KEYS, 1, cutoff=0.75)):
            reader.wrong(f"{path}:{key}", f"unknown key {key!r}", f"did you mean {meant[0]!r}?")
        else:
            labels[key] = reader.label(entry[key], f"{path}:{key}")
    return labels


def _address(reader: Reader, entry: Mapping[str, object], key: str, path: str) -> Optional[Address]:
    if key not in entry:
        return None
    version, value = int(key[-1]), entry[key]
    allowed = f"a unicast IPv{version} address"
    try:
        address = ipaddress.ip_address(value.strip() if isinstance(value, str) else "")
    except ValueError:
        quoted = "" if isinstance(value, str) else ", in quotes"  # YAML reads 1:20:30 as a number
        reader.wrong(f"{path}:{key}", f"found {shown(value)}", allowed + quoted)
        return None
    if address.version != version:
        reader.wrong(f"{path}:{key}", f"found the IPv{address.version} address {address}", allowed)
    elif not _is_usable(address):
        reader.wrong(f"{path}:{key}", f"found {address}", f"{allowed}, not of loopback, link or group")
    else:
        return address
    return None


def _is_usable(address: Address) -> bool:
    special = address.is_multicast or address.is_loopback or address.is_unspecified or address.is_reserved
    return not (special or address.is_link_local or "%" in str(address))


def _same_addresses(hosts: Sequence[Host]) -> Iterator[Problem]:
    owners: dict[Address, str] = {}
    for host in hosts:
        for address in (one for one in (host.ipv4, host.ipv6) if one is not None):
            other = owners.setdefault(address, host.id)
            if other != host.id:
                path = f"ipsec:hosts:{host.id}:ipv{address.version}"
                yield Problem(path, f"found {address}, which {other} has too", "an address of its own")


def _same_subjects(fleet: Fleet) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for host in fleet.hosts:
        subject = topology.subject(fleet, host)
        other = owners.setdefault(subject, host.id)
        if other != host.id:
            found = f"gives {subject!r} to {other} and {host.id}"
            yield Problem(
                "ipsec:certificates:subject", found, "a subject of its own for each host, as 'CN={id}'"
            )


# Rules ---------------------------------------------------------------------------------------


def _rules(reader: Reader, value: object) -> tuple[Rule, ...]:
    entries = reader.items(value, "ipsec:rules")
    if value is None or (not entries and isinstance(value, Sequence) and not isinstance(value, str)):
        reader.wrong("ipsec:rules", "no rule", "at least one rule that pairs hosts up")
    rules = tuple(_rule(reader, entry, f"ipsec:rules:{index}") for index, entry in enumerate(entries))
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name in seen:
            reader.wrong(f"ipsec:rules:{index}:name", f"found {rule.name!r} again", "a name of its own")
        seen.add(rule.name)
    return rules


def _rule(reader: Reader, value: object, path: str) -> Rule:
    entry = reader.mapping(value, path, RULE_KEYS)
    if not isinstance(value, Mapping):
        return Rule(path, (), ())
    stage = entry.get("stage", START)
    return Rule(
        _rule_name(reader, entry.get("name"), path),
        _selector(reader, entry, "between", path),
        _selector(reader, entry, "and", path),
        reader.words(entry.get("same"), f"{path}:same"),
        reader.words(entry.get("different"), f"{path}:different"),
        # YAML 1.1 reads a plain off as false
        "off" if stage is False else reader.one_of(stage, f"{path}:stage", STAGES),
    )


def _rule_name(reader: Reader, value: object, path: str) -> str:
    if not isinstance(value, str) or not value:
        reader.wrong(f"{path}:name", f"found {shown(value)}", "a name for the rule")
        return path
    return value


def _selector(reader: Reader, rule: Mapping[str, object], side: str, path: str) -> Selector:
    """Return the labels of a side; one that is misspelt has been noted with the rule's keys."""
    path = f"{path}:{side}"
    if side not in rule and {*rule} - {*RULE_KEYS}:
        return ()
    entry = reader.mapping(rule.get(side), path)
    if not entry and isinstance(rule.get(side), Mapping):
        reader.wrong(path, "found an empty mapping", "labels and their values, as {site: esams}")
    return tuple((key, frozenset(_values(reader, entry[key], f"{path}:{key}"))) for key in sorted(entry))


def _values(reader: Reader, value: object, path: str) -> tuple[str, ...]:
    if value is None or (not isinstance(value, str) and isinstance(value, Sequence) and not value):
        reader.wrong(
            path, f"found {'nothing' if value is None else 'an empty list'}", "a value, or a list of them"
        )
        return ()
    return reader.words(value, path)


def _labels_of(rules: Sequence[Rule]) -> set[str]:
    selected = {key for rule in rules for key, _ in (*rule.between, *rule.and_)}
    return selected | {key for rule in rules for key in (*rule.same, *rule.different)}


# Expectations --------------------------------------------------------------------------------


def _expectations(reader: Reader, value: object, known: Collection[str]) -> tuple[Expectation, ...]:
    entries = enumerate(reader.items(value, "ipsec:expect"))
    return tuple(_expectation(reader, entry, f"ipsec:expect:{index}", known) for index, entry in entries)


def _expectation(reader: Reader, value: object, path: str, known: Collection[str]) -> Expectation:
    entry = reader.mapping(value, path, EXPECT_KEYS)
    if not isinstance(value, Mapping) or {*entry} - {*EXPECT_KEYS}:
        return Expectation("")
    if "host" not in entry or not {"pairs_with", "peers"} & {*entry}:
        found = f"found {', '.join(sorted(entry)) or 'no key'}"
        reader.wrong(path, found, "'host', with 'pairs_with' or 'peers'")
    names = {
        key: _host_name(reader, entry[key], f"{path}:{key}", known) for key in EXPECT_KEYS[:2] if key in entry
    }
    peers = None
    if "peers" in entry:
        peers = reader.count(entry["peers"], f"{path}:peers", 0, 10**6, "a number of peers, 0 or more")
    return Expectation(names.get("host", ""), names.get("pairs_with"), peers)


def _host_name(reader: Reader, value: object, path: str, known: Collection[str]) -> str:
    if not isinstance(value, str):
        reader.wrong(path, f"found {shown(value)}", "the minion id of a host below 'hosts'")
        return ""
    if known and value not in known:
        reader.wrong(path, f"found {value!r}", nearest(value, known))
    return value
