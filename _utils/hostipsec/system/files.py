"""Files of a host, replaced whole or not at all.

A file is written beside its destination under a temporary name, with owner and mode set before
the content, synced and renamed over the destination. A full disk or any other failure leaves the old
file as it was and no temporary file. What a killed process leaves behind (a temporary file
named ``.<name>.hostipsec.<thread id>``) is removed by the next write to the same destination.

A symbolic link at a destination is replaced, never followed. A directory there is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Optional, Tuple, TypeVar, Union

from .. import paths
from ..errors import HostIPsecError

PathLike = Union[str, Path]
Place = TypeVar("Place", str, Path)
Change = Tuple[Optional[bytes], int]  # content (None: no file) and mode


class Entry(NamedTuple):
    """What a path holds: a regular file with its content, or a symbolic link with its target."""

    content: bytes
    mode: int
    uid: int
    gid: int
    link: Optional[str] = None

    def __repr__(self) -> str:
        """Show all but the content: it may be a key."""
        return f"Entry(mode={self.mode:04o}, uid={self.uid}, gid={self.gid}, link={self.link!r})"

    def is_file(self, content: bytes, mode: int, uid: int, gid: int) -> bool:
        """Say whether this is a regular file with just that content, mode and owner."""
        wanted = (content, mode, uid, gid)
        return self.link is None and (self.content, self.mode, self.uid, self.gid) == wanted


# Looking -------------------------------------------------------------------------------------


def read(path: PathLike, largest: Optional[int] = None) -> Optional[bytes]:
    """Return the content of a file (links are followed), or None where there is none.

    Raises HostIPsecError for one of more than ``largest`` bytes, and for what is no regular file: a pipe
    would never end.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116 - a path of any bytes
        if kind not in (stat.S_IFREG, stat.S_IFDIR):  # opening one can do something
            raise HostIPsecError(f"{path}: is a device, pipe or socket, not a regular file")
        content = Path(path).read_bytes() if largest is None else _start(path, largest + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostIPsecError(f"{path}: cannot be read: {_reason(error)}") from None
    except ValueError:  # a surrogate, a NUL
        raise HostIPsecError(f"{path}: cannot be read: no file can have this name") from None
    if largest is not None and len(content) > largest:
        raise HostIPsecError(f"{path}: is larger than {largest} bytes")
    return content


def _start(path: PathLike, size: int) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        return file.read(size)


def look(path: PathLike) -> Optional[Entry]:
    """Return what is at a path itself (links are not followed), or None. A directory is refused."""
    try:
        status = os.lstat(path)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            return Entry(b"", mode, status.st_uid, status.st_gid, link=os.readlink(path))
        if stat.S_ISREG(status.st_mode):
            return Entry(Path(path).read_bytes(), mode, status.st_uid, status.st_gid)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostIPsecError(f"{path}: cannot be read: {_reason(error)}") from None
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
    raise HostIPsecError(f"{path}: is {kind}, expected a regular file or nothing; move it away")


def directory_difference(path: PathLike, mode: int, uid: int = 0, gid: int = 0) -> Optional[str]:
    """Say in words what ``ensure_directory`` would change, None for nothing."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return f"new directory, mode {mode:04o}"
    except OSError as error:
        raise HostIPsecError(f"{path}: cannot be read: {_reason(error)}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise HostIPsecError(f"{path}: is no directory, expected one or nothing; move it away")
    found = stat.S_IMODE(status.st_mode)
    differences = [f"mode {found:04o} -> {mode:04o}"] if found != mode else []
    if (status.st_uid, status.st_gid) != (uid, gid):
        differences.append(f"owner {status.st_uid}:{status.st_gid} -> {uid}:{gid}")
    return ", ".join(differences) or None


# Changing ------------------------------------------------------------------------------------


def replace(path: PathLike, content: bytes, mode: int, uid: int = 0, gid: int = 0) -> bool:
    """Give a path this content, mode and owner. Returns whether anything was changed."""
    before = look(path)
    if before is not None and before.is_file(content, mode, uid, gid):
        return False
    with _explained(path, "written"), _staged(path, Entry(content, mode, uid, gid)) as temporary:
        temporary.replace(path)
    _sync(Path(path).parent)
    return True


def remove(path: PathLike) -> bool:
    """Remove a file or link. Returns whether there was one."""
    if look(path) is None:
        return False
    with _explained(path, "removed"):
        Path(path).unlink()
    _sync(Path(path).parent)
    return True


def ensure_directory(path: PathLike, mode: int, uid: int = 0, gid: int = 0) -> bool:
    """Give a directory this mode and owner; it and its parents (0755) are made where missing.

    Returns whether anything was changed.
    """
    if directory_difference(path, mode, uid, gid) is None:
        return False
    parent = Path(path).parent
    if not parent.is_dir():
        ensure_directory(parent, 0o755, uid, gid)
    with _explained(path, "made"):
        with contextlib.suppress(FileExistsError):
            Path(path).mkdir(mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _own(descriptor, mode, uid, gid)
        finally:
            os.close(descriptor)
    _sync(parent)
    return True


# Several files together ----------------------------------------------------------------------


class Undo(NamedTuple):
    """What was at the paths of a swap before it."""

    before: Mapping[str, Optional[Entry]]

    def restore(self) -> None:
        """Bring back what was there, with modes and owners. Doing it twice does no harm."""
        _exchange(self.before)


def swap(changes: Mapping[Place, Change], uid: int = 0, gid: int = 0) -> Undo:
    """Give each path its (content, mode), or remove it where the content is None.

    All new files are on disk before the first one is renamed, so a full disk changes nothing;
    if a rename fails, those done before it are taken back. A process killed between
    two renames leaves some paths old and some new, each of them whole; the next run finishes.
    """
    wanted = {
        str(path): None if content is None else Entry(content, mode, uid, gid)
        for path, (content, mode) in changes.items()
    }
    undo = Undo({path: look(path) for path in wanted})
    try:
        _exchange(wanted)
    except HostIPsecError as error:
        _bring_back(undo, error)
        raise
    return undo


def _bring_back(undo: Undo, cause: HostIPsecError) -> None:
    try:
        undo.restore()
    except HostIPsecError as error:
        raise HostIPsecError(f"{cause}; and bringing back the others failed: {error}") from None


def _exchange(wanted: Mapping[str, Optional[Entry]]) -> None:
    pending = {path: entry for path, entry in sorted(wanted.items()) if look(path) != entry}
    with contextlib.ExitStack() as stack:
        staged = {}
        for path, entry in pending.items():
            if entry is not None:
                stack.enter_context(_explained(path, "written"))
                staged[path] = stack.enter_context(_staged(path, entry))
        for path in pending:
            with _explained(path, "replaced"):
                if path in staged:
                    staged[path].replace(path)
                else:
                    Path(path).unlink()
    for directory in sorted({Path(path).parent for path in pending}):
        _sync(directory)


# Steps ---------------------------------------------------------------------------------------


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


@contextlib.contextmanager
def _explained(path: PathLike, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostIPsecError(
            f"{path}: cannot be {done}: {_reason(error)}; what was there before stays"
        ) from None


@contextlib.contextmanager
def _staged(path: PathLike, entry: Entry) -> Iterator[Path]:
    """Yield a synced temporary file (or link) beside a path; gone afterwards unless renamed."""
    target = Path(path)
    _sweep(target)
    temporary = target.parent / f".{target.name}.hostipsec.{threading.get_native_id()}"
    try:
        if entry.link is None:
            _write(temporary, entry)
        else:
            temporary.symlink_to(entry.link)
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write(path: Path, entry: Entry) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        _own(descriptor, entry.mode, entry.uid, entry.gid)
        rest = memoryview(entry.content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own(descriptor: int, mode: int, uid: int, gid: int) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)  # after the owner: chown clears bits


def _sweep(target: Path) -> None:
    """Remove temporary files of this destination whose thread is gone, and our own."""
    prefix = f".{target.name}.hostipsec."
    for path in target.parent.iterdir():
        thread = path.name[len(prefix) :]
        if path.name.startswith(prefix) and thread.isdigit() and not _lives(int(thread)):
            with contextlib.suppress(OSError):
                path.unlink()


def _lives(thread: int) -> bool:
    return thread != threading.get_native_id() and (paths.here.proc / str(thread)).exists()


def _sync(directory: Path) -> None:
    """Make renames outlive a power cut; not fatal, as they have happened already."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
