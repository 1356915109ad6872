"""Down, up and reauthenticate, as an operator orders them of one host: arguments checked first, then done."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Optional

from .. import arguments, paths
from ..errors import HostIPsecError
from ..model import Connection
from ..store import record
from . import comeback, orders, reauthentication, stop
from .comeback import Up
from .reauthentication import Reauthentication
from .stopped import Down


def down(
    more: Sequence[object],
    reason: object,
    deadline: Optional[object],
    hold: bool,
    peer: Optional[object],
    connection: Optional[object],
    who: object,
    expires: Optional[object],
    wait: bool,
    asked: Optional[object],
    now: datetime,
) -> Down:
    """Do what ``ipsec.down`` says. Raises HostIPsecError for arguments that cannot be."""
    meant, why = orders.scope(peer, connection), orders.reason(more, reason, _recorded())
    taking = orders.hold(why, who, meant, expires, now) if hold else None
    seconds = arguments.deadline(deadline, paths.DOWN_DEADLINE)
    return stop.down_host(meant, taking, seconds, wait, orders.command("down", asked, who))


def _recorded() -> tuple[Connection, ...]:
    """Return what is on record here; a record that is damaged keeps nobody from a stop."""
    try:
        return record.read().connections
    except HostIPsecError:
        return ()


def up(
    deadline: Optional[object],
    peer: Optional[object],
    connection: Optional[object],
    who: object,
    wait: bool,
    jitter: object,
    asked: Optional[object],
    now: datetime,
) -> Up:
    """Do what ``ipsec.up`` says. Raises HostIPsecError for arguments that cannot be, and a damaged record."""
    meant, command = orders.scope(peer, connection), orders.command("up", asked, who)
    seconds = arguments.deadline(deadline, paths.UP_DEADLINE)
    delay = random.uniform(0, arguments.seconds("jitter", jitter, 0, 600))  # noqa: S311  spreads load only
    every = record.read().connections
    time.sleep(delay)
    return comeback.up(every, meant, str(who), seconds, wait, command)


def reauthenticate(
    deadline: Optional[object], peer: Optional[object], connection: Optional[object], at: Optional[object]
) -> Reauthentication:
    """Do what ``ipsec.reauthenticate`` says. Raises HostIPsecError for arguments that cannot be."""
    seconds, now = arguments.deadline(deadline, paths.UP_DEADLINE), time.time()
    wait = None if at is None else arguments.seconds("at", at, round(now) - 60, round(now) + 600) - now
    named = (peer, connection) != (None, None)
    return reauthentication.here(orders.scope(peer, connection), named, seconds, wait)
