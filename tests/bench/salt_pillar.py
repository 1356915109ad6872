"""What the part of a minion adds to the pillar that Salt's master makes of it anyway, in a fleet of 5,040.

Both sides are workers as a master has them, each in a process of its own, with the same modules: one has our
ext_pillar over the fleet's file, the other no pillar at all. They are asked in turn.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import scale
from figures import median, table

ROOT = Path(__file__).parents[2]
ROUNDS, MINIONS = 5, 60
MOST = 5.0  # ms that a part may add
# One line in, one pillar made; one line out: the seconds of the processor, and the size of what is sent
WORKER = """
import sys, time
import salt.config, salt.payload, salt.pillar
opts = salt.config.master_config(sys.argv[1])
for line in sys.stdin:
    begin, minion = time.process_time(), line.strip()
    found = salt.pillar.get_pillar(opts, {"id": minion}, minion, "base").compile_pillar()
    print(time.process_time() - begin, len(salt.payload.dumps(found.get("ipsec", {}))), flush=True)
"""


class Worker:
    """A worker of a master; ``ext_pillar`` is what it has beside no pillar at all."""

    def __init__(self, place: Path, ext_pillar: list[dict[str, str]]) -> None:
        for part in ("_utils", "_pillar"):
            shutil.copytree(ROOT / part, place / "extmods" / part.lstrip("_"))
        config = {
            "root_dir": str(place),
            "extension_modules": str(place / "extmods"),
            "pillar_roots": {"base": []},
            "ext_pillar": ext_pillar,
            "log_level": "critical",
        }
        (place / "master").write_text(json.dumps(config))
        argv = [sys.executable, "-c", WORKER, str(place / "master")]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate(timeout=60)

    def ask(self, minion: str) -> tuple[float, int]:
        """Return the seconds of the processor that a pillar took, and the bytes of our part of it."""
        print(minion, file=self._process.stdin, flush=True)
        seconds, size = self._process.stdout.readline().split()
        return float(seconds), int(size)


def main() -> None:
    """Print what a pillar takes with our part, and without."""
    fleet = scale.data()
    minions = [*fleet["hosts"]][:: scale.HOSTS // MINIONS]
    with tempfile.TemporaryDirectory() as name:
        places = [Path(name) / side for side in ("with", "without")]
        for place in places:
            place.mkdir()
        (Path(name) / "fleet.json").write_text(json.dumps({"ipsec": fleet}))
        ours = [{"ipsec": f"{name}/fleet.json"}]
        with Worker(places[0], ours) as having, Worker(places[1], []) as bare:
            first = having.ask(minions[0])[0] - bare.ask(minions[0])[0]
            rounds: list[tuple[float, float, int]] = []
            for _ in range(ROUNDS):
                both = [(having.ask(one), bare.ask(one)) for one in minions]
                sums = [sum(side[0] for side in sides) / len(both) for sides in zip(*both)]
                rounds.append((sums[0], sums[1], max(side[1] for side, _ in both)))
    with_it, without = (median([one[part] for one in rounds]) * 1000 for part in (0, 1))
    assert rounds[0][2], "no part was made"
    table(
        f"The pillar of a minion of {scale.HOSTS:,}, by Salt's master (median of {ROUNDS})",
        ["", "ms of CPU", "times", "bytes"],
        [
            ["without a pillar", f"{without:.1f}", "1.00", "0"],
            ["with its part", f"{with_it:.1f}", f"{with_it / without:.2f}", f"{max(r[2] for r in rounds)}"],
            ["the first one more", f"{first * 1000:.0f}", "", ""],
        ],
    )
    assert with_it - without < MOST, f"over the limit: {MOST:g} ms"
