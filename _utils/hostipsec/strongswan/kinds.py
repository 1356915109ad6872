"""Values of the pillar: how they are shown, and what an option of strongSwan takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..errors import Problem
from . import durations

# What the parsers of ipsec.conf and strongswan.conf take for something else, quoted or not; beside what is
# not printed: control characters, other line ends and blanks, what turns the writing round, lone surrogates
_UNSAFE = re.compile(r"[\"#{}\\]")
_INCLUDE = re.compile(r"include[ \t]")
LONGEST = 1000  # characters of a text: stroke passes on no more than 64 KB a connection
_BITS, _LONG = 256, 160  # of a whole number, and characters of a text, that are shown as they are


def shown(value: object) -> str:
    """Show a value of the pillar; containers by kind, since Salt masks their text."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (Sequence, set)) and not isinstance(value, (str, bytes)):
        return "a list"
    if is_huge(value):
        return "a number of hundreds of digits"
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}... ({len(text)} characters)"


def is_huge(value: object) -> bool:
    """Say whether a whole number is none of anything; Python refuses to print one of 4,300 digits."""
    return isinstance(value, int) and value.bit_length() > _BITS


def word(key: object) -> str:
    """Return a key as text; nothing is called by a whole number that Python does not print."""
    return shown(key) if is_huge(key) else str(key)


def is_safe(text: str) -> bool:
    """Say whether both configuration files can hold a text as it is."""
    safe = text.isprintable() and text == text.strip() and not _UNSAFE.search(text)
    return 0 < len(text) <= LONGEST and safe and not _INCLUDE.match(text)


def plain(value: object) -> Optional[str]:
    """Return a scalar as strongSwan writes it (True is ``yes``); None where it cannot be written."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (str, int, float)) or is_huge(value):
        return None
    text = str(value)
    return text if is_safe(text) else None


SCALAR: Mapping[str, Any] = {"type": ["string", "number", "boolean"]}
STRING: Mapping[str, Any] = {"type": ["string", "integer"]}  # of a text, where YAML reads some as a number


class Kind(NamedTuple):
    """What an option takes, and what a value of it means."""

    accepts: Callable[[str], bool]
    allowed: str
    meaning: Callable[[str], object] = str
    literal: bool = False  # a text that means what stands there: `yes` and 1.10 are other values to YAML
    json: Mapping[str, Any] = SCALAR  # as JSON Schema, never narrower than ``accepts`` of what YAML reads


def matching(pattern: str, allowed: str, meaning: Callable[[str], object] = str) -> Kind:
    """Return the kind of texts that a regular expression matches."""
    json = {**SCALAR, "pattern": f"^({pattern})$"}
    return Kind(lambda text: re.fullmatch(pattern, text, re.ASCII) is not None, allowed, meaning, json=json)


def one_of(words: Sequence[str], same: Mapping[str, str] = {}) -> Kind:
    """Return the kind of these words; ``same`` maps words to others that mean the same."""
    json = {"enum": [*_read(words)]}
    return Kind(lambda text: text in words, ", ".join(words), lambda text: same.get(text, text), json=json)


def only(words: Sequence[str], reason: str) -> Kind:
    """Return the kind of those words that are left of what strongSwan takes, and why."""
    kind = one_of(words)
    return kind._replace(allowed=f"{kind.allowed}; {reason}")


def _read(words: Sequence[str]) -> Iterator[object]:
    """Yield words, and what YAML makes of them where nothing quotes them."""
    for text in words:
        yield text
        if text in ("yes", "no"):
            yield text == "yes"
        elif text.isdecimal():
            yield int(text)


def numbers(low: float, high: float, pattern: str, kind: str = "integer") -> dict[str, Any]:
    """Return numbers in a range as JSON Schema; ``pattern`` is of those that are written as text."""
    number = {"type": kind, "minimum": low, "maximum": high}
    return {"anyOf": [number, {"type": "string", "pattern": f"^({pattern})$"}]}


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers in a range."""
    digits = re.compile("[0-9]{1,20}", re.ASCII)
    return Kind(
        lambda text: digits.fullmatch(text) is not None and low <= int(text) <= high,
        f"a whole number from {low} to {high}",
        int,
        json=numbers(low, high, "[0-9]+"),
    )


TEXT = Kind(is_safe, "one line of text without quotes, braces, '#' and '\\'", literal=True, json=STRING)
TIME = Kind(
    lambda text: durations.parse(text) is not None,
    durations.ALLOWED,
    durations.parse,
    json=numbers(0, 999999999, durations.PATTERN),
)


def checked(kind: Kind, value: object, path: str) -> tuple[Optional[str], list[Problem]]:
    """Return a value as strongSwan writes it, and what is wrong with it."""
    text = None if kind.literal and isinstance(value, (bool, float)) else plain(value)
    if text is None or not kind.accepts(text):
        return None, [Problem(path, f"found {shown(value)}", kind.allowed + unquoted(kind.literal, value))]
    return text, []


def unquoted(literal: bool, value: object) -> str:
    """Say that a text has to stand in quotes, where YAML has read another thing: ``yes``, 1.10 or a date."""
    return "; in quotes" if literal and not isinstance(value, (str, Mapping, list, type(None))) else ""
