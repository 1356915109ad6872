"""What can be wrong, as values and exceptions that an operator can read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Optional


class HostIPsecError(Exception):
    """Base of all errors of this package; ``str()`` is a sentence for the operator."""


class Problem(NamedTuple):
    """One thing wrong in the pillar: where, what is there, what is allowed."""

    path: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return printable(f"{_short(self.path)}: {_short(self.found)}; allowed: {_short(self.allowed)}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def printable(text: str) -> str:
    """Return a text that acts on no terminal and can be written anywhere, whatever keys a pillar has."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


_LONGEST = 800  # characters of where, of what is there, and of what is allowed


class PillarError(HostIPsecError):
    """Every problem of a pillar at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} error(s) in pillar 'ipsec':{lines}")


class CertificateError(HostIPsecError):
    """A certificate, key or CA that must not be used."""


class CharonError(HostIPsecError):
    """charon does not answer, or does not do what it was asked."""


class ConfigError(HostIPsecError):
    """A configuration that strongSwan would not take as it is meant."""


class NothingMeantError(HostIPsecError):
    """A filter that no connection passes; nothing was done."""


class UnknownArgumentError(HostIPsecError):
    """Arguments that nobody knows: a misspelt one would do another thing than was meant."""

    def __init__(self, names: Iterable[str], undone: str) -> None:
        self.names = tuple(sorted(names))
        super().__init__(f"unknown argument {', '.join(self.names)}; {undone}")


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Say which known word is meant, or list all when none is near.

    Returns a text for ``Problem.allowed``, such as ``'keyingtries' (nearest of 88)``; ``otherwise`` is said
    where none is near and there are many.
    """
    words = sorted(known)
    meant = close(word, words)
    if meant is not None:
        return f"did you mean {meant!r}?" if len(words) > 12 else f"{meant!r} (of {', '.join(words)})"
    if len(words) <= _MANY:
        return ", ".join(words)
    return otherwise or f"one of {len(words)}, such as {', '.join(words[:3])}"


def close(word: str, known: Iterable[str]) -> Optional[str]:
    """Return which known word is meant, or None where none is near."""
    import difflib  # here: whoever finds no fault does without

    return next(iter(difflib.get_close_matches(word[:_LONG], [*known], n=1, cutoff=0.65)), None)


_LONG, _MANY = 100, 40  # of letters in a word that may be meant; of words that a sentence has
