"""What an answer has to look like before anybody reads it: a shape says where a value does not fit.

A shape is a function that takes a value and returns what is wrong with it, empty for nothing. Keys that a
shape does not name may be there: of another release.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

Shape = Callable[[object], str]
_NONE: Mapping[str, Shape] = MappingProxyType({})


def anything(value: object) -> str:
    """Fit every value."""
    return ""


def is_a(*types: type) -> Shape:
    """Return the shape of values of these types; True and False are no numbers."""

    def misfit(value: object) -> str:
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        return "" if fits else found(value)

    return misfit


def one_of(*words: str) -> Shape:
    """Return the shape of a few words."""
    return lambda value: "" if isinstance(value, str) and value in words else found(value)


def optional(shape: Shape) -> Shape:
    """Return the shape of what may be None."""
    return lambda value: "" if value is None else shape(value)


def many(shape: Shape) -> Shape:
    """Return the shape of a list, with values of one shape."""

    def misfit(value: object) -> str:
        return next(filter(None, map(shape, value)), "") if isinstance(value, list) else found(value)

    return misfit


def each(shape: Shape) -> Shape:
    """Return the shape of a dictionary by name, with values of one shape."""
    return keys(rest=shape)


def keys(
    needed: Mapping[str, Shape] = _NONE, beside: Mapping[str, Shape] = _NONE, rest: Shape = anything
) -> Shape:
    """Return the shape of a dictionary by name that has keys ``needed``, and may have those ``beside``."""
    shapes = {**beside, **needed}

    def misfit(value: object) -> str:
        if not isinstance(value, dict):
            return found(value)
        numbered = [key for key in value if not isinstance(key, str)]
        if numbered:
            return f"the key {found(numbered[0])}"
        items = cast("dict[str, object]", value)
        lacking = [key for key in needed if key not in items]
        if lacking:
            return f"no {lacking[0]!r} in {found(value)}"
        told = ((key, shapes.get(key, rest)(one)) for key, one in items.items())
        return next((f"{' '.join(key[:60].split())}: {wrong}" for key, wrong in told if wrong), "")

    return misfit


def found(value: object) -> str:
    """Return a value in a few words, whatever it is."""
    return " ".join(reprlib.repr(value).split())


TEXT, SWITCH, NUMBER, DICTIONARY = is_a(str), is_a(bool), is_a(int, float), each(anything)
TEXTS = many(TEXT)
