"""The way back from an emergency stop: holds lifted, the service started, everything brought up at once.

This host starts what it is the initiator of as soon as charon has it and, a little later, what its peers
should have started and did not: their keepers ask a host that was held only every few minutes. What it starts
for a peer it ends again where that does not answer, lest there are two once both reach each other. Nothing
waits for a peer; what did not come up by the deadline is told with the reason that charon gave.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from .. import owner, paths
from ..answer import Answer, counted
from ..charon import reasons
from ..charon.charonlog import Log
from ..errors import CharonError, HostIPsecError
from ..health import repair
from ..health.look import Look, judged
from ..health.report import ADDRESSLESS, CARRYING, REFUSED, ConnectionHealth
from ..model import START, Charon, Connection, Kernel
from ..store import hold, present
from ..store.hold import Command, Lift, OverruledError, Scope
from ..system import service
from . import orders, starting, strangers
from .host import CALL, Host

TURN = 8.0  # seconds, after which this host starts what its peers should have started
AGAIN = 5.0  # seconds, after which it starts anew what a peer refused
KNOCK = 4.0  # seconds that a peer has to answer where this host starts what the peer should have started
SETTLE = 1.0  # seconds that the starter has to start what it just loaded; two who start it make two IKE SAs
_POLL = 0.1


class Up(NamedTuple):
    """What came up and what did not."""

    connections: tuple[ConnectionHealth, ...] = ()
    lifted: bool = False  # whether a hold was there
    still_held: str = ""  # in words
    seconds: float = 0.0
    waited: bool = True  # False: the states are those of the moment
    problems: tuple[str, ...] = ()
    overruled: str = ""  # the later command of the fleet that counts instead
    later: Optional[float] = None  # from when on that counts, in seconds since 1970
    notes: tuple[str, ...] = ()  # what else is worth knowing, sentences
    ahead: str = ""  # that the command came with a time ahead of this host's clock

    @property
    def trouble(self) -> tuple[ConnectionHealth, ...]:
        """Return the connections that are not as they should be."""
        return tuple(row for row in self.connections if not _good(row))

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is up; not waiting for it, whether nothing was refused."""
        return not self.problems and not self.overruled and not (self.waited and self.trouble)

    def answer(self) -> Answer:
        """Return it in the shape that all verbs answer in."""
        own = {
            "overruled": self.overruled,
            "later": self.later,
            "ahead": self.ahead,
            "seconds": round(self.seconds, 2),
            "lifted": self.lifted,
            "held": self.still_held,
        }
        rows = {row.name: _plain(row) for row in self.connections}
        notes = (self.ahead, *self.notes) if self.ahead else self.notes
        return Answer(self.ok, self.sentence, rows, self.problems, notes, own)

    @property
    def sentence(self) -> str:
        """Sum up."""
        if self.overruled:
            return self.overruled
        number = len(self.connections) - len(self.trouble)
        if not self.waited:
            return f"{counted(len(self.connections))} started; {number} up so far"
        return f"{number} of {counted(len(self.connections))} up in {self.seconds:.1f} s"


def _plain(row: ConnectionHealth) -> dict[str, object]:
    names = ("peer", "family", "stage", "initiator", "state", "reason", "cause")
    return {**{name: getattr(row, name) for name in names}, "up": _good(row)}


def _good(row: ConnectionHealth) -> bool:
    """Whether a connection is up; a duplicate or a silent peer is another matter."""
    return row.ok or row.state in CARRYING


def up(
    connections: Sequence[Connection],
    scope: Scope,
    who: str,
    deadline: float = paths.UP_DEADLINE,
    wait: bool = True,
    command: Optional[Command] = None,
    host: Optional[Host] = None,
) -> Up:
    """Lift the hold of the connections in ``scope`` and bring them up.

    ``connections`` are all of this host. Without ``wait`` it returns as soon as they are started; the keeper
    starts what was missed. ``command`` is what the fleet was told: where a later one was obeyed already
    nothing is done. Raises NothingMeantError for a filter that no connection passes.
    """
    host = host or Host()
    orders.something(scope, connections, host.holds())
    return _Comeback(connections, scope, who, deadline, wait, command, host).run()


