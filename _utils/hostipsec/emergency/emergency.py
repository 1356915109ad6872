"""Down means down: every SA of a host's connections ended within a deadline, proven, and kept so by a hold.

All at once: each SA is asked to end, so that the peers learn of it; what has not ended by the deadline is
ended by force; a charon that does not answer, or that cannot force, is killed. Then charon and the kernel
are asked for what is left of it. A dead peer, a charon that hangs, was killed or is not installed
make no difference to the bound: ``deadline`` plus GRACE seconds. The way back is
:mod:`hostipsec.emergency.comeback`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import NamedTuple, Optional

from .. import paths
from ..charon import charon
from ..errors import CharonError, HostIPsecError
from ..kernel import guard, kernel
from ..kernel import leftovers as remains
from ..kernel.leftovers import Leftovers
from ..model import Charon, Connection, IkeSA, Kernel
from ..store import holdfile, record
from ..store.hold import Command, Hold, OverruledError, Scope, current, words
from ..system import service

GRACE = 1.0  # seconds for force and proof
HOLD_DEADLINE = 2.0  # seconds, for a disk that hangs
_POLL, _POLL_MOST = 0.005, 0.1  # seconds between two looks, at first and at most
_SLOWER = 1.5  # healthy peers answer at once, and each look takes charon's time
_NOTHING = Leftovers()


class System:
    """The host, as an emergency uses it. Every call has a timeout."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(timezone.utc)

    def clock(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def take(
        self, hold: Hold, connections: Sequence[Connection], now: datetime, command: Optional[Command]
    ) -> str:
        """Write a hold; returns who holds by then, since when and why."""
        return words(current(holdfile.take(hold, connections, now, command), now))

    def obey(self, command: Command) -> None:
        """Note a command that takes no hold."""
        holdfile.obey(command)

    def held(self, connections: Sequence[Connection], now: datetime) -> Collection[str]:
        """Return the names of the connections that are held."""
        return holdfile.held(connections, now)

    def ignore(self, connections: Sequence[Connection]) -> None:
        """Keep connections out of ipsec.conf, without a hold."""
        holdfile.ignore(connections)

    def guard(self, connections: Sequence[Connection]) -> None:
        """Block what is in the clear between this host and the peers of these connections only."""
        guard.apply(holdfile.free(connections))

    def observe(self, timeout: float) -> Charon:
        """Return one look at charon."""
        return charon.observe(timeout)

    def glance(self, timeout: float) -> Charon:
        """Return a look at the IKE SAs alone."""
        return charon.glance(timeout)

    def terminate(self, ids: Iterable[int], force: bool, timeout: float) -> Mapping[int, str]:
        """Ask for the end of IKE SAs."""
        return charon.terminate(ids, force, timeout)

    def update(self, timeout: float) -> None:
        """Have the starter take up ipsec.conf."""
        charon.update(timeout)

    def daemons(self, *names: str) -> tuple[int, ...]:
        """Return the processes of charon, of the starter, or both."""
        return service.pids(*names)

    def kill(self, pids: Iterable[int], timeout: float) -> tuple[int, ...]:
        """Kill processes; returns those that are left."""
        return service.kill(pids, timeout)

    def restart(self, timeout: float) -> None:
        """Start the service anew."""
        service.restart(timeout)

    def stop(self, timeout: float) -> None:
        """Stop the service."""
        service.stop(timeout)

    def kernel(self, timeout: float) -> Kernel:
        """Return one look at the kernel."""
        return kernel.observe(timeout)

    def clear(self, batch: str, timeout: float) -> None:
        """Delete states and policies in the kernel."""
        kernel.delete(batch, timeout)


class Ended(NamedTuple):
    """What became of one connection."""

    connection: Connection
    sas: int = 0  # IKE SAs that were asked to end
    how: str = "was down"  # was down, ended, forced, killed, cleared (in the kernel only), asked, left
    left: str = ""  # what is left of it, in words

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        one = self.connection
        return {"peer": one.peer, "family": one.family, "sas": self.sas, "how": self.how, "left": self.left}


class Down(NamedTuple):
    """What an emergency stop did."""

    connections: tuple[Ended, ...] = ()
    held: str = ""  # since when, by whom, why; empty where no hold was asked for or could be kept
    seconds: float = 0.0
    charon: str = "runs"  # runs, not running, killed
    cleared: Leftovers = _NOTHING  # what only the kernel still had
    problems: tuple[str, ...] = ()  # what is not as asked
    notes: tuple[str, ...] = ()
    lost_hold: bool = False  # asked for, and could not be written
    proven: bool = True  # False: the SAs were asked to end, and nobody waited
    overruled: str = ""  # the later command of the fleet that counts instead

    @property
    def left(self) -> tuple[Ended, ...]:
        """Return the connections of which something is left."""
        return tuple(one for one in self.connections if one.left)

    @property
    def ok(self) -> bool:
        """Whether everything is as asked, and proven."""
        return not self.problems and not self.left and not self.overruled

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "ok": self.ok,
            "overruled": self.overruled,
            "sentence": self.sentence,
            "seconds": round(self.seconds, 2),
            "held": self.held,
            "hold_lost": self.lost_hold,
            "charon": self.charon,
            "connections": {one.connection.name: one.as_dict() for one in self.connections},
            "cleared": {"states": len(self.cleared.states), "policies": len(self.cleared.policies)},
            "problems": list(self.problems),
            "notes": list(self.notes),
        }

    @property
    def sentence(self) -> str:
        """Sum up."""
        if self.overruled:
            return self.overruled
        counts = Counter(one.how for one in self.connections)
        hows = ", ".join(f"{number} {how}" for how, number in sorted(counts.items()) if how != "left")
        number = len(self.connections) - len(self.left)
        if not self.proven:
            asked = sum(one.sas for one in self.connections)
            return f"{asked} IKE SAs of {len(self.connections)} connections asked to end; not proven"
        said = f"{number} of {len(self.connections)} connections down in {self.seconds:.1f} s"
        return f"{said}: {hows}" if hows else said


