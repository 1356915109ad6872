"""Locks between processes of this host, in a directory that only root reaches: nobody else can hold one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

_POLL = 0.02


@contextlib.contextmanager
def held(path: Path, deadline: float) -> Iterator[bool]:
    """Hold a lock, for which nobody waits longer than the deadline; yields whether it is held.

    Where it is not, whoever wanted it goes on all the same: neither a full /run nor a process that hangs may
    keep anybody from an emergency stop.
    """
    descriptor = _opened(path)
    try:
        yield descriptor is not None and _locked(descriptor, time.monotonic() + deadline)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _opened(path: Path) -> Optional[int]:
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
    except OSError:
        return None
    return descriptor


def _locked(descriptor: int, end: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL)
        else:
            return True
