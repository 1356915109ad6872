"""What an operator orders, from the arguments of a command: which connections, which hold, in whose name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Optional

from .. import arguments
from ..errors import HostIPsecError, NothingMeantError
from ..model import Connection
from ..store.hold import EVERY, NO_REASON, Command, Decisions, Hold, Obeyed, Scope, counted
from ..strongswan import durations

UNRECORDED = (
    "no connections are recorded on this host: state ipsec was never applied here, or its record is lost"
)


def scope(peer: Optional[object], connection: Optional[object]) -> Scope:
    """Return the connections that two shell patterns mean; without them, every one."""
    return Scope(*(EVERY if one is None else str(one) for one in (peer, connection)))


def something(meant: Scope, connections: Sequence[Connection], decisions: Decisions = ()) -> None:
    """Refuse a filter that no connection passes. Raises NothingMeantError, which says what there is.

    One that somebody holds by, of whatever time, can be lifted.
    """
    if meant.whole or meant.select(connections) or any(one.scope == meant for one in decisions):
        return
    if not connections:
        raise NothingMeantError(f"no connection has {meant}: {UNRECORDED}; nothing was done")
    raise arguments.nothing_has(meant, (one.peer for one in connections), (one.name for one in connections))


def reason(more: Sequence[object], named: object, connections: Sequence[Connection]) -> object:
    """Return why a stop is ordered: what is named so, or the one word ``more`` that has no name.

    Raises HostIPsecError where that word is what peers or connections here are called: whoever means these
    would end every connection.
    """
    if not more:
        return named
    word = str(more[0])
    if len(more) > 1 or named:
        raise HostIPsecError(f"{_listed(more)}: which argument is it? say it as NAME=VALUE; nothing was done")
    called = {name for one in connections for name in (one.peer, one.peer.partition(".")[0], one.name)}
    if word != EVERY and any(fnmatchcase(name, word) for name in called):
        raise HostIPsecError(
            f"{word}: peers or connections here are called so; say peer= or connection=: without a name it "
            "is the reason why all are to end (reason=); nothing was done"
        )
    return word


def _listed(words: Sequence[object]) -> str:
    return ", ".join(map(str, words))


def hold(reason: object, who: object, meant: Scope, expires: Optional[object], now: datetime) -> Hold:
    """Return the hold to be taken; ``expires`` is a time from now, as ``30m``."""
    until = None if expires is None else _after(expires, now)
    return Hold(str(who), now, " ".join(str(reason).split()) or NO_REASON, until, meant)


def _after(span: object, now: datetime) -> datetime:
    seconds = durations.parse(str(span))
    try:
        if seconds:
            return now + timedelta(seconds=seconds)
    except OverflowError:  # beyond the year 9999
        pass
    raise arguments.wrong("expires", span, f"{durations.ALLOWED}, more than 0")


def ahead(given: Optional[Command], now: datetime) -> str:
    """Say that a command came with a time that lies ahead of the clock; empty where it did not."""
    found = counted(Obeyed(), given, now.timestamp())
    return found.warning if found else ""


def command(verb: str, asked: Optional[object], who: object) -> Optional[Command]:
    """Return what the fleet was told, None where only this host was."""
    return None if asked is None else Command(verb, arguments.moment("asked", asked), str(who))
