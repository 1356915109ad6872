"""Metrics of 140 and 1,000 connections as text: ours, and the same series by prometheus_client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from figures import median, table
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from hostipsec.faces import exposition, metrics
from hostipsec.faces.measures import Family
from hostipsec.health.sample import plain
from samples import NOW, sample

ROUNDS = 7


class Collector:
    """The same series, as prometheus_client wants them."""

    def __init__(self, families: tuple[Family, ...]) -> None:
        self.families = families

    def collect(self) -> list[Metric]:
        """Return them."""
        return [_family(one) for one in self.families]

    def describe(self) -> list[Metric]:
        """Return nothing: a registry would collect all once more."""
        return []


def _family(family: Family) -> Metric:
    one = family.metric
    found = Metric(one.name.removesuffix("_total"), one.help, one.kind)
    for values, value in family.series:
        found.add_sample(one.name, dict(zip(one.labels, values)), value)
    return found


def by_library(families: tuple[Family, ...]) -> str:
    """Return the text that prometheus_client makes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(families))
    return generate_latest(registry).decode()


def cpu(do: Callable[[], object]) -> float:
    """Return the milliseconds of a processor that it takes, as a median."""

    def once() -> float:
        begin = time.process_time()
        do()
        return (time.process_time() - begin) * 1000

    return median([once() for _ in range(ROUNDS)])


def main() -> None:
    """Print milliseconds of CPU."""
    rows = []
    for number in (140, 1000):
        content = json.dumps(plain(sample(number)))
        found = metrics.families(metrics.seen(json.loads(content), NOW))
        text = exposition.prometheus(found)
        assert _series(text) == _series(by_library(found))
        sides = (
            lambda content=content: metrics.families(metrics.seen(json.loads(content), NOW)),
            lambda found=found: exposition.prometheus(found),
            lambda found=found: by_library(found),
            lambda found=found: exposition.graphite(found, "cp1001.eqiad.example", NOW),
        )
        read, ours, library, graphite = map(cpu, sides)
        rows.append(
            [
                f"{number}",
                f"{sum(len(one.series) for one in found)}",
                f"{len(text) // 1024}",
                *(f"{one:.1f}" for one in (read, ours, library)),
                f"{library / ours:.1f}",
                f"{graphite:.1f}",
            ]
        )
    head = [
        "connections",
        "series",
        "KiB",
        "sample read",
        "text",
        "prometheus_client",
        "times ours",
        "Graphite",
    ]
    table(f"Metrics of a host, ms of CPU (median of {ROUNDS})", head, rows)


def _series(text: str) -> set[tuple[object, ...]]:
    return {
        (one.name, *sorted(one.labels.items()), one.value)
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
