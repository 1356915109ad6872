"""What a pillar that reads well can still get wrong: rules that pair nobody, pairs that cannot be. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from .. import plane
from ..errors import Problem
from ..model import FAMILIES, REQUIRE, Fleet, Rule
from . import covering, doubts, expected, metrics, topology, translated
from .matching import rule_pairs


def problems(fleet: Fleet) -> list[Problem]:
    """Return what is wrong with rules and expectations of a fleet whose parts are valid."""
    found = [
        *_missing(fleet),
        *_alone(fleet),
        *_idle_rules(fleet),
        *_familyless_pairs(fleet),
        *translated.problems(
            fleet.hosts, lambda some: topology.pairs(fleet._replace(hosts=some), maintenance=True)
        ),
    ]
    named = (host.id for host in fleet.hosts) if fleet.settings.metrics.graphite else ()
    unfit = (*_unguarded(fleet), *_bypassed(fleet), *_unheard(fleet))
    return [*found, *unfit, *metrics.clashing(named)]


def _unheard(fleet: Fleet) -> Iterator[Problem]:
    """Refuse to do without the sockets of a family by which hosts are paired."""
    for family in FAMILIES:
        keys = ("plugins", "socket-default", f"use_ip{family}")
        if plane.value(fleet.settings.charon, *keys) == "no" and (pair := _first_pair(fleet, family)):
            yield Problem(
                f"ipsec:charon:{':'.join(keys)}",
                f"found no, and connections by IP{family} have no socket then, as those of "
                f"{' with '.join(pair)}",
                f"yes; or no 'ip{family}' at hosts",
            )


def _first_pair(fleet: Fleet, family: str) -> Optional[tuple[str, str]]:
    having = [host for host in fleet.hosts if host.address(family) is not None]
    ours = {host.id for host in having if host.managed}
    every = topology.pairs(fleet._replace(hosts=tuple(having)), maintenance=True)
    return next((pair for pair in every if ours.intersection(pair)), None)


def _bypassed(fleet: Fleet) -> Iterator[Problem]:
    """Refuse the plugin whose policies for a host's own networks come before those of every connection."""
    path = plane.loads(fleet.settings.charon, "bypass-lan")
    if path and any(rule.stage == REQUIRE for rule in fleet.rules):
        yield Problem(
            f"ipsec:charon:{path}",
            "found bypass-lan beside a rule of stage 'require': what it passes by goes in the clear",
            "no, or no rule of stage 'require'",
        )


def _unguarded(fleet: Fleet) -> Iterator[Problem]:
    """Refuse what only the kernel can keep: where charon does ESP, its own packets meet the policies, too."""
    if plane.chosen(fleet.settings) == plane.KERNEL:
        return
    for index, rule in enumerate(fleet.rules):
        for key, texts in (("clear", rule.clear), ("only", rule.only)):
            if texts:
                yield Problem(
                    f"ipsec:rules:{index}:{key}",
                    f"found {', '.join(texts)}, while charon does ESP itself (kernel-libipsec)",
                    "no such key",
                )
        if rule.stage == REQUIRE:
            yield Problem(
                f"ipsec:rules:{index}:stage",
                "found 'require', while charon does ESP itself (kernel-libipsec)",
                "off, passive, start",
            )


def _missing(fleet: Fleet) -> Iterator[Problem]:
    """Refuse labels that are misspelt in rules, and short names that are to be ids."""
    found = doubts.lacking(fleet)
    return (lack.problem for lacks in found.values() for lack in lacks if lack.misspelt)


def _alone(fleet: Fleet) -> Iterator[Problem]:
    """Refuse hosts that are marked to have no peers, and have some."""
    marked = [host for host in fleet.hosts if host.alone]
    sides = expected.sides(fleet) if marked else ()
    for host in marked:
        if peers := sorted(expected.peers(sides, host)):
            found = f"found true, and rules pair it with {topology.few(peers)}"
            yield Problem(f"ipsec:hosts:{host.id}:alone", found, "no such mark, or no such rule")


def _idle_rules(fleet: Fleet) -> Iterator[Problem]:
    """Refuse rules that decide for no pair, whoever joins: what they say about its stage counts for nobody.

    Where rules before it fit all of its pairs only with the hosts that there are, that is a doubt.
    """
    for index, rule in enumerate(fleet.rules):
        before = fleet.rules[:index]
        if covering.covered(rule, before):
            first = next((one for one in before if covering.wider(one, rule)), before[0])
            yield Problem(
                f"ipsec:rules:{index}",
                f"rule {rule.name!r} never decides: rules before it, as {first.name!r}, fit all of its pairs",
                "a place before those rules, or no such rule",
            )


def _familyless_pairs(fleet: Fleet) -> Iterator[Problem]:
    """Find pairs that could not be encrypted at all, since they share no address family."""
    return (no_family(*pair, rule) for pair, rule in familyless(fleet))


def no_family(host: str, other: str, rule: Rule) -> Problem:
    """Return the problem that a host shares no address family with a peer by a rule."""
    found = f"no address family in common with {other}, its peer by rule {rule.name!r}"
    return Problem(f"ipsec:hosts:{host}", found, "'ipv4' at both hosts or 'ipv6' at both")


def familyless(fleet: Fleet) -> Iterator[tuple[tuple[str, str], Rule]]:
    """Yield pairs that share no address family, by the ids of both in order."""
    lacking = [
        [host for host in fleet.hosts if host.address(family) is None and not host.lost]
        for family in FAMILIES
    ]
    found: topology.Pairs = {}
    for rule in fleet.rules:
        for sides in (lacking, lacking[::-1]):
            for one, other in rule_pairs(rule, *sides):
                found.setdefault((min(one.id, other.id), max(one.id, other.id)), rule)
    decided = sorted(found.items(), key=lambda item: item[0])
    return ((pair, rule) for pair, rule in decided if rule.stage != "off")
