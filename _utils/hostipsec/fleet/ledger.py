"""What a master keeps of roll-outs: whether one is under way, and the last one. Below Salt's cachedir.

``rollout.lock`` is locked by the process that changes the fleet, and says who that is: a process that is gone
locks nothing. ``rollout.json`` is replaced whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Optional, Union

from ..errors import HostIPsecError
from ..store.hold import minute
from ..system import files
from .marks import Last


class TakenError(HostIPsecError):
    """Somebody else changes the fleet at this moment."""


class Ledger:
    """The files of one master."""

    def __init__(self, cachedir: Union[str, Path]) -> None:
        self._place = Path(cachedir) / "hostipsec"
        self._lock, self._last = self._place / "rollout.lock", self._place / "rollout.json"

    @contextlib.contextmanager
    def lease(self, what: str) -> Iterator[None]:
        """Keep out others who change the fleet, as long as this process lives at most.

        ``what`` is for them to read. Raises TakenError where one is at it, HostIPsecError where the file
        cannot be locked.
        """
        try:
            self._ready()
            lock = self._lock.open("a+")
        except OSError as error:
            raise self._unkept(self._lock, error) from None
        with lock:
            self._take(lock, what)
            try:
                yield
            finally:
                _write(lock, "")

    @contextlib.contextmanager
    def lease_if_kept(self, what: str) -> Iterator[None]:
        """:meth:`lease`, but a full disk keeps nobody from the way back."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.lease(what))
            except TakenError:
                raise
            except HostIPsecError:
                pass
            yield

    def _take(self, lock: IO[str], what: str) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = lock.read().strip() or "somebody"
            raise TakenError(
                f"{who} changes the fleet at this moment; wait for it, or end it (Ctrl-C there, or kill -INT "
                "its process); nothing was changed"
            ) from None
        except OSError as error:
            raise self._unkept(self._lock, error) from None
        since = minute(datetime.now(timezone.utc))
        _write(lock, f"{what}, process {os.getpid()}, since {since}")

    def last(self) -> Optional[Last]:
        """Return the last roll-out; None where none is known. Raises HostIPsecError for a damaged file."""
        content = files.read(self._last)
        if content is None:
            return None
        try:
            found = json.loads(content)
            told = tuple(str(host) for host in found["told"])
            return Last(str(found["mark"]), told, found["through"] is True, found["back"] is True)
        except (ValueError, KeyError, TypeError):
            raise HostIPsecError(
                f"{self._last}: is damaged, so which roll-out was the last is not known; say mark=, name "
                "hosts (tgt), or remove it"
            ) from None

    def keep(self, last: Last) -> None:
        """Note the last roll-out. Raises HostIPsecError; what was noted before stays then."""
        content = json.dumps({**last._asdict(), "told": list(last.told)}).encode()
        try:
            self._ready()
        except OSError as error:
            raise self._unkept(self._last, error) from None
        files.replace(self._last, content, 0o600, os.geteuid(), os.getegid())

    def _ready(self) -> None:
        self._place.mkdir(0o700, parents=True, exist_ok=True)

    @staticmethod
    def _unkept(path: Path, error: OSError) -> HostIPsecError:
        return HostIPsecError(f"{path}: cannot be written: {error.strerror}; nothing was changed")


def _write(lock: IO[str], text: str) -> None:
    """Say who it is; a full disk is no reason to do without the lock."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), text.encode())
