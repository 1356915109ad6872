"""The guard by the name that units of the release before have, until they are written anew and reloaded."""

from __future__ import annotations

import sys

from .programs.guard import main

if __name__ == "__main__":
    sys.exit(main())
