"""What may hang, as a disk does, done in the background, so that nobody waits for it longer than he wants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Optional

from ..errors import HostIPsecError
from ..store.hold import OverruledError


class Task:
    """Something that was begun."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._result: Optional[tuple[str, str]] = None
        self._overruled: Optional[OverruledError] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = str(self._act() or ""), ""
        except OverruledError as error:
            self._overruled = error
        except Exception as error:  # whatever fails, an emergency stop goes on and says what it was
            self._result = "", str(error) if isinstance(error, HostIPsecError) else repr(error)

    def wait(self, seconds: float) -> tuple[str, str]:
        """Return what it returned, and why it is not done by then. Raises OverruledError as it did."""
        self._thread.join(seconds)
        if self._overruled is not None:
            raise self._overruled
        return self._result or ("", f"not done after {seconds:g} s; does the disk hang?")


def within(seconds: float, act: Callable[[], object]) -> tuple[str, str]:
    """Do it now, and wait so long; returns the same."""
    return Task(act).wait(seconds)