def stop_host(
    scope: Scope,
    hold: Optional[Hold],
    deadline: float = paths.DOWN_DEADLINE,
    wait: bool = True,
    command: Optional[Command] = None,
) -> Down:
    """Do :func:`down` with the connections on record here; a damaged record is no obstacle to a hold."""
    try:
        return down(record.read(), scope, hold, deadline, wait, command)
    except HostIPsecError as error:
        found = down((), scope, hold, deadline, wait, command)
        said = f"which connections this host has is not known, so none was ended: {error}"
        return found._replace(problems=(*found.problems, said))


def down(
    connections: Sequence[Connection],
    scope: Scope,
    hold: Optional[Hold],
    deadline: float = paths.DOWN_DEADLINE,
    wait: bool = True,
    command: Optional[Command] = None,
    system: Optional[System] = None,
) -> Down:
    """End every SA of the connections in ``scope``, and prove it.

    ``connections`` are all of this host. With ``hold`` they stay down until
    :func:`hostipsec.emergency.comeback.up`; without, peers may bring them back at once. Without ``wait`` the
    SAs are asked to end, and nothing is forced or proven. ``command`` is what the fleet was told: where a
    later one was obeyed already nothing is done, and where one comes meanwhile it counts from then on.
    """
    stop = _Stop(connections, scope, hold, deadline, wait, command, system or System())
    stop.keep_out()
    if stop.overruled:
        return stop.result()
    if wait:
        stop.end_all()
        stop.prove_kernel()
    else:
        stop.ask()
    return stop.result()


