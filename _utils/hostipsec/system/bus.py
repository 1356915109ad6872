"""The master's event bus, by which Salt passes on what a runner says, and its answer.

A master that is restarted takes nothing for a while, and Salt ends the runner with a traceback then, in place
of the answer.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

SOCKET = "master_event_pull.ipc"  # in the master's sock_dir
_POLL = 0.1


def takes(directory: str, seconds: float) -> bool:
    """Say whether the master takes events by now, or within so many seconds.

    Where there is no such socket (a master that has its bus by TCP, none at all) nobody can tell: it is true.
    """
    path, end = Path(directory, SOCKET), time.monotonic() + seconds
    if not path.is_socket():
        return True
    while not _listens(path):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1)
        try:
            one.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # it is there, and busy or not for us
            return True
    return True
