"""Files of packages put out of the way by dpkg-divert, before or after the package is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import HostIPsecError
from . import processes

_TIMEOUT = 60.0  # seconds; dpkg-divert reads dpkg's database
LOCAL = "LOCAL"  # how dpkg-divert --listpackage calls a diversion of the administrator


@dataclass(frozen=True)
class Diversion:
    """A diversion that dpkg knows of: by a package, or LOCAL."""

    owner: str
    target: str


def look(path: str) -> Optional[Diversion]:
    """Return the diversion of a path, or None. Asks ``dpkg-divert --listpackage`` and ``--truename``."""
    owner = _dpkg_divert("--listpackage", path)
    return Diversion(owner, _dpkg_divert("--truename", path)) if owner else None


def difference(path: str, target: str) -> Optional[str]:
    """Say what ``divert`` would change, None for nothing.

    Raises HostIPsecError where a package diverts the file already, or something stands at both places.
    """
    found = look(path)
    if found is not None and found.owner != LOCAL:
        raise HostIPsecError(
            f"{path} is diverted by package {found.owner} to {found.target}; expected no one else to"
        )
    if found is not None and not _exists(path):
        return None
    destination = target if found is None else found.target
    if _exists(path) and _exists(destination):
        raise HostIPsecError(
            f"{path} cannot go to {destination}: there is a file at both; remove one of them"
        )
    if found is None:
        return f"diverted to {target}"
    return f"moved to {found.target}, where it is diverted to already"


def divert(path: str, target: str) -> None:
    """Divert a path, and move the file that may be there."""
    found = look(path)
    if found is None:
        _dpkg_divert("--local", "--rename", "--divert", target, "--add", path)
    else:
        Path(path).rename(found.target)


def undivert(path: str) -> None:
    """Take a local diversion away, and bring the file back."""
    _dpkg_divert("--local", "--rename", "--remove", path)


def _exists(path: str) -> bool:
    return Path(path).exists() or Path(path).is_symlink()


def _dpkg_divert(*arguments: str) -> str:
    done = processes.run(["dpkg-divert", *arguments], _TIMEOUT)
    if done.status != 0:
        raise HostIPsecError(f"dpkg-divert {arguments[0]} {arguments[-1]} failed: {done.text.strip()}")
    return done.stdout.strip()
