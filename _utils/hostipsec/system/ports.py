"""Who holds a UDP port of this network namespace: a second IKE daemon takes packets of the first."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from .. import paths
from . import service

IKE = (500, 4500)
_SOCKET = re.compile(r"socket:\[(\d+)\]\Z")
_UNIT = re.compile(r"/([^/\n]+\.(?:service|scope))(?:/|$)", re.MULTILINE)


class Holder(NamedTuple):
    """A process, or what is known of it: nothing, where it is of another process namespace."""

    ports: tuple[int, ...]
    pid: int = 0
    name: str = ""
    unit: str = ""

    def __str__(self) -> str:
        """Say who holds what."""
        ports = " and ".join(map(str, self.ports))
        unit = f", {self.unit}" if self.unit else ""
        who = f"{self.name} (process {self.pid}{unit})" if self.pid else "a process that is not seen here"
        what = f"ports {ports} are" if len(self.ports) > 1 else f"port {ports} is"
        return f"UDP {what} held by {who}"


def strangers(ports: Collection[int] = IKE, by: str = "") -> tuple[Holder, ...]:
    """Return who holds one of the ports and is not the charon that this package runs, by a back end."""
    sockets = dict(_sockets(ports))
    if not sockets:
        return ()
    found: dict[int, set[int]] = {}
    for pid, inode in _owners(sockets):
        found.setdefault(pid, set()).add(inode)
    ours = {pid for pid in service.pids(service.CHARON, service.STARTER, by=by) if _same_root(pid)}
    unseen = {*sockets} & {*dict(_sockets(ports))} - set().union(*found.values())  # and still there
    held = {pid: inodes for pid, inodes in found.items() if pid not in ours}
    held.update({0: unseen} if unseen else {})
    return tuple(_holder(pid, {sockets[one] for one in held[pid]}) for pid in sorted(held))


def _holder(pid: int, ports: Collection[int]) -> Holder:
    if not pid:
        return Holder(tuple(sorted(ports)))
    units = _UNIT.findall(_text(pid, "cgroup"))
    name = _program(pid) or _text(pid, "comm").strip()
    return Holder(tuple(sorted(ports)), pid, name, units[-1] if units else "")


def _sockets(ports: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the inode and the port of each socket that is bound to one of them."""
    for table in ("udp", "udp6"):
        for line in _text("self", f"net/{table}").splitlines()[1:]:
            fields = line.split()
            port = int(fields[1].rpartition(":")[2], 16) if len(fields) > 9 else 0
            if port in ports:
                yield int(fields[9]), port


def _owners(inodes: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield each process that has one of the sockets open, with the socket."""
    for entry in sorted(paths.here.proc.iterdir(), key=lambda one: one.name):
        for link in _links(entry / "fd") if entry.name.isdigit() else ():
            found = _SOCKET.match(link)
            if found and int(found[1]) in inodes:
                yield int(entry.name), int(found[1])


def _links(directory: os.PathLike[str]) -> list[str]:
    """Return where the descriptors of a process lead; none where it has gone."""
    try:
        return [os.readlink(one.path) for one in os.scandir(directory)]
    except OSError:
        return []


def _same_root(pid: int) -> bool:
    """Whether a process has this host's files: one of a container on the host's network has not."""
    try:
        return os.path.samestat((paths.here.proc / str(pid) / "root").stat(), paths.here.root.stat())
    except OSError:
        return False


def _program(pid: int) -> str:
    try:
        return os.readlink(paths.here.proc / str(pid) / "exe").rpartition("/")[2]
    except OSError:
        return ""


def _text(pid: object, name: str) -> str:
    try:
        return (paths.here.proc / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""
