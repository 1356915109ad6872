"""From the pillar's plain data to a checked :class:`~hostipsec.model.Fleet`; all errors at once."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional

from .. import unicast
from ..errors import PillarError, Problem
from ..model import STAGES, START, Address, Fleet, Host, Part, Rule, Settings
from ..strongswan.kinds import LONGEST, shown, unquoted, word
from . import (
    doubts,
    expected,
    faults,
    identity,
    labels,
    lost,
    schema,
    selectors,
    settings,
    terms,
    topology,
    translated,
    unmanaged,
)
from .found import SOURCES, Found
from .reader import Reader, as_yaml, is_name

TOP_KEYS = schema.below()
IN_THE_CLEAR = "in-the-clear"  # of a host in maintenance: a decision that nobody takes by the way
ADDRESS_KEYS = ("ipv4", "ipv6")
HOST_KEYS = schema.below("hosts:*")
RULE_KEYS = schema.below("rules:*")
_NEEDED = "'ipv4' or 'ipv6' of host {name}; or 'addresses: mine' (or dns), to have what that says"
_LETTERS = "letters, digits, '.', '-' and '_', with a letter or digit first and last"
_NAMED = f"a name for its connections: {_LETTERS}"
_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")

_PLACES = ((RULE_KEYS, "of rules"), (TOP_KEYS, "below 'ipsec'"))
_ELSEWHERE = {
    key: f"a key {' and '.join(where for keys, where in _PLACES if key in keys)}"
    for key in (*RULE_KEYS, *TOP_KEYS)
}

Resolved = Mapping[str, Found]


def read(data: object, resolved: Optional[Resolved] = None, part: Optional[Part] = None) -> Fleet:
    """Return the fleet that the pillar below ``ipsec`` describes.

    ``data`` is what stands below the key; ``resolved`` is what was found of the hosts that
    :func:`unaddressed` names. Where that cannot be used, the host is ``lost``, and no other.
    Of the ``part`` of a host nothing is asked that only the whole can answer.
    Raises :class:`~hostipsec.errors.PillarError` with every problem found.
    """
    reader = Reader()
    fleet = _fleet(reader, data, resolved or {}, part)
    if resolved and not (reader.problems or part):
        fleet = lost.misfits(fleet, _looked_up(resolved))
    unmet = [] if reader.problems or part else faults.problems(fleet) or _unexpected(fleet)
    problems = reader.problems or [*identity.problems(fleet), *unmet]
    if problems:
        raise PillarError(problems)
    return fleet


def unaddressed(data: object) -> dict[str, tuple[str, ...]]:
    """Return the hosts that have no address in the pillar, and where it says that one is to be looked up."""
    top = data if isinstance(data, Mapping) else {}
    hosts = top.get("hosts")
    entries = hosts if isinstance(hosts, Mapping) else {}
    found = {
        word(host): _sources(Reader(), entry, _sources(Reader(), top, (), ""), "")
        for host, entry in entries.items()
        if _ID.match(word(host)) and _is_bare(entry)
    }
    return {host: sources for host, sources in sorted(found.items()) if sources}


def _looked_up(resolved: Resolved) -> Collection[str]:
    return frozenset(name for name, found in resolved.items() if found.addresses)


def _is_bare(entry: object) -> bool:
    return entry is None or (isinstance(entry, Mapping) and not {*ADDRESS_KEYS} & {*entry})


def _sources(reader: Reader, entry: object, default: tuple[str, ...], path: str) -> tuple[str, ...]:
    """Return where addresses are to be looked up, in that order."""
    if not isinstance(entry, Mapping) or "addresses" not in entry:
        return default
    value, path = entry["addresses"], f"{path}:addresses"
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    names: list[object] = list(value) if several else [value]
    wrong = [name for name in names if name not in SOURCES]
    if wrong or not names:
        reader.wrong(path, f"found {shown(wrong[0] if wrong else value)}", f"{', '.join(SOURCES)}, or a list")
        return ()
    return tuple(dict.fromkeys(str(name) for name in names))


def _fleet(reader: Reader, data: object, resolved: Resolved, part: Optional[Part] = None) -> Fleet:
    if not data and not isinstance(data, Mapping):
        reader.wrong("ipsec", f"found {shown(data)}", "a mapping with 'hosts' and 'rules'")
        data = {}
    top = reader.mapping(data, "ipsec", TOP_KEYS, _of_hosts)
    _sources(reader, top, (), "ipsec")
    chosen = settings.read(reader, top)
    rules = () if part and not top.get("rules") else _rules(reader, top.get("rules"), chosen)
    declared = reader.words(top.get("labels"), "ipsec:labels")
    known = labels.known(reader, declared, rules, {*HOST_KEYS} - {translated.NAT})
    hosts = _hosts(reader, top.get("hosts"), known, resolved)
    expectations = expected.read(reader, top.get("expect"), hosts, rules)
    return Fleet(hosts, rules, expectations, chosen, part, declared)


def _unexpected(fleet: Fleet) -> Sequence[Problem]:
    """Return the expectations that are not met, and what may be why, which is a warning without them."""
    found = [*expected.problems(fleet)]
    return [*found, *doubts.of_rules(fleet)] if found else []


# Hosts ---------------------------------------------------------------------------------------


def _hosts(reader: Reader, value: object, known: Collection[str], resolved: Resolved) -> tuple[Host, ...]:
    entries = reader.mapping(value, "ipsec:hosts")
    if not entries and isinstance(value, Mapping):
        reader.wrong("ipsec:hosts", "no host", "at least two hosts by minion id")
    hosts = tuple(_host(reader, name, entries[name], known, resolved.get(name)) for name in sorted(entries))
    texts = {
        name: {word(key): value for key, value in one.items() if is_name(key)}
        for name, one in sorted(entries.items())
        if isinstance(one, Mapping)
    }
    reader.problems += [*labels.unknown(texts, known, HOST_KEYS, _ELSEWHERE), *labels.mixed(texts, known)]
    hosts = lost.to_others(hosts, _looked_up(resolved))
    reader.problems += _same_addresses(hosts)
    reader.problems += _same_names(hosts)
    return hosts


def _host(
    reader: Reader,
    name: str,
    value: object,
    known: Collection[str],
    resolved: Optional[Found],
) -> Host:
    path = f"ipsec:hosts:{name}"
    if not _ID.match(name):
        reader.wrong(path, f"found {name!r}", f"a minion id of {_LETTERS}")
    entry = {} if value is None else reader.mapping(value, path)
    addresses = [_address(reader, entry, key, path) for key in ADDRESS_KEYS]
    found = Found(tuple(one for one in addresses if one is not None))
    sources = _sources(reader, entry, (), path)
    if _is_bare(value):
        found = resolved or found
        if resolved is None and "addresses" not in entry:
            reader.wrong(path, "no address in the pillar", _NEEDED.format(name=name))
    elif sources and isinstance(value, Mapping):
        reader.wrong(f"{path}:addresses", "found it beside an address", "one of them")
    local = _address(reader, entry, translated.LOCAL, path)
    behind = translated.of_host(reader, entry, path, addresses[0], local)
    rests, clear = _maintenance(reader, entry.get("maintenance", False), f"{path}:maintenance")
    return Host(
        name,
        {
            **labels.read(reader, entry, path, known),
            "id": (name,),
            **({translated.NAT: (behind.nat,)} if behind.nat else {}),
        },
        next((one for one in found.addresses if isinstance(one, ipaddress.IPv4Address)), None),
        next((one for one in found.addresses if isinstance(one, ipaddress.IPv6Address)), None),
        rests,
        tuple(Problem(path, *wrong) for wrong in found.wrong),
        clear,
        _name(reader, entry, path),
        identity.of_host(reader, entry.get("subject"), f"{path}:subject"),
        *behind,
        reader.boolean(entry.get("alone", False), f"{path}:alone"),
        *unmanaged.of_host(reader, entry, path),
        settings.backend_of(reader, entry, f"{path}:backend"),
    )


def _name(reader: Reader, entry: Mapping[str, object], path: str) -> str:
    """Return what a host is called in connections where the pillar says so; empty where it does not."""
    name = entry.get("name", "")
    if "name" in entry and not (isinstance(name, str) and _ID.match(name)):
        reader.wrong(f"{path}:name", f"found {shown(name)}", f"{_NAMED}{unquoted(True, name)}")
        return ""
    return str(name)


def _maintenance(reader: Reader, value: object, path: str) -> tuple[bool, bool]:
    """Return whether a host rests, and whether packets between it and peers of stage require may then go."""
    if not isinstance(value, bool) and value != IN_THE_CLEAR:
        reader.wrong(path, f"found {shown(value)}", f"true or false, or {IN_THE_CLEAR}")
    return value is True or value == IN_THE_CLEAR, value == IN_THE_CLEAR


def _address(reader: Reader, entry: Mapping[str, object], key: str, path: str) -> Optional[Address]:
    if key not in entry:
        return None
    version, value = int(key[-1]), entry[key]
    allowed = f"a unicast IPv{version} address, not of loopback, link or group"
    try:
        address = unicast.parse(value.strip() if isinstance(value, str) else value)
    except ValueError:
        quoted = "" if isinstance(value, str) else "; in quotes"  # YAML reads 1:20:30 as a number
        reader.wrong(f"{path}:{key}", f"found {shown(value)}", allowed + quoted)
        return None
    if address.version != version:
        reader.wrong(f"{path}:{key}", f"found the IPv{address.version} address {address}", allowed)
    elif why := unicast.misfit(address):
        reader.wrong(f"{path}:{key}", f"found {address}, {why}", allowed)
    else:
        return address
    return None


def _of(host: Host) -> Iterator[Address]:
    return (one for one in (host.ipv4, host.ipv6) if one is not None)


def _same_addresses(hosts: Sequence[Host]) -> Iterator[Problem]:
    owners: dict[Address, Host] = {}
    for host in hosts:
        for address in _of(host):
            other = owners.setdefault(address, host)
            if other is not host:
                path = f"ipsec:hosts:{host.id}:ipv{address.version}"
                behind = address.version == 4 and (host.local_ipv4 or other.local_ipv4)
                allowed = translated.EACH if behind else "an address of its own"
                yield Problem(path, f"found {address}, which {other.id} has too", allowed)


def _same_names(hosts: Sequence[Host]) -> Iterator[Problem]:
    """Find hosts whose connections would have one name; a full one would change with who joins and leaves."""
    owners: dict[str, list[str]] = {}
    for host in hosts:
        owners.setdefault(host.called, []).append(host.id)
    for name, ids in owners.items():
        for one in ids if len(ids) > 1 else ():
            others = topology.few([other for other in ids if other != one])
            yield Problem(
                f"ipsec:hosts:{one}:name",
                f"found {name!r} as what its connections are called, as those of {others} are",
                f"a name of its own, as 'name: {one}': at the host that joins, or, where they have been here "
                "together, at each of them; so no connection gets another name",
            )


# Rules ---------------------------------------------------------------------------------------


def _rules(reader: Reader, value: object, settings: Settings) -> tuple[Rule, ...]:
    entries = reader.items(value, "ipsec:rules")
    if value is None or (not entries and isinstance(value, Sequence) and not isinstance(value, str)):
        reader.wrong("ipsec:rules", "no rule", "at least one rule that pairs hosts up")
    rules = tuple(
        _rule(reader, entry, f"ipsec:rules:{index}", settings) for index, entry in enumerate(entries)
    )
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name in seen:
            reader.wrong(f"ipsec:rules:{index}:name", f"found {rule.name!r} again", "a name of its own")
        seen.add(rule.name)
    return rules


def _rule(reader: Reader, value: object, path: str, settings: Settings) -> Rule:
    entry = reader.mapping(value, path, RULE_KEYS, lambda key: terms.instead(key) or _of_hosts(key))
    if not isinstance(value, Mapping):
        return Rule(path, (), ())
    reader.given(entry, path, ("same", "different", "clear", "only", "mtu"))
    stage = entry.get("stage", START)
    return Rule(
        _rule_name(reader, entry.get("name"), path),
        selectors.read(reader, entry, "between", path, RULE_KEYS),
        selectors.read(reader, entry, "and", path, RULE_KEYS),
        reader.words(entry.get("same"), f"{path}:same"),
        reader.words(entry.get("different"), f"{path}:different"),
        # YAML 1.1 reads a plain off as false
        "off" if stage is False else reader.one_of(stage, f"{path}:stage", STAGES),
        **terms.read(reader, entry, path, settings)._asdict(),
    )


def _of_hosts(key: str) -> str:
    """Say of a key of hosts that stands elsewhere where it belongs; empty of others."""
    return f"no such key here: {key!r} is a key of hosts" if key in HOST_KEYS else ""


def _rule_name(reader: Reader, value: object, path: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable():
        return value
    quoted = "" if isinstance(value, str) or value is None else "; in quotes"
    allowed = f"a name for the rule, one line of text{quoted}"
    reader.wrong(f"{path}:name", f"found {shown(value)}{as_yaml(value)}", allowed)
    return path
