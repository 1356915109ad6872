"""charon as a process: when it started, and what memory it has, as ``/proc`` tells."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

from .. import paths
from ..system import service

_COMMANDS = (service.CHARON, paths.here.charon_systemd.name)


class Process(NamedTuple):
    """What is known of it; ``epoch`` tells one charon from the next, empty where nothing is known."""

    epoch: str = ""
    started: Optional[float] = None  # seconds since 1970
    resident: Optional[int] = None  # bytes


def look() -> Process:
    """Return what is known of charon's process; nothing where what its pid file says is not charon."""
    try:
        pid = service.charon_pid()
        of = paths.here.proc / str(pid)
        name, _, rest = (of / "stat").read_text().rpartition(")")
        if name.rpartition("(")[2] not in _COMMANDS:
            return Process()
        ticks = int(rest.split()[19])  # after boot: proc_pid_stat(5), field 22
        begun = _boot() + ticks // os.sysconf("SC_CLK_TCK")
        return Process(f"{pid}/{ticks}", float(begun), _resident((of / "status").read_text()))
    except (OSError, ValueError, IndexError):
        return Process()


def _boot() -> int:
    """Return when the machine was started, by its clock."""
    lines = (paths.here.proc / "stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))


def _resident(status: str) -> Optional[int]:
    rows = (line.split() for line in status.splitlines())
    return next((int(row[1]) * 1024 for row in rows if row[:1] == ["VmRSS:"]), None)
