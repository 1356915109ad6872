"""Whether a word is another one misspelt, or a thing of its own that is not there any more. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

_SHORTEST = 4  # letters: of fewer, too many are words of their own


def meant(word: str, known: Iterable[str]) -> Optional[str]:
    """Return the known word of which one is a slip of the fingers; None where it may be no slip.

    That is one letter too many, too few or another, two in the wrong order, or the other case. What differs
    by a digit alone (``row1``, ``row2``), or by a letter that stands alone (``row-a``), is something else.
    """
    return next((other for other in sorted(known) if _is_slip(word.lower(), other.lower())), None)


def _is_slip(word: str, other: str) -> bool:
    if word == other:
        return True
    head = _alike(word, other)
    tail = _alike(word[head:][::-1], other[head:][::-1])
    mine, theirs = word[head : len(word) - tail], other[head : len(other) - tail]
    one = max(len(mine), len(theirs)) == 1 or (len(mine) == 2 and mine == theirs[::-1])
    around = word[:head][-1:] + word[len(word) - tail :][:1]
    changed = mine + theirs
    named = changed.isdigit() or (changed.isalpha() and not any(letter.isalpha() for letter in around))
    return one and not named and min(len(word), len(other)) >= _SHORTEST


def _alike(word: str, other: str) -> int:
    """Return how many letters are the same at the beginning of both."""
    pairs = enumerate(zip(word, other))
    return next((index for index, (mine, theirs) in pairs if mine != theirs), min(len(word), len(other)))
