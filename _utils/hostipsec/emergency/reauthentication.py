"""IKE SAs authenticated anew, with the certificates and options of now, without a gap.

An IKE SA goes on with the configuration that it was made with, also when it is rekeyed; so does a connection
that charon starts again by itself. To start a connection whose configuration differs from that of its IKE SA
makes a new one beside it (``checkout_by_config`` of charon's IKE SA manager compares them); where it is the
same charon leaves it, and is asked to reauthenticate, which makes before it breaks: but by the CHILD options
that the old SA was made with. So other CHILD options (``esp``, ``type``, ``compress``, ``lifetime``,
``only``) have another name, which charon compares as well (:mod:`hostipsec.strongswan.childname`). Where
files of the release before had none, charon asks for a CHILD SA of now in the old IKE SA first, which the
peer, whose own was made by what it had before, refuses: that is told, as the connection is not what it is
configured to be. The old SA is ended here once the new one is up; its peer would do that too, after 10 s
(``uniqueids``).

Why a new one does not come up is what charon says meanwhile. An end that refuses tells the other no reason,
so each host also listens for what it refuses on the connections that it answers, and tells that.

Where the fleet does so at one moment, each host also sees to it that what it sends on the connections that
it answers keeps to the old SA until the other end has the new one (:mod:`pins`): then no packet is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import AbstractSet, Optional

from .. import paths
from ..answer import Answer, counted
from ..charon import reasons
from ..charon.charonlog import Log
from ..errors import CharonError
from ..model import Charon, Connection, IkeSA
from ..store import holdfile, record
from ..store.hold import Scope
from . import orders
from .host import Host
from .pins import PATIENCE, UNCHANGED, Pins

DIFFERENT = 2.0  # seconds after which no new IKE SA means that the configuration is that of the old one
DRAIN = 1.0  # seconds in which packets that left by the old SAs arrive
TAKEN_UP = PATIENCE + 2.0  # seconds after which the other end sends by the new SA, or says nothing
UNPINNED = UNCHANGED + 2.0  # seconds after the moment; charon ends the old SA with the new one, unasked, then
REFUSED = UNPINNED + 3.0  # seconds after which an end that answers has heard of every attempt
_POLL = 0.2
_KEPT = "failed to establish CHILD_SA, keeping IKE_SA"  # as charon says
AS_BEFORE = (
    "authenticated anew; its CHILD SA may go on with the esp, type, compress, lifetime and only of before: "
    "charon takes others where an option of IKE differs as well; change ikelifetime by a minute, and "
    "reauthenticate it"
)


@dataclass(frozen=True)
class Reauthenticated:
    """What became of one connection."""

    connection: Connection
    old: tuple[int, ...]  # ids of its IKE SAs before
    new: tuple[int, ...] = ()  # and those that it has instead; empty where it stays as it was
    reason: str = ""  # why it was not done

    @property
    def ok(self) -> bool:
        """Whether the connection has an IKE SA of now, and only that."""
        return not self.reason

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        one = self.connection
        named = {"peer": one.peer, "family": one.family}
        return {**named, "old": list(self.old), "new": list(self.new), "reason": self.reason}


@dataclass(frozen=True)
class Reauthentication:
    """What became of a host's connections."""

    connections: Sequence[Reauthenticated]  # that this host had to do it with
    meant: int  # number of connections that were asked for, also those that the peers reauthenticate
    late: float = 0.0  # seconds after the moment at which this host heard of it
    answered: Sequence[Reauthenticated] = ()  # what this host refused of what the peers began

    def answer(self) -> Answer:
        """Return it in the shape that all verbs answer in."""
        good, number = sum(one.ok for one in self.connections), len(self.connections)
        done = f"{good} of {counted(number)} reauthenticated" if number else "starts no connection"
        late = f"told {self.late:.0f} s late, so that packets may be lost"
        return Answer(
            ok=bool(self.meant) and good == number,
            sentence=f"{done}; {late}" if self.late > 0 else done,
            connections={one.connection.name: one.as_dict() for one in self.connections},
            notes=(late,) if self.late > 0 else (),
            own={"answered": {one.connection.name: one.as_dict() for one in self.answered}},
        )


