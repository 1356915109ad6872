"""What a look of the beacon costs the minion, whose loop waits for it; beside it the sample's JSON alone."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import median, table

from hostipsec.health.sample import plain
from samples import sample

ROUNDS = 9
BEACON = Path(__file__).resolve().parents[2] / "_beacons/ipsec.py"


def main() -> None:
    """Print milliseconds of CPU."""
    rows = []
    for number in (140, 1000):
        with tempfile.TemporaryDirectory() as place:
            rows.append([f"{number}", *_figures(number, Path(place))])
    head = ["connections", "a new sample", "the same again", "its JSON alone", "times the JSON"]
    table(f"A look of the beacon, ms of CPU (median of {ROUNDS})", head, rows)


def _figures(number: int, place: Path) -> list[str]:
    found = importlib.util.spec_from_file_location("beacon", BEACON)
    assert found is not None
    assert found.loader is not None
    beacon = importlib.util.module_from_spec(found)
    found.loader.exec_module(beacon)
    beacon.__opts__ = {"cachedir": str(place)}
    path, config = place / "state.json", [{"sample": str(place / "state.json")}]

    def new() -> float:
        path.write_text(json.dumps(plain(sample(number)._replace(time=time.time()))))
        return _cpu(lambda: beacon.beacon(config))

    first = median([new() for _ in range(ROUNDS)])
    again = median([_cpu(lambda: beacon.beacon(config)) for _ in range(ROUNDS)])
    alone = median([_cpu(lambda: json.loads(path.read_bytes())) for _ in range(ROUNDS)])
    return [f"{first:.2f}", f"{again:.2f}", f"{alone:.2f}", f"{first / alone:.1f}"]


def _cpu(do: Callable[[], object]) -> float:
    begin = time.process_time()
    do()
    return (time.process_time() - begin) * 1000
