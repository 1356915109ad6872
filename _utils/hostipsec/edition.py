"""Which edition of this package runs here: its version, and a mark of the very sources."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from . import __version__


def sources() -> dict[str, bytes]:
    """Return the files of this package as they are on disk now, by path."""
    here = Path(__file__).parent
    return {str(path.relative_to(here)): path.read_bytes() for path in sorted(here.rglob("*.py"))}


def _mark() -> str:
    """Return a mark of all sources, which differs as soon as one of them does."""
    digest = hashlib.sha256()
    for path, content in sources().items():
        digest.update(path.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:8]


def is_stale() -> bool:
    """Say whether a source of this package is another on disk than as this process has read it."""
    return _written() != _WRITTEN


def _written() -> tuple[int, int]:
    """Return how many sources there are, and when the last of them was written."""
    top = Path(__file__).parent
    with os.scandir(top) as entries:
        rooms = [one.path for one in entries if one.is_dir() and one.name != "__pycache__"]
    times = []
    for room in (str(top), *rooms):
        with os.scandir(room) as entries:
            times += [one.stat().st_mtime_ns for one in entries if one.name.endswith(".py")]
    return len(times), max(times)


# at the import: a process that runs for long keeps what it has read, whatever is on disk by then
EDITION = f"{__version__}-{_mark()}"
_WRITTEN = _written()