def here(scope: Scope, named: bool, deadline: float, wait: Optional[float]) -> Reauthentication:
    """Reauthenticate what this host has in a scope and may have up: what it starts, or all that is ``named``.

    ``wait`` is for :func:`run`: what the peers start is seen to as well then. Raises NothingMeantError for a
    filter that no connection passes.
    """
    every = record.read().connections
    orders.something(scope, every)
    meant = holdfile.free(scope.select(every))
    mine = [one for one in meant if one.initiator or named]
    theirs = [one for one in meant if not one.initiator] if wait is not None else []
    found = _Run(mine, deadline, theirs, wait, Host())
    return Reauthentication(found.run(), len(meant), -(wait or 0.0), found.answers)


def run(
    connections: Sequence[Connection],
    deadline: float = paths.UP_DEADLINE,
    answered: Sequence[Connection] = (),
    wait: Optional[float] = None,
    host: Optional[Host] = None,
) -> tuple[Reauthenticated, ...]:
    """Reauthenticate connections; the old IKE SA of each stays where the new one does not come up.

    ``answered``  connections that the peers reauthenticate at the same moment: what this host sends on them
                  keeps to the old SA until the peer has the new one
    ``wait``      seconds until that moment; None where this host does it alone

    A connection without an IKE SA has nothing to do: it will start with the configuration of now. Raises
    CharonError where charon does not answer, and KernelError where the kernel takes no policy: nothing was
    done then.
    """
    return _Run(connections, deadline, answered, wait, host or Host()).run()


