"""The reference of metrics, docs/monitoring/metrics.md: its table is of the engine. Run, this writes it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs/monitoring/metrics.md"
COLUMNS = "| metric | type | labels | |\n|---|---|---|---|\n"


def reference() -> str:
    """Return the file, as it is up to the table, with the table of now."""
    from hostipsec.faces import measures, metrics

    lines = []
    for one in metrics.TABLE:
        labels = one.labels
        if labels[: len(measures.CONNECTION)] == measures.CONNECTION:
            labels = ("those of connections", *labels[len(measures.CONNECTION) :])
        mark = " *" if one.own else ""
        lines.append(f"| `{one.name}`{mark} | {one.kind} | {', '.join(labels)} | {one.help} |\n")
    return FILE.read_text().partition(COLUMNS)[0] + COLUMNS + "".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "_utils"))
    FILE.write_text(reference())
