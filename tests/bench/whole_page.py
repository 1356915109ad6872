"""The page of the mesh, of what hosts answered: production's 92 hosts, well and with a dead one."""

from __future__ import annotations

import time

from figures import median, rounds, table

import reports
from hostipsec.faces import page
from hostipsec.faces.page import Made
from hostipsec.faces.strip import Strip

ROUNDS = 3


def main() -> None:
    """Print seconds for bringing both ends together, for the page, and its size."""
    rows = []
    for name, mesh in (("well", reports.Mesh()), ("troubled", reports.troubled())):
        found, made = mesh.found(), Made(time.time(), 300, reports.EDITION)
        sides = {
            "join": mesh.found,
            "page": lambda mesh=mesh, found=found, made=made: page.page(mesh.fleet, found, made, Strip()),
        }
        seconds = [f"{median(each):.2f}" for each in rounds(sides, ROUNDS).values()]
        size = len(page.page(mesh.fleet, found, made, Strip()).encode())
        assert size < 1_000_000, "larger than it may be"
        rows.append([name, str(len(found.shown.rows)), *seconds, str(size // 1000)])
    table(
        f"The page of 92 hosts (median of {ROUNDS}); join: answers read, both ends brought together",
        ["mesh", "connections", "join s", "page s", "kB"],
        rows,
    )
