"""What an operator orders, from the arguments of a command: which connections, which hold, in whose name."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Optional

from .. import arguments
from ..store.hold import EVERY, NO_REASON, Command, Hold, Scope
from ..strongswan import durations


def scope(peer: Optional[object], connection: Optional[object]) -> Scope:
    """Return the connections that two shell patterns mean; without them, every one."""
    return Scope(str(peer or EVERY), str(connection or EVERY))


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


def command(verb: str, asked: Optional[object], who: object) -> Optional[Command]:
    """Return what the fleet was told, None where only this host was."""
    return None if asked is None else Command(verb, arguments.moment("asked", asked), str(who))
