"""Metrics of a host: one table, and what a sample of the keeper's has of it.

A sample that is too old, or cannot be read, says nothing of connections, of charon and of the kernel: then
there are those metrics alone that tell of the keeper and of this package (``own`` in the table).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Optional

from .. import __version__
from ..errors import HostIPsecError
from ..health import sample as samples
from ..health.report import LEAKS, SEVERITIES, STATES
from ..health.sample import Process, Sample
from .measures import (
    COUNTER,
    GAUGE,
    Family,
    Metric,
    Seen,
    Series,
    by,
    charon,
    each,
    host,
    of_charon,
    pairs,
    single,
    ways,
)

SOURCES = ("keeper", "charon", "kernel", "record", "certificate", "hold")
_MESSAGE = re.compile(r"(?:ike-)?(init|auth|create-child|info)-(in|out)-(req|resp)\Z")
_KINDS = {"req": "request", "resp": "response"}
_REKEYS = {"ike-rekey-init": ("initiator",), "ike-rekey-resp": ("responder",)}
_INVALID = {"invalid": ("malformed",), "invalid-spi": ("spi",)}


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
    looked = ("keeper",) if _blind(seen.sample) else SOURCES
    return [((site, source), source not in unread) for source in sorted({*looked, *unread})]


def _blind(sample: Sample) -> bool:
    """Whether nothing was looked at: without a record, nobody knows for what."""
    return sample.charon is None and "charon" not in sample.unread


def _states(sample: Sample) -> Iterable[Series]:
    return () if _blind(sample) else [((state,), sample.states.get(state, 0)) for state in STATES]


def _answers(sample: Sample) -> Optional[bool]:
    return None if _blind(sample) else sample.charon is not None


def _astray(sample: Sample) -> Optional[bool]:
    return None if sample.charon is None else bool(sample.dead)


def _held_since(sample: Sample) -> Optional[float]:
    if _blind(sample) or "hold" in sample.unread:
        return None
    return min((one.since for one in sample.holds), default=0)


def _info(seen: Seen) -> Iterable[Series]:
    process = (not seen.wrong and seen.sample.charon) or Process()
    told = (__version__, process.version, process.backend, process.plane)
    return [((seen.sample.site, seen.sample.host, *told), 1)] if seen.sample.host else []


def _looked(seen: Seen) -> Iterable[Series]:
    return single(seen.sample.time or None, seen.sample.site)


# The table -----------------------------------------------------------------------------------

TABLE = (
    each(
        "expected",
        GAUGE,
        "Whether it must carry packets now; 0 where it is passive, or held.",
        lambda one: one.expected,
    ),
    each("up", GAUGE, "Whether SAs carry it, in charon and in the kernel.", lambda one: one.up),
    each("held", GAUGE, "Whether an operator holds it down.", lambda one: one.held),
    each(
        "one_way",
        GAUGE,
        "Whether packets went out and none came in.",
        lambda one: one.state == "one-way",
    ),
    each(
        "kernel_missing",
        GAUGE,
        "Whether the kernel has lost SAs that charon goes on with.",
        lambda one: one.state == "no xfrm",
    ),
    each(
        "unencrypted",
        GAUGE,
        "1 where SAs are there that do not encrypt all between the two hosts; else there is no such series.",
        lambda one: 1 if one.state == LEAKS else None,
    ),
    each("duplicates", GAUGE, "CHILD SAs beside the one that is meant.", lambda one: one.duplicates),
    each("losses_total", COUNTER, "How often it went from up to not up.", lambda one: one.losses),
    ways(
        "bytes_total",
        COUNTER,
        "Bytes in ESP, over all SAs that it has had.",
        lambda one: (one.received.bytes, one.sent.bytes),
    ),
    ways(
        "packets_total",
        COUNTER,
        "Packets in ESP, over all SAs that it has had.",
        lambda one: (one.received.packets, one.sent.packets),
    ),
    each(
        "replays_total",
        COUNTER,
        "Packets that the kernel dropped: seen before, or too old for the window.",
        lambda one: one.replays,
    ),
    each(
        "integrity_failures_total",
        COUNTER,
        "Packets that the kernel dropped: their integrity check failed.",
        lambda one: one.failures,
    ),
    each("established_timestamp_seconds", GAUGE, "When its IKE SA came up.", lambda one: one.established),
    each(
        "rekey_timestamp_seconds",
        GAUGE,
        "When the first of its SAs is due to be rekeyed.",
        lambda one: one.rekey,
    ),
    ways(
        "last_packet_timestamp_seconds",
        GAUGE,
        "When its SAs carried a packet last.",
        lambda one: (one.last_in, one.last_out),
    ),
    each(
        "sequence_used_ratio",
        GAUGE,
        "Share of the 32-bit sequence numbers that the fullest of its SAs has used; none with ESN.",
        lambda one: one.sequence,
    ),
    ways(
        "cleartext_packets_total",
        COUNTER,
        "Packets in the clear between the two hosts, without IKE and neighbour discovery; where counted.",
        lambda one: (one.clear_in, one.clear_out),
    ),
    by(
        "connections",
        GAUGE,
        "Connections by state, as ipsec.status calls it.",
        ("state",),
        _states,
    ),
    host(
        "severity",
        "The verdict on the host: 0 ok, 1 warning, 2 critical.",
        lambda sample: SEVERITIES.index(sample.severity),
    ),
    by(
        "ike_messages_total",
        COUNTER,
        "IKE messages by exchange, as charon counts them.",
        ("exchange", "direction", "kind"),
        _messages,
    ),
    by("ike_rekeys_total", COUNTER, "Rekeyings of IKE SAs, by who began.", ("role",), _counted(_REKEYS)),
    by("child_rekeys_total", COUNTER, "Rekeyings of CHILD SAs.", (), _counted({"child-rekey": ()})),
    by(
        "ike_invalid_messages_total",
        COUNTER,
        "IKE messages that charon dropped.",
        ("reason",),
        _counted(_INVALID),
    ),
    host("charon_up", "Whether charon answers.", _answers),
    charon("start_time_seconds", "When charon was started.", lambda found: found.started),
    host(
        "charon_outside_unit",
        "Whether charon runs outside of its unit, as after 'ipsec restart': systemd does not know of it.",
        _astray,
    ),
    charon("resident_memory_bytes", "Memory of charon.", lambda found: found.resident),
    charon("threads", "Threads of charon.", lambda found: found.threads),
    charon("threads_idle", "Threads of charon that wait for work.", lambda found: found.idle),
    of_charon("threads_busy", "Threads of charon at work.", "priority", lambda found: found.busy),
    of_charon("jobs_queued", "Jobs that wait for a thread.", "priority", lambda found: found.queued),
    charon("jobs_scheduled", "Jobs of charon for later.", lambda found: found.scheduled),
    charon("ike_sas", "IKE SAs of charon, in whatever state.", lambda found: found.ike_sas),
    charon(
        "ike_sas_half_open", "IKE SAs whose peer has not proven itself yet.", lambda found: found.half_open
    ),
    of_charon("heap_bytes", "The heap of charon.", "kind", lambda found: found.heap),
    by(
        "kernel_errors_total",
        COUNTER,
        "Packets that the kernel's IPsec dropped, by its name for why (/proc/net/xfrm_stat).",
        ("error",),
        lambda sample: pairs(sample.errors),
    ),
    by(
        "certificate_expiry_timestamp_seconds",
        GAUGE,
        "When the certificate ends.",
        ("kind",),
        lambda sample: single(sample.certificate, "host"),
    ),
    by(
        "certificate_loaded",
        GAUGE,
        "Whether charon has the certificate that is on disk.",
        ("kind",),
        lambda sample: single(sample.loaded, "host"),
    ),
    host(
        "hold_since_timestamp_seconds",
        "Since when something is held down, by the earliest hold; 0 where nothing is.",
        _held_since,
    ),
    by(
        "keeper_actions_total",
        COUNTER,
        "What the keeper did.",
        ("action",),
        lambda sample: pairs(sample.actions),
    ),
    host(
        "guard_policies_missing",
        "Policies of stage require, which block what is in the clear, that were not there.",
        lambda sample: sample.guard_missing,
    ),
    host(
        "apply_timestamp_seconds",
        "When state.apply last wrote which connections this host has.",
        lambda sample: sample.applied,
    ),
    host(
        "apply_success",
        "Whether this package's states passed at the last state.apply; 0 until one passes.",
        lambda sample: None if sample.failed is None else not sample.failed,
    ),
    host("keeper_look_duration_seconds", "How long the keeper's last look took.", lambda sample: sample.took),
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
        lambda seen: single(seen.time, seen.sample.site),
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
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise HostIPsecError(f"the sample cannot be read ({error!r:.200})") from None


def _checked(series: Series) -> Series:
    labels, value = series
    if not (isinstance(value, (int, float)) and all(isinstance(one, str) for one in labels)):
        raise TypeError(f"{value!r:.40} of {labels!r:.100}")
    float(value)  # an OverflowError where it is none that others can read
    return series
