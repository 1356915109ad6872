"""Ctrl-C as something that is looked at, where an exception would come at the wrong moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def noted() -> Iterator[list[bool]]:
    """Note Ctrl-C in a list: Salt turns it into an exception, which its loader, printing a line, swallows."""
    pressed: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
