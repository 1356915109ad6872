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
down. Of two IKE SAs of a pair, which both ends made when they started at the same moment, the initiator ends
the older one. No other SA.

Where the mesh locks the MTU to its peers, it also puts those routes back that a link took with it, or that
follow another gateway by now: nothing in the kernel keeps them over a reboot or a link that was down.

It looks once a pass, and each part of the pass acts on that look. A hold counts at once, though: where
something is to be started or blocked, the holds are read once more.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Optional

from .. import paths
from ..charon import charon
from ..errors import CharonError, HostIPsecError
from ..health import observation, repair
from ..health.look import Look
from ..health.report import ConnectionHealth
from ..kernel import guard, routes, routing
from ..store import holdfile, record

YOUNG = 5.0  # seconds of charon's life in which the initiator looks more often: its tunnels are all down
PAUSE = 0.5
SURPLUS = 15.0  # seconds that two IKE SAs stay side by side; of those that charon sees it ends one after 10
SETTLED = 30  # seconds of the record's life before routes and guard are kept: who wrote it is setting them

Part = Callable[[Look], object]

log = logging.getLogger("hostipsec-keeper")


# Parts of a pass -----------------------------------------------------------------------------


def keep_hold(look: Look) -> tuple[str, ...]:
    """Keep down what is held, and lift a hold that is over; returns what charon had of what is held."""
    if not look.holds:
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

    def __call__(self, look: Look) -> tuple[str, ...]:
        """Judge, and end; returns the names. Nothing is ended where charon or the kernel cannot be seen."""
        earlier, self.earlier = self.earlier, {}
        if look.charon is None or look.kernel is None:
            return ()
        rows = repair.verdicts(look)
        lost = repair.useless(earlier, rows)
        twice = self._lasting(repair.surplus(rows, look.charon))
        doomed = [number for row in lost for number in row.ike_ids]
        try:
            charon.terminate([*doomed, *(number for ids in twice.values() for number in ids)])
        except CharonError:
            return ()
        self.earlier = {row.name: row for row in rows}
        for row in lost:
            log.warning("ending %s, to start it anew: %s", row.name, row.reason)
        for name, ids in twice.items():
            numbers = ", ".join(map(str, ids))
            log.warning("ending IKE SA %s of %s: a newer one is up as well, one is meant", numbers, name)
        return (*(row.name for row in lost), *twice)

    def _lasting(self, found: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
        """Return what is too many for longer than it takes charon, or a state that replaces an SA."""
        now = self.clock()
        self.twice = {ids: self.twice.get(ids, now) for ids in found.values()}
        return {name: ids for name, ids in found.items() if now - self.twice[ids] >= SURPLUS}


def start(look: Look) -> tuple[str, ...]:
    """Start what is absent; return the names."""
    names = repair.due(look)
    if not names:
        return ()
    free = {one.name for one in holdfile.free(look.connections)}
    names = tuple(name for name in names if name in free)
    try:
        refused = charon.initiate(names)
    except CharonError:
        return ()
    for name in names:
        log.info("starting %s%s", name, f": {refused[name]}" if name in refused else "")
    return names


def keep_guard(look: Look) -> int:
    """Make the guard's policies what the record says; returns how many were changed."""
    if look.kernel is None or not any(guard.difference(look.free, look.kernel.policies)):
        return 0
    changed = guard.amend(holdfile.free(look.connections), look.kernel.policies)
    if changed:
        log.info("%d policies that block what is in the clear were not as they should be", changed)
    return changed


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
    """Return one look at this host; None without a record. Raises HostIPsecError where that is damaged.

    Nothing is taken from ipsec.conf instead: it tells too little of a connection to act on it.
    """
    if not paths.here.record.exists():
        return None
    return observation.observe(*record.written())


def settled() -> bool:
    """Say whether the record was written a while ago, or in a future that a clock was set back from."""
    try:
        return not 0 <= time.time() - paths.here.record.stat().st_mtime < SETTLED
    except FileNotFoundError:
        return False


class Keeper:
    """Goes through the parts, the hold first; says what is wrong once, until something else is."""

    def __init__(self) -> None:
        self.parts: tuple[Part, ...] = (keep_hold, Repair(), start)
        self.later: tuple[Part, ...] = (keep_guard, keep_routes)  # once the record is settled
        self.said: dict[object, str] = {}

    def once(self) -> None:
        """Look once, and do each part; one that fails stops no other."""
        try:
            look = looked()
        except (HostIPsecError, OSError) as error:
            self._say(looked, str(error))
            return
        if look is None:
            return
        self._say(looked, look.unread.get("kernel", ""))
        for part in self.parts:
            self._say(part, complaint(part, look))
        for part in self.later:
            if settled():  # asked for each: a state that wrote it since the look is setting both
                self._say(part, complaint(part, look))

    def _say(self, part: object, wrong: str) -> None:
        if wrong and wrong != self.said.get(part):  # the next look finds the same
            log.warning("%s", wrong)
        self.said[part] = wrong


def complaint(part: Part, look: Look) -> str:
    """Do one part; return what is wrong, in a sentence, or nothing."""
    try:
        part(look)
    except (HostIPsecError, OSError) as error:
        return str(error)
    return ""


def pause(seconds: float) -> None:
    """Wait, but not long while charon is young: nothing in ipsec.conf starts its tunnels."""
    end = time.monotonic() + seconds
    time.sleep(PAUSE)
    while time.monotonic() < end and not young():
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
        pause(paths.KEEPER_INTERVAL * random.uniform(0.8, 1.2))  # noqa: S311  spreads load, keeps no secret


if __name__ == "__main__":
    main()
