"""One line for each step, with the seconds since the start."""

import sys
import time

_START = time.monotonic()


def say(text: str) -> None:
    """Print a step as it begins."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", file=sys.stderr, flush=True)
