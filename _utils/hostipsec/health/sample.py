"""A sample of a host: what the keeper's last look found, as values that every face of monitoring renders.

The keeper writes one a look (``store/samples``); metrics, Graphite and the beacon read it, and look at
nothing else. Times are seconds since 1970 (UTC); None is what is not known. Totals only grow, over rekeyings,
a restart of charon and a reboot; what a face shows of them is a counter.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from ..errors import HostIPsecError

SCHEMA = 1
STALE = 60.0  # seconds after which a sample says nothing of connections any more: its keeper does not look
_NONE: Mapping[str, Any] = MappingProxyType({})


class Traffic(NamedTuple):
    """What one connection has carried, in one direction, since it was counted first."""

    bytes: int = 0
    packets: int = 0


class Sampled(NamedTuple):
    """One connection that is configured on the host."""

    name: str
    peer: str
    family: str  # v4 or v6
    stage: str
    sites: str  # of both ends, sorted: codfw-eqiad; empty where the record does not tell
    pair: str  # short names of both ends, sorted: cp1001-cp2001
    state: str  # of health/report.STATES
    severity: str
    reason: str
    expected: bool  # must carry now: start, or require without an idle trap; never what is held
    up: bool  # health/report.CARRYING
    held: bool
    changed: Optional[float] = None  # when its state became this one
    established: Optional[float] = None
    rekey: Optional[float] = None  # when the first of its SAs is due
    last_in: Optional[float] = None  # last packet
    last_out: Optional[float] = None
    sequence: Optional[float] = (
        None  # share of 32-bit sequence numbers used, of the fullest SA; None with ESN
    )
    duplicates: int = 0  # CHILD SAs beside the one that is meant
    losses: int = 0  # total: how often it went from up to not up
    received: Traffic = Traffic()
    sent: Traffic = Traffic()
    replays: int = 0  # total
    failures: int = 0  # total: of the integrity check
    clear_in: Optional[int] = None  # total of packets in the clear; None where they are not counted
    clear_out: Optional[int] = None


class Process(NamedTuple):
    """charon, by ``stats`` of vici (what stroke tells of it is less) and by /proc."""

    version: str = ""
    backend: str = ""
    plane: str = ""
    started: Optional[float] = None
    resident: Optional[int] = None  # bytes
    threads: Optional[int] = None
    idle: Optional[int] = None
    busy: Mapping[str, int] = _NONE  # by priority: critical, high, medium, low
    queued: Mapping[str, int] = _NONE  # jobs, by priority
    scheduled: Optional[int] = None
    ike_sas: Optional[int] = None
    half_open: Optional[int] = None
    heap: Mapping[str, int] = _NONE  # bytes, by kind: total, used, free


class Decision(NamedTuple):
    """A hold as an operator gave it."""

    what: str  # in words: all connections, peer cp2*
    by: str
    why: str
    since: float
    until: Optional[float] = None


class Sample(NamedTuple):
    """What one look found."""

    time: float  # of the look
    host: str  # its name, as its peers call it where the record tells, else the machine's
    site: str = ""
    severity: str = "ok"  # of the host, as the judge says
    sentence: str = ""  # 140 connections: 139 established, 1 down
    connections: tuple[Sampled, ...] = ()
    states: Mapping[str, int] = _NONE  # how many connections are in each, zeros as well
    charon: Optional[Process] = None  # None where it does not answer
    counters: Mapping[str, int] = _NONE  # totals of charon's get-counters, by its keys: ike-init-in-req
    errors: Mapping[str, int] = _NONE  # totals of /proc/net/xfrm_stat, by its keys
    certificate: Optional[float] = None  # when the one in use ends
    warn_days: Optional[int] = None  # before its end, from which on the judge warns
    loaded: Optional[bool] = None  # whether charon has that certificate; None where it was not asked
    holds: tuple[Decision, ...] = ()
    guard_missing: Optional[int] = None  # policies of stage require that are not there, found at the look
    actions: Mapping[str, int] = _NONE  # totals of what the keeper did: start, end, hold, guard, route
    applied: Optional[float] = None  # the last state.apply that wrote the record
    unread: Mapping[str, str] = (
        _NONE  # what could not be read -> why: charon, kernel, record, certificate, absent, hold, counters
    )
    took: float = 0.0  # seconds of the look
    dead: tuple[str, ...] = ()  # who is to run here beside charon, and does not; a charon outside its unit
    failed: Optional[str] = None  # what the last state.apply failed by, empty where it passed

    def stale(self, now: float) -> bool:
        """Whether it is too old to say anything of connections; one of the future counts as old as well."""
        return not -STALE <= now - self.time <= STALE


def plain(sample: Sample) -> dict[str, Any]:
    """Return it as JSON can have it."""
    return {
        **{
            key: dict(value) if isinstance(value, Mapping) else value
            for key, value in sample._asdict().items()
        },
        "schema": SCHEMA,
        "connections": [
            {**one._asdict(), "received": one.received._asdict(), "sent": one.sent._asdict()}
            for one in sample.connections
        ],
        "charon": sample.charon and _plain(sample.charon._asdict()),
        "holds": [one._asdict() for one in sample.holds],
    }


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in found.items()}


def parse(found: Any) -> Sample:
    """Return what :func:`plain` gave; keys of later releases are passed over. Raises HostIPsecError."""
    try:
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']!r:.20}, not {SCHEMA}")
        return Sample(
            **{
                **_known(Sample, found),
                "connections": tuple(map(_sampled, found["connections"])),
                "charon": found["charon"] and Process(**_known(Process, found["charon"])),
                "holds": tuple(Decision(**_known(Decision, one)) for one in found["holds"]),
                "dead": tuple(map(str, found.get("dead", ()))),
            }
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HostIPsecError(f"the sample cannot be read ({error!r:.200})") from None


def _sampled(found: Mapping[str, Any]) -> Sampled:
    ways = {way: Traffic(**_known(Traffic, found[way])) for way in ("received", "sent")}
    return Sampled(**{**_known(Sampled, found), **ways})


def _known(kind: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in kind._fields if key in found}
