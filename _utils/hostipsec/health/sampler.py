"""Where samples are made: what the keeper leaves of each of its looks, for every face of monitoring."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import Optional

from .. import paths
from ..charon import charon, process
from ..errors import CharonError, HostIPsecError
from ..kernel import guard
from ..model import Charon
from ..store import applied, certificate, samples
from . import look as looks
from . import sample as sampled
from . import sampling
from . import totals as counting
from .look import Look
from .report import Report
from .sample import Sample
from .sampling import Facts
from .totals import Totals

LOADED = 60.0  # seconds between two questions whether charon has the certificate that is on disk
WRITTEN = 60.0  # seconds between two times that the totals are written
PATIENCE = 2.0  # seconds for charon's own numbers, without which a sample is one all the same
APART = 30.0  # seconds at least between the two looks from which one-way is judged

log = logging.getLogger("hostipsec-keeper")


class Earlier:
    """An earlier look at the same charon: APART seconds old, and no older than twice that."""

    def __init__(self) -> None:
        self._old: Optional[tuple[float, Charon]] = None
        self._new: Optional[tuple[float, Charon]] = None

    def before(self, seen: Optional[Charon], now: float) -> Optional[Charon]:
        """Take in a look; return the earlier one, None where there is none."""
        if seen is None or (self._new and _restarted(self._new[1], seen)):
            self._old = self._new = None
        if seen is None:
            return None
        if self._new is None or now - self._new[0] >= APART:
            self._old, self._new = self._new, (now, seen)
        return self._old[1] if self._old else None


def _restarted(before: Charon, now: Charon) -> bool:
    """Whether its numbers of SAs may have begun anew."""
    return before.uptime is None or now.uptime is None or now.uptime < before.uptime


class Sampler:
    """Leaves a sample of each look, and remembers what has to be remembered between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.earlier = Earlier()
        self.previous: Optional[Sample] = None  # of connections
        self.totals = Totals()
        self.known = False  # whether the totals of before were read
        self.loaded: Optional[bool] = None
        self.asked = -LOADED  # when it was asked
        self.written = clock()

    def __call__(
        self, look: Look, took: float, actions: Mapping[str, int], report: Optional[Report] = None
    ) -> Sample:
        """Leave the sample of a look; returns it. Raises HostIPsecError where it cannot be left.

        ``report`` is the verdict on this look alone, where there is one.
        """
        report = self._judged(look, report or looks.judged(look))
        seen = process.look()
        told, wrong = _counters() if look.charon else ({}, "")
        facts = Facts(
            *(_machine(), seen.started, seen.resident, self._loaded(look), _guard_missing(look), _applied()),
            took=took,
            unread={"counters": wrong} if wrong else {},
            failed=applied.failed(),
        )
        shown = self._remembered()
        epoch = seen.epoch or self.totals.counters.epoch  # where /proc does not tell, the same charon goes on
        self.totals = counting.counted(self.totals, look, report.managed, epoch)
        counters = counting.series(self.totals.counters, told, epoch)
        self.totals = self.totals._replace(counters=counters)
        self._acted(shown, actions)
        found = sampling.sample(look, report, self.totals, facts, self.previous)
        self.previous = found
        return self._left(found)

    def blind(self, why: str, severity: str) -> Sample:
        """Leave one that says that it is not known what shall run here, and nothing of connections."""
        self._acted(self._remembered(), {})
        facts = Facts(_machine(), applied=_applied(), failed=applied.failed())
        return self._left(sampling.blind({"record": why}, time.time(), severity, self.totals, facts))

    def close(self) -> None:
        """Write the totals, at the end."""
        if self.known:
            samples.write_totals(counting.render(self.totals))

    def _judged(self, look: Look, report: Report) -> Report:
        """Return the verdict from two looks; judged anew only where that may be another one."""
        earlier = self.earlier.before(look.charon, self.clock())
        differs = earlier and look.charon and sampling.one_sided(report, look.charon, earlier)
        return looks.judged(look, earlier) if differs else report

    def _loaded(self, look: Look) -> Optional[bool]:
        """Return whether charon has the certificate that is on disk, as it was at most LOADED seconds ago."""
        if look.charon is None or look.certificate is None:
            return None
        if self.clock() - self.asked >= LOADED:
            self.asked, self.loaded = self.clock(), _has(look.certificate.name)
        return self.loaded

    def _left(self, found: Sample) -> Sample:
        samples.write(sampled.plain(found))
        if self.clock() - self.written >= WRITTEN:
            self.close()  # where the disk is full, tried at each look, and said once
            self.written = self.clock()
        return found

    def _acted(self, shown: Optional[Sample], actions: Mapping[str, int]) -> None:
        self.totals = self.totals._replace(actions=counting.added(self.totals.actions, actions))
        if shown:
            self.totals = counting.at_least(self.totals, shown)

    def _remembered(self) -> Optional[Sample]:
        """Read at first what the keeper before left; return its last sample."""
        if self.known:
            return None
        self.known = True
        self.previous, wrong = _last()
        try:
            text = samples.read_totals()
            self.totals = Totals() if text is None else counting.parse(text)
        except HostIPsecError as error:
            wrong = str(error)
        if wrong:
            log.warning("%s", wrong)
        return self.previous


def _last() -> tuple[Optional[Sample], str]:
    try:
        found = samples.read()
        return (None if found is None else sampled.parse(found)), ""
    except HostIPsecError as error:
        return None, str(error)


def _counters() -> tuple[Mapping[str, int], str]:
    try:
        return charon.counters(PATIENCE), ""
    except CharonError as error:
        return {}, str(error)


def _has(name: str) -> Optional[bool]:
    """Return whether charon has a certificate of the disk, and its private key; None where untold."""
    there = certificate.on_disk(name)
    try:
        found = charon.certificates(PATIENCE) if there else None
    except CharonError:
        return None
    return None if found is None else there in found


def _machine() -> str:
    return socket.gethostname()


def _applied() -> Optional[float]:
    """Return when a state wrote the record last."""
    try:
        return paths.here.record.stat().st_mtime
    except OSError:
        return None


def _guard_missing(look: Look) -> Optional[int]:
    """Return how many policies of stage ``require`` are not in the kernel; None where it was not read."""
    return len(guard.difference(look.guarded, look.kernel.policies)[0]) if look.kernel else None
