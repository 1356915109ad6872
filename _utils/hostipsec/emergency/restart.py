"""One connection begun anew, as the fleet asks for it: IKE SAs that were seen are ended, and it is started.

The keeper ends no SA that stands at this end alone: it sees this end only, and a mistake of its look would
take a mesh down. Who asks for this has seen both ends, twice, and says which IKE SAs he saw: what has come up
since is not touched. What is held stays as it is, whoever asks. Nothing is loaded and no hold is lifted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from .. import arguments, owner, paths
from ..answer import Answer, counted
from ..charon import reasons
from ..charon.charonlog import Log
from ..errors import CharonError, HostIPsecError
from ..health import repair
from ..health.look import Look, judged
from ..health.report import CARRYING, ConnectionHealth
from ..model import Charon, Connection, Kernel
from ..store import present, record
from . import starting
from .host import CALL, Host

AGREES = 4.0  # seconds that the peer has to agree to the end of an SA; then it ends without
FORCED = 2.0  # seconds until what is ended by force is gone
AGAIN = 5.0  # seconds, after which what a peer refused is started once more
_POLL = 0.1


class Restarted(NamedTuple):
    """What became of a connection."""

    connection: Connection
    ended: tuple[int, ...] = ()  # ids of IKE SAs
    up: bool = False
    reason: str = ""  # why it was not done, or did not come up
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether what was seen is ended and, where this host starts the connection, it is up."""
        return not self.reason

    @property
    def sentence(self) -> str:
        """Sum up."""
        said = f"{self.connection.name}: {counted(len(self.ended), 'IKE SA')} ended"
        return (
            f"{said}; {self.reason or (f'up in {self.seconds:.1f} s' if self.up else 'its peer starts it')}"
        )

    def answer(self) -> Answer:
        """Return it in the shape that all verbs answer in."""
        one = self.connection
        row = {"peer": one.peer, "family": one.family, "initiator": one.initiator, "ok": self.ok}
        told = {**row, "ended": list(self.ended), "up": self.up, "reason": self.reason}
        return Answer(self.ok, self.sentence, {one.name: told})


def ordered(name: object, ids: object, deadline: Optional[object], host: Optional[Host] = None) -> Restarted:
    """Do what ``ipsec_host.restart`` says. Raises HostIPsecError for arguments that cannot be."""
    if not isinstance(ids, list) or any(isinstance(one, bool) or not isinstance(one, int) for one in ids):
        raise arguments.wrong("ids", ids, "a list of ids of IKE SAs, as ipsec.status says them")
    seconds = arguments.deadline(deadline, paths.UP_DEADLINE)
    every = record.read().connections
    found = [one for one in every if one.name == name]
    if not found:
        raise arguments.nothing_has(
            f"the name {name}", (one.peer for one in every), (one.name for one in every)
        )
    return _Restart(found[0], frozenset(ids), seconds, host or Host()).run()


@dataclass
class _Restart:
    one: Connection
    seen: Collection[int]  # ids of IKE SAs
    deadline: float
    host: Host
    log: Log = field(default_factory=Log)
    ended: tuple[int, ...] = ()
    begun: Optional[float] = None  # when it was started last

    def run(self) -> Restarted:
        """End, and start. Raises CharonError where charon does not answer: nothing was done then."""
        self.begin = self.host.clock()
        refused = self._held() or ("" if self.one.stage in repair.STARTED else "nobody starts a passive one")
        if refused:
            return Restarted(self.one, reason=f"{refused}; nothing was done")
        there = self._there(self.host.observe())
        if self.one.initiator:
            self.host.follow(self.log, self.deadline)
        left = self._end(there)
        self.ended = tuple(sorted(there - left))
        if left:
            numbers = ", ".join(map(str, sorted(left)))
            return self._became(f"IKE SA {numbers} does not end")
        return self._start() if self.one.initiator else self._became()

    def _became(self, reason: str = "", up: bool = False) -> Restarted:
        return Restarted(self.one, self.ended, up, reason, self.host.clock() - self.begin)

    def _held(self) -> str:
        why = self.host.held((self.one,), self.host.now()).get(self.one.name)
        return f"held {why}" if why else ""

    def _there(self, look: Charon) -> frozenset[int]:
        """Return the SAs of the connection that were seen, and are there yet."""
        mine = (sa for sa in look.ike_sas if owner.belongs(sa, self.one))
        return frozenset(sa.uniqueid for sa in mine if sa.uniqueid in self.seen)

    def _end(self, ids: Iterable[int]) -> frozenset[int]:
        """End SAs, with the peer's consent where it gives it; return those that are left."""
        self.host.terminate(ids)
        left = self._left(AGREES)
        if left:
            self.host.terminate(left, force=True)
            left = self._left(FORCED)
        return left

    def _left(self, patience: float) -> frozenset[int]:
        end = self.host.clock() + patience
        while True:
            left = self._there(self.host.glance(CALL))
            if not left or self.host.clock() > end:
                return left
            self.host.sleep(_POLL)

    def _start(self) -> Restarted:
        """Start it, and again what is refused, until it is up."""
        while True:
            row, held = self._step(), self._held()
            if held:
                return self._became(f"{held} meanwhile")
            if row is not None and row.state in CARRYING:
                return self._became(up=True)
            if self.host.clock() - self.begin > self.deadline:
                return self._became(self._why(row))
            self.host.sleep(_POLL)

    def _step(self) -> Optional[ConnectionHealth]:
        try:
            look = self.host.observe(CALL)
            if self._due(look):
                self.begun = self.host.clock()
                starting.start(self._due_now, (self.one,), self.host)
            return self._row(look)
        except CharonError:
            return None

    def _due(self, look: Charon) -> bool:
        waited = self.begun is None or self.host.clock() - self.begun >= AGAIN
        return waited and bool(repair.absent((self.one,), look))

    def _due_now(self, look: Charon) -> tuple[str, ...]:
        """Return what is to be started in the moment in which nobody else of this host starts."""
        return () if self._held() else repair.absent((self.one,), look)

    def _row(self, look: Charon) -> Optional[ConnectionHealth]:
        seen = Look((self.one,), self.host.now(), look, self._kernel(), meant=present.meant())
        return next(iter(judged(seen).managed), None)

    def _kernel(self) -> Optional[Kernel]:
        try:
            return self.host.kernel(CALL)
        except HostIPsecError:
            return None

    def _why(self, row: Optional[ConnectionHealth]) -> str:
        said = reasons.explain(self.log.messages, {str(self.one.right): (self.one.name,)}).get(self.one.name)
        return said or (row.reason or row.state if row else "charon does not answer")
