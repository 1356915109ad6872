"""What a line of the table of metrics is made of: kinds of metrics, by what they are of. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Optional, Tuple, Union

from ..health.sample import Process, Sample, Sampled

Number = Union[bool, int, float]
Series = Tuple[Tuple[str, ...], Number]  # values of the labels, in their order; what is measured
GAUGE, COUNTER = "gauge", "counter"
CONNECTION = ("peer", "family", "stage", "sites", "pair")
DIRECTIONS = ("in", "out")
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


def each(name: str, kind: str, said: str, get: Callable[[Sampled], Optional[Number]]) -> Metric:
    """Return a metric with a series for each connection that has a value."""

    def series(seen: Seen) -> Iterator[Series]:
        for one in seen.sample.connections:
            if (value := get(one)) is not None:
                yield (one.peer, one.family, one.stage, one.sites, one.pair), value

    return Metric(f"ipsec_connection_{name}", kind, said, CONNECTION, series)


def ways(name: str, kind: str, said: str, get: Callable[[Sampled], Iterable[Optional[Number]]]) -> Metric:
    """Return a metric with a series for each connection and direction; ``get`` gives both."""

    def series(seen: Seen) -> Iterator[Series]:
        for one in seen.sample.connections:
            for direction, value in zip(DIRECTIONS, get(one)):
                if value is not None:
                    yield (one.peer, one.family, one.stage, one.sites, one.pair, direction), value

    return Metric(f"ipsec_connection_{name}", kind, said, (*CONNECTION, "direction"), series)


def by(
    name: str, kind: str, said: str, labels: tuple[str, ...], get: Callable[[Sample], Iterable[Series]]
) -> Metric:
    """Return a metric of the host with labels of its own."""

    def series(seen: Seen) -> Iterator[Series]:
        for values, number in get(seen.sample):
            yield (seen.sample.site, *values), number

    return Metric(f"ipsec_{name}", kind, said, ("site", *labels), series)


def host(name: str, said: str, get: Callable[[Sample], Optional[Number]]) -> Metric:
    """Return a gauge of the host, told where it has a value."""
    return by(name, GAUGE, said, (), lambda sample: single(get(sample)))


def charon(name: str, said: str, get: Callable[[Process], Optional[Number]]) -> Metric:
    """Return a gauge of charon, told while it answers."""
    return host(f"charon_{name}", said, lambda sample: get(sample.charon) if sample.charon else None)


def of_charon(name: str, said: str, label: str, get: Callable[[Process], Mapping[str, int]]) -> Metric:
    """Return a gauge of charon with a label, told while it answers."""

    def found(sample: Sample) -> Iterable[Series]:
        return pairs(get(sample.charon)) if sample.charon else ()

    return by(f"charon_{name}", GAUGE, said, (label,), found)


def single(value: Optional[Number], *labels: str) -> Iterable[Series]:
    """Return one series with these values of labels, where it has a value."""
    return () if value is None else ((labels, value),)


def pairs(found: Mapping[str, int]) -> Iterator[Series]:
    """Return a series for each key."""
    yield from (((key,), found[key]) for key in sorted(found))
