"""Metrics of a host: one table, and what a sample of the keeper's has of it.

A sample that is too old, or cannot be read, says nothing of connections, of charon and of the kernel: then
there are those metrics alone that tell of the keeper and of this package (``own`` in the table).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import NamedTuple, Optional, Union

from .. import __version__
from ..errors import HostIPsecError
from ..health import sample as samples
from ..health.report import LEAKS, SEVERITIES, STATES
from ..health.sample import Process, Sample, Sampled

Number = Union[bool, int, float]
Series = tuple[tuple[str, ...], Number]  # values of the labels, in their order; what is measured
GAUGE, COUNTER = "gauge", "counter"
CONNECTION = ("peer", "family", "stage", "sites", "pair")
DIRECTIONS = ("in", "out")
SOURCES = ("keeper", "charon", "kernel", "record", "certificate", "hold")
_MESSAGE = re.compile(r"(?:ike-)?(init|auth|create-child|info)-(in|out)-(req|resp)\Z")
_KINDS = {"req": "request", "resp": "response"}
_REKEYS = {"ike-rekey-init": ("initiator",), "ike-rekey-resp": ("responder",)}
_INVALID = {"invalid": ("malformed",), "invalid-spi": ("spi",)}
_NOTHING = Sample(0.0, "")


class Seen(NamedTuple):
    """What there is to tell of: a sample, and why it says nothing, empty where it does."""

    time: float
    sample: Sample = _NOTHING
    wrong: str = ""


class Metric(NamedTuple):
    """One line of the table."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    series: Callable[[Seen], Iterable[Series]]
    own: bool = False  # told also where the sample says nothing


class Family(NamedTuple):
    """A metric, with its series."""

    metric: Metric
    series: tuple[Series, ...]


# Kinds of lines ------------------------------------------------------------------------------


def _each(name: str, kind: str, said: str, get: Callable[[Sampled], Optional[Number]]) -> Metric:
    """Return a metric with a series for each connection that has a value."""

    def series(seen: Seen) -> Iterator[Series]:
        for one in seen.sample.connections:
            if (value := get(one)) is not None:
                yield (one.peer, one.family, one.stage, one.sites, one.pair), value

    return Metric(f"ipsec_connection_{name}", kind, said, CONNECTION, series)


def _ways(name: str, kind: str, said: str, get: Callable[[Sampled], Iterable[Optional[Number]]]) -> Metric:
    """Return a metric with a series for each connection and direction; ``get`` gives both."""

    def series(seen: Seen) -> Iterator[Series]:
        for one in seen.sample.connections:
            for direction, value in zip(DIRECTIONS, get(one)):
                if value is not None:
                    yield (one.peer, one.family, one.stage, one.sites, one.pair, direction), value

    return Metric(f"ipsec_connection_{name}", kind, said, (*CONNECTION, "direction"), series)


def _by(
    name: str, kind: str, said: str, labels: tuple[str, ...], get: Callable[[Sample], Iterable[Series]]
) -> Metric:
    """Return a metric of the host with labels of its own."""

    def series(seen: Seen) -> Iterator[Series]:
        for values, number in get(seen.sample):
            yield (seen.sample.site, *values), number

    return Metric(f"ipsec_{name}", kind, said, ("site", *labels), series)


def _host(name: str, said: str, get: Callable[[Sample], Optional[Number]]) -> Metric:
    """Return a gauge of the host, told where it has a value."""
    return _by(name, GAUGE, said, (), lambda sample: _one(get(sample)))


def _charon(name: str, said: str, get: Callable[[Process], Optional[Number]]) -> Metric:
    """Return a gauge of charon, told while it answers."""
    return _host(f"charon_{name}", said, lambda sample: get(sample.charon) if sample.charon else None)


def _of_charon(name: str, said: str, label: str, get: Callable[[Process], Mapping[str, int]]) -> Metric:
    """Return a gauge of charon with a label, told while it answers."""

    def found(sample: Sample) -> Iterable[Series]:
        return _pairs(get(sample.charon)) if sample.charon else ()

    return _by(f"charon_{name}", GAUGE, said, (label,), found)


def _one(value: Optional[Number], *labels: str) -> Iterable[Series]:
    return () if value is None else ((labels, value),)


def _pairs(found: Mapping[str, int]) -> Iterator[Series]:
    yield from (((key,), found[key]) for key in sorted(found))


def _messages(sample: Sample) -> Iterator[Series]:
    for key in sorted(sample.counters):
        if found := _MESSAGE.match(key):
            yield (found[1], found[2], _KINDS[found[3]]), sample.counters[key]


def _counted(keys: Mapping[str, tuple[str, ...]]) -> Callable[[Sample], Iterable[Series]]:
    """Return those of charon's counters that are there, each with its values of labels."""
    return lambda sample: [(keys[key], sample.counters[key]) for key in keys if key in sample.counters]


