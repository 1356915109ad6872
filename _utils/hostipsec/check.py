"""``python3 -m hostipsec.check FILE...``: the check of a pillar, where there is no Salt."""

from __future__ import annotations

import sys

try:
    from .programs.pillarcheck import main
except ModuleNotFoundError as error:
    if error.name not in ("jinja2", "yaml"):
        raise
    print(f"hostipsec.check needs PyYAML and Jinja2: {sys.executable}: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
