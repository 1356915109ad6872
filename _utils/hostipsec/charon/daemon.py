"""charon and its service, as the configuration flow needs them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Optional

from .. import paths
from ..errors import CharonError
from ..model import Charon
from ..system import processes
from . import charon


def has_vici() -> bool:
    """Say whether this Python can import strongSwan's vici library, also one installed just now."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("vici") is not None


def reread() -> None:
    """Make charon read keys, certificates and CAs again; one that does not run will when it starts."""
    with contextlib.suppress(CharonError):
        charon.reread()


def _alive() -> bool:
    """Say whether the process of charon's pid file lives, answering or not; a zombie does not."""
    with contextlib.suppress(OSError, ValueError):
        stat = (paths.here.proc / f"{int(paths.here.charon_pid.read_text())}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X")  # the name before may hold anything
    return False


def observe() -> Optional[Charon]:
    """Return what charon shows, None where none runs. Raises CharonError for one that hangs."""
    try:
        return charon.observe()
    except CharonError:
        if _alive():
            raise
        return None


class Strongswan:
    """The charon of this host. ``restart`` goes through the service manager, whichever it is."""

    def __init__(self, restart: Callable[[], None]) -> None:
        self._restart = restart

    def observe(self) -> Optional[Charon]:
        """Return what charon shows, None where none runs. Raises CharonError for one that hangs."""
        return observe()

    def update(self) -> None:
        """Make charon take up the connections that differ."""
        charon.update()

    def reload(self) -> None:
        """Make charon take up all connections anew; SAs stay."""
        done = processes.run([str(paths.here.ipsec), "reload"], 10)
        if done.status != 0:
            raise CharonError(f"ipsec reload: status {done.status}, {' '.join(done.text.split())}")

    def settings(self, charondebug: Mapping[str, int]) -> None:
        """Make charon read strongswan.conf anew, and set its log levels."""
        charon.reload_settings()
        for kind, level in sorted(charondebug.items()):
            processes.run([str(paths.here.ipsec), "stroke", "loglevel", kind, str(level)], 5)

    def restart(self) -> None:
        """Start the service, or restart it."""
        self._restart()

    def reread(self) -> None:
        """Make charon read keys, certificates and CAs again."""
        charon.reread()

    def initiate(self, names: Collection[str]) -> None:
        """Start connections, waiting for no peer; what is refused is the keeper's to try again."""
        charon.initiate(names)

    def terminate(self, ike_sas: Sequence[int]) -> None:
        """End IKE SAs by unique id; one that has gone by itself is no error."""
        refused = charon.terminate(ike_sas)
        if refused:
            why = "; ".join(sorted({*refused.values()}))
            raise CharonError(f"charon does not end {len(refused)} IKE SA(s): {why}")
