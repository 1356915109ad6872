"""What deserves a look in a pillar but stops nothing, and what of it is a fault after all. Pure.

A host that leaves may be the last that a rule fits, the last for which a rule decides, or the last that has a
value or a label of a rule: that is no reason to stop a fleet, even if it is one slip of the fingers away from
another. But ``site`` and ``cluster``, misspelt, are a fault where hosts have them, as nobody declares these;
so is the short name of a host in place of its id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Optional

from .. import unicast
from ..answer import counted
from ..errors import Problem, nearest
from ..model import STAGES, Choice, Fleet, Rule, Settings
from ..strongswan import defaults, difference, options, sections
from . import expected, identity, spelling, topology, translated
from .labels import ALWAYS
from .matching import Sides, rule_pairs

_MOST = 5  # pairs that are named
_LOOKED_AT = 100_000  # values that are compared, one with another
_Known = Mapping[str, Collection[str]]  # the values that hosts have, by label


_PROTECTING = ("esp", "forceencaps", "ike")  # without these a pair is protected in another way, or not up


class Lack(NamedTuple):
    """Something that a rule names and no host has."""

    problem: Problem
    misspelt: bool


def warnings(fleet: Fleet) -> tuple[Problem, ...]:
    """Return what may not be meant.

    That is rules that fit no pair, or leave some to one of an earlier stage or without their terms, values no
    host has or no rule names, hosts alone.
    """
    every = topology.fitting(fleet) if len(fleet.rules) > 1 else {}
    return (
        *of_rules(fleet),
        *overruled(fleet, every),
        *_idle(fleet.rules, every),
        *_misspelt(fleet),
        *_lone(fleet),
        *_alike(fleet),
        *translated.doubtful(fleet.hosts),
        *_no_way(fleet),
        *_unpaired(fleet),
        *_partly(fleet),
        *_logged(fleet.settings),
    )


def told(fleet: Fleet) -> tuple[str, ...]:
    """Return the same in words; of a host's part of a pillar, what was found of it where the whole is."""
    return fleet.part.warnings if fleet.part else (*map(str, warnings(fleet)),)


def _logged(settings: Settings) -> Iterator[Problem]:
    """Find levels of the log by which charon writes keys into it, for good."""
    loggers = {key: tree for key, tree in settings.charon.items() if key in ("filelog", "syslog")}
    levels = difference.flat({"setup": {"charondebug": settings.charondebug}, "charon": loggers})
    for name, level in levels.items():
        if level == _KEYS and not name.endswith(".map_level"):
            found = "found 4, by which charon writes keys and shared secrets into its log"
            yield Problem(f"ipsec:{name.replace('.', ':')}", found, "3, or ipsec.loglevel for some minutes")


_KEYS = "4"  # a level


def _partly(fleet: Fleet) -> Iterator[Problem]:
    """Find rules by which most of what goes between two hosts is not encrypted."""
    for index, rule in enumerate(fleet.rules):
        if rule.only:
            found = f"between hosts of rule {rule.name!r} all but {', '.join(rule.only)} goes in the clear"
            yield Problem(f"ipsec:rules:{index}:only", found, "that, where it is meant")


def of_rules(fleet: Fleet) -> tuple[Problem, ...]:
    """Return the rules that fit no pair, and what rules name and no host has."""
    found = lacking(fleet)
    lacks = (lack.problem for index in sorted(found) for lack in found[index] if not lack.misspelt)
    return (*empty(fleet, found), *lacks)


