"""What can be wrong, as values and exceptions that an operator can read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class HostIPsecError(Exception):
    """Base of all errors of this package; ``str()`` is a sentence for the operator."""


class Problem(NamedTuple):
    """One thing wrong in the pillar: where, what is there, what is allowed."""

    path: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found}; allowed: {self.allowed}"


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


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word is meant, or list all when none is near.

    Returns a text for ``Problem.allowed``, such as ``'keyingtries' (nearest of 88)``.
    """
    import difflib  # here: whoever finds no fault does without

    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?" if len(words) > 12 else f"{close[0]!r} (of {', '.join(words)})"
    return ", ".join(words) if len(words) <= 40 else f"one of {len(words)} documented names"
