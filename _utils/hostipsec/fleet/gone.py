"""Minions that no rule of the pillar has: some may have left it, and have their connections yet.

On a master there are always minions that are off, and minions of which nobody ever made a host of the fleet.
So of those that answer the ones count that have connections, and of those that do not the ones with which
somebody has a connection. Members of another pillar are of another fleet: they are named, and left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Union

from ..answer import Answer
from .answers import Instead
from .asking import Asking, Heard

Foreign = Callable[[Sequence[str]], Collection[str]]
PLACELESS = "has connections, and its record does not say at which site it is; nothing was done there"
NO_SITE = "no site"


def nobody(hosts: Sequence[str]) -> Collection[str]:
    """Return none of some hosts."""
    return ()


class Gone(NamedTuple):
    """The minions that no rule has."""

    hosts: Sequence[str] = ()
    foreign: Foreign = nobody  # returns which of some are members of another pillar than the fleet's
    known: Collection[str] = ()  # those that the pillar has all the same
    places: Sequence[str] = ()  # where not empty, those are meant that are at these sites by their records


def having(asking: Asking, gone: Gone, before: Heard) -> Heard:
    """Ask them what they have; the answers are of those that are meant, and have connections on record.

    ``before`` is what the hosts of the fleet answered: with whom they have connections.
    """
    if before.interrupted:
        return Heard()
    heard = asking.ask(gone.hosts, "ipsec.status", {"configured": True, "known": True})
    there = {host: one for host, one in heard.answers.items() if not outside(one)}
    foreign = frozenset(gone.foreign([host for host in there if host not in gone.known]))
    ours = {host: one for host, one in there.items() if host not in foreign}
    silent = _silent(heard, before, ours)
    return replace(
        heard,
        answers={host: one for host, one in ours.items() if not gone.places or _place(one) in gone.places},
        failed={**heard.without(heard.outdated).failed, **_placeless(gone, ours)},
        silent=silent,
        unanswered=(),  # they were asked, and told nothing
        beside=tuple(sorted({*heard.silent} - {*silent})),
        foreign=tuple(sorted(foreign)),
    )


def _silent(heard: Heard, before: Heard, ours: Mapping[str, Answer]) -> tuple[str, ...]:
    """Return those that said nothing and with whom somebody has a connection."""
    told = (*before.answers.values(), *ours.values())
    named = {row.get("peer") for one in told for row in one.connections.values()}
    return tuple(host for host in heard.silent if host in named)


def _placeless(gone: Gone, ours: Mapping[str, Answer]) -> Mapping[str, str]:
    """Return those of whom it is not known whether they are where hosts are meant."""
    known = not gone.places or NO_SITE in gone.places
    return {} if known else {host: PLACELESS for host, one in ours.items() if _place(one) == NO_SITE}


def _place(answer: Answer) -> str:
    return str(answer.own.get("site") or NO_SITE)


def outside(said: Union[Answer, Instead]) -> bool:
    """Whether a host says that it has no connections of ours: none on record, or not even our modules."""
    if isinstance(said, Instead):
        return said.outdated
    return bool(said.own.get("unrecorded"))
