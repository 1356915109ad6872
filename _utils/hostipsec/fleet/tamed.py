"""What a host said, before anybody reads it: within bounds, with no power over the terminal of an operator.

A host that somebody else has taken over answers what that one likes: control sequences that paint other
words over ours, line ends behind which a line follows that looks like another host's, texts without end.
"""

from __future__ import annotations

import math
from typing import Union

from .shapes import found

TEXT = 10_000  # characters of a text; what is more is left out
CHARACTERS = 16_000_000  # of all texts: the status of a host with thousands of peers has a tenth
THINGS = 500_000  # values
DEPTH = 20  # of values inside values
_DIGITS = 2**63
_INDENT = "  "

Plain = Union[None, bool, int, float, str, list["Plain"], dict[object, "Plain"]]


def tamed(value: object) -> Plain:
    """Return a value with texts that can be printed. Raises ValueError for what no host has to say."""
    return _Taming().of(value, 0)


def printable(text: str) -> str:
    r"""Return a text without control characters; lines after the first are indented, so that none is faked.

    >>> print(printable("a\x1b[2Jb\nc"))
    a\x1b[2Jb
      c
    """
    if text.isprintable() and len(text) <= TEXT:
        return text
    first, *rest = text[:TEXT].splitlines() or [""]
    indented = (line if line.startswith(_INDENT) else _INDENT + line for line in rest)
    return "\n".join("".join(map(_shown, line)) for line in (first, *indented)) + "..." * (len(text) > TEXT)


def _shown(character: str) -> str:
    if character == "\t":
        return " "
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


class _Taming:
    """Counts what a host says."""

    def __init__(self) -> None:
        self._characters, self._things = 0, 0

    def of(self, value: object, depth: int) -> Plain:
        """Return a value inside ``depth`` others."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            self._inside(len(value), depth)
            return {
                self._text(key) if isinstance(key, str) else key: self.of(one, depth + 1)
                for key, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            self._inside(len(value), depth)
            return [self.of(one, depth + 1) for one in value]
        if value is None or (isinstance(value, (bool, int, float)) and _is_number(value)):
            return value
        raise ValueError("a number out of bounds" if isinstance(value, (int, float)) else found(value))

    def _inside(self, number: int, depth: int) -> None:
        """Count what is inside a value."""
        self._things += number
        if self._things > THINGS:
            raise ValueError(f"more than {THINGS} values")
        if number and depth >= DEPTH:
            raise ValueError("values inside values")

    def _text(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > CHARACTERS:
            raise ValueError(f"more than {CHARACTERS} characters")
        return text if text.isprintable() and len(text) <= TEXT else printable(text)


def _is_number(value: float) -> bool:
    return -_DIGITS <= value <= _DIGITS if isinstance(value, int) else math.isfinite(value)