@dataclass
class _Run:
    wanted: Sequence[Connection]
    deadline: float
    answered: Sequence[Connection]
    wait: Optional[float]
    host: Host
    begin: float = field(init=False)
    pins: Pins = field(init=False)
    before: dict[str, tuple[int, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    new: dict[str, tuple[int, ...]] = field(default_factory=dict)
    same: frozenset[str] = frozenset()  # connections of which charon took the old IKE SA for one of now
    as_before: frozenset[str] = frozenset()  # of these, those whose CHILD options differ, without a name
    theirs: dict[str, int] = field(default_factory=dict)  # answered, with an IKE SA -> the newest before
    log: Log = field(default_factory=Log)

    def run(self) -> tuple[Reauthenticated, ...]:
        self.begin = self.host.clock() + (self.wait or 0.0)
        self.pins = Pins(self.host.clock, self.host.set_policies, self.host.delete)
        try:
            look = self.host.observe()
            self.theirs = self._newest(look)
            self.host.follow(self.log, (self.wait or 0.0) + self.deadline + REFUSED)
            self.pins.take(self.answered, look)
            self._watch_until(0.0)
            self._replace()
            self._until(lambda _: not self.pins.there, max(self.deadline, UNPINNED))
            self._until(self._all_answered, REFUSED)
        finally:
            self.pins.release([*self.pins.there])
        return tuple(self._became(one) for one in sorted(self.wanted, key=lambda one: one.name))

    @property
    def answers(self) -> tuple[Reauthenticated, ...]:
        """Return what this host refused of the connections that it answers, and why."""
        why, look = reasons.explain(self.log.messages), self._look()
        newest = self._newest(look) if look else {}
        return tuple(
            Reauthenticated(one, (self.theirs[one.name],), reason=why[one.name])
            for one in self.answered
            if one.name in why and newest.get(one.name, 0) <= self.theirs.get(one.name, -1)
        )

    def _newest(self, look: Charon) -> dict[str, int]:
        """Return the newest established IKE SA of each connection that this host answers."""
        names, found = {one.name for one in self.answered}, dict[str, int]()
        for sa in look.ike_sas:
            if sa.name in names and sa.state == "ESTABLISHED":
                found[sa.name] = max(sa.uniqueid, found.get(sa.name, 0))
        return found

    def _all_answered(self, look: Charon) -> bool:
        """Whether of each that the peers begin there is a newer IKE SA, or a reason why not."""
        newest, why = self._newest(look), reasons.explain(self.log.messages)
        return all(newest.get(name, 0) > old or name in why for name, old in self.theirs.items())

    def _replace(self) -> None:
        look = self.host.observe()
        names = {one.name for one in self.wanted}
        for sa in look.ike_sas:
            if sa.name in names and sa.state == "ESTABLISHED":
                self.before[sa.name] = (*self.before.get(sa.name, ()), sa.uniqueid)
        self.refused.update(self.host.initiate(self.before))
        self._until(lambda look: {*self.before} <= {*self._appeared(look)}, DIFFERENT)
        self._reauthenticate_the_same()
        self._until(lambda look: {*self.before} <= {*self._up(look)}, self.deadline)
        self._end_old()

    def _watch_until(self, moment: float) -> None:
        """Wait, and keep an eye on the pins."""
        while self._elapsed < moment:
            self._look()
            self.host.sleep(_POLL)

    def _until(self, reached: Callable[[Charon], bool], deadline: float) -> Optional[Charon]:
        """Look until something is reached, at most so many seconds after the moment; return the last look."""
        while True:
            look = self._look()
            if (look and reached(look)) or self._elapsed > deadline:
                return look
            self.host.sleep(_POLL)

    @property
    def _elapsed(self) -> float:
        """Seconds since the moment; negative before it."""
        return self.host.clock() - self.begin

    def _look(self) -> Optional[Charon]:
        try:
            look = self.host.observe()
        except CharonError:
            return None  # busy: the next look tells
        self.pins.watch(look, self._elapsed)
        return look

    def _newer(self, look: Charon) -> list[IkeSA]:
        return [
            sa for sa in look.ike_sas if sa.name in self.before and sa.uniqueid > max(self.before[sa.name])
        ]

    def _appeared(self, look: Charon) -> Collection[str]:
        return {sa.name for sa in self._newer(look)}

    def _up(self, look: Charon) -> Collection[str]:
        """Return the connections that have a new IKE SA with a CHILD SA in use."""
        self.new = {}
        for sa in self._newer(look):
            if sa.state == "ESTABLISHED" and any(child.state == "INSTALLED" for child in sa.children):
                self.new[sa.name] = (*self.new.get(sa.name, ()), sa.uniqueid)
        return self.new

    def _reauthenticate_the_same(self) -> None:
        look = self._look()
        appeared = self._appeared(look) if look else self.before
        if self.wait is not None and not {*self.before} <= {*appeared}:
            self._watch_until(UNPINNED)
        same = {max(ids): name for name, ids in self.before.items() if name not in appeared}
        kept = {message.connection for message in self.log.messages if _KEPT in message.text}
        self.same = frozenset(same.values())
        self.as_before = self.same & {*kept, *(self._doubled(look) if look else ())}
        why = self.host.reauthenticate(same)
        self.refused.update({same[number]: text for number, text in why.items()})

    def _end_old(self) -> None:
        old = [number for name in self.new for number in self.before[name]]
        if old and self.wait is not None:
            self._until(self._taken_up, self._elapsed + TAKEN_UP)
        if old:
            self._watch_until(self._elapsed + DRAIN)
        self.host.terminate(old)
        look = self._until(
            lambda look: not {*old} & {sa.uniqueid for sa in look.ike_sas}, self._elapsed + self.deadline
        )
        self.as_before |= self.same & self._doubled(look) if look else frozenset()  # the second comes later

    def _doubled(self, look: Charon) -> AbstractSet[str]:
        """Return the connections of which an IKE SA has the CHILD SA of before, and beside it one of now."""
        return {
            sa.name
            for sa in look.ike_sas
            if sum(child.name == sa.name and child.state == "INSTALLED" for child in sa.children) > 1
        }

    def _taken_up(self, look: Charon) -> bool:
        """Whether the other ends send by every new SA."""
        ids = {number for numbers in self.new.values() for number in numbers}
        children = [child for sa in look.ike_sas if sa.uniqueid in ids for child in sa.children]
        return all(child.packets_in for child in children)

    def _became(self, one: Connection) -> Reauthenticated:
        old, new = self.before.get(one.name, ()), self.new.get(one.name, ())
        if not old:
            return Reauthenticated(one, old, reason="is not established")
        left = AS_BEFORE if one.name in self.as_before else ""
        return Reauthenticated(one, old, new, left if new else self._why(one.name))

    def _why(self, name: str) -> str:
        said = self.refused.get(name) or reasons.explain(self.log.messages).get(name)
        return said or f"no new IKE SA within {self.deadline:g} s; see the log"
