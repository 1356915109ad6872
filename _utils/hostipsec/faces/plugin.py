"""What a plugin for Icinga, Nagios and their like says of a verdict: status, one line, performance data.

Its shape is that of the Monitoring Plugins Development Guidelines: what an exit status means, what a range
is, ``|`` before the performance data and nowhere else.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from ..answer import counted
from ..errors import HostIPsecError
from ..fleet import hostnames
from ..health.look import Look
from ..health.report import LEAKS, STATES, ConnectionHealth, Report

PREFIX = "IPSEC"
RANGE = "10, 5:, ~:5, 3:8, or @3:8 for what lies within"
_RANGE = re.compile(r"(@?)(?:(~|-?[0-9]{1,9}(?:\.[0-9]{1,9})?):)?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)?\Z")
_LONGEST = 400  # characters of a line: what shows it, and who is called at night, has no more


class Status(enum.IntEnum):
    """The exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


# what is not known never hides what is critical, and is never hidden by a warning
_ORDER = (Status.OK, Status.WARNING, Status.UNKNOWN, Status.CRITICAL)
_STATUS = {"ok": Status.OK, "warning": Status.WARNING, "critical": Status.CRITICAL}


class Range(NamedTuple):
    """A range of the guidelines; what lies outside alarms, or inside where it is ``inverted``."""

    text: str
    low: float
    high: float
    inverted: bool = False

    def alarms(self, value: float) -> bool:
        """Whether a value alarms."""
        return (self.low <= value <= self.high) == self.inverted


def ranged(text: str) -> Range:
    """Read a range. Raises ValueError for what is none."""
    found = _RANGE.match(text)
    if found is None or not (found[2] or found[3]):
        raise ValueError(f"{text!r} is no range: {RANGE}")
    low = float("-inf") if found[2] == "~" else float(found[2] or 0)
    high = float(found[3]) if found[3] else float("inf")
    if low > high:
        raise ValueError(f"{text!r} is no range: it begins above its end")
    return Range(text, low, high, bool(found[1]))


class Limits(NamedTuple):
    """For how many connections that are down an operator wants which status; by default the judge says."""

    warning: Optional[Range] = None
    critical: Optional[Range] = None


class Said(NamedTuple):
    """What the plugin prints, and ends with."""

    status: Status
    sentence: str
    rows: Sequence[ConnectionHealth] = ()  # what is behind it, the worst first
    data: Sequence[str] = ()

    @property
    def line(self) -> str:
        """Return the first line, without performance data."""
        text = _plain(self.sentence)
        return f"{PREFIX} {self.status.name} - {text[:_LONGEST]}{'...' if len(text) > _LONGEST else ''}"

    def lines(self, rows: Sequence[ConnectionHealth] = ()) -> Iterator[str]:
        """Yield the first line with the data, and after it a line for each of some rows."""
        yield " | ".join([self.line, " ".join(self.data)] if self.data else [self.line])
        yield from (_plain(f"{row.name}: {row.state}, {row.reason}") for row in rows)


def unknown(why: HostIPsecError | str) -> Said:
    """Say that nothing is known."""
    return Said(Status.UNKNOWN, str(why))


def said(seen: Look, report: Report, shown: Report, limits: Limits) -> Said:
    """Say what a plugin says of a host.

    ``seen``    the look
    ``report``  the verdict on it
    ``shown``   the same, with those connections that were asked for
    ``limits``  what an operator tolerates of connections that are down; nothing else is tolerated
    """
    found = [*_of_the_host(seen, report), *_of_connections(shown, limits)]
    found.sort(key=lambda one: -_ORDER.index(one[0]))  # the worst first; else in the order in which they came
    worst = found[0][0] if found else Status.OK
    sentences = [sentence for status, sentence in found if status is not Status.OK]
    summary = [] if sentences and not shown.connections else [shown.sentence]
    data = tuple(_data(seen, shown, limits))
    return Said(worst, "; ".join([*sentences, *summary, *_resting(seen)]), shown.trouble, data)


def _resting(seen: Look) -> Iterator[str]:
    """Say what is left out."""
    if seen.resting:
        names = hostnames.few([one.name for one in seen.resting])
        yield f"{counted(len(seen.resting))} in maintenance: {names}"


def _of_the_host(seen: Look, report: Report) -> Iterator[tuple[Status, str]]:
    """Yield what is not well beside connections."""
    unread = seen.unread
    if not report.answered and report.connections:
        why = unread.get("charon", "")
        yield (Status.CRITICAL, f"charon does not answer ({why})" if why else "charon does not answer")
    if report.unsure:
        yield (Status.CRITICAL, report.unsure)
    for part, why in unread.items():
        if part != "charon" and why != report.unsure:
            yield (Status.UNKNOWN, why)
    yield from ((Status.WARNING, sentence) for sentence in seen.dead)
    ends = report.certificate
    if ends:
        yield (_STATUS[ends.severity], ends.sentence)


def _of_connections(shown: Report, limits: Limits) -> Iterator[tuple[Status, str]]:
    """Yield what is not well with connections, by what is the same of them."""
    groups: dict[tuple[str, str, str], list[ConnectionHealth]] = {}
    for row in shown.trouble:
        groups.setdefault((row.severity, row.state, row.reason), []).append(row)
    tolerated = _tolerated(shown, limits)
    if tolerated and not any(map(tolerable, shown.connections)):
        yield (tolerated, "no connection is down")  # by a range that does not have 0
    for (severity, state, reason), rows in groups.items():
        status = tolerated if tolerated is not None and tolerable(rows[0]) else _STATUS[severity]
        names = hostnames.few([row.name for row in rows])
        yield (status, f"{counted(len(rows))} {state}: {names} ({reason})")


def tolerable(row: ConnectionHealth) -> bool:
    """Whether a row is of those that ranges are about: down, and neither leaking nor held and yet up."""
    return row.severity == "critical" and row.state != LEAKS and not row.held


def _tolerated(shown: Report, limits: Limits) -> Optional[Status]:
    """Return the status of connections that are down by the operator's ranges; None where he gave none."""
    if limits == Limits():
        return None
    number = sum(map(tolerable, shown.connections))
    if limits.critical is not None and limits.critical.alarms(number):
        return Status.CRITICAL
    if limits.warning is not None and limits.warning.alarms(number):
        return Status.WARNING
    return Status.OK


def _data(seen: Look, shown: Report, limits: Limits) -> Iterator[str]:
    """Yield the performance data: how many connections there are by state, how many are down, days left."""
    total = len(shown.connections)
    ranges = ";".join(one.text if one else "" for one in (limits.warning, limits.critical))
    yield f"trouble={sum(map(tolerable, shown.connections))};{ranges};0;{total}"
    counts = shown.counts
    yield from (f"'{state}'={counts[state]};;;0;{total}" for state in STATES)
    yield f"maintenance={len(seen.resting)}"
    if shown.certificate:
        yield f"certificate_days={shown.certificate.days_left}"


def as_plain(found: Said, shown: Report) -> dict[str, object]:
    """Return it as plain values, for JSON."""
    ends = shown.certificate
    return {
        "status": found.status.name,
        "sentence": found.sentence,
        "counts": dict(shown.counts),
        "connections": {row.name: row._asdict() for row in shown.managed},
        "unmanaged": {row.name: row._asdict() for row in shown.unmanaged},
        "certificate": ends and {**ends._asdict(), "not_after": ends.not_after.isoformat()},
    }


def _plain(text: str) -> str:
    """Return a text that is one line without a bar, whatever charon put into it."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).replace("|", "/").split())
