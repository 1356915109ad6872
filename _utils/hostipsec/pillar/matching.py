"""Which hosts a rule joins, and how they are found without comparing each with each. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Optional

from ..model import Choice, Host, Rule, Selector
from .unmanaged import joinable

_Values = tuple[str, ...]  # of some labels of a host, one each
_Sets = tuple[frozenset[str], ...]  # of some labels of a host, all that it has of each


def matches(selector: Selector, host: Host) -> bool:
    """Say whether a host has the labels of one side of a rule."""
    return all(_chosen(choice, host.labels.get(label, ())) for label, choice in selector)


def _chosen(choice: Choice, values: Sequence[str]) -> bool:
    """Whether a label's values are meant; without any they are not, not even by all but some."""
    named = not choice.values.isdisjoint(values) or any(
        fnmatchcase(value, pattern) for pattern in choice.patterns for value in values
    )
    return bool(values) and named is not choice.but


def applies(rule: Rule, one: Host, other: Host) -> bool:
    """Say whether a rule pairs two hosts up, whichever of them is named first."""
    if not (joinable(one, other) and _joined(rule, one, other)):
        return False
    return (matches(rule.between, one) and matches(rule.and_, other)) or (
        matches(rule.between, other) and matches(rule.and_, one)
    )


def _joined(rule: Rule, one: Host, other: Host) -> bool:
    """Whether ``same`` and ``different`` hold; a host without the label is never joined by it."""
    if not (labelled(rule, one) and labelled(rule, other)):
        return False
    apart = (_apart(one, other, label) for label in rule.different)
    return all(apart) and not any(_apart(one, other, label) for label in rule.same)


def _apart(one: Host, other: Host, label: str) -> bool:
    """Whether two hosts share no value of a label."""
    return {*one.labels[label]}.isdisjoint(other.labels[label])


def labelled(rule: Rule, host: Host) -> bool:
    """Say whether a host has the labels of ``same`` and ``different``; without one it is never joined."""
    return all(label in host.labels for label in (*rule.same, *rule.different))


class Partners:
    """Hosts of one side of a rule, found by what joins others to them.

    A host that has several values of a label of ``same`` stands at each of them. So the work is near the size
    of the result, whatever the fleet's.
    """

    def __init__(self, rule: Rule, selector: Selector, hosts: Iterable[Host]) -> None:
        """Take the hosts that the selector of that side means."""
        self._rule = rule
        self._alike: dict[_Values, dict[_Sets, list[Host]]] = {}
        for host in hosts:
            if labelled(rule, host) and matches(selector, host):
                for values in _each(host, rule.same):
                    alike = self._alike.setdefault(values, {})
                    alike.setdefault(_sets(host, rule.different), []).append(host)

    def of(self, host: Host) -> Iterator[Host]:
        """Return an iterator over those that are joined to a host, each once and never the host itself."""
        if not labelled(self._rule, host):
            return iter(())
        every = [*_each(host, self._rule.same)]
        found = self._found(host, every)
        return found if len(every) == 1 else iter({one.id: one for one in found}.values())

    def _found(self, host: Host, every: Sequence[_Values]) -> Iterator[Host]:
        mine = _sets(host, self._rule.different)
        for values in every:
            for theirs, some in self._alike.get(values, {}).items():
                if all(one.isdisjoint(other) for one, other in zip(mine, theirs)):
                    yield from (other for other in some if joinable(host, other))


class Sides:
    """All hosts that a rule fits, as partners of one, on whichever side that is."""

    def __init__(self, rule: Rule, hosts: Sequence[Host]) -> None:
        """Take the hosts of the fleet."""
        self._sides = (
            (rule.between, Partners(rule, rule.and_, hosts)),
            (rule.and_, Partners(rule, rule.between, hosts)),
        )

    def partners(self, host: Host) -> Iterator[Host]:
        """Yield the hosts that the rule fits together with one; each may come twice."""
        for selector, others in self._sides:
            if matches(selector, host):
                yield from others.of(host)


def _each(host: Host, labels: Sequence[str]) -> Iterator[_Values]:
    return itertools.product(*(host.labels[label] for label in labels))


def _sets(host: Host, labels: Sequence[str]) -> _Sets:
    return tuple(frozenset(host.labels[label]) for label in labels)


def rule_pairs(
    rule: Rule, hosts: Sequence[Host], others: Optional[Sequence[Host]] = None
) -> Iterator[tuple[Host, Host]]:
    """Yield the pairs of one rule, its ``and`` side from ``others`` where given; each may come both ways."""
    partners = Partners(rule, rule.and_, hosts if others is None else others)
    for host in hosts:
        if matches(rule.between, host):
            yield from ((host, other) for other in partners.of(host))