def _sources(seen: Seen) -> Iterable[Series]:
    site, unread = seen.sample.site, seen.sample.unread
    if seen.wrong:
        return [((site, "keeper"), 0)]
    return [((site, source), source not in unread) for source in SOURCES]


def _info(seen: Seen) -> Iterable[Series]:
    charon = (not seen.wrong and seen.sample.charon) or Process()
    told = (__version__, charon.version, charon.backend, charon.plane)
    return [((seen.sample.site, seen.sample.host, *told), 1)] if seen.sample.host else []


def _looked(seen: Seen) -> Iterable[Series]:
    return _one(seen.sample.time or None, seen.sample.site)


# The table -----------------------------------------------------------------------------------

TABLE = (
    _each(
        "expected",
        GAUGE,
        "Whether it must carry packets now; 0 where it is passive, or held.",
        lambda one: one.expected,
    ),
    _each("up", GAUGE, "Whether SAs carry it, in charon and in the kernel.", lambda one: one.up),
    _each("held", GAUGE, "Whether an operator holds it down.", lambda one: one.held),
    _each(
        "one_way",
        GAUGE,
        "Whether packets went out and none came in.",
        lambda one: one.state == "one-way",
    ),
    _each(
        "kernel_missing",
        GAUGE,
        "Whether the kernel has lost SAs that charon goes on with.",
        lambda one: one.state == "no xfrm",
    ),
    _each(
        "unencrypted",
        GAUGE,
        "1 where SAs are there that do not encrypt all between the two hosts; else there is no such series.",
        lambda one: 1 if one.state == LEAKS else None,
    ),
    _each("duplicates", GAUGE, "CHILD SAs beside the one that is meant.", lambda one: one.duplicates),
    _each("losses_total", COUNTER, "How often it went from up to not up.", lambda one: one.losses),
    _ways(
        "bytes_total",
        COUNTER,
        "Bytes in ESP, over all SAs that it has had.",
        lambda one: (one.received.bytes, one.sent.bytes),
    ),
    _ways(
        "packets_total",
        COUNTER,
        "Packets in ESP, over all SAs that it has had.",
        lambda one: (one.received.packets, one.sent.packets),
    ),
    _each(
        "replays_total",
        COUNTER,
        "Packets that the kernel dropped: seen before, or too old for the window.",
        lambda one: one.replays,
    ),
    _each(
        "integrity_failures_total",
        COUNTER,
        "Packets that the kernel dropped: their integrity check failed.",
        lambda one: one.failures,
    ),
    _each("established_timestamp_seconds", GAUGE, "When its IKE SA came up.", lambda one: one.established),
    _each(
        "rekey_timestamp_seconds",
        GAUGE,
        "When the first of its SAs is due to be rekeyed.",
        lambda one: one.rekey,
    ),
    _ways(
        "last_packet_timestamp_seconds",
        GAUGE,
        "When its SAs carried a packet last.",
        lambda one: (one.last_in, one.last_out),
    ),
    _each(
        "sequence_used_ratio",
        GAUGE,
        "Share of the 32-bit sequence numbers that the fullest of its SAs has used; none with ESN.",
        lambda one: one.sequence,
    ),
    _ways(
        "cleartext_packets_total",
        COUNTER,
        "Packets in the clear between the two hosts, without IKE and neighbour discovery; where counted.",
        lambda one: (one.clear_in, one.clear_out),
    ),
    _by(
        "connections",
        GAUGE,
        "Connections by state, as ipsec.status calls it.",
        ("state",),
        lambda sample: [((state,), sample.states.get(state, 0)) for state in STATES],
    ),
    _host(
        "severity",
        "The verdict on the host: 0 ok, 1 warning, 2 critical.",
        lambda sample: SEVERITIES.index(sample.severity),
    ),
    _by(
        "ike_messages_total",
        COUNTER,
        "IKE messages by exchange, as charon counts them.",
        ("exchange", "direction", "kind"),
        _messages,
    ),
    _by("ike_rekeys_total", COUNTER, "Rekeyings of IKE SAs, by who began.", ("role",), _counted(_REKEYS)),
    _by("child_rekeys_total", COUNTER, "Rekeyings of CHILD SAs.", (), _counted({"child-rekey": ()})),
    _by(
        "ike_invalid_messages_total",
        COUNTER,
        "IKE messages that charon dropped.",
        ("reason",),
        _counted(_INVALID),
    ),
    _host("charon_up", "Whether charon answers.", lambda sample: sample.charon is not None),
    _charon("start_time_seconds", "When charon was started.", lambda found: found.started),
    _charon("resident_memory_bytes", "Memory of charon.", lambda found: found.resident),
    _charon("threads", "Threads of charon.", lambda found: found.threads),
    _charon("threads_idle", "Threads of charon that wait for work.", lambda found: found.idle),
    _of_charon("threads_busy", "Threads of charon at work.", "priority", lambda found: found.busy),
    _of_charon("jobs_queued", "Jobs that wait for a thread.", "priority", lambda found: found.queued),
    _charon("jobs_scheduled", "Jobs of charon for later.", lambda found: found.scheduled),
    _charon("ike_sas", "IKE SAs of charon, in whatever state.", lambda found: found.ike_sas),
    _charon(
        "ike_sas_half_open", "IKE SAs whose peer has not proven itself yet.", lambda found: found.half_open
    ),
    _of_charon("heap_bytes", "The heap of charon.", "kind", lambda found: found.heap),
    _by(
        "kernel_errors_total",
        COUNTER,
        "Packets that the kernel's IPsec dropped, by its name for why (/proc/net/xfrm_stat).",
        ("error",),
        lambda sample: _pairs(sample.errors),
    ),
    _by(
        "certificate_expiry_timestamp_seconds",
        GAUGE,
        "When the certificate ends.",
        ("kind",),
        lambda sample: _one(sample.certificate, "host"),
    ),
    _by(
        "certificate_loaded",
        GAUGE,
        "Whether charon has the certificate that is on disk.",
        ("kind",),
        lambda sample: _one(sample.loaded, "host"),
    ),
    _host(
        "hold_since_timestamp_seconds",
        "Since when something is held down, by the earliest hold; 0 where nothing is.",
        lambda sample: min((one.since for one in sample.holds), default=0),
    ),
    _by(
        "keeper_actions_total",
        COUNTER,
        "What the keeper did.",
        ("action",),
        lambda sample: _pairs(sample.actions),
    ),
    _host(
        "guard_policies_missing",
        "Policies of stage require, which block what is in the clear, that were not there.",
        lambda sample: sample.guard_missing,
    ),
    _host(
        "apply_timestamp_seconds",
        "When state.apply last wrote which connections this host has.",
        lambda sample: sample.applied,
    ),
    _host(
        "keeper_look_duration_seconds", "How long the keeper's last look took.", lambda sample: sample.took
    ),
    Metric(
        "ipsec_keeper_look_timestamp_seconds",
        GAUGE,
        "When the keeper looked last.",
        ("site",),
        _looked,
        own=True,
    ),
    Metric(
        "ipsec_source_up",
        GAUGE,
        "Whether it could be read; keeper: whether it looks.",
        ("site", "source"),
        _sources,
        own=True,
    ),
    Metric(
        "ipsec_run_timestamp_seconds",
        GAUGE,
        "When these metrics were written.",
        ("site",),
        lambda seen: _one(seen.time, seen.sample.site),
        own=True,
    ),
    Metric(
        "ipsec_info",
        GAUGE,
        "1, with the versions of this package and of strongSwan, and with who does ESP (plane).",
        ("site", "host", "version", "strongswan", "backend", "plane"),
        _info,
        own=True,
    ),
)


