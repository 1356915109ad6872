"""The strip of the last reports for each pair of sites: kept in the page, read back from the one before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from ..fleet.joined import View
from ..health.report import SEVERITIES, worst

MOST = 48  # reports
Sites = tuple[str, str]
Points = tuple[Optional["Point"], ...]


class Point(NamedTuple):
    """What a pair of sites was in one report."""

    up: int
    all: int
    severity: int  # its place among the severities


class Strip(NamedTuple):
    """What pairs of sites were, a point for each time; None where there was no such pair."""

    times: tuple[float, ...] = ()  # seconds since 1970, rising
    pairs: Mapping[Sites, Points] = MappingProxyType({})


def now(view: View) -> dict[Sites, Point]:
    """Return what each pair of sites is."""
    severities: dict[Sites, str] = {}
    for row in view.rows:
        severities[row.sites] = worst(severities.get(row.sites, "ok"), row.severity)
    return {
        sites: Point(counts.get("up", 0), sum(counts.values()), SEVERITIES.index(severities[sites]))
        for sites, counts in view.sites.items()
    }


def after(before: Strip, time: float, view: View) -> Strip:
    """Return the strip with this report at its end; what lies ahead of it goes (a clock set back)."""
    kept = [number for number, one in enumerate(before.times) if one < time][-(MOST - 1) :]
    points = now(view)
    pairs = {
        sites: (*(before.pairs[sites][number] if sites in before.pairs else None for number in kept), point)
        for sites, point in points.items()
    }
    return Strip((*(before.times[number] for number in kept), time), pairs)


def plain(strip: Strip) -> dict[str, Any]:
    """Return it as JSON can have it."""
    pairs = [
        [*sites, [list(one) if one else None for one in points]] for sites, points in strip.pairs.items()
    ]
    return {"times": list(strip.times), "pairs": pairs}


def parse(found: Any) -> Strip:
    """Return what :func:`plain` gave. Raises ValueError for anything else."""
    try:
        times = tuple(_number(one) for one in found["times"])
        pairs = {
            (_text(one), _text(other)): _points(points, len(times)) for one, other, points in found["pairs"]
        }
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if any(later <= sooner for sooner, later in zip(times, times[1:])):
        raise ValueError("times that do not rise")
    return Strip(times, pairs)


def _points(found: Sequence[Any], number: int) -> Points:
    if len(found) != number:
        raise ValueError(f"{len(found)} points for {number} times")
    return tuple(None if one is None else _point(*one) for one in found)


def _point(up: Any, every: Any, severity: Any) -> Point:
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in (up, every, severity))
    if not whole or not 0 <= up <= every or not 0 <= severity < len(SEVERITIES):
        raise ValueError(f"no point: {up!r:.20}, {every!r:.20}, {severity!r:.20}")
    return Point(up, every, severity)


def _number(found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise ValueError(f"no time: {found!r:.20}")
    return found


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise ValueError(f"no site: {found!r:.20}")
    return found
