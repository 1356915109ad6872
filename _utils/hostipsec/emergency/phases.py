"""The three phases of an emergency stop: connections kept out, their SAs ended, and the kernel cleared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from .. import owner
from ..answer import counted
from ..errors import CharonError, HostIPsecError
from ..kernel import leftovers
from ..kernel.leftovers import Leftovers
from ..model import Charon, Connection, IkeSA
from ..store.hold import Command, Hold, OverruledError, Scope, current, words
from ..system import service
from . import orders
from .background import Task, within
from .host import Host

OVERTIME = 1.0  # seconds after the deadline, for force and proof
HOLD_DEADLINE = 2.0  # seconds, for a disk that hangs
_POLL, _POLL_MOST = 0.005, 0.1  # seconds between two looks, at first and at most
_SLOWER = 1.5  # healthy peers answer at once, and each look takes charon's time


class Order:
    """What was asked for, of which host, and since when. Nothing in it changes."""

    def __init__(
        self,
        every: Sequence[Connection],
        scope: Scope,
        hold: Optional[Hold],
        deadline: float,
        command: Optional[Command],
        host: Host,
    ) -> None:
        """Take all connections of the host, and what is meant of them."""
        self.every, self.scope, self.hold, self.command = every, scope, hold, command
        self.deadline, self.host, self.begin = deadline, host, host.clock()

    def until(self, end: float) -> float:
        """Return the seconds until ``end`` seconds after the start."""
        return max(0.05, self.begin + end - self.host.clock())

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.host.clock() >= self.begin + self.deadline


class Course:
    """What is meant, and what is to be said about it, as the phases find out."""

    def __init__(self, wanted: Sequence[Connection]) -> None:
        self.overruled = ""  # by whom: nothing more is done then
        self.later: Optional[float] = None  # from when on that counts, of a command of the fleet
        self.ahead = ""  # that the command came with a time ahead
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.mean(wanted)

    def mean(self, wanted: Sequence[Connection]) -> None:
        """Set which connections are to be down."""
        self.wanted = sorted(wanted, key=lambda one: one.name)
        self.ours = owner.Ours(self.wanted)


class KeepingOut:
    """First: the hold is written, and charon forgets the connections, so that no peer brings them back."""

    def __init__(self, order: Order, course: Course) -> None:
        self.order, self.course, self.host = order, course, order.host
        self.holder = ""  # since when, by whom and why, once that is on disk
        self.unloading = False  # ipsec.conf says that charon is not to have them, and the starter was told
        self._telling: Optional[Task] = None

    def begin(self) -> None:
        """Decide, and begin to tell guard and starter; one who is overruled does nothing."""
        self.course.ahead = orders.ahead(self.order.command, self.host.now())
        try:
            self.holder, why = self._decide()
        except OverruledError as error:
            self.course.overruled, self.course.later = str(error), error.later
            return
        if self.order.hold is None:
            return
        if why:
            self.course.problems.append(f"the hold is not kept: {why}")
            _, why = within(HOLD_DEADLINE, lambda: self.host.ignore(self.course.wanted))
        self._telling = Task(self._tell_guard if why else self._tell_both)

    def finish(self) -> None:
        """Wait until guard and starter were told: before anything is ended, lest it is brought back."""
        if self._telling is not None:
            self._telling.wait(2 * OVERTIME)

    def heed_lift(self) -> None:
        """Leave out what somebody lifted meanwhile: up is wanted there, and nothing more is ended."""
        wanted = self.course.wanted
        if not self.holder or not wanted or self.course.overruled:
            return
        held = self.host.held(self.order.every, self.host.now())
        still = [one for one in wanted if one.name in held]
        if not still:
            self.course.overruled = "the hold was lifted meanwhile: what was not down yet stays up"
        elif len(still) < len(wanted):
            number = len(wanted) - len(still)
            self.course.problems.append(f"lifted meanwhile, and left out: {counted(number)}")
            self.course.mean(still)

    def _decide(self) -> tuple[str, str]:
        """Write the hold and the command; return who holds, and why that is not on disk."""
        hold, command = self.order.hold, self.order.command
        if hold is not None:
            return within(HOLD_DEADLINE, lambda: self._take(hold))
        return within(HOLD_DEADLINE, lambda: self.host.obey(command)) if command else ("", "")

    def _take(self, hold: Hold) -> str:
        now = self.host.now()
        return words(current(self.host.take(hold, self.order.every, now, self.order.command), now))

    def _tell_both(self) -> None:
        guarding = self._begin_guard()
        try:
            self.host.update(OVERTIME)
            self.unloading = True
        except HostIPsecError as error:
            if self.host.pids(service.CHARON):
                self.course.notes.append(str(error))
        self._finish_guard(guarding)

    def _tell_guard(self) -> None:
        self._finish_guard(self._begin_guard())

    def _begin_guard(self) -> Task:
        free = [one for one in self.order.every if one not in self.course.wanted]
        return Task(lambda: self.host.guard(free))

    def _finish_guard(self, guarding: Task) -> None:
        _, why = guarding.wait(OVERTIME)
        if why:
            self.course.problems.append(f"what is in the clear may be blocked: {why}")


class Ending:
    """Second: each SA is asked to end; at the deadline by force, and charon is killed where that fails."""

    def __init__(self, order: Order, course: Course, keeping_out: KeepingOut) -> None:
        self.order, self.course, self.host = order, course, order.host
        self.keeping_out = keeping_out
        self.asked: dict[int, IkeSA] = {}  # by unique id, as they were
        self.forced: frozenset[int] = frozenset()
        self.killed = False
        self.last: Optional[Charon] = None  # charon as last seen; None where it does not run
        self._newest: Optional[int] = None  # without a hold: of the SAs that are meant
        self._shut = False  # whether charon was seen to have forgotten the connections: no peer can bring one

    def ask(self) -> None:
        """Ask all to end, once."""
        if not self._advance() and self.last is None:
            self.course.problems.append("charon does not answer")

    def end_all(self) -> None:
        """Ask until nothing is left; at the deadline by force. A hold that is lifted meanwhile ends it."""
        pause = _POLL
        while not self._advance():
            self.keeping_out.heed_lift()
            if self.course.overruled:
                return
            if self.order.late:
                if not self._force():
                    self._kill()
                return
            self.host.sleep(pause)
            pause = min(_SLOWER * pause, _POLL_MOST)

    def there(self, look: Charon) -> tuple[IkeSA, ...]:
        """Return the SAs that are meant; without a hold those that peers bring back meanwhile are not.

        Nor is half of one, once charon has forgotten the connections: it becomes none, and anybody can send
        it.
        """
        if self._newest is None and self.order.hold is None:
            self._newest = max((sa.uniqueid for sa in look.ike_sas), default=0)
        sas = (sa for sa in look.ike_sas if owner.claimed(sa, self.course.ours))
        meant = (sa for sa in sas if not (self._shut and sa.name == owner.UNNAMED))
        return tuple(sa for sa in meant if self._newest is None or sa.uniqueid <= self._newest)

    def loaded(self, look: Charon) -> frozenset[str]:
        """Return what charon should have forgotten by now."""
        if not self.keeping_out.unloading:
            return frozenset()
        return frozenset(one.name for one in look.connections) & self.course.ours.names

    def _advance(self) -> bool:
        """Look, and ask what is there to end; return whether nothing was there any more."""
        try:
            self.last = self._glance()
            there = self.there(self.last)
            self._ask(there)
            if any(sa.name != owner.UNNAMED for sa in there):
                return False
            return self._none_in(self._observe(self.order.deadline))
        except CharonError:
            self.last = None
            return not self.host.pids(service.CHARON)

    def _glance(self) -> Charon:
        try:
            return self.host.glance(self.order.until(self.order.deadline))
        finally:
            self.keeping_out.finish()

    def _ask(self, sas: Sequence[IkeSA]) -> None:
        """Ask what was not asked yet."""
        new = [sa.uniqueid for sa in sas if sa.uniqueid not in self.asked]
        self.asked.update((sa.uniqueid, sa) for sa in sas)
        if sas:
            self.host.terminate(new, False, self.order.until(self.order.deadline))

    def _observe(self, end: float) -> Charon:
        self.last = self.host.observe(self.order.until(end))
        return self.last

    def _none_in(self, look: Charon) -> bool:
        none = not self.there(look) and not self.loaded(look)
        # from the next look on: of this one the SAs may have been listed before the connections
        self._shut = self.keeping_out.unloading and not self.loaded(look)
        return none

    def _force(self) -> bool:
        """End by force what is left; return whether nothing is left then."""
        if self.last is None:
            return False
        end = self.order.deadline + OVERTIME / 4
        ids = frozenset(sa.uniqueid for sa in self.there(self.last))
        try:
            self.forced = ids - {*self.host.terminate(ids, True, self.order.until(end))}
            return self._none_in(self._observe(end))
        except CharonError:
            self.last = None
            return False

    def _kill(self) -> None:
        """Kill charon, and the starter that would start it with what it read before; both start anew."""
        undead = self.host.kill(self.host.pids(service.CHARON, service.STARTER), OVERTIME / 4)
        self.killed = True
        if undead:
            numbers = ", ".join(map(str, undead))
            self.course.problems.append(f"processes {numbers} of charon cannot be killed")
        else:
            self.last = None
        self.course.notes.append(
            "charon did not do it within the deadline and was killed; its peers were not told, they find out "
            "by dead-peer detection"
        )
        try:
            self.host.restart(OVERTIME / 4)
        except HostIPsecError as error:
            self.course.notes.append(str(error))


class Clearing:
    """Third: what the kernel still has is deleted, and it is asked once more for what is left."""

    def __init__(self, order: Order, course: Course, keeping_out: KeepingOut) -> None:
        self.order, self.course, self.host = order, course, order.host
        self.keeping_out = keeping_out
        self.cleared = self.left = Leftovers()

    def clear(self, last: Optional[Charon]) -> None:
        """Delete, and look again, unless the hold was lifted meanwhile; ``last`` is charon as last seen."""
        self.keeping_out.heed_lift()
        if self.course.overruled:
            return
        end = self.order.deadline + OVERTIME * 0.9
        try:
            self.left = self._found(last, end)
            if self.left:
                self.cleared = self.left
                self.host.delete(self.left.batch(), self.order.until(end))
                self.left = self._found(last, end)
        except HostIPsecError as error:
            self.course.problems.append(f"not proven against the kernel: {error}")
        if self.order.hold is not None and not self.keeping_out.unloading and self.order.scope.whole:
            self._stop_service()

    def _found(self, last: Optional[Charon], end: float) -> Leftovers:
        found = leftovers.leftovers(self.host.kernel(self.order.until(end)), self.course.ours)
        if self.order.hold is None and last is not None:
            return leftovers.besides(found, last, self.course.wanted)
        return found

    def _stop_service(self) -> None:
        """Without ipsec.conf to say it, only a service that does not run keeps the connections down."""
        if not self.host.pids(service.CHARON, service.STARTER):
            return
        try:
            self.host.stop(OVERTIME)
            self.course.notes.append("the service is stopped, until something starts it")
        except HostIPsecError as error:
            self.course.problems.append(f"peers may bring connections back: {error}")
