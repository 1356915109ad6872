"""Why a connection did not come up, from what charon said meanwhile."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from . import meanings
from .meanings import FOLLOWS

REFUSED, IGNORES = meanings.REFUSED, meanings.IGNORES
_NONE: Mapping[str, Collection[str]] = {}
_WORDS = re.compile(r"[^\s,]+")


class Message(NamedTuple):
    """What charon said of an IKE SA: ``connection`` is its name, empty where it has none yet."""

    connection: str
    text: str


def explain(messages: Iterable[Message], peers: Mapping[str, Collection[str]] = _NONE) -> dict[str, str]:
    """Return ``{connection: why it is not up}``, each from the last message that tells a reason.

    What only follows from something said before, as that no certificate is trusted after what is wrong with
    it, does not take its place. ``peers`` are the names of connections by the peer's address: before an IKE
    SA has a connection charon tells the address alone, or, of what it refuses to everybody, not even that.
    """
    found: dict[str, tuple[int, str]] = {}
    for message in messages:
        rank, meaning = _read(message.text)
        for name in _concerned(message, peers) if meaning else ():
            if rank != FOLLOWS or found.get(name, (FOLLOWS, ""))[0] <= FOLLOWS:
                found[name] = (rank, meaning)
    return {name: meaning for name, (_, meaning) in found.items()}


def meaning_of(text: str) -> str:
    """Return what a message of charon means for the connection; empty where it is no trouble."""
    return _read(text)[1]


def _read(text: str) -> tuple[int, str]:
    for pattern, sentence, rank in meanings.MEANINGS:
        fits = re.search(pattern, text)
        if fits:
            groups = {key: value or "" for key, value in fits.groupdict().items()}
            return rank, " ".join(sentence.format_map(groups).split())
    return FOLLOWS, ""


def _concerned(message: Message, peers: Mapping[str, Collection[str]]) -> Collection[str]:
    """Return the connections that a message is about."""
    if message.connection:
        return (message.connection,)
    for word in _WORDS.findall(message.text):
        for address in word.split("..."):
            if address in peers:
                return peers[address]
    everybody = "hitting IKE_SA limit" in message.text
    return tuple(name for names in peers.values() for name in names) if everybody else ()
