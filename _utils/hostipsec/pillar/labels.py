"""Labels of hosts: which keys of a host are some, and what they may hold. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Optional

from .. import unicast
from ..errors import Problem, close
from ..model import Rule
from .reader import Reader, is_several

ALWAYS = ("site", "cluster")  # known without a rule that uses them: status shows hosts by site
_LEADING = re.compile(r"0[0-9]+\Z")
_Entries = Mapping[str, Mapping[str, object]]  # what stands below each host


def of_rules(rules: Iterable[Rule]) -> set[str]:
    """Return the labels that rules use."""
    selected = {key for rule in rules for key, _ in (*rule.between, *rule.and_)}
    return selected | {key for rule in rules for key in (*rule.same, *rule.different)}


def known(
    reader: Reader, declared: Collection[str], rules: Sequence[Rule], keys: Collection[str]
) -> set[str]:
    """Return the labels that hosts may have: what rules use, and what is declared (``ipsec:labels``).

    ``keys`` are those of a host that are no labels.
    """
    used = ((f"ipsec:rules:{index}", of_rules([rule])) for index, rule in enumerate(rules))
    for path, names in (("ipsec:labels", {*declared}), *used):
        for name in sorted(names & {*keys}):
            reader.wrong(path, f"found the label {name!r}", f"any other name: {name!r} is a key of hosts")
    return {*ALWAYS, *declared, *of_rules(rules)} - {"id", *keys}


def read(
    reader: Reader, entry: Mapping[str, object], path: str, labels: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return the labels that stand at a host, each with its values."""
    reader.given(entry, path, sorted({*entry} & {*labels}))
    found = {key: reader.words(entry[key], f"{path}:{key}") for key in sorted(entry) if key in labels}
    for key, values in found.items():
        if not values and is_several(entry[key]) and not isinstance(entry[key], Mapping):
            reader.wrong(f"{path}:{key}", "found an empty list", "a value, or a list of them")
    sites = [*filter(None, found.get("site", ()))]  # without what has been told as no label
    if len(sites) > 1:
        reader.wrong(f"{path}:site", f"found {' and '.join(sites)}", "one value: a host is at one site")
    return {key: values for key, values in found.items() if values}


def unknown(
    entries: _Entries, labels: Collection[str], keys: Collection[str], elsewhere: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield each key of hosts that nobody knows, once: where it stands first, and at how many more.

    ``elsewhere`` says of which place a key is that a host has not.
    """
    found: dict[str, list[str]] = {}
    for host, entry in entries.items():
        for key in {*entry} - {*labels, *keys}:
            found.setdefault(key, []).append(host)
    for key, hosts in sorted(found.items()):
        more = f", and at {len(hosts) - 1} more" if len(hosts) > 1 else ""
        meant = _meant(key, entries[hosts[0]][key], sorted({*labels, *keys}), elsewhere)
        yield Problem(f"ipsec:hosts:{hosts[0]}:{key}", f"unknown key {key!r}{more}", meant)


def _meant(key: str, value: object, words: Sequence[str], elsewhere: Mapping[str, str]) -> str:
    """Return which key is meant, and how a label that no rule uses is declared."""
    if key == "id":
        return "any other name: 'id' is the minion id itself"
    if key in elsewhere:
        return f"no such key here: {key!r} is {elsewhere[key]}"
    if key.startswith("local"):
        return "did you mean 'local_ipv4'? A NAT of IPv6 is not done here: 'ipv6' is what the host has itself"
    near = _family(value) or close(key.lower(), words) or _begun(key.lower(), words)
    said = f"did you mean {near!r}?" if near else ", ".join(words)
    return f"{said}; a label that no rule uses is declared, 'labels: [{key}]' below 'ipsec'"


def _begun(key: str, words: Sequence[str]) -> Optional[str]:
    return next((word for word in words if len(key) > 2 and word.startswith(key)), None)


def _family(value: object) -> Optional[str]:
    try:
        return f"ipv{unicast.parse(value).version}" if isinstance(value, str) else None
    except ValueError:
        return None


def mixed(entries: _Entries, labels: Collection[str]) -> Iterator[Problem]:
    """Find labels of which YAML has read some values as numbers, others as texts: 07 is 7, and 08 is '08'."""
    numbers: set[str] = set()
    texts: dict[str, tuple[str, str]] = {}
    for host, key, value in _values(entries, labels):
        if isinstance(value, int):
            numbers.add(key)
        elif isinstance(value, str) and _LEADING.match(value):
            texts.setdefault(key, (host, value))
    for key in sorted(numbers & {*texts}):
        host, value = texts[key]
        found = f"found {value!r} beside numbers, as YAML reads 07"
        yield Problem(f"ipsec:hosts:{host}:{key}", found, f"all values of {key!r} in quotes")


def _values(entries: _Entries, labels: Collection[str]) -> Iterator[tuple[str, str, object]]:
    for host, entry in entries.items():
        for key, value in entry.items():
            if key in labels:
                several = value if isinstance(value, Sequence) and is_several(value) else (value,)
                yield from ((host, key, one) for one in several)