class _Stop:
    """One emergency stop on its way."""

    def __init__(
        self,
        every: Sequence[Connection],
        scope: Scope,
        hold: Optional[Hold],
        deadline: float,
        wait: bool,
        command: Optional[Command],
        system: System,
    ) -> None:
        self.begin = system.clock()
        self.every, self.scope, self.hold, self.command = every, scope, hold, command
        self.deadline, self.wait, self.system = deadline, wait, system
        self.overruled = ""
        self.kept = ""  # who holds, once that is on disk
        self.unloading = False  # ipsec.conf says so, and the starter was told
        self.asked: dict[int, str] = {}  # IKE SA -> name of its connection
        self.forced: set[int] = set()
        self.killed = False
        self.limit: Optional[int] = None  # without a hold: the newest SA that is meant
        self.last: Optional[Charon] = None  # charon as last seen; None where it does not run
        self.found = self.cleared = _NOTHING
        self.told: Callable[[float], object] = lambda seconds: None  # waits for guard and starter
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._mean(scope.select(every))

    def left(self, end: float) -> float:
        """Return the seconds until ``end`` seconds after the start."""
        return max(0.05, self.begin + end - self.system.clock())

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.system.clock() >= self.begin + self.deadline

    # keeping them out

    def keep_out(self) -> None:
        """Write the hold, and have charon forget the connections, so that no peer brings them back."""
        try:
            self.kept, why = self._decide()
        except OverruledError as error:
            self.overruled = str(error)
            return
        if self.hold is None:
            return
        if why:
            self.problems.append(f"the hold is not kept: {why}")
            _, why = _within(HOLD_DEADLINE, lambda: self.system.ignore(self.wanted))
        self.told = _begun(lambda: self._tell(load=bool(why)))

    def _tell(self, load: bool) -> None:
        """Tell the guard and, unless they are to ``load`` as before, the starter."""
        free = [one for one in self.every if one not in self.wanted]
        guarded = _begun(lambda: self.system.guard(free))
        if not load:
            try:
                self.system.update(GRACE)
                self.unloading = True
            except HostIPsecError as error:
                if self.system.daemons(service.CHARON):
                    self.notes.append(str(error))
        _, blocked = guarded(GRACE)
        if blocked:
            self.problems.append(f"what is in the clear may be blocked: {blocked}")

    def _decide(self) -> tuple[str, str]:
        """Write the hold and the command; return who holds, and why that is not on disk."""
        taking, command, now = self.hold, self.command, self.system.now()
        if taking is not None:
            return _within(HOLD_DEADLINE, lambda: self.system.take(taking, self.every, now, command))
        return _within(HOLD_DEADLINE, lambda: self.system.obey(command)) if command else ("", "")

    def _lifted(self) -> bool:
        """Whether somebody lifted the hold meanwhile: then up is wanted, and nothing more is ended."""
        if not self.kept or not self.wanted:
            return False
        held = self.system.held(self.every, self.system.now())
        still = [one for one in self.wanted if one.name in held]
        lifted = len(self.wanted) - len(still)
        if not still:
            self.overruled = "the hold was lifted meanwhile: what was not down yet stays up"
        elif lifted:
            self.problems.append(f"{lifted} connections were lifted meanwhile, and are left out")
            self._mean(still)
        return not still

    def _mean(self, wanted: Sequence[Connection]) -> None:
        """Set which connections are to be down."""
        self.wanted = sorted(wanted, key=lambda one: one.name)
        self.names = frozenset(one.name for one in self.wanted)
        self.pairs = remains.pairs(self.wanted)

    # ending them

    def ask(self) -> None:
        """Ask all to end, once."""
        if not self._ended() and self.last is None:
            self.problems.append("charon does not answer")

    def end_all(self) -> None:
        """Ask all to end; at the deadline, force; kill a charon that does not."""
        pause = _POLL
        while not self._ended():
            if self._lifted():
                return
            if self.late:
                self._force()
                return
            self.system.sleep(pause)
            pause = min(_SLOWER * pause, _POLL_MOST)

    def _glanced(self) -> Optional[Charon]:
        """Return the SAs; guard and starter, who work meanwhile, are through before any of them is ended."""
        try:
            return self.system.glance(self.left(self.deadline))
        except CharonError:
            return None
        finally:
            self.told(2 * GRACE)

    def _ended(self) -> bool:
        """Look, ask for the end of what is new, and say whether nothing is left."""
        self.last = self._glanced()
        if self.last is None:
            return not self.system.daemons(service.CHARON)
        try:
            sas = self._ours(self.last)
            if sas:
                new = [sa.uniqueid for sa in sas if sa.uniqueid not in self.asked]
                self.asked.update((sa.uniqueid, sa.name) for sa in sas)
                self.system.terminate(new, False, self.left(self.deadline))
                return False
            self.last = self.system.observe(self.left(self.deadline))
        except CharonError:
            self.last = None
            return not self.system.daemons(service.CHARON)
        return not self._ours(self.last) and not self._loaded(self.last)

    def _ours(self, look: Charon) -> tuple[IkeSA, ...]:
        """Return the SAs that are meant; without a hold those that peers bring back meanwhile are not."""
        if self.limit is None and self.hold is None:
            self.limit = max((sa.uniqueid for sa in look.ike_sas), default=0)
        sas = (sa for sa in look.ike_sas if remains.owns(sa, self.pairs, self.names))
        return tuple(sa for sa in sas if self.limit is None or sa.uniqueid <= self.limit)

    def _loaded(self, look: Charon) -> frozenset[str]:
        """Return what charon should have forgotten by now."""
        if not self.unloading:
            return frozenset()
        return frozenset(one.name for one in look.connections) & self.names

    def _force(self) -> None:
        end = self.deadline + GRACE / 4
        if self.last is not None:
            try:
                ids = [sa.uniqueid for sa in self._ours(self.last)]
                refused = self.system.terminate(ids, True, self.left(end))
                self.forced.update({*ids} - {*refused})
                self.last = self.system.observe(self.left(end))
                if not self._ours(self.last) and not self._loaded(self.last):
                    return
            except CharonError:
                self.last = None
        self._kill()

    def _kill(self) -> None:
        """Kill charon, and the starter that would start it with what it read before; both start anew."""
        pids = self.system.daemons(service.CHARON, service.STARTER)
        undead = self.system.kill(pids, GRACE / 4)
        self.killed = True
        if undead:
            self.problems.append(f"processes {', '.join(map(str, undead))} of charon cannot be killed")
        else:
            self.last = None
        self.notes.append(
            "charon did not do it within the deadline and was killed; its peers were not told, they find out "
            "by dead-peer detection"
        )
        try:
            self.system.restart(GRACE / 4)
        except HostIPsecError as error:
            self.notes.append(str(error))

    # proof

    def prove_kernel(self) -> None:
        """Delete what the kernel still has of these connections, and look again."""
        if self.overruled or self._lifted():
            return
        end = self.deadline + GRACE * 0.9
        try:
            self.found = self._in_kernel(end)
            if self.found:
                self.cleared = self.found
                self.system.clear(self.found.batch(), self.left(end))
                self.found = self._in_kernel(end)
        except HostIPsecError as error:
            self.problems.append(f"not proven against the kernel: {error}")
        if self.hold is not None and not self.unloading and self.scope.whole:
            self._stop_service()

    def _in_kernel(self, end: float) -> Leftovers:
        found = remains.leftovers(self.system.kernel(self.left(end)), self.pairs)
        if self.hold is None and self.last is not None:
            return remains.besides(found, self.last, self.wanted)
        return found

    def _stop_service(self) -> None:
        """Without ipsec.conf to say it, only a service that does not run keeps the connections down."""
        if not self.system.daemons(service.CHARON, service.STARTER):
            return
        try:
            self.system.stop(GRACE)
            self.notes.append("the service is stopped, until something starts it")
        except HostIPsecError as error:
            self.problems.append(f"peers may bring connections back: {error}")

    # telling

    def result(self) -> Down:
        """Return what was done and what is left."""
        sas = self._ours(self.last) if self.last and self.wait and not self.overruled else ()
        for sa in sas:
            if not any(remains.owns(sa, remains.pairs([one]), frozenset([one.name])) for one in self.wanted):
                self.problems.append(f"IKE SA {sa.name}[{sa.uniqueid}] to {sa.remote_host} is left")
        return Down(
            connections=tuple(self._became(one, sas) for one in self.wanted),
            held=self.kept,
            seconds=self.system.clock() - self.begin,
            charon="killed" if self.killed else "runs" if self.last else "not running",
            cleared=self.cleared,
            problems=tuple(self.problems),
            notes=tuple(self.notes),
            lost_hold=self.hold is not None and not self.kept and not self.overruled,
            proven=self.wait,
            overruled=self.overruled,
        )

    def _became(self, one: Connection, sas: Sequence[IkeSA]) -> Ended:
        mine = [ike_id for ike_id, name in self.asked.items() if name == one.name]
        left = self._left_of(one, sas)
        how = "killed" if self.killed else "was down"
        if left:
            how = "left"
        elif mine:
            how = "killed" if self.killed else "forced" if self.forced & {*mine} else "ended"
            how = how if self.wait else "asked"
        elif self.cleared.of(one):
            how = "cleared"
        return Ended(one, len(mine), how, left)

    def _left_of(self, one: Connection, sas: Sequence[IkeSA]) -> str:
        mine = [sa for sa in sas if remains.owns(sa, remains.pairs([one]), frozenset([one.name]))]
        if not self.wait:
            return ""
        loaded = self.last is not None and one.name in self._loaded(self.last)
        parts = [
            *(f"IKE SA {sa.uniqueid} is {sa.state}" for sa in mine),
            *(["charon still has the connection"] if loaded else []),
            *([str(self.found.of(one))] if self.found.of(one) else []),
        ]
        return "; ".join(parts)


def _within(seconds: float, act: Callable[[], object]) -> tuple[str, str]:
    """Do something that may hang, as a disk does; return what it returned, and why it is not done by then."""
    return _begun(act)(seconds)


def _begun(act: Callable[[], object]) -> Callable[[float], tuple[str, str]]:
    """Begin the same; return what waits for it."""
    said: list[str] = []
    overruled: list[OverruledError] = []

    def run() -> None:
        try:
            said[:] = [str(act() or ""), ""]
        except OverruledError as error:
            overruled.append(error)
        except HostIPsecError as error:
            said[:] = ["", str(error)]

    def wait(seconds: float) -> tuple[str, str]:
        thread.join(seconds)
        if overruled:
            raise overruled[0]
        what, why = said or ("", f"not done after {seconds:g} s; does the disk hang?")
        return what, why

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return wait
