"""What the keeper does in a pass, part by part, each from the one look of the pass."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Optional

from .. import paths
from ..charon import charon
from ..emergency import loglevel, starting
from ..emergency.host import Host
from ..errors import CharonError, HostIPsecError
from ..health import look as looks
from ..health import repair
from ..health.look import HOLD, Look
from ..health.report import ConnectionHealth, Report
from ..kernel import guard, kernel, routing
from ..model import SWANCTL, Charon, Connection
from ..store import holdfile, record
from ..system import backend

SURPLUS = 15.0  # seconds that two IKE SAs stay side by side; of those that charon sees it ends one after 10

UNANSWERED = 8.0  # seconds in which a peer that is there has answered at least one of four retransmissions

log = logging.getLogger("hostipsec-keeper")


def keep_hold(look: Look) -> tuple[str, ...]:
    """Keep down what is held, and lift a hold that is over; returns what charon had of what is held."""
    if not look.holds or HOLD in look.unread:
        return ()
    changed = holdfile.enforce(look.connections, look.time)
    loaded, ids = repair.held_yet_there(look)
    if look.charon is None:
        return ()
    try:
        if changed or loaded:
            log.info("ipsec.conf was not as the hold says; charon had: %s", ", ".join(loaded) or "none of it")
            Host().update()
        charon.terminate(ids)
    except CharonError:
        return ()
    return loaded


class Repair:
    """Ends what the kernel has lost, so that it is started anew, and what is twice; remembers looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.earlier: dict[str, ConnectionHealth] = {}
        self.twice: dict[tuple[int, ...], float] = {}  # ids that are too many -> when they were seen first
        self.ended = False  # whether something was, at the last look, so that it can be started now
        self.report: Optional[Report] = None  # the verdict on this look, where there was one

    def __call__(self, look: Look) -> tuple[str, ...]:
        """Judge, and end; returns the names. Nothing is ended where charon or the kernel cannot be seen."""
        earlier, self.earlier, self.ended, self.report = self.earlier, {}, False, None
        if look.charon is None or look.kernel is None:
            return ()
        self.report = looks.judged(look)
        rows = repair.verdicts(look, self.report)
        lost = self._useless(look, earlier, rows)
        forgotten = repair.forgotten(rows, look.charon)
        doubled = {row.name for row in rows if row.state == "duplicate"} - forgotten.keys()
        crossed = repair.crossed((one for one in look.connections if one.name in doubled), look.charon)
        twice = {**crossed, **self._lasting(repair.surplus(rows, look.charon), forgotten)}
        doomed = [number for row in lost for number in row.ike_ids]
        surplus = [number for name, ids in twice.items() if name not in forgotten for number in ids]
        alone = [number for name, ids in twice.items() if name in forgotten for number in ids]
        try:
            charon.terminate([*doomed, *surplus])
            charon.terminate(alone, force=True)  # the peer would not answer that either
        except CharonError:
            return ()
        self.earlier = {row.name: row for row in rows}
        self.ended = bool(lost)
        for row in lost:
            log.warning("ending %s, to start it anew: %s", row.name, row.reason)
        for name, ids in twice.items():
            why = (
                "its peer has forgotten it"
                if name in forgotten
                else "both ends began at the same moment, one is meant"
                if name in crossed
                else "a newer one is up as well, one is meant"
            )
            log.warning("ending IKE SA %s of %s: %s", ", ".join(map(str, ids)), name, why)
        return (*(row.name for row in lost), *twice)

    def _useless(
        self, look: Look, earlier: Mapping[str, ConnectionHealth], rows: Sequence[ConnectionHealth]
    ) -> Sequence[ConnectionHealth]:
        """Return what the kernel has lost: few, or every one where nothing contradicts that."""
        few, every = repair.useless(earlier, rows), repair.lost(earlier, rows)
        if len(few) == len(every) or not repair.flushed(look, every, rows):
            return few
        return every if look.kernel and _counted() == len(look.kernel.states) else few

    def _lasting(
        self, surplus: Mapping[str, tuple[int, ...]], forgotten: Mapping[str, tuple[int, ...]]
    ) -> Mapping[str, tuple[int, ...]]:
        """Return what is too many for longer than it takes charon, or a state that replaces an SA.

        Where the peer has forgotten one, that is the one, whichever is the newest.
        """
        now, found = self.clock(), {**surplus, **forgotten}
        self.twice = {ids: self.twice.get(ids, now) for ids in found.values()}
        return {
            name: ids
            for name, ids in found.items()
            if now - self.twice[ids] >= (UNANSWERED if name in forgotten else SURPLUS)
        }


