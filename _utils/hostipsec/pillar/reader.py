"""Reads plain data of the pillar, and collects what is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Optional

from ..errors import Problem, nearest
from ..strongswan.kinds import is_huge, shown, unquoted, word

_FEW, _HINTS = 100, 10
_LABEL = re.compile(r"[^\s,{}\"']{1,128}\Z")


def as_yaml(value: object) -> str:
    """Say what YAML may have read a value from, where that is lost."""
    if isinstance(value, bool):
        return f", as YAML reads {'yes, on and true' if value else 'no, off and false'}"
    if isinstance(value, date):  # Salt's YAML reads it as a text, others do not
        return f", as YAML reads {str(value).replace(' 00:00:00', '')}"
    return f", as YAML reads {value}0 too" if isinstance(value, float) and math.isfinite(value) else ""


def is_several(value: object) -> bool:
    """Say whether a value holds others; Salt has lists and mappings of its own."""
    return isinstance(value, Collection) and not isinstance(value, (str, bytes))


def is_name(key: object) -> bool:
    """Say whether a key is a text, or a number that is one as it is written."""
    return isinstance(key, (int, str)) and not isinstance(key, bool)


class Reader:
    """Collects problems while it reads; one instance a pillar.

    Each method returns a value of the type it says, whatever it finds, so that all errors come at once.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._hints = _HINTS

    def wrong(self, path: str, found: str, allowed: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, found, allowed))

    def nearest(self, word: str, known: Collection[str]) -> str:
        """Say which known word is meant; of many, for the first words alone, as each looks at all of them."""
        if len(known) <= _FEW:
            return nearest(word, known)
        self._hints -= 1
        return nearest(word, known) if self._hints >= 0 else f"one of the {len(known)} that are there"

    def mapping(
        self,
        value: object,
        path: str,
        keys: Optional[Iterable[str]] = None,
        instead: Callable[[str], str] = lambda _: "",
    ) -> dict[str, object]:
        """Return a mapping with its keys as texts; with ``keys``, others than these are wrong.

        ``instead`` says what is meant by one of the others, where that is known.
        """
        if not isinstance(value, Mapping):
            self.wrong(path, f"found {shown(value)}", "a mapping")
            return {}
        result = {word(key): item for key, item in value.items()}
        for key in value:
            if not is_name(key):
                found = f"found the key {shown(key)}{as_yaml(key)}"
                self.wrong(f"{path}:{word(key)}", found, "a text; in quotes")
        if len(result) < len(value):
            twice = next(key for key in value if not isinstance(key, str) and word(key) in value)
            found = f"found the key {shown(twice)} both as it is and in quotes"
            self.wrong(f"{path}:{word(twice)}", found, "each key once, in quotes")
        known = None if keys is None else (*keys,)
        for key in sorted({word(key) for key in value if is_name(key)}) if known is not None else ():
            if key not in (known or ()):
                allowed = instead(key) or nearest(key, known or ())
                self.wrong(f"{path}:{key}", f"unknown key {key!r}", allowed)
        return result

    def given(self, entry: Mapping[str, object], path: str, keys: Iterable[str]) -> None:
        """Refuse keys behind which nothing stands: whoever wrote them meant something."""
        for key in keys:
            if key in entry and entry[key] is None:
                self.wrong(f"{path}:{key}", "found nothing", "a value, or no such key")

    def items(self, value: object, path: str) -> Sequence[object]:
        """Return the items of a list; none where there is nothing."""
        if value is None:
            return ()
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            self.wrong(path, f"found {shown(value)}", "a list")
            return ()
        return value

    def boolean(self, value: object, path: str) -> bool:
        """Return true or false."""
        if not isinstance(value, bool):
            self.wrong(path, f"found {shown(value)}", "true or false")
        return value is True

    def label(self, value: object, path: str) -> str:
        """Return the value of a label, which may be written as a number."""
        whole = isinstance(value, int) and not isinstance(value, bool) and not is_huge(value)
        label = str(value) if whole or isinstance(value, str) else ""
        if not _LABEL.match(label) or not label.isprintable():
            found = f"found {shown(value)}{as_yaml(value)}"
            self.wrong(path, found, f"a label: one word or whole number{unquoted(True, value)}")
            return ""
        return label

    def words(self, value: object, path: str) -> tuple[str, ...]:
        """Return the labels of a list, or the only one, sorted."""
        items = self.items(value, path) if value is None or is_several(value) else [value]
        return tuple(sorted({self.label(item, path) for item in items}))

    def one_of(self, value: object, path: str, allowed: Sequence[str]) -> str:
        """Return one of the allowed words; the first where it is none of them."""
        if not isinstance(value, str) or value not in allowed:
            self.wrong(path, f"found {shown(value)}", ", ".join(allowed))
            return allowed[0]
        return value

    def count(self, value: object, path: str, low: int, high: int, what: str) -> Optional[int]:
        """Return a whole number of a range, or None."""
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(path, f"found {shown(value)}", what)
            return None
        return value
