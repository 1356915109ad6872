"""``python3 -m hostipsec.check FILE...``: the check of a pillar, where there is no Salt."""

from __future__ import annotations

import sys

from .programs.pillarcheck import main

if __name__ == "__main__":
    sys.exit(main())