class Overtaken:
    """Ends attempts of this host where the peer's own has come up; looks at them more often than the rest."""

    def __init__(self) -> None:
        self.waiting: tuple[Connection, ...] = ()  # connections of which an attempt was not answered yet

    def __call__(self, look: Look) -> tuple[int, ...]:
        """End them; returns the ids."""
        self.waiting = ()
        if look.charon is None:
            return ()
        names = repair.unanswered(look.connections, look.charon)
        self.waiting = tuple(one for one in look.connections if one.name in names)
        return self._end(look.charon)

    def glance(self) -> None:
        """Do so between two looks, where something waits."""
        if self.waiting:
            with contextlib.suppress(CharonError):
                self._end(charon.glance())

    def _end(self, observed: Charon) -> tuple[int, ...]:
        ids = repair.overtaken(self.waiting, observed)
        with contextlib.suppress(CharonError):
            charon.terminate(ids)
        for number in ids:
            log.info("ending attempt %d: its peer has brought the connection up itself", number)
        return ids


def _counted() -> Optional[int]:
    """Return the kernel's own count of states; None where it tells none."""
    try:
        return kernel.count()
    except HostIPsecError:
        return None


class Start:
    """Starts what is absent, and what a peer refuses ever more seldom."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.patience = clock, repair.Patience()

    def __call__(self, look: Look) -> tuple[str, ...]:
        """Start; return the names."""
        if look.charon is None:
            return ()
        now = self.clock()
        self.patience.watch(look.connections, look.charon, _mark(), now)
        if not self._due(look, now):
            return ()
        try:
            found = starting.start(
                lambda seen: self._free(look._replace(charon=seen), now), look.connections, Host()
            )
        except CharonError:
            return ()
        self.patience.started(found.names, now)
        for name in found.names:
            log.info("starting %s%s", name, f": {found.refused[name]}" if name in found.refused else "")
        return found.names

    def _due(self, look: Look, now: float) -> tuple[str, ...]:
        found = repair.due(look, self.patience.changed(now), self.patience.vain(now))
        return self.patience.ripe(found, now)

    def _free(self, look: Look, now: float) -> tuple[str, ...]:
        free = {one.name for one in holdfile.free(look.connections)}
        return tuple(name for name in self._due(look, now) if name in free)


def _mark() -> tuple[object, ...]:
    """Return what differs once configuration, certificates, an operator's decision or charon are others."""
    here = paths.here
    files = (here.record, here.conf, here.secrets, here.swanctl, here.hold, here.command, backend.started())
    return tuple(map(_stamp, (*files, backend.places().certs, backend.places().cacerts)))


def _stamp(path: Path) -> Optional[tuple[int, int]]:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def keep_guard(look: Look) -> int:
    """Make the guard's policies what the record says; returns how many were changed."""
    if look.kernel is None or not any(guard.difference(look.guarded, look.kernel.policies)):
        return 0
    free = holdfile.free((*look.connections, *look.barred))
    changed = guard.add(free) if look.damaged else guard.amend(free, look.kernel.policies)
    if changed:
        log.info("%d policies that block what is in the clear were not as they should be", changed)
    return changed


def keep_copy(look: Look) -> None:
    """Keep a copy of the record, and of swanctl's file, for the day on which it cannot be read."""
    if not look.damaged:
        record.keep_copy()
    if backend.here() == SWANCTL:
        from ..emergency import loading  # here: as above

        loading.keep_copy()


def mend(look: Look) -> bool:
    """Have charon's connections back where it started with a file of swanctl's that is damaged."""
    if look.charon is None or backend.here() != SWANCTL:
        return False
    if {one.name for one in look.connections} & {one.name for one in look.charon.connections}:
        return False
    from ..emergency import loading  # here: where ipsec.conf counts, nobody waits for its tables

    done = loading.mended()
    if done:
        log.warning("%s was damaged: the last one that was whole is back, and loaded", paths.here.swanctl)
    return done


def keep_routes(look: Look) -> Sequence[str]:
    """Make the routes with a locked MTU what the record says; returns what was changed, in the words of ip.

    Nothing is done without an MTU in the record: the state removed the routes.
    """
    if look.mtu is None and all(one.mtu is None for one in look.connections):
        return ()
    lines = routing.apply(look.connections, look.mtu).batch().splitlines()
    for line in lines:
        log.info("ip %s", line)
    return lines


def expire_log_levels(_: Look) -> bool:
    """Have charon's usual log levels again where more was asked for a while, and that is over."""
    over = loglevel.expire()
    if over:
        log.info("charon has its usual log levels again")
    return over