class _Comeback:
    """One comeback on its way."""

    def __init__(
        self,
        connections: Sequence[Connection],
        scope: Scope,
        who: str,
        deadline: float,
        wait: bool,
        command: Optional[Command],
        host: Host,
    ) -> None:
        """Start the clock."""
        self.begin = host.clock()
        self.every, self.scope, self.who = connections, scope, who
        self.deadline, self.wait, self.command, self.host = deadline, wait, command, host
        self.overruled = self.ahead = ""
        self.later: Optional[float] = None
        self.log = Log()
        self.listening = False
        self.fresh: frozenset[str] = frozenset()  # connections that the starter loads now, and starts itself
        self.loaded_at: dict[str, float] = {}  # connection -> when it was seen loaded first
        self.started: dict[str, float] = {}  # connection -> when it was started last
        self.called: dict[str, float] = {}  # connection -> since when somebody calls by its peer's address
        self.turned: set[str] = set()  # of what was started, that which the peer should have
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.look: Optional[Charon] = None
        self.wanted = scope.select(connections)
        self.meant = present.meant()
        self.absent = host.absent(self.wanted)

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self.host.clock() - self.begin

    def run(self) -> Up:
        """Lift, start, wait."""
        before = self.host.holds()
        held = hold.reasons(before, self.wanted, self.host.now())
        self.fresh = frozenset(one.name for one in self.wanted if one.stage == START and one.name in held)
        lift = Lift(self.who, self.host.now(), self.scope)
        self.ahead = orders.ahead(self.command, self.host.now())
        try:
            self.host.lift(lift, self.every, self.command)
            if not self.every:
                return self._nothing(bool(before))
            self._load()
        except OverruledError as error:
            self.overruled, self.later = str(error), error.later
            return self._result(lifted=False)
        except HostIPsecError as error:
            self.problems.append(str(error))
            self._glance()
            return self._result(bool(before))
        self._guard()
        while True:
            self._step()
            done = self._all_up() if self.wait else self._all_loaded()
            if done or self.elapsed > self.deadline or self._held_again():
                self._glance()
                self._end_turns()
                return self._result(bool(before))
            self.host.sleep(_POLL)

    def _nothing(self, lifted: bool) -> Up:
        """Return what there is to say of a host without connections: there is no service to start."""
        self.notes.append(orders.UNRECORDED)
        self.problems += strangers.said(self.host)
        return self._result(lifted)

    def _guard(self) -> None:
        try:
            self.host.guard(self.every)
        except HostIPsecError as error:
            self.problems.append(f"what is in the clear may pass: {error}")

    def _load(self) -> None:
        if self.host.pids(service.STARTER):
            self._listen()
            self.host.update(CALL)
        else:
            self.host.start(CALL)

    def _listen(self) -> None:
        if not self.listening:
            self.listening = True
            self.host.follow(self.log, max(0.1, self.deadline - self.elapsed))

    def _step(self) -> None:
        """Look, and start what is loaded and missing."""
        self._glance()
        if self.look is None:
            return
        self._listen()
        self._end(repair.overtaken(self.wanted, self.look))
        self._end_turns(KNOCK)
        if not self._due(self.look):
            return
        try:
            self.look, names, refused, at = starting.start(self._due, self.wanted, self.host)
        except CharonError:
            self.look = None
            return
        begun = {*names} - {*refused}
        self.started.update(dict.fromkeys(begun, at - self.begin))
        self.turned.update(one.name for one in self.wanted if one.name in begun and not one.initiator)

    def _glance(self) -> None:
        try:
            self.look = self.host.observe(max(0.2, min(CALL, self.deadline - self.elapsed)))
        except CharonError:
            self.look = None

    def _end_turns(self, patience: float = 0.0) -> None:
        """End what this host began in the stead of a peer that does not answer: to go on is the peer's."""
        over = {name for name in self.turned if self.elapsed - self.started[name] >= patience}
        waiting = repair.unanswered(self.wanted, self.look) if self.look else {}
        self._end([number for name, ids in waiting.items() if name in over for number in ids])

    def _end(self, ids: Sequence[int]) -> None:
        with contextlib.suppress(CharonError):
            self.host.terminate(ids)

    def _due(self, look: Charon) -> tuple[str, ...]:
        """Return what is to be started now: loaded, without an SA, not started just before, and its turn."""
        loaded = {one.name for one in look.connections}
        for name in loaded:
            self.loaded_at.setdefault(name, self.elapsed)
        turn = TURN < self.elapsed < self.deadline - KNOCK  # so that it can be ended in time
        there = self._there(look)
        return tuple(
            one.name
            for one in self.wanted
            if one.name in loaded
            and (one.name not in self.fresh or self.elapsed - self.loaded_at[one.name] >= SETTLE)
            and one.stage in repair.STARTED
            and (one.initiator or turn)
            and one.name not in there
            and self.elapsed - self.started.get(one.name, -TURN) >= (AGAIN if one.initiator else TURN)
        )

    def _there(self, look: Charon) -> frozenset[str]:
        """Return the connections that have an SA; half of one that gets no further anybody can send."""
        named = owner.present(self.wanted, (sa for sa in look.ike_sas if sa.name != owner.UNNAMED))
        called = owner.present(self.wanted, look.ike_sas) - named
        self.called = {name: self.called.get(name, self.elapsed) for name in called}
        return named | {name for name, since in self.called.items() if self.elapsed - since < KNOCK}

    def _rows(self, kernel: Optional[Kernel]) -> tuple[ConnectionHealth, ...]:
        self.absent = self.host.absent(self.wanted) if self.absent else {}  # it may have come since
        seen = Look(
            self.wanted, self.host.now(), self.look, kernel, holds=self.host.holds(), meant=self.meant
        )
        return judged(seen._replace(absent=self.absent)).managed

    def _kernel(self) -> Optional[Kernel]:
        """Return one look at the kernel; without one, charon's word is all there is to judge by."""
        try:
            return self.host.kernel(max(0.2, min(CALL, self.deadline - self.elapsed)))
        except HostIPsecError:
            return None

    def _all_up(self) -> bool:
        """Say whether all are up: by charon's word, and once it says so by the kernel's."""
        return self.look is not None and self._good(None) and self._good(self._kernel())

    def _good(self, kernel: Optional[Kernel]) -> bool:
        return all(_good(row) for row in self._rows(kernel))

    def _all_loaded(self) -> bool:
        loaded = {one.name for one in self.look.connections} if self.look else set()
        return {one.name for one in self.wanted} <= loaded

    def _held_again(self) -> bool:
        """Whether somebody took a hold meanwhile: then down is what is wanted."""
        return bool(hold.held_names(self.host.holds(), self.wanted, self.host.now()))

    def _result(self, lifted: bool) -> Up:
        held = hold.reasons(self.host.holds(), self.wanted, self.host.now())
        if held and not self.problems and not self.overruled:
            self.problems.append(f"held again {next(iter(held.values()))}")
        rows = self._rows(self._kernel())
        idle = {row.name for row in rows if not _good(row)}
        unrouted = self.host.unrouted([one for one in self.wanted if one.name in idle])
        why = {**reasons.explain(self.log.messages, _by_address(self.wanted)), **unrouted}
        return Up(
            connections=tuple(_explained(row, why.get(row.name, "")) for row in rows),
            lifted=lifted,
            still_held=hold.words(hold.current(self.host.holds(), self.host.now())),
            seconds=self.elapsed,
            waited=self.wait,
            problems=tuple(self.problems),
            overruled=self.overruled,
            later=self.later,
            notes=tuple(self.notes),
            ahead=self.ahead,
        )


def _by_address(connections: Sequence[Connection]) -> Mapping[str, Sequence[str]]:
    """Return the names of connections by the peer's address."""
    found: dict[str, list[str]] = {}
    for one in connections:
        found.setdefault(str(one.right), []).append(one.name)
    return found


def _explained(row: ConnectionHealth, why: str) -> ConnectionHealth:
    """Return the row with charon's own reason, where it is not up."""
    known = _good(row) or row.state in ("held", ADDRESSLESS)
    return row if known or not why else _with_reason(row, why)


def _with_reason(row: ConnectionHealth, why: str) -> ConnectionHealth:
    reason = f"{row.reason}; {why}" if row.state == "no child" else why
    return row._replace(reason=reason, cause=REFUSED if reason == reasons.REFUSED else "")
