"""Which edition of this package runs here: its version, and a mark of the very sources."""

from __future__ import annotations

import hashlib
from pathlib import Path

from . import __version__


def _mark(directory: Path) -> str:
    """Return a mark of all sources below a directory, which differs as soon as one of them does."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*.py")):
        digest.update(str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


# at the import: a process that runs for long keeps what it has read, whatever is on disk by then
EDITION = f"{__version__}-{_mark(Path(__file__).parent)}"
