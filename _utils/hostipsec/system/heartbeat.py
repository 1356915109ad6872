"""That the keeper lives: said to the service manager, which ends one that hangs, and to whoever asks later.

The service manager is told by its protocol (sd_notify(3)). It takes a while until it acts; and where it does
not, as of a keeper that is stopped, disabled or fails at once, a status has to see it: each look leaves the
time since boot in a file below /run.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Optional

from .. import paths
from . import service

LATE = 60.0  # seconds without a look: the keeper looks every 5, and a look at a busy host takes some
ALIVE = "WATCHDOG=1"
_NAME = paths.KEEPER_UNIT.rpartition(".")[0]
_WATCHED = b"WatchdogSec="  # in the unit: its keeper leaves traces, that of the release before does not


def tell(state: str = ALIVE) -> None:
    """Tell the service manager; nothing where it does not ask."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1.0)
            channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def beat() -> None:
    """Leave a trace of a look that was taken; a full /run is no reason to stop."""
    tell()
    with contextlib.suppress(OSError):
        paths.here.keeper_beat.write_text(f"{_since_boot():.0f}\n")


def missing() -> str:
    """Say that the keeper does not look, and since when; empty where it does, or is none that says so."""
    silent = _silent()
    if silent is None or silent < LATE:
        return ""
    return (
        f"the keeper has not looked for {silent:.0f} s: nothing is brought back, and no hold is lifted or "
        f"kept; see: {service.log(_NAME)}"
    )


def _silent() -> Optional[float]:
    """Return the seconds since the keeper's last look, or since it should have begun; None where unknown."""
    try:
        brought = _brought()
        if brought is None:
            return None
        written = time.time() - brought.stat().st_mtime
        since = _since_boot()
        begun = min(since - _started(), written if written >= 0 else since)
    except (OSError, ValueError, IndexError):
        return None
    try:
        return min(begun, max(0.0, since - float(paths.here.keeper_beat.read_text())))
    except (OSError, ValueError):
        return begun


def _brought() -> Optional[Path]:
    """Return the unit or the script of a keeper that leaves traces; None where nothing runs one."""
    if service.scripts_run():
        script = paths.here.scripts / _NAME
        return script if script.exists() else None
    unit = paths.here.units / paths.KEEPER_UNIT
    return unit if service.systemd_runs() and _WATCHED in unit.read_bytes() else None


def _since_boot() -> float:
    """Return seconds that no clock that is set and no sleep of the machine changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _started() -> float:
    """Return when process 1 was started: in a container that is later than the boot."""
    rest = (paths.here.proc / "1/stat").read_text().rpartition(")")[2].split()
    return float(rest[19]) / os.sysconf("SC_CLK_TCK")
