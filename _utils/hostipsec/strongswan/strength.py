"""What algorithms are worth: those that protect nothing, and those that are broken by their age.

The first are refused in the pillar, the second need a word there for each (``ipsec:weak``). Whatever it
says, an SA is judged by what it has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from ..affixes import without_suffix
from . import algorithms, proposals
from .proposals import ENCRYPTION, INTEGRITY, KEY_EXCHANGE, KEYWORDS, PRF, Algorithm, Fault

_WEAK = frozenset(algorithms.WEAK.split())
# the words of the pillar that allow them, each with the names of what it allows
WORDS: Mapping[str, frozenset[str]] = {
    word: frozenset((one.name, *proposals.derived(one)))
    for word, one in KEYWORDS.items()
    if one.name in _WEAK
}
_SHOWN: Mapping[str, Algorithm] = {proposals.shown(one): one for one in KEYWORDS.values()}
_EXCHANGES = 3  # from there on, what a proposal leaves to be chosen are key exchanges
_OF_ESP = "ESN"  # beside the algorithms, as charon shows a proposal of ESP


def faults(text: str, allowed: Collection[str]) -> Iterator[Fault]:
    """Yield what protects nothing in the text of option ``ike`` or ``esp``, and what is broken by its age.

    A single choice of it is one that the peer may take. ``allowed`` are words of the pillar.
    """
    taken = named(allowed)
    for single in without_suffix(text.strip(), "!").split(","):
        for word in (word.strip() for word in single.split("-")):
            known = proposals.algorithm(word)
            if known and known.name in algorithms.WORTHLESS:
                worth = algorithms.WORTHLESS[known.name]
                yield Fault(
                    f"{single.strip()!r} has {word}, which {worth}", "one that does, such as aes128gcm16"
                )
            elif known and known.name in _WEAK - taken:
                yield _weak(single.strip(), word)


def _weak(single: str, word: str) -> Fault:
    return Fault(
        f"{single!r} has {word}, which is broken by its age",
        "one that is not, such as aes128gcm16-ecp384bp; to go on with it all the same: "
        f"weak: [{', '.join(words(word))}], beside 'connection'",
    )


def named(words: Collection[str]) -> frozenset[str]:
    """Return the names of the algorithms that these words allow."""
    return frozenset(name for word in words for name in WORDS.get(word, ()))


def words(*texts: str) -> tuple[str, ...]:
    """Return the words of what is broken by its age in texts of options ``ike`` and ``esp``."""
    found = (re.sub("^ke[1-7]_", "", word) for text in texts for word in re.split("[-,! ]+", text))
    return tuple(sorted({word for word in found if word in WORDS}))


def wrong(shown: str, allowed: Collection[str], protocol: str = "esp") -> str:
    """Say what is wrong with the proposal of an SA, as charon shows it; empty for nothing, and for none.

    ``allowed`` are words of the pillar. What charon calls by a name that nobody knows is not trusted.
    """
    return _wrong_of(shown, frozenset(allowed), protocol)


@lru_cache(maxsize=256)  # the SAs of a host have a few proposals
def _wrong_of(shown: str, allowed: frozenset[str], protocol: str) -> str:
    parts = [part for part in shown.split("/") if part]
    found = [_SHOWN.get(_plain(part)) for part in parts if part != _OF_ESP]
    if None in found:
        return f"{shown} is not known"
    return _wrong([one for one in found if one], allowed, protocol) if parts else ""


def _plain(part: str) -> str:
    """Return the name of a key exchange without its number: ``KE1_ML_KEM_768``."""
    head, _, rest = part.partition("_")
    return rest if head[:2] == "KE" and head[2:].isdigit() else part


def _wrong(found: Iterable[Algorithm], allowed: Collection[str], protocol: str) -> str:
    every = tuple(found)
    taken = named(allowed)
    for one in every:
        if one.name in algorithms.WORTHLESS:
            return f"{proposals.shown(one)} {algorithms.WORTHLESS[one.name]}"
        if one.name in _WEAK - taken:
            return f"{proposals.shown(one)} is broken by its age"
    kinds = {one.kind for one in every}
    if ENCRYPTION not in kinds:
        return "it has no cipher"
    aead = any(proposals.is_aead(one) for one in every if one.kind == ENCRYPTION)
    if not aead and INTEGRITY not in kinds:
        return "it has no integrity algorithm"
    return "" if protocol == "esp" or PRF in kinds else "it has no PRF"


@lru_cache(maxsize=256)  # the SAs of a host have a few proposals
def configured(shown: str, text: str, protocol: str = "esp") -> bool:
    """Say whether a proposal, as charon shows it, is one of those that option ``ike`` or ``esp`` leaves.

    The first CHILD SA has no key exchange. Without a final mark charon adds proposals of its own.
    """
    if not shown or not text.strip().endswith("!"):
        return True
    parts = {part for part in shown.split("/") if part}
    first = protocol == "esp" and not exchanged(shown)
    return any(_fits(parts, proposals.choices(one, protocol), first) for one in proposals.parse(text))


def _fits(parts: Collection[str], offered: Sequence[Sequence[str]], first: bool) -> bool:
    needed = offered[:_EXCHANGES] if first else offered
    return all(any(one in parts or not one for one in kind) for kind in needed if kind) and {*parts} <= {
        one for kind in (*offered, (_OF_ESP,)) for one in kind
    }


def exchanged(shown: str) -> bool:
    """Say whether a proposal, as charon shows it, has a key exchange."""
    found = [_SHOWN.get(_plain(part)) for part in shown.split("/")]
    return any(one is not None and one.kind == KEY_EXCHANGE for one in found)
