"""Down means down: every SA of a host's connections ended within a deadline, proven, and kept so by a hold.

All at once: each SA is asked to end, so that the peers learn of it; what has not ended by the deadline is
ended by force; a charon that does not answer, or that cannot force, is killed. Then charon and the kernel
are asked for what is left of it. A dead peer, a charon that hangs, was killed or is not installed
make no difference to the bound: ``deadline`` plus OVERTIME seconds. How it goes about it is in
:mod:`hostipsec.emergency.phases`; the way back is :mod:`hostipsec.emergency.comeback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from .. import owner, paths
from ..errors import HostIPsecError
from ..kernel import leftovers
from ..model import Connection, IkeSA
from ..store import record
from ..store.hold import Command, Hold, Scope
from . import orders, strangers
from .host import Host
from .phases import Clearing, Course, Ending, KeepingOut, Order
from .stopped import Down, Ended


def down_host(
    scope: Scope,
    hold: Optional[Hold],
    deadline: float = paths.DOWN_DEADLINE,
    wait: bool = True,
    command: Optional[Command] = None,
) -> Down:
    """Do :func:`down` with the connections on record here; a damaged record is no obstacle to a hold.

    Raises NothingMeantError for a filter that no connection passes.
    """
    host = Host()
    try:
        connections = record.read().connections
    except HostIPsecError as error:
        found = down((), scope, hold, deadline, wait, command, host)
        said = f"which connections this host has is not known, so none was ended: {error}"
        return found._replace(problems=(*strangers.said(host), *found.problems, said))
    orders.something(scope, connections, host.holds())
    found = down(connections, scope, hold, deadline, wait, command, host)
    if connections or found.overruled:
        return found
    strange = strangers.said(host)
    return found._replace(
        problems=(*found.problems, *strange), notes=(*found.notes, f"{orders.UNRECORDED}{_held(found)}")
    )


def _held(found: Down) -> str:
    """Say that connections which are yet to come are held."""
    return "; whatever it gets to have stays down until ipsec-global up" if found.held else ""


def down(
    connections: Sequence[Connection],
    scope: Scope,
    hold: Optional[Hold],
    deadline: float = paths.DOWN_DEADLINE,
    wait: bool = True,
    command: Optional[Command] = None,
    host: Optional[Host] = None,
) -> Down:
    """End every SA of the connections in ``scope``, and prove it.

    ``connections`` are all of this host. With ``hold`` they stay down until
    :func:`hostipsec.emergency.comeback.up`; without, peers may bring them back at once. Without ``wait`` the
    SAs are asked to end, and nothing is forced or proven. ``command`` is what the fleet was told: where a
    later one was obeyed already nothing is done, and where one comes meanwhile it counts from then on.
    """
    stop = _Stop(Order(connections, scope, hold, deadline, command, host or Host()))
    stop.keeping_out.begin()
    if not stop.course.overruled:
        if wait:
            stop.ending.end_all()
            stop.clearing.clear(stop.ending.last)
        else:
            stop.ending.ask()
    return stop.proven() if wait else stop.asked()


class _Stop:
    """One emergency stop, with its phases."""

    def __init__(self, order: Order) -> None:
        self.order, self.course = order, Course(order.scope.select(order.every))
        self.keeping_out = KeepingOut(order, self.course)
        self.ending = Ending(order, self.course, self.keeping_out)
        self.clearing = Clearing(order, self.course, self.keeping_out)

    def asked(self) -> Down:
        """Return who was asked to end."""
        asked = owner.shares(self.course.wanted, self.ending.asked.values())
        numbers = {one: len(asked[one.name]) for one in self.course.wanted}
        rows = [Ended(one, number, "asked" if number else "was down") for one, number in numbers.items()]
        return self._down(rows)._replace(proven=False)

    def proven(self) -> Down:
        """Return what became of each connection, and what is left."""
        account = _Account(self.course, self.ending, self.clearing)
        return self._down([account.row(one) for one in self.course.wanted])

    def _down(self, rows: Sequence[Ended]) -> Down:
        course, ending, holder = self.course, self.ending, self.keeping_out.holder
        return Down(
            connections=tuple(rows),
            held=holder,
            seconds=self.order.host.clock() - self.order.begin,
            charon="killed" if ending.killed else "runs" if ending.last else "not running",
            cleared=self.clearing.cleared,
            problems=tuple(course.problems),
            notes=tuple(course.notes),
            lost_hold=self.order.hold is not None and not holder and not course.overruled,
            overruled=course.overruled,
            later=course.later,
            ahead=course.ahead,
        )


class _Account:
    """What was done, and what is left, by the name of the connection."""

    def __init__(self, course: Course, ending: Ending, clearing: Clearing) -> None:
        wanted, last = course.wanted, ending.last
        self.forced, self.killed = ending.forced, ending.killed
        self.asked = owner.shares(wanted, ending.asked.values())
        self.there = owner.shares(wanted, ending.there(last) if last and not course.overruled else ())
        self.loaded = ending.loaded(last) if last else frozenset()
        self.in_kernel = leftovers.shares(wanted, clearing.left)
        self.cleared = leftovers.shares(wanted, clearing.cleared)

    def row(self, one: Connection) -> Ended:
        """Return what became of a connection."""
        asked, left = self.asked[one.name], self._left(one.name)
        return Ended(one, len(asked), "left" if left else self._how(one.name, asked), left)

    def _how(self, name: str, asked: Sequence[IkeSA]) -> str:
        if asked and not self.killed:
            return "forced" if any(sa.uniqueid in self.forced for sa in asked) else "ended"
        if self.cleared[name] and not asked:
            return "cleared"
        return "killed" if self.killed else "was down"

    def _left(self, name: str) -> str:
        """Say what is left; empty for nothing."""
        parts = [f"IKE SA {sa.uniqueid} is {sa.state}" for sa in self.there[name]]
        if name in self.loaded:
            parts.append("charon still has the connection")
        if self.in_kernel[name]:
            parts.append(str(self.in_kernel[name]))
        return "; ".join(parts)
