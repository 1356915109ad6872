"""Values of the pillar: how they are shown, and what an option of strongSwan takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Optional

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


class Kind(NamedTuple):
    """What an option takes, and what a value of it means."""

    accepts: Callable[[str], bool]
    allowed: str
    meaning: Callable[[str], object] = str
    literal: bool = False  # a text that means what stands there: `yes` and 1.10 are other values to YAML


def matching(pattern: str, allowed: str, meaning: Callable[[str], object] = str) -> Kind:
    """Return the kind of texts that a regular expression matches."""
    return Kind(lambda text: re.fullmatch(pattern, text, re.ASCII) is not None, allowed, meaning)


def one_of(words: Sequence[str], same: Mapping[str, str] = {}) -> Kind:
    """Return the kind of these words; ``same`` maps words to others that mean the same."""
    return Kind(lambda text: text in words, ", ".join(words), lambda text: same.get(text, text))


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers in a range."""
    digits = re.compile("[0-9]{1,20}", re.ASCII)
    return Kind(
        lambda text: digits.fullmatch(text) is not None and low <= int(text) <= high,
        f"a whole number from {low} to {high}",
        int,
    )


TEXT = Kind(is_safe, "one line of text without quotes, braces, '#' and '\\'", literal=True)
TIME = Kind(lambda text: durations.parse(text) is not None, durations.ALLOWED, durations.parse)


def checked(kind: Kind, value: object, path: str) -> tuple[Optional[str], list[Problem]]:
    """Return a value as strongSwan writes it, and what is wrong with it."""
    text = None if kind.literal and isinstance(value, (bool, float)) else plain(value)
    if text is None or not kind.accepts(text):
        return None, [Problem(path, f"found {shown(value)}", kind.allowed + unquoted(kind.literal, value))]
    return text, []


def unquoted(literal: bool, value: object) -> str:
    """Say that a text has to stand in quotes, where YAML has read another thing: ``yes``, 1.10 or a date."""
    return "; in quotes" if literal and not isinstance(value, (str, Mapping, list, type(None))) else ""
