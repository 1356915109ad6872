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
two IKE SAs of a pair, which both ends made when they started at the same moment, the initiator ends the one
by which it does not send, and of others that stay the older one; either end ends the one for which the peer
does not answer, while it does for the other; and it ends an attempt that no peer has answered once the peer
itself has brought the connection up: back again, the peer would answer its next retransmission. No other SA.

Where the mesh locks the MTU to its peers, it also puts those routes back that a link took with it, or that
follow another gateway by now: nothing in the kernel keeps them over a reboot or a link that was down.

Of each look it leaves a sample, for whoever watches the host, and totals that only grow.

A peer that refuses is asked ever more seldom, up to five minutes apart, and at once on a sign of it or of an
operator. What calls by a peer's address and gets no further is no sign, and holds nothing up for long:
anybody can send that.

It looks once a pass, and each part of the pass acts on that look. A hold counts at once, though: where
something is to be started or blocked, the holds are read once more. Where they cannot be read it changes
nothing of what they say, and complains.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sized
from typing import Callable, Optional, TypeVar, Union

from .. import paths
from ..errors import HostIPsecError
from ..health import observation
from ..health.look import HOLD, Look
from ..health.sampler import Sampler
from ..kernel import counting, guard
from ..store import holdfile, record
from ..system import backend, heartbeat
from .parts import (
    Overtaken,
    Repair,
    Start,
    expire_log_levels,
    keep_copy,
    keep_guard,
    keep_hold,
    keep_routes,
    mend,
)

YOUNG = 5.0  # seconds of charon's life in which the initiator looks more often: its tunnels are all down
PAUSE = 0.5
SETTLED = 30  # seconds of the record's life before routes and guard are kept: who wrote it is setting them

LOOKED = ("record", "kernel")  # what is said of, where it cannot be read

ACTIONS = ("hold", "end", "start", "guard", "route")  # what is counted
NO_RECORD = "nothing is on record here: mesh.json is not there; apply state ipsec"

Did = TypeVar("Did")
Part = Callable[[Look], Union[int, Sized, None]]  # returns what it did, or how much

log = logging.getLogger("hostipsec-keeper")


def looked() -> Optional[Look]:
    """Return one look at this host; None without a record. Raises HostIPsecError for one that is damaged.

    Its copy counts meanwhile. Of ipsec.conf nothing but the guard is made: it tells too little to act on it.
    """
    known = record.found()
    if not known.guessed:
        return observation.of_unit(observation.by_record(known))
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
        self.parts: Mapping[Part, str] = {  # and as what it counts what they do
            keep_hold: "hold",
            mend: "copy",
            self.overtaken: "end",
            self.repair: "end",
            Start(): "start",
            expire_log_levels: "log",
        }
        self.later: Mapping[Part, str] = {keep_guard: "guard", keep_routes: "route", keep_copy: "copy"}
        self.sampler = Sampler()
        self.said: dict[object, str] = {}

    def once(self) -> None:
        """Look once, do each part, and leave a sample of it; one that fails stops no other."""
        begin = time.monotonic()
        done: Counter[str] = Counter()
        try:
            look = looked()
        except Exception as error:  # whatever it is: ended, this would be started anew to find the same
            why = wrong(error)
            self._say(looked, why)
            self._leave(lambda: self.sampler.blind(why, "critical"))
            return
        if look is None:
            self._leave(lambda: self.sampler.blind(NO_RECORD, "warning"))
            return
        took = time.monotonic() - begin
        self._say(looked, "; ".join(look.unread[part] for part in LOOKED if part in look.unread))
        self._say(HOLD, look.unread.get(HOLD, ""))
        for part, name in self.parts.items():
            done[name] += self._do(part, look)
        for part, name in self.later.items():
            # asked for each: a state that wrote the record since the look is setting both
            if look.damaged or settled():
                done[name] += self._do(part, look)
        seen, did = self._counted(look), {name: done[name] for name in ACTIONS}
        self._leave(lambda: self.sampler(seen, took, did, self.repair.report))

    def _counted(self, look: Look) -> Look:
        """Return the look with what goes in the clear, where the record asks for it."""
        heartbeat.tell()
        packets, wrong = attempted(lambda: counting.settle(look.connections, look.clear_text))
        self._say(counting, wrong)
        return look._replace(clear=packets or {}).without("clear text", wrong)

    def _do(self, part: Part, look: Look) -> int:
        """Do one part; return how much it did."""
        heartbeat.tell()
        did, wrong = attempted(lambda: part(look))
        self._say(part, wrong)
        return did if isinstance(did, int) else len(did or ())

    def _leave(self, sample: Callable[[], object]) -> None:
        heartbeat.tell()
        self._say(Sampler, attempted(sample)[1])

    def close(self) -> None:
        """Leave what the next keeper goes on with."""
        self._say(Sampler, attempted(self.sampler.close)[1])

    def _say(self, part: object, wrong: str) -> None:
        if wrong and wrong != self.said.get(part):  # the next look finds the same
            log.warning("%s", wrong)
        self.said[part] = wrong


def attempted(do: Callable[[], Did]) -> tuple[Optional[Did], str]:
    """Do something; return what it did, and what is wrong, in a sentence, or nothing."""
    try:
        return do(), ""
    except Exception as error:  # a hold is kept down although a route cannot be set, whatever the reason
        return None, wrong(error)


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
        return 0 <= time.time() - backend.started().stat().st_mtime < YOUNG
    except OSError:
        return False


def main() -> None:
    """Look again and again."""
    argparse.ArgumentParser(prog="hostipsec-keeper", description=__doc__.splitlines()[0]).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keeper = Keeper()
    try:
        while True:
            keeper.once()
            heartbeat.beat()
            interval = 0.0 if keeper.repair.ended else paths.KEEPER_INTERVAL
            interval *= random.uniform(0.8, 1.2)  # noqa: S311  spreads load, keeps no secret
            pause(interval, keeper.overtaken.glance)
    finally:
        keeper.close()


if __name__ == "__main__":
    main()
