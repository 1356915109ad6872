"""Timing by rounds, and tables."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence


def rounds(sides: Mapping[str, Callable[[], object]], number: int) -> dict[str, list[float]]:
    """Run each side in turn, a number of times; the seconds of each."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for count in range(1, number + 1):
        for name, side in sides.items():
            print(f"-- {name}, {count} of {number}", file=sys.stderr)
            begin = time.perf_counter()
            side()
            found[name].append(time.perf_counter() - begin)
    return found


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    print(f"\n== {title}")
    for row in (headings, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        print("  ".join(cells).rstrip())
