"""What algorithms are worth: those that protect nothing, and those that are broken by their age.

The first are refused in the pillar, the second need a word there for each (``ipsec:weak``). Whatever it
says, an SA is judged by what it has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from . import algorithms, proposals
from .proposals import ENCRYPTION, INTEGRITY, KEYWORDS, PRF, Algorithm, Fault

_WEAK = frozenset(algorithms.WEAK.split())
# the words of the pillar that allow them, each with the names of what it allows
WORDS: Mapping[str, frozenset[str]] = {
    word: frozenset((one.name, *proposals.derived(one)))
    for word, one in KEYWORDS.items()
    if one.name in _WEAK
}
_SHOWN: Mapping[str, Algorithm] = {proposals.shown(one): one for one in KEYWORDS.values()}
_OF_ESP = "ESN"  # beside the algorithms, as charon shows a proposal of ESP


def faults(text: str, allowed: Collection[str]) -> Iterator[Fault]:
    """Yield what protects nothing in the text of option ``ike`` or ``esp``, and what is broken by its age.

    A single choice of it is one that the peer may take. ``allowed`` are words of the pillar.
    """
    named = _named(allowed)
    for single in text.strip().removesuffix("!").split(","):
        for word in (word.strip() for word in single.split("-")):
            known = proposals.algorithm(word)
            if known and known.name in algorithms.WORTHLESS:
                worth = algorithms.WORTHLESS[known.name]
                yield Fault(
                    f"{single.strip()!r} has {word}, which {worth}", "one that does, such as aes128gcm16"
                )
            elif known and known.name in _WEAK - named:
                yield _weak(single.strip(), word)


def _weak(single: str, word: str) -> Fault:
    plain = word.partition("_")[2] if word.startswith("ke") else word
    return Fault(
        f"{single!r} has {word}, which is broken by its age",
        "one that is not, such as aes128gcm16-ecp384bp; to go on with it all the same: "
        f"weak: [{plain}], beside 'connection'",
    )


def _named(words: Collection[str]) -> frozenset[str]:
    """Return the names of the algorithms that these words allow."""
    return frozenset(name for word in words for name in WORDS.get(word, ()))


def wrong(shown: str, allowed: Collection[str], protocol: str = "esp") -> str:
    """Say what is wrong with the proposal of an SA, as charon shows it; empty for nothing, and for none.

    ``allowed`` are words of the pillar. What charon calls by a name that nobody knows is not trusted.
    """
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
    named = _named(allowed)
    for one in every:
        if one.name in algorithms.WORTHLESS:
            return f"{proposals.shown(one)} {algorithms.WORTHLESS[one.name]}"
        if one.name in _WEAK - named:
            return f"{proposals.shown(one)} is broken by its age"
    kinds = {one.kind for one in every}
    if ENCRYPTION not in kinds:
        return "it has no cipher"
    aead = any(proposals.is_aead(one) for one in every if one.kind == ENCRYPTION)
    if not aead and INTEGRITY not in kinds:
        return "it has no integrity algorithm"
    return "" if protocol == "esp" or PRF in kinds else "it has no PRF"
