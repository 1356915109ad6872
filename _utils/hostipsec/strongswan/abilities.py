"""Which of the proposals of ``ike`` and ``esp`` a charon can do, by the algorithms that it lists. Pure.

A charon drops the whole connection where it does not know a word (5.9), or offers and selects what it cannot
do (6.0.1 with ML-KEM); two such hosts fail without falling back to what follows. So a host is given those
proposals alone that its charon can do. Of ``esp`` the key exchange is charon's, the rest is the kernel's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Optional

from ..affixes import without_suffix
from . import proposals
from .proposals import INTEGRITY, KEY_EXCHANGE, PRF, SEQUENCE_NUMBERS
from .sections import Configuration

KEYS = ("ike", "esp")
ADDITIONAL = "additional key exchanges"  # listed of a charon that knows words as ke1_mlkem768: strongSwan 6


class Left(NamedTuple):
    """A proposal that a host is not given, or not whole, and what its charon does not have for it."""

    key: str  # ike or esp
    proposal: str
    lacking: tuple[str, ...]  # as charon calls them, ML_KEM_768

    def __str__(self) -> str:
        return f"{self.key} {self.proposal} (no {', '.join(self.lacking)})"


def needed(value: Configuration) -> frozenset[str]:
    """Return the names of the algorithms that the proposals of all connections ask of charon."""
    singles = [(key, words) for key, text in _used(value) for words in _singles(text)]
    return frozenset(name for key, words in singles for word in words for name in _names(key, words, word))


def limited(value: Configuration, listed: Collection[str]) -> tuple[Configuration, tuple[Left, ...]]:
    """Return a configuration with what a charon can do that lists these algorithms, and what is left out.

    An option of which nothing is left stays as it is: see :func:`impossible`.
    """

    def rest(options: Mapping[str, str]) -> Mapping[str, str]:
        found = {key: possible(key, options[key], listed)[0] for key in KEYS if key in options}
        return {**options, **{key: text for key, text in found.items() if text}}

    connections = {name: rest(options) for name, options in value.connections.items()}
    able = value._replace(defaults=rest(value.defaults), connections=connections)
    left = {one for key, text in _used(value) for one in possible(key, text, listed)[1]}
    return able, tuple(sorted(left))


def impossible(value: Configuration, listed: Collection[str]) -> tuple[Left, ...]:
    """Return the proposals of options of which nothing is left; none where each option has something left."""
    found = [possible(key, text, listed) for key, text in _used(value)]
    return tuple(sorted({one for text, left in found if not text for one in left}))


def possible(key: str, text: str, listed: Collection[str]) -> tuple[str, tuple[Left, ...]]:
    """Return the proposals of an option that charon can do, empty for none, and what is left out of it.

    Of several algorithms of one kind in a proposal those stay that charon has.
    """
    kept, left = [], []
    for words in _singles(text):
        lacking = {word: {*_names(key, words, word)} - {*listed} for word in words}
        able = _without_none([word for word in words if not lacking[word]])
        if _kinds(able) >= _kinds(words) - _kinds(filter(_is_none, words)):
            kept.append("-".join(able))
        if any(lacking.values()):
            names = sorted({name for several in lacking.values() for name in several})
            left.append(Left(key, "-".join(words), tuple(names)))
    own = "!" if text.strip().endswith("!") else ""
    return (f"{','.join(kept)}{own}" if kept else "", tuple(left))


def _used(value: Configuration) -> frozenset[tuple[str, str]]:
    """Return the options that connections have, their own or that of all."""
    found = [{**value.defaults, **options} for options in value.connections.values()]
    return frozenset((key, options[key]) for options in found for key in KEYS if key in options)


def _singles(text: str) -> list[list[str]]:
    return [one.split("-") for one in without_suffix("".join(text.split()), "!").split(",")]


def _kinds(words: Iterable[str]) -> frozenset[str]:
    return frozenset(known.kind for word in words if (known := proposals.algorithm(word)))


def _without_none(words: Collection[str]) -> list[str]:
    """Return the words without an additional exchange that can be none alone: 5.9 knows no such word."""
    kinds = {word: known.kind for word in words if (known := proposals.algorithm(word))}
    some = {kinds[word] for word in kinds if not _is_none(word)}
    return [
        word for word in words if not _is_none(word) or kinds[word] in some or kinds[word] == KEY_EXCHANGE
    ]


def _is_none(word: str) -> bool:
    known = proposals.algorithm(word)
    return known is not None and known.name == "KE_NONE"


def _names(key: str, words: Collection[str], word: str) -> tuple[str, ...]:
    """Return what charon has to list for a word of a proposal."""
    known = proposals.algorithm(word)
    if known is None or _is_none(word) or known.kind == SEQUENCE_NUMBERS:
        return ()
    if known.kind.startswith(KEY_EXCHANGE):
        return (proposals.listed(known), *((ADDITIONAL,) if known.kind != KEY_EXCHANGE else ()))
    if key == "esp":
        return ()
    derived = proposals.derived(known) if known.kind == INTEGRITY and PRF not in _kinds(words) else ()
    return (proposals.listed(known), *derived)


# What SAs have --------------------------------------------------------------------------------

_POST_QUANTUM = ("ML_KEM_", "NTRU_", "NEWHOPE_")


def post_quantum(shown: str) -> Optional[bool]:
    """Say whether the keys of an SA came of an exchange that a quantum computer does not break.

    ``shown`` is its proposal as charon shows it; None where there is none.
    """
    parts = [
        part.partition("_")[2] if part[:2] == "KE" and part[2:3].isdigit() else part
        for part in shown.split("/")
    ]
    return any(part.startswith(_POST_QUANTUM) for part in parts) if shown else None
