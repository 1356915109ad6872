"""Packages of a host, and which of them nobody else needs. Asks dpkg and apt; installs nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..errors import HostIPsecError
from . import processes

DEADLINE = 60.0
_GOES = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Removal:
    """What to purge, and who keeps what is not purged: ``{package: those that need it}``."""

    purge: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()


def installed() -> frozenset[str]:
    """Return the names of all packages that are installed, or whose configuration is left."""
    found = _run("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\\n")
    lines = (line.split() for line in found.splitlines())
    return frozenset(name for status, name in lines if status != "not-installed")


def owned(path: str) -> bool:
    """Say whether a package has brought a path."""
    return processes.run(["dpkg-query", "--search", path], DEADLINE).status == 0


def strange(found: Sequence[str]) -> frozenset[str]:
    """Return which of some paths no package has brought; none where dpkg cannot say."""
    done = processes.run(["dpkg-query", "--search", *found], DEADLINE) if found else None
    if done is None or done.status not in (0, 1):
        return frozenset()
    owned_ = {line.partition(": ")[2] for line in done.stdout.splitlines()}
    return frozenset(found) - owned_


def removal(ours: Collection[str], before: Collection[str]) -> Removal:
    """Return what goes with our packages: they, and what came along with them and nobody needs then.

    ``before`` are the packages that were there before; they stay. Where one of them, or one that
    somebody else installed, would have to go, nothing of ours does.
    """
    here = installed()
    mine = sorted(here & {*ours} - {*before})
    if not mine:
        return Removal()
    goes = {*_GOES.findall(_apt("purge", *mine))}
    others = goes - {*mine} - _automatic()
    if others or goes & {*before}:
        return Removal(needed_by=tuple(sorted(others | goes & {*before})))
    with_dependencies = {*_GOES.findall(_apt("purge", "--auto-remove", *mine))} - {*before}
    return Removal(tuple(sorted(with_dependencies & here)))


def displaced(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the packages that would go where some others are installed."""
    return tuple(sorted(_GOES.findall(_apt("install", *wanted))))


def fetch(names: Sequence[str]) -> None:
    """Have packages as they are installed now in apt's store: they can come back without the network.

    Raises HostIPsecError where they cannot be fetched.
    """
    if names:
        _run("apt-get", "--yes", "--quiet", "--download-only", "--reinstall", "install", *names)


def _automatic() -> frozenset[str]:
    return frozenset(_run("apt-mark", "showauto").split())


def _apt(*arguments: str) -> str:
    return _run("apt-get", "--simulate", "--quiet", *arguments)


def _run(*argv: str) -> str:
    done = processes.run(argv, DEADLINE)
    if done.status != 0:
        raise HostIPsecError(f"{' '.join(argv[:3])}: status {done.status}, {' '.join(done.text.split())}")
    return done.stdout
