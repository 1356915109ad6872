"""The table that counts what goes in the clear, in the kernel: set, read and removed by ``nft``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .. import paths
from ..errors import HostIPsecError
from ..model import Connection
from ..system import files, processes
from . import cleartext
from .cleartext import Packets, Table

_LIST = ("nft", "-j", "list", "table", *cleartext.NAME.split())


def settle(connections: Iterable[Connection], asked: bool) -> Mapping[str, Packets]:
    """Count where it is asked for, else end it; return what is counted. Raises HostIPsecError."""
    if asked:
        return keep(connections)
    end()
    return {}


def keep(connections: Iterable[Connection]) -> Mapping[str, Packets]:
    """Make the table count what goes in the clear with these peers; return its counts, by connection.

    Raises HostIPsecError where it cannot.
    """
    every = tuple(connections)
    there = _there()
    lines = cleartext.changes(every, there)
    if lines:
        files.ensure_directory(paths.here.locks, 0o700)
        files.replace(paths.here.counting, b"", 0o600)
        _run(lines)
        there = _there()
    return cleartext.counted(every, there)


def end() -> None:
    """Remove a table that :func:`keep` has made; costs nothing where it has not."""
    if paths.here.counting.exists():
        remove()


def is_there() -> bool:
    """Say whether the kernel has the table; without ``nft`` nobody has made one."""
    result = processes.run(_LIST, paths.CALL_DEADLINE)
    return result.status == 0 and '"table"' in result.stdout


def remove() -> None:
    """Remove the table; it begins at 0 if it is made again."""
    _run(cleartext.removal())
    files.remove(paths.here.counting)


def _there() -> Table:
    result = processes.run(_LIST, paths.CALL_DEADLINE)
    if result.status == 0:
        return cleartext.parse(result.stdout)
    if "No such file or directory" in result.stderr and result.status != processes.NOT_FOUND:
        return Table()
    raise _wrong(result)


def _run(lines: str) -> None:
    result = processes.run(["nft", "-f", "-"], paths.CALL_DEADLINE, stdin=lines)
    if result.status != 0:
        raise _wrong(result)


def _wrong(result: processes.Result) -> HostIPsecError:
    said = " ".join(result.text.split())[:300] or f"status {result.status}"
    return HostIPsecError(
        f"what goes in the clear cannot be counted (pillar ipsec:metrics:clear_text): {said}; needs package "
        "nftables (nft 0.9.5) and Linux 5.7"
    )