def lacking(fleet: Fleet) -> Mapping[int, Sequence[Lack]]:
    """Return by the index of a rule what it names and no host has."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for host in fleet.hosts:
        for label, values in host.labels.items():
            known[label].update(values)
    found = {index: [*_lacks(index, rule, known, fleet.labels)] for index, rule in enumerate(fleet.rules)}
    return {index: lacks for index, lacks in found.items() if lacks}


def _lacks(index: int, rule: Rule, known: _Known, declared: Collection[str]) -> Iterator[Lack]:
    path = f"ipsec:rules:{index}"
    labels = [
        (side, label)
        for side, names in (("same", rule.same), ("different", rule.different))
        for label in names
    ]
    for side, selector in (("between", rule.between), ("and", rule.and_)):
        labels += [(side, label) for label, _ in selector]
        for label, choice in selector:
            if label in known:
                yield from _values(f"{path}:{side}:{label}", label, choice, known[label])
    for side, label in labels:
        if label not in known:
            found = f"no host has the label {label!r}"
            misspelt = label not in declared and spelling.meant(label, {*ALWAYS} & {*known}) is not None
            yield Lack(Problem(f"{path}:{side}", found, nearest(label, known)), misspelt)


def _values(path: str, label: str, choice: Choice, known: Collection[str]) -> Iterator[Lack]:
    """Yield the values that no host has; one that stands beside it in the rule is not what is meant by it."""
    others = {*known} - choice.values
    for value in sorted(choice.values - {*known}):
        whole = _whole(value, others) if label == "id" else None
        meant = spelling.meant(value, others) or whole
        allowed = f"did you mean {meant!r}?" if meant else nearest(value, known)
        yield Lack(Problem(path, f"no host has {label} {value}", allowed), whole is not None)
    for pattern in choice.patterns:
        if not any(fnmatchcase(one, pattern) for one in known):
            yield Lack(Problem(path, f"no host has {label} {pattern}", nearest(pattern, known)), False)


def _whole(short: str, ids: Collection[str]) -> Optional[str]:
    """Return the minion id of which this is the short name."""
    return next((one for one in sorted(ids) if one.partition(".")[0] == short), None)


def empty(fleet: Fleet, found: Mapping[int, Sequence[Lack]]) -> Iterator[Problem]:
    """Yield each rule that fits no pair; ``found`` is what the rules lack."""
    for index, rule in enumerate(fleet.rules):
        if next(rule_pairs(rule, fleet.hosts), None) is None:
            yield Problem(
                f"ipsec:rules:{index}",
                f"rule {rule.name!r} matches no pair{_why(rule, found.get(index, ()))}",
                "labels that at least two hosts fit; or no such rule",
            )


def _why(rule: Rule, lacks: Sequence[Lack]) -> str:
    if lacks:
        return f": {lacks[0].problem.found}"
    joins = [*(f"same {label}" for label in rule.same), *(f"different {label}" for label in rule.different)]
    return f" with {' and '.join(joins)}" if joins else ""


def overruled(fleet: Fleet, fitting: topology.Fitting) -> Iterator[Problem]:
    """Yield the rules whose place lets one before decide, at an earlier stage or without their terms."""
    rules = fleet.rules
    found: dict[tuple[int, int], list[tuple[str, str]]] = {}
    number = {rule.name: index for index, rule in enumerate(rules)}
    for pair, (first, *others) in fitting.items():
        for rule in others:
            found.setdefault((number[rule.name], number[first.name]), []).append(pair)
    for (late, early), pairs in sorted(found.items()):
        rule, first = rules[late], rules[early]
        left = f"does not decide for {counted(len(pairs), 'pair')}, since rule"
        if STAGES.index(first.stage) < STAGES.index(rule.stage):
            yield Problem(
                f"ipsec:rules:{late}",
                f"rule {_staged(rule)} {left} {_staged(first)} comes first: {_named(pairs)}",
                "a place before that rule, where it is to decide",
            )
        elif lost := sorted(_lost(rule, first, fleet.settings)):
            yield Problem(
                f"ipsec:rules:{late}",
                f"rule {rule.name!r} {left} {first.name!r} comes first, which says nothing of its "
                f"{', '.join(lost)}: {_named(pairs)}",
                "the same there, or a place before that rule; or that, where it is meant",
            )


def _lost(rule: Rule, first: Rule, settings: Settings) -> Iterator[str]:
    """Yield what a rule says, other than the pillar of all pairs, and one that decides for some does not.

    How long SAs live, and the like, is left to whoever decides.
    """
    if "off" in (rule.stage, first.stage):
        return
    own, every = dict(first.options), {**defaults.STARTER, **sections.common_options(settings)}
    for key, value in rule.options:
        if (
            key in _PROTECTING
            and key not in own
            and options.canonical(key, value) != options.canonical(key, every.get(key, ""))
        ):
            yield "encapsulation" if key == "forceencaps" else key
    if first.mtu is None and rule.mtu not in (None, settings.mtu):
        yield "mtu"
    if not (first.clear or first.only):
        yield from (key for key in ("clear", "only") if getattr(rule, key))


def _idle(rules: Sequence[Rule], fitting: topology.Fitting) -> Iterator[Problem]:
    """Yield the rules that fit pairs and decide for none: the hosts of the others may have left."""
    deciding = {first.name for first, *_ in fitting.values()}
    before = {rule.name: first for first, *others in fitting.values() for rule in others}
    for index, rule in enumerate(rules):
        if rule.name in before.keys() - deciding:
            found = f"rule {rule.name!r} decides for no pair: rules before it, as {before[rule.name].name!r}"
            yield Problem(
                f"ipsec:rules:{index}",
                f"{found}, fit all that it fits now",
                "that, where hosts have left; or a place before those rules",
            )


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    """Return pairs by name, the first of them where they are many."""
    more = f" and {len(pairs) - _MOST} more" if len(pairs) > _MOST else ""
    return ", ".join(" with ".join(pair) for pair in pairs[:_MOST]) + more


def _staged(rule: Rule) -> str:
    return f"{rule.name!r} ({rule.stage})"


def _misspelt(fleet: Fleet) -> Iterator[Problem]:
    """Find values of hosts that no rule names and that are a slip away from one that a rule does.

    Such a host loses pairs, or gets others at an earlier stage, by a rule that is for all but some.
    """
    named: defaultdict[str, set[str]] = defaultdict(set)
    for rule in fleet.rules:
        for label, choice in (*rule.between, *rule.and_):
            named[label].update(choice.values)
    seen: dict[tuple[str, str], Optional[str]] = {}
    for host in fleet.hosts:
        for label in named.keys() & host.labels.keys() - {"id"}:
            for value in {*host.labels[label]} - named[label]:
                if (label, value) not in seen:
                    seen[label, value] = spelling.meant(value, named[label])
                if meant := seen[label, value]:
                    path = f"ipsec:hosts:{host.id}:{label}"
                    yield Problem(path, f"found {value}, which no rule names", f"did you mean {meant!r}?")


def _lone(fleet: Fleet) -> Iterator[Problem]:
    """Find values of ``nat`` and labels of ``same`` that one host has, and that are a slip from others'.

    Such a host loses pairs; one that no rule fits any more is told as such.
    """
    selected = [one for rule in fleet.rules for one in (*rule.between, *rule.and_)]
    named = {(label, value) for label, choice in selected for value in choice.values}
    found: list[tuple[str, str, str, str]] = []
    labels = {translated.NAT, *(label for rule in fleet.rules for label in rule.same)}
    for label in sorted(labels - {"id"}):
        holders: defaultdict[str, list[str]] = defaultdict(list)
        for host in fleet.hosts:
            for value in host.labels.get(label, ()):
                holders[value].append(host.id)
        shared = [value for value, ids in holders.items() if len(ids) > 1]
        lone = [value for value, ids in holders.items() if len(ids) == 1 and (label, value) not in named]
        for value in lone if len(lone) * len(shared) <= _LOOKED_AT else ():
            if meant := spelling.meant(value, shared):
                found.append((holders[value][0], label, value, meant))
    fitting = paired(fleet) if found else ()
    for name, label, value, meant in found:
        if name in fitting:
            path = f"ipsec:hosts:{name}:{label}"
            yield Problem(path, f"found {value}, which no other host has", f"did you mean {meant!r}?")


def _alike(fleet: Fleet) -> Iterator[Problem]:
    """Find ids that are one but for upper and lower case: to DNS and certificates they are one host."""
    seen: dict[str, str] = {}
    for host in fleet.hosts:
        other = seen.setdefault(host.id.casefold(), host.id)
        if other != host.id:
            yield identity.alike(host.id, other)


def _no_way(fleet: Fleet) -> Iterator[Problem]:
    """Find private addresses with peers whose public ones are of a NAT: it leads to public ones alone."""
    behind = [one for one in fleet.hosts if one.local_ipv4 and one.ipv4 and not unicast.is_private(one.ipv4)]
    sides = [(rule, Sides(rule, behind)) for rule in fleet.rules]
    found = [
        (host, min(peers))
        for host in (fleet.hosts if behind else ())
        if host.ipv4 and not host.local_ipv4 and unicast.is_private(host.ipv4)
        if (peers := expected.peers(sides, host))
    ]
    for host, peer in found[:1]:
        more = f" (and {counted(len(found) - 1, 'host')} more)" if len(found) > 1 else ""
        where = f"its peer {peer} has a public one by a NAT, which does not lead there"
        yield Problem(
            f"ipsec:hosts:{host.id}:ipv4",
            f"found {host.ipv4}{more}, a private address, and {where}",
            "the public address, 'local_ipv4' beside it and 'nat' where that is the same; or 'ipv6' alone",
        )


def _unpaired(fleet: Fleet) -> Iterator[Problem]:
    """Find hosts that no rule fits; whoever is in maintenance or marked is so by a decision."""
    fitting = paired(fleet)
    ids = [host.id for host in fleet.hosts if not (host.id in fitting or host.alone or host.maintenance)]
    if ids:
        yield Problem(
            "ipsec:hosts",
            f"no rule fits {topology.few(ids)}",
            "a rule that pairs it up; or 'alone: true' at a host that is to have no peers",
        )


def paired(fleet: Fleet) -> Collection[str]:
    """Return the ids of the hosts that some rule fits, of whatever stage."""
    found: set[str] = set()
    for rule in fleet.rules:
        sides = Sides(rule, fleet.hosts)
        found.update(
            host.id for host in fleet.hosts if host.id not in found and next(sides.partners(host), None)
        )
    return found
