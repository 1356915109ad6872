"""Both ends of every pair brought together at the master, and told: all is down, so that all is trouble.

By size of the fleet: what one connection takes must not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from figures import median, rounds, table

import fleets
from hostipsec.fleet import joined
from hostipsec.model import Fleet
from hostipsec.pillar import pillar, topology

ROUNDS = 3
SIZES = (100, 400, 800)  # hosts at four sites, each with all of the other sites


def answers(fleet: Fleet) -> joined.Answers:
    """Return what every host says where all is down."""
    row = {"state": "down", "severity": "critical", "reason": "loaded, but no SA"}
    called = topology.names(fleet)
    found: dict[str, dict[str, dict[str, object]]] = {host.id: {} for host in fleet.hosts}
    for one, other in topology.pairs(fleet):
        found[one][f"{called[other]}_v4"] = {**row, "stage": "start", "initiator": True}
        found[other][f"{called[one]}_v4"] = {**row, "stage": "start", "initiator": False}
    return found


def main() -> None:
    """Print seconds, time a connection, and how that grows."""
    rows, smallest = [], [0.0, 0.0]
    for size in SIZES:
        fleet = pillar.read(fleets.sites(size))
        said = answers(fleet)
        view = joined.join(fleet, said)
        number = len(view.rows)
        assert dict(view.counts) == {"down": number}, "not the verdict that was asked for"
        sides: dict[str, Callable[[], object]] = {
            f"{size} hosts, join": partial(joined.join, fleet, said),
            f"{size} hosts, text": view.lines,
        }
        each = [median(seconds) / number for seconds in rounds(sides, ROUNDS).values()]
        smallest = smallest if all(smallest) else each
        cells = [
            (f"{one * number:.2f}", f"{one * 1e6:.1f}", f"{one / least:.2f}")
            for one, least in zip(each, smallest)
        ]
        rows.append([str(size), str(number), *cells[0], *cells[1]])
    table(
        f"Both ends of every pair, brought together and told (median of {ROUNDS})",
        ["hosts", "connections", "join s", "us each", "growth", "text s", "us each", "growth"],
        rows,
    )
    print(f"growth: time for one connection, against that with {SIZES[0]} hosts; 1 is linear")