# What a sample has of it ---------------------------------------------------------------------


def seen(found: object, now: float) -> Seen:
    """Return what the keeper's file says (``store/samples.read``); ``found`` is None where there is none."""
    if found is None:
        return Seen(now, wrong="there is no sample: the keeper has not looked since this host was booted")
    try:
        sample = samples.parse(found)
        return Seen(now, sample, _late(sample, now) if sample.stale(now) else "")
    except HostIPsecError as error:
        return Seen(now, wrong=str(error))
    except (ValueError, TypeError, OverflowError, OSError) as error:  # a time that is none
        return Seen(now, wrong=f"the sample cannot be read ({error!r:.200})")


def _late(sample: Sample, now: float) -> str:
    """Say why a sample says nothing; the same words for as long as it is so."""
    when = f"{datetime.fromtimestamp(sample.time, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    if sample.time > now:
        return f"the keeper looked last at {when}, which is later than now: the clock was set"
    return f"the keeper has not looked since {when}"


def families(told: Seen) -> tuple[Family, ...]:
    """Return the metrics that there are of it, in the order of the table.

    Raises HostIPsecError where the sample holds what is none.
    """
    lines = [one for one in TABLE if one.own or not told.wrong]
    try:
        found = (Family(one, tuple(map(_checked, one.series(told)))) for one in lines)
        return tuple(one for one in found if one.series)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HostIPsecError(f"the sample cannot be read ({error!r:.200})") from None


def _checked(series: Series) -> Series:
    labels, value = series
    if not (isinstance(value, (int, float)) and all(isinstance(one, str) for one in labels)):
        raise TypeError(f"{value!r:.40} of {labels!r:.100}")
    return series
