"""Brings back, on a host of the mesh, what should be there and is not. Runs as ``hostipsec-keeper.service``.

charon gives up for good where a peer answered with an error: a peer that was not configured yet, or whose
charon had just started and had no connections. One end of a pair starts it (two would make
duplicates), so each end brings up what is missing in its own time:

- the initiator, at once after its charon started, and a few seconds after an SA has gone
- the responder, only a little after its charon started: the initiator still holds SAs of before, which no
  longer have another end, and would find out by dead-peer detection, minutes later.

It ends SAs of connections that are held: held means held, also where a state and an emergency stop wrote
ipsec.conf at the same moment. A hold that is over is lifted. And it ends those that charon goes on with
though the kernel has lost them, since charon is not told and their packets are dropped until the next
rekeying: seen twice, with nothing that came in meanwhile, and few at a time, lest a mistake takes a mesh
down; all at once where the kernel has lost every one, says so in two ways, and still has the policies. Of
two IKE SAs of a pair, which both ends made when they started at the same moment, the initiator ends the older
one; and it ends an attempt that no peer has answered once the peer itself has brought the connection up: back
again, the peer would answer its next retransmission. No other SA.

Where the mesh locks the MTU to its peers, it also puts those routes back that a link took with it, or that
follow another gateway by now: nothing in the kernel keeps them over a reboot or a link that was down.

A peer that refuses is asked ever more seldom, up to a minute apart, and at once on a sign of it or of an
operator.

It looks once a pass, and each part of the pass acts on that look. A hold counts at once, though: where
something is to be started or blocked, the holds are read once more. Where they cannot be read it changes
nothing of what they say, and complains.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Optional

from .. import paths
from ..charon import charon
from ..emergency import starting
from ..emergency.host import Host
from ..errors import CharonError, HostIPsecError
from ..health import observation, repair
from ..health.look import HOLD, Look
from ..health.report import ConnectionHealth
from ..kernel import guard, kernel, routes, routing
from ..model import Charon, Connection
from ..store import holdfile, record
from ..system import heartbeat

YOUNG = 5.0  # seconds of charon's life in which the initiator looks more often: its tunnels are all down
PAUSE = 0.5
SURPLUS = 15.0  # seconds that two IKE SAs stay side by side; of those that charon sees it ends one after 10
SETTLED = 30  # seconds of the record's life before routes and guard are kept: who wrote it is setting them

LOOKED = ("record", "kernel")  # what is said of, where it cannot be read

Part = Callable[[Look], object]

log = logging.getLogger("hostipsec-keeper")


# Parts of a pass -----------------------------------------------------------------------------


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
            charon.update()
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

    def __call__(self, look: Look) -> tuple[str, ...]:
        """Judge, and end; returns the names. Nothing is ended where charon or the kernel cannot be seen."""
        earlier, self.earlier, self.ended = self.earlier, {}, False
        if look.charon is None or look.kernel is None:
            return ()
        rows = repair.verdicts(look)
        lost = self._useless(look, earlier, rows)
        twice = self._lasting(repair.surplus(rows, look.charon))
        doomed = [number for row in lost for number in row.ike_ids]
        try:
            charon.terminate([*doomed, *(number for ids in twice.values() for number in ids)])
        except CharonError:
            return ()
        self.earlier = {row.name: row for row in rows}
        self.ended = bool(lost)
        for row in lost:
            log.warning("ending %s, to start it anew: %s", row.name, row.reason)
        for name, ids in twice.items():
            numbers = ", ".join(map(str, ids))
            log.warning("ending IKE SA %s of %s: a newer one is up as well, one is meant", numbers, name)
        return (*(row.name for row in lost), *twice)

    def _useless(
        self, look: Look, earlier: Mapping[str, ConnectionHealth], rows: Sequence[ConnectionHealth]
    ) -> Sequence[ConnectionHealth]:
        """Return what the kernel has lost: few, or every one where nothing contradicts that."""
        few, every = repair.useless(earlier, rows), repair.lost(earlier, rows)
        if len(few) == len(every) or not repair.flushed(look, every, rows):
            return few
        return every if look.kernel and _counted() == len(look.kernel.states) else few

    def _lasting(self, found: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
        """Return what is too many for longer than it takes charon, or a state that replaces an SA."""
        now = self.clock()
        self.twice = {ids: self.twice.get(ids, now) for ids in found.values()}
        return {name: ids for name, ids in found.items() if now - self.twice[ids] >= SURPLUS}


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
        return self.patience.ripe(repair.due(look), now)

    def _free(self, look: Look, now: float) -> tuple[str, ...]:
        free = {one.name for one in holdfile.free(look.connections)}
        return tuple(name for name in self._due(look, now) if name in free)


def _mark() -> tuple[object, ...]:
    """Return what differs once a configuration, a decision of an operator or charon is another one."""
    here = paths.here
    return tuple(map(_stamp, (here.record, here.conf, here.hold, here.command, here.charon_pid)))


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
    """Keep a copy of the record, for the day on which it cannot be read."""
    if not look.damaged:
        record.keep_copy()


def keep_routes(look: Look) -> routes.Difference:
    """Make the routes with a locked MTU what the record says; returns what was changed.

    Nothing is done without an MTU in the record: the state removed the routes.
    """
    if look.mtu is None:
        return routes.Difference()
    changed = routing.apply(look.connections, look.mtu)
    for line in changed.batch().splitlines():
        log.info("ip %s", line)
    return changed


# A pass --------------------------------------------------------------------------------------


def looked() -> Optional[Look]:
    """Return one look at this host; None without a record. Raises HostIPsecError for one that is damaged.

    Its copy counts meanwhile. Of ipsec.conf nothing but the guard is made: it tells too little to act on it.
    """
    known = record.found()
    if not known.guessed:
        return observation.by_record(known)
    if known.wrong:
        guard.add(holdfile.free(known.record.connections))
        raise HostIPsecError(known.wrong)
    return None


def settled() -> bool:
    """Say whether the record was written a while ago, or in a future that a clock was set back from."""
    try:
        return not 0 <= time.time() - paths.here.record.stat().st_mtime < SETTLED
    except FileNotFoundError:
        return False


class Keeper:
    """Goes through the parts, the hold first; says what is wrong once, until something else is."""

    def __init__(self) -> None:
        self.repair = Repair()
        self.overtaken = Overtaken()
        self.parts: tuple[Part, ...] = (keep_hold, self.overtaken, self.repair, Start())
        self.later: tuple[Part, ...] = (keep_guard, keep_routes, keep_copy)  # once the record is settled
        self.said: dict[object, str] = {}

    def once(self) -> None:
        """Look once, and do each part; one that fails stops no other."""
        try:
            look = looked()
        except Exception as error:  # whatever it is: ended, this would be started anew to find the same
            self._say(looked, wrong(error))
            return
        if look is None:
            return
        self._say(looked, "; ".join(look.unread[part] for part in LOOKED if part in look.unread))
        self._say(HOLD, look.unread.get(HOLD, ""))
        for part in self.parts:
            heartbeat.tell()
            self._say(part, complaint(part, look))
        for part in self.later:
            heartbeat.tell()
            # asked for each: a state that wrote the record since the look is setting both
            if look.damaged or settled():
                self._say(part, complaint(part, look))

    def _say(self, part: object, wrong: str) -> None:
        if wrong and wrong != self.said.get(part):  # the next look finds the same
            log.warning("%s", wrong)
        self.said[part] = wrong


def complaint(part: Part, look: Look) -> str:
    """Do one part; return what is wrong, in a sentence, or nothing."""
    try:
        part(look)
    except Exception as error:  # a hold is kept down although a route cannot be set, whatever the reason
        return wrong(error)
    return ""


def wrong(error: Exception) -> str:
    """Return an error in words: a sentence of ours, or what Python calls it."""
    return (
        str(error)
        if isinstance(error, (HostIPsecError, OSError))
        else f"this is a fault of hostipsec: {error!r}"
    )


def pause(seconds: float, meanwhile: Callable[[], object]) -> None:
    """Wait, but not long while charon is young: nothing in ipsec.conf starts its tunnels."""
    end = time.monotonic() + seconds
    time.sleep(PAUSE)
    while time.monotonic() < end and not young():
        heartbeat.tell()
        meanwhile()
        time.sleep(PAUSE)


def young() -> bool:
    """Say whether charon was started just now."""
    try:
        return 0 <= time.time() - paths.here.charon_pid.stat().st_mtime < YOUNG
    except OSError:
        return False


def main() -> None:
    """Look again and again."""
    argparse.ArgumentParser(prog="hostipsec-keeper", description=__doc__.splitlines()[0]).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keeper = Keeper()
    while True:
        keeper.once()
        heartbeat.beat()
        interval = 0.0 if keeper.repair.ended else paths.KEEPER_INTERVAL
        interval *= random.uniform(0.8, 1.2)  # noqa: S311  spreads load, keeps no secret
        pause(interval, keeper.overtaken.glance)


if __name__ == "__main__":
    main()
