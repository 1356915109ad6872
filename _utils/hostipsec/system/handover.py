"""The service of one back end in the place of the other's: never two daemons, not at a boot either.

Only systemd runs charon-systemd, so there is no other way to do this.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping

from .. import paths
from ..errors import HostIPsecError
from ..model import IPSEC_CONF, SWANCTL
from . import files, manager, platforms, processes, service

UNITS: Mapping[str, str] = {IPSEC_CONF: platforms.UNIT, SWANCTL: paths.SWANCTL_UNIT}
ENDING = 10.0  # seconds for charon to end once its service is stopped; then it is killed
_DEADLINE = 30.0
_POLL = 0.05


def other(by: str) -> str:
    """Return the other back end."""
    return IPSEC_CONF if by == SWANCTL else SWANCTL


def withhold(by: str) -> None:
    """Have nothing start the service of a back end: its package would, beside what runs."""
    _systemctl("mask", UNITS[by])


def release(by: str) -> None:
    """Have nothing keep the service of a back end from being started any more."""
    _systemctl("unmask", UNITS[by])


def withheld(by: str) -> bool:
    """Say whether something keeps the service of a back end from being started."""
    link = paths.here.units / f"{UNITS[by]}.service"
    return link.is_symlink() and os.readlink(link) == os.devnull


def begin(to: str) -> None:
    """Begin a move: it is noted, so that what one leaves that is cut off is known to be ours."""
    files.ensure_directory(paths.here.state, 0o755)
    files.replace(paths.here.moving, f"{to}\n".encode(), 0o644)
    withhold(to)


def end() -> None:
    """End it: the host is there, or was never away."""
    files.remove(paths.here.moving)


def settle(by: str) -> None:
    """Where a move was cut off: have the service of this back end, and no other, start at a boot.

    Its packages may be gone by then: that is for who installs them. Raises HostIPsecError.
    """
    if files.read(paths.here.moving) is None:
        return
    _allow(by)
    with contextlib.suppress(HostIPsecError):
        _systemctl("enable", UNITS[by])
    end()


def hand_over(to: str) -> None:
    """End what runs by the other back end; the service of this one is what starts at a boot from now on.

    An orderly end tells peers, so that they begin anew at once. A host that loses its power on the way boots
    with one of them or with none, which is told, and never with both. Raises HostIPsecError.
    """
    manager.stop(UNITS[other(to)])
    _end(other(to))
    _allow(to)
    _systemctl("enable", UNITS[to])


def _allow(by: str) -> None:
    """Have the service of a back end be the one that can be started."""
    manager.disable(UNITS[other(by)])
    withhold(other(by))
    release(by)


def _end(by: str) -> None:
    end = time.monotonic() + ENDING
    while pids := service.pids(service.STARTER, service.CHARON, by=by):
        if time.monotonic() > end:
            if service.kill(pids, ENDING):
                raise HostIPsecError(f"charon of {UNITS[by]} does not end, also when it is killed")
            return
        time.sleep(_POLL)


def _systemctl(verb: str, unit: str) -> None:
    done = processes.run(["systemctl", verb, f"{unit}.service"], _DEADLINE)
    if done.status != 0:
        said = " ".join(done.text.split()) or f"status {done.status}"
        raise HostIPsecError(f"systemctl {verb} {unit}.service: {said}")
