"""Whether rules fit every pair that another one fits, whatever hosts there are. Pure.

What would take too many steps to tell counts as not so: with the hosts that there are it is a doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Optional

from ..model import Choice, Rule, Selector

_SINGLE = ("id", "site")  # labels of which a host has one value
_EVERY = "*"
_MOST = 1_000  # combinations of values that are looked at one by one


def covered(rule: Rule, before: Sequence[Rule]) -> bool:
    """Say whether rules fit all that one fits: one of them does, or some together, value by value."""
    if not before or any(wider(one, rule) for one in before):
        return bool(before)
    halves = _halves(rule) if _combinations(rule) <= _MOST else ()
    return bool(halves) and all(covered(half, before) for half in halves)


def wider(one: Rule, rule: Rule) -> bool:
    """Say whether a rule fits all that another fits."""
    sides = ((rule.between, rule.and_), (rule.and_, rule.between))
    fits = any(_holds(one.between, left) and _holds(one.and_, right) for left, right in sides)
    return (
        fits
        and all(_alike(rule, label) for label in one.same)
        and all(_apart(rule, label) for label in one.different)
    )


def _holds(selector: Selector, other: Selector) -> bool:
    """Say whether one side of a rule means every host that a side of another means."""
    theirs = dict(other)
    return all(_includes(label, choice, theirs.get(label)) for label, choice in selector)


def _includes(label: str, choice: Choice, other: Optional[Choice]) -> bool:
    if other is None:
        return label == "id" and _EVERY in choice.patterns and not choice.but
    if other.but:
        return choice.but and choice.values <= other.values and {*choice.patterns} <= {*other.patterns}
    if choice.but:
        return (
            label in _SINGLE and not other.patterns and not any(_named(choice, one) for one in other.values)
        )
    patterns = _EVERY in choice.patterns or {*other.patterns} <= {*choice.patterns}
    return patterns and all(_named(choice, one) for one in other.values)


def _named(choice: Choice, value: str) -> bool:
    return value in choice.values or any(fnmatchcase(value, pattern) for pattern in choice.patterns)


def _alike(rule: Rule, label: str) -> bool:
    """Say whether two hosts that a rule pairs share a value of a label."""
    one, other = (_values(side, label) for side in (rule.between, rule.and_))
    return label in rule.same or (len(one) == 1 and one == other)


def _apart(rule: Rule, label: str) -> bool:
    """Say whether they share none."""
    one, other = (_values(side, label) for side in (rule.between, rule.and_))
    apart = label in _SINGLE and bool(one and other) and one.isdisjoint(other)
    return label in rule.different or apart


def _values(selector: Selector, label: str) -> frozenset[str]:
    """Return the values of which a host has one by this side; none where there may be others."""
    choice = dict(selector).get(label)
    return choice.values if choice and not choice.but and not choice.patterns else frozenset()


def _combinations(rule: Rule) -> int:
    return math.prod(len(choice.values) or 1 for side in (rule.between, rule.and_) for _, choice in side)


def _halves(rule: Rule) -> Sequence[Rule]:
    """Return two rules that fit together what one fits; none where no label has several values."""
    between, and_ = _parts(rule.between), _parts(rule.and_)
    if between:
        return [rule._replace(between=part) for part in between]
    return [rule._replace(and_=part) for part in and_]


def _parts(selector: Selector) -> Sequence[Selector]:
    """Return two selectors that mean together what one means; none where it has one value a label."""
    for label, choice in selector:
        if len(choice.values) > 1 and not (choice.but or choice.patterns):
            values = sorted(choice.values)
            middle = len(values) // 2
            parts = (Choice(frozenset(values[:middle])), Choice(frozenset(values[middle:])))
            return [tuple({**dict(selector), label: part}.items()) for part in parts]
    return ()
