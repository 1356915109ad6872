"""strongSwan's Python library for the system's Python: the copy that Salt's own Python has, pure Python.

Debian packages none, and what an emergency stop imports must not come from a network when it is needed.
Nor must it wait for what it does not use: the listener to events takes most of the time to load the library.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from ..errors import HostIPsecError
from ..system import files

_UNUSED = "event_listener.py"
_OURS = {"__init__.py": b"# A part of strongSwan's vici library, copied by Salt (state ipsec)\n"}


def library() -> dict[str, bytes]:
    """Return the files of the library that this Python has and we use, by name; none where it has none."""
    importlib.invalidate_caches()
    found = importlib.util.find_spec("vici")
    places = (found.submodule_search_locations or []) if found else []
    theirs = {path.name: path.read_bytes() for place in places for path in sorted(Path(place).glob("*.py"))}
    theirs.pop(_UNUSED, None)
    return {**theirs, **_OURS} if theirs else {}


def difference(directory: Path) -> dict[str, str]:
    """Return what :func:`copy` would change: ``{path: in words}``."""
    wanted = library()
    there = {path.name for path in directory.glob("*.py")}
    changes = {str(directory / name): "removed" for name in there - {*wanted}}
    for name, content in wanted.items():
        found = files.read(directory / name)
        if found != content:
            changes[str(directory / name)] = "new" if found is None else "changed"
    return dict(sorted(changes.items()))


def copy(directory: Path) -> None:
    """Make the directory hold this Python's library. Raises HostIPsecError where there is none."""
    wanted = library()
    if not wanted:
        raise HostIPsecError("Salt's Python has no vici library to copy")
    files.ensure_directory(directory, 0o755)
    for path in directory.glob("*.py"):
        if path.name not in wanted:
            files.remove(path)
    for name, content in wanted.items():
        files.replace(directory / name, content, 0o644)
