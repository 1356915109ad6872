"""Python files of a library, kept the same in a directory of the host: for programs that run without Salt."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import files

_MODE, _DIRECTORY_MODE = 0o644, 0o755

Library = Mapping[str, bytes]  # relative path of a file -> its content


def difference(directory: Path, library: Library) -> dict[str, str]:
    """Return what :func:`copy` would change: ``{path: in words}``."""
    if not directory.exists():
        return {str(directory): f"new, {len(library)} files"}
    changes = {str(path): "removed" for path in _strangers(directory, library)}
    for name, content in library.items():
        found = files.look(directory / name)
        if found is None or not found.is_file(content, _MODE, 0, 0):
            changes[str(directory / name)] = "new" if found is None else "changed"
    return dict(sorted(changes.items()))


def copy(directory: Path, library: Library) -> None:
    """Make the directory hold just these files, all of them new or all of them old. Raises HostIPsecError."""
    for place in sorted({(directory / name).parent for name in library}):
        files.ensure_directory(place, _DIRECTORY_MODE)
    strangers = [*_strangers(directory, library)]
    wanted = {str(directory / name): (content, _MODE) for name, content in library.items()}
    files.swap({**wanted, **{str(path): (None, _MODE) for path in strangers}})
    kept = {directory, *(place for name in library for place in (directory / name).parents)}
    for place in {path.parent for path in strangers} - kept:
        shutil.rmtree(place, ignore_errors=True)  # what Python compiled there


def _strangers(directory: Path, library: Library) -> Iterator[Path]:
    """Python files there that the library does not have."""
    return (path for path in directory.rglob("*.py") if str(path.relative_to(directory)) not in library)
