"""charon's process: whether there is one, and what is asked of one that need not be there."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from typing import Optional

from .. import paths
from ..errors import CharonError
from ..model import Charon
from ..system import service
from . import charon


def has_vici() -> bool:
    """Say whether this Python can import strongSwan's vici library, also one installed just now."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("vici") is not None


def _alive() -> bool:
    """Say whether charon's process lives, answering or not; a zombie does not."""
    with contextlib.suppress(OSError, ValueError):
        stat = (paths.here.proc / f"{service.charon_pid()}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X")  # the name before may hold anything
    return False


def versions() -> dict[str, Optional[str]]:
    """Return the version of the charon that runs, and how it was asked; None where none answers."""
    try:
        seen = charon.observe()
    except CharonError:
        return {"strongswan": None, "backend": None}
    return {"strongswan": seen.version, "backend": seen.backend}


def observe() -> Optional[Charon]:
    """Return what charon shows, None where none runs. Raises CharonError for one that hangs."""
    try:
        return charon.observe()
    except CharonError:
        if _alive():
            raise
        return None
