"""From a look to a sample: every face of monitoring shows what stands here. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

from .. import plane as planes
from ..kernel.cleartext import IN, OUT
from ..model import REQUIRE, START, Charon, ChildSA, Connection, KernelState
from ..store import hold
from ..store.hold import Hold
from . import look as looks
from .look import Look
from .report import CARRYING, STATES, ConnectionHealth, Report, worst
from .sample import Decision, Process, Sample, Sampled
from .totals import Counted, Totals

ALL_NUMBERS = 1 << 32  # sequence numbers of an SA without ESN


class Facts(NamedTuple):
    """What is known of a host beside a look at it."""

    host: str = ""  # the machine's name, where the record tells none
    started: Optional[float] = None  # charon
    resident: Optional[int] = None  # bytes of memory of charon
    loaded: Optional[bool] = None  # whether charon has the certificate that is on disk
    guard_missing: Optional[int] = None
    applied: Optional[float] = None
    took: float = 0.0  # seconds of the look
    unread: Mapping[str, str] = {}
    failed: Optional[str] = None  # what the last state.apply failed by


def sample(
    look: Look, report: Report, totals: Totals, facts: Facts, previous: Optional[Sample] = None
) -> Sample:
    """Return the sample of a look and the verdict on it; ``totals`` are those with this look."""
    now, unread = look.time.timestamp(), {**facts.unread, **look.unread}
    severity = worst(report.severity, "warning" if look.unread else "ok")
    host = look.host or facts.host
    maker = _Maker(look, host, now, totals, _before(previous))
    return Sample(
        time=now,
        host=host,
        site=look.site,
        severity=severity,
        sentence=report.sentence,
        connections=tuple(map(maker.sampled, report.managed)),
        states=report.counts,
        charon=look.charon and _process(look.charon, look.plane, facts),
        counters=totals.counters.totals,
        errors=totals.errors.totals,
        certificate=look.certificate and look.certificate.ends.timestamp(),
        warn_days=look.warn_days,
        loaded=facts.loaded,
        holds=() if looks.HOLD in unread else tuple(map(_decision, _holds(look))),
        guard_missing=facts.guard_missing,
        actions=totals.actions,
        applied=facts.applied,
        unread=unread,
        took=facts.took,
        dead=look.dead,
        failed=facts.failed,
    )


def blind(unread: Mapping[str, str], now: float, severity: str, totals: Totals, facts: Facts) -> Sample:
    """Return the sample where it is not known what shall run here: it says nothing of connections."""
    return Sample(
        time=now,
        host=facts.host,
        severity=severity,
        sentence="; ".join(unread.values()),
        states=dict.fromkeys(STATES, 0),
        counters=totals.counters.totals,
        errors=totals.errors.totals,
        actions=totals.actions,
        applied=facts.applied,
        unread=unread,
        failed=facts.failed,
    )


def _before(previous: Optional[Sample]) -> Mapping[str, Sampled]:
    return {one.name: one for one in previous.connections} if previous else {}


class _Maker:
    """What the connections of a look have in common, in tables."""

    def __init__(
        self,
        look: Look,
        host: str,
        time: float,
        totals: Totals,
        before: Mapping[str, Sampled],
    ) -> None:
        self.look, self.host, self.time, self.totals, self.before = look, host, time, totals, before
        self.connections = {one.name: one for one in look.connections}
        self.children = {child.uniqueid: child for child in _children(look.charon)}
        self.sending: dict[tuple[str, str], list[KernelState]] = {}
        for state in look.kernel.states if look.kernel and look.plane == planes.KERNEL else ():
            self.sending.setdefault((state.src, state.dst), []).append(state)

    def sampled(self, row: ConnectionHealth) -> Sampled:
        """Return what is told of one connection."""
        one, total = self.connections[row.name], self.totals.connections.get(row.name, Counted())
        children = [self.children[number] for number in row.child_ids if number in self.children]
        installed = sum(child.state == "INSTALLED" for child in children)
        return Sampled(
            name=row.name,
            peer=row.peer,
            family=row.family,
            stage=row.stage,
            sites=self._sites(row.peer),
            pair="-".join(sorted((_short(self.host), _short(row.peer)))),
            state=row.state,
            severity=row.severity,
            reason=row.reason,
            expected=expected(row),
            up=row.state in CARRYING,
            held=row.held,
            changed=self._changed(row),
            established=self._ago(row.since),
            rekey=None if row.next_rekey is None else self.time + row.next_rekey,
            last_in=self._ago(min((c.use_in for c in children if c.use_in is not None), default=None)),
            last_out=self._ago(min((c.use_out for c in children if c.use_out is not None), default=None)),
            sequence=self._sequence(one, children),
            duplicates=max(0, installed - 1),
            losses=total.losses,
            received=total.received,
            sent=total.sent,
            replays=total.replays,
            failures=total.failures,
            clear_in=self._clear(IN, row.name),
            clear_out=self._clear(OUT, row.name),
        )

    def _clear(self, way: str, name: str) -> Optional[int]:
        """Return the packets in the clear; None where this look did not read them."""
        return self.totals.clear.totals.get(f"{way} {name}") if name in self.look.clear else None

    def _sites(self, peer: str) -> str:
        both = (self.look.site, self.look.sites.get(peer, ""))
        return "-".join(sorted(both)) if all(both) else ""

    def _changed(self, row: ConnectionHealth) -> Optional[float]:
        """Return when the state became this one; None where that was before the first look."""
        before = self.before.get(row.name)
        if before is None:
            return None
        return before.changed if before.state == row.state else self.time

    def _ago(self, seconds: Optional[int]) -> Optional[float]:
        return None if seconds is None else self.time - seconds

    def _sequence(self, one: Connection, children: list[ChildSA]) -> Optional[float]:
        """Return the share of the fullest SA that charon sends by; None where none has 32-bit numbers."""
        ours = {child.spi_out for child in children}
        states = self.sending.get((str(one.left), str(one.right)), ())
        used = [state.sequence for state in states if state.spi in ours and state.sequence is not None]
        return round(max(used) / ALL_NUMBERS, 2) if used else None


def expected(row: ConnectionHealth) -> bool:
    """Whether a connection must carry now: not one that is passive or held, nor a trap that waits."""
    idle = row.state == "down" and row.severity != "critical"
    return not row.held and (row.stage == START or (row.stage == REQUIRE and not idle))


def one_sided(report: Report, now: Charon, before: Charon) -> bool:
    """Whether two looks may say of a connection that it is one-way, or not, where one says the other."""
    then, there = ({child.uniqueid: child for child in _children(seen)} for seen in (before, now))
    for row in report.managed:
        for number in row.child_ids if row.state in CARRYING else ():
            if number in then and number in there:
                sent = there[number].packets_out - then[number].packets_out
                got = there[number].packets_in - then[number].packets_in
                if got if row.state == "one-way" else sent and not got:
                    return True
    return False


def _short(host: str) -> str:
    return host.partition(".")[0]


def _children(charon: Optional[Charon]) -> Iterator[ChildSA]:
    return (child for sa in charon.ike_sas for child in sa.children) if charon else iter(())


def _process(charon: Charon, plane: str, facts: Facts) -> Process:
    return Process(
        version=charon.version,
        backend=charon.backend,
        plane=plane,
        started=facts.started,
        resident=facts.resident,
        threads=charon.workers_total,
        idle=charon.workers_idle,
        **charon.load._asdict(),
    )


def _holds(look: Look) -> list[Hold]:
    """Return the holds that are in force, in the order in which they were taken."""
    holding = {one for each in look.connections for one in hold.covering(look.holds, each, look.time)}
    return [one for one in hold.holds(look.holds) if one in holding]


def _decision(one: Hold) -> Decision:
    what = str(one.scope) or "all connections"
    until = one.until.timestamp() if one.until else None
    what, who, why = map(hold.printable, (what, one.who, one.why))
    return Decision(what, who, why, one.when.timestamp(), until)
