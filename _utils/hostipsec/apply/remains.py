"""What stays of others below /etc/ipsec.d where this package goes, and strongSwan with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from .. import paths
from ..store.generations import Before
from ..system import files, packages

Modes = dict[str, tuple[int, int, int]]  # path -> mode, owner and group


def modes(kept: Optional[Before]) -> Modes:
    """Return the directories that were there before, with their modes and owners."""
    return {str(paths.here.root / name): mode for name, mode in (kept.modes if kept else {}).items()}


def changed_modes(kept: Optional[Before]) -> Modes:
    """Return the directories that had another mode or owner before, with these."""
    there = {path: mode for path, mode in modes(kept).items() if Path(path).is_dir()}
    return {path: mode for path, mode in there.items() if files.directory_difference(path, *mode)}


def others(kept: Optional[Before]) -> dict[str, files.Entry]:
    """Return what of others goes when strongSwan is purged: all in /etc/ipsec.d, and what was before us."""
    there = sorted(paths.here.ipsec_d.rglob("*")) if paths.here.ipsec_d.is_dir() else []
    plain = [path for path in there if path.is_symlink() or path.is_file()]
    stays = [path for path in plain if not packages.owned(str(path))]
    stays += [paths.here.root / name for name in (kept.files if kept else None) or ()]
    entries = {str(path): files.look(path) for path in stays}
    return {path: entry for path, entry in entries.items() if entry is not None}


def bring_back(stays: Mapping[str, files.Entry], before: Modes) -> None:
    """Bring back what is gone of it, with its directories."""
    for directory in sorted({str(Path(path).parent) for path in stays}):
        if not Path(directory).is_dir():
            private = 0o700 if directory.endswith("/private") else 0o755
            files.ensure_directory(directory, *before.get(directory, (private, 0, 0)))
    files.Undo({path: entry for path, entry in stays.items() if files.look(path) is None}).restore()
