"""What was printed, for who reads it by a pipe: Python keeps lines back there until there are many."""

from __future__ import annotations

import contextlib
import sys


def on() -> None:
    """Pass on what was printed so far; where nobody reads any more, what is being done goes on."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
