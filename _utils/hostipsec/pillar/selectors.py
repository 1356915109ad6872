"""Reads the two sides of a rule: which labels a host must have there, and with which values. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from ..model import Choice, Selector
from .reader import Reader

_PATTERN = re.compile(r"[*?\[]")


def read(reader: Reader, rule: Mapping[str, object], side: str, path: str, keys: Collection[str]) -> Selector:
    """Return the labels of a side; one that is misspelt has been noted with ``keys``, those of a rule."""
    path = f"{path}:{side}"
    if side not in rule and {*rule} - {*keys}:
        return ()
    entry = reader.mapping(rule.get(side), path)
    if not entry and isinstance(rule.get(side), Mapping):
        reader.wrong(path, "found an empty mapping", "labels and their values, as {site: esams}")
    return tuple((key, _choice(reader, key, entry[key], f"{path}:{key}")) for key in sorted(entry))


def _choice(reader: Reader, label: str, value: object, path: str) -> Choice:
    if isinstance(value, Mapping):
        negated = reader.mapping(value, path, ("not",))
        if not negated:
            reader.wrong(path, "found an empty mapping", "a value, a list of them, or {not: VALUE}")
        found = _values(reader, negated["not"], f"{path}:not") if "not" in negated else ()
        return _of(label, found, but=True)
    return _of(label, _values(reader, value, path), but=False)


def _of(label: str, values: Sequence[str], but: bool) -> Choice:
    """Return the choice; what an id cannot hold makes it a pattern, as a shell has them."""
    patterns = {value for value in values if label == "id" and _PATTERN.search(value)}
    return Choice(frozenset(values) - patterns, but, tuple(sorted(patterns)))


def _values(reader: Reader, value: object, path: str) -> tuple[str, ...]:
    if value is None or (not isinstance(value, str) and isinstance(value, Sequence) and not value):
        reader.wrong(
            path, f"found {'nothing' if value is None else 'an empty list'}", "a value, or a list of them"
        )
        return ()
    return reader.words(value, path)
