"""The keeper by the name that units of the release before have, until they are written anew and reloaded."""

from __future__ import annotations

from .programs.keeper import main

if __name__ == "__main__":
    main()
