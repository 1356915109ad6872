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
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from .. import owner, paths
from ..charon import charon
from ..errors import CharonError, HostIPsecError
from ..health import judge, repair
from ..health.report import ConnectionHealth
from ..kernel import guard, kernel, routes, routing
from ..store import holdfile, mesh

YOUNG = 5.0  # seconds of charon's life in which the initiator looks more often: its tunnels are all down
PAUSE = 0.5
SURPLUS = 15.0  # seconds that two IKE SAs stay side by side; of those that charon sees it ends one after 10
SETTLED = 30  # seconds of the record's life before its routes are kept: who wrote it is setting them

log = logging.getLogger("hostipsec-keeper")


def look() -> tuple[str, ...]:
    """Start what is absent; return the names. A charon that does not run, or no record: nothing to do."""
    if not paths.here.record.exists():
        return ()
    try:
        connections = mesh.parse(paths.here.record.read_text())
        held = holdfile.held(connections, datetime.now(timezone.utc))
        names = repair.absent(connections, charon.observe(), held)
        refused = charon.initiate(names)
    except CharonError:
        return ()
    for name in names:
        log.info("starting %s%s", name, f": {refused[name]}" if name in refused else "")
    return names


class Repair:
    """Ends what the kernel has lost, so that it is started anew, and what is twice; remembers looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.earlier: dict[str, ConnectionHealth] = {}
        self.twice: dict[tuple[int, ...], float] = {}  # ids that are too many -> when they were seen first

    def __call__(self) -> tuple[str, ...]:
        """Look, and end; returns the names. A charon that does not run, or no record: nothing to do."""
        earlier, self.earlier = self.earlier, {}
        if not paths.here.record.exists():
            return ()
        connections = holdfile.free(mesh.parse(paths.here.record.read_text()))
        try:
            observed = charon.observe()
            rows = judge.evaluate(connections, observed, kernel.observe()).managed
            lost = repair.useless(earlier, rows)
            twice = self._lasting(repair.surplus(rows, observed))
            doomed = [*(number for row in lost for number in row.ike_ids)]
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


def keep_hold() -> tuple[str, ...]:
    """Keep down what is held, and lift a hold that is over; returns what charon had of what is held."""
    if not paths.here.hold.exists() or not paths.here.record.exists():
        return ()
    connections, now = mesh.parse(paths.here.record.read_text()), datetime.now(timezone.utc)
    changed = holdfile.enforce(connections, now)
    held = holdfile.held(connections, now)
    try:
        observed = charon.observe()
        loaded = sorted({one.name for one in observed.connections} & {*held})
        if changed or loaded:
            log.info("ipsec.conf was not as the hold says; charon had: %s", ", ".join(loaded) or "none of it")
            charon.update()
        charon.terminate(sa.uniqueid for sa in observed.ike_sas if owner.named(sa, held))
    except CharonError:
        return ()
    return tuple(loaded)


def keep_routes() -> routes.Difference:
    """Make the routes with a locked MTU what the record says; returns what was changed.

    Nothing is done without a record, without an MTU in it (the state removed the routes), or while a state
    that wrote it just now is at work.
    """
    if not paths.here.record.exists() or 0 <= time.time() - paths.here.record.stat().st_mtime < SETTLED:
        return routes.Difference()
    text = paths.here.record.read_text()
    connections, mtu = mesh.parse(text), mesh.parse_mtu(text)
    if mtu is None:
        return routes.Difference()
    changed = routing.apply(connections, mtu)
    for line in changed.batch().splitlines():
        log.info("ip %s", line)
    return changed


def keep_guard() -> int:
    """Make the guard's policies what the record says; returns how many were changed."""
    if not paths.here.record.exists() or 0 <= time.time() - paths.here.record.stat().st_mtime < SETTLED:
        return 0
    changed = guard.apply(holdfile.free(mesh.parse(paths.here.record.read_text())))
    if changed:
        log.info("%d policies that block what is in the clear were not as they should be", changed)
    return changed


def complaint(part: Callable[[], object]) -> str:
    """Do one part; return what is wrong, in a sentence, or nothing."""
    try:
        part()
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
    parts: tuple[Callable[[], object], ...] = (keep_hold, Repair(), look, keep_guard, keep_routes)
    said: dict[Callable[[], object], str] = {}
    while True:
        for part in parts:
            wrong = complaint(part)
            if wrong and wrong != said.get(part):  # the next look finds the same
                log.warning("%s", wrong)
            said[part] = wrong
        pause(paths.KEEPER_INTERVAL * random.uniform(0.8, 1.2))  # noqa: S311  spreads load, keeps no secret


if __name__ == "__main__":
    main()
