"""The file of the page: what it has of the reports before, and its replacement, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import arguments
from ..errors import HostIPsecError
from ..fleet.fleetstatus import FleetStatus
from ..model import Fleet
from ..system import files
from . import page
from .page import Made
from .strip import Strip

MODE = 0o600  # of a new page: it names hosts, and says what is not encrypted
UNWRITTEN = 1  # exit status: hosts were asked, and the page is the one of before


def ready(path: object, cachedir: str) -> Path:
    """Return where the page goes, by default below ``cachedir``. Raises HostIPsecError where it cannot."""
    if path is None:
        place = Path(cachedir) / "hostipsec"
        files.ensure_directory(place, 0o700, os.geteuid(), os.getegid())
        return place / "report.html"
    if not isinstance(path, str) or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise arguments.wrong("path", path, "the absolute path of a file")
    found = Path(path)
    if not found.parent.is_dir():
        raise HostIPsecError(f"path={path}: there is no directory {found.parent}; make it")
    if not os.access(found.parent, os.W_OK | os.X_OK):
        raise HostIPsecError(f"path={path}: {found.parent} cannot be written to")
    _before(found)
    return found


def write(path: Path, fleet: Fleet, found: FleetStatus, made: Made) -> dict[str, Any]:
    """Put the page of a status at a path; returns plain values, the exit status with them.

    Mode and owner of a page that is there stay. Where it cannot be written, the page that is there stays.
    """
    told = {"path": str(path), "sentence": page.headline(fleet, found)}
    try:
        notes = _write(path, fleet, found, made)
    except HostIPsecError as error:
        return {**told, "lines": [told["sentence"], str(error)], "error": str(error), "retcode": UNWRITTEN}
    return {**told, "lines": [told["sentence"], *notes], "error": "", "retcode": 0}


def _write(path: Path, fleet: Fleet, found: FleetStatus, made: Made) -> list[str]:
    before, (mode, uid, gid) = _before(path)
    notes, kept = [], Strip()
    if before:
        try:
            kept = page.read(before)
        except (ValueError, RecursionError) as error:
            notes = [f"{path}: the reports before cannot be read ({error}); the strip begins anew"]
    content = page.page(fleet, found, made, kept).encode(errors="backslashreplace")
    files.replace(path, content, mode, uid, gid)
    return [*notes, f"{path}: {len(content):,} bytes"]


def _before(path: Path) -> tuple[str, tuple[int, int, int]]:
    """Return the text of the page that is there, empty for none; and mode and owner for the next."""
    there = files.look(path)
    if there is None:
        return "", (MODE, os.geteuid(), os.getegid())
    if there.link is not None:
        raise HostIPsecError(f"path={path}: is a symbolic link to {there.link}; say the path of the file")
    text = there.content.decode(errors="replace")
    if text and page.MARK not in text[:1000]:
        raise HostIPsecError(f"path={path}: is a file, and no report of ours; move it, or say another path")
    return text, (there.mode, there.uid, there.gid)
