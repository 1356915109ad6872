"""strongSwan's Python library for the system's Python: the copy that Salt's own Python has, pure Python.

Debian packages none, and what an emergency stop imports must not come from a network when it is needed.
Nor must it wait for what it does not use: the listener to events takes most of the time to load the library.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

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
