"""Figures by ratio: both sides in one run, one after the other. See docs/bench.md.

make bench; make bench scale
bench.py [render|join|metrics|beacon|apply|plan|down|dead|up|status|check|page|keeper|parts|scale|fleet]
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("_utils", "tests", "tests/functional", "tests/bench", "lab")
sys.path[:0] = [str(ROOT / place) for place in PLACES]

import beacon_looks  # noqa: E402
import fleet  # noqa: E402  (the paths have to be set first)
import fleet_plan  # noqa: E402
import join  # noqa: E402
import metrics_text  # noqa: E402
import one_host  # noqa: E402
import salt_pillar  # noqa: E402
import scale  # noqa: E402
import second_apply  # noqa: E402  (the paths have to be set first)
import validate_render  # noqa: E402
import whole_keeper  # noqa: E402
import whole_page  # noqa: E402

BENCHMARKS = {
    "render": validate_render.main,
    "join": join.main,
    "metrics": metrics_text.main,
    "beacon": beacon_looks.main,
    "apply": second_apply.main,
    "plan": fleet_plan.main,
    "down": one_host.down,
    "dead": one_host.dead,
    "up": one_host.up,
    "status": one_host.status,
    "check": one_host.check,
    "page": whole_page.main,
    "keeper": whole_keeper.main,
    "parts": salt_pillar.main,
    "scale": scale.main,
    "fleet": fleet.main,
}


def main(names: list[str]) -> int:
    """Run the benchmarks that are named, all where none is; the exit status says whether they were right."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print("Seconds are of a machine that may be shared and noisy; compare the ratios.")
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
