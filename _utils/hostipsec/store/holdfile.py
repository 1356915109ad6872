"""The hold on disk, and what makes it last: ``auto=ignore`` in ipsec.conf for each connection that is held.

The starter does not load such a connection: not at boot, not at a start of the service or by ``ipsec start``,
not after the package was installed again, whatever a peer tries; and it unloads one within milliseconds of
``ipsec update``. The other connections go on. So one means serves a whole host and a single peer, with
systemd and without.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import Connection
from ..strongswan import parse, sections
from ..system import files, service
from . import hold
from .hold import Command, Decisions, Hold, Lift

LOCK_DEADLINE = 1.0  # seconds; an emergency waits for nobody longer
_POLL = 0.02
_ANY = "surrogateescape"  # bytes that are no text go through as they are


def read() -> Decisions:
    """Return the decisions of this host; what cannot be read holds all of it."""
    try:
        content = files.read(paths.here.hold)
        return hold.parse(content.decode("utf-8", "replace")) if content is not None else ()
    except HostIPsecError as error:
        return hold.damaged(error, _changed())


def _changed() -> datetime:
    try:
        return datetime.fromtimestamp(paths.here.hold.stat().st_mtime, timezone.utc)
    except OSError:
        return datetime.fromtimestamp(0, timezone.utc)


def last_command() -> Optional[Command]:
    """Return the last command of the fleet that this host obeyed."""
    try:
        content = files.read(paths.here.command)
    except HostIPsecError:
        return None
    return hold.parse_command(content.decode("utf-8", "replace")) if content is not None else None


def obey(command: Command) -> None:
    """Note a command that neither takes nor lifts a hold. Raises OverruledError where a later one counts."""
    with _locked():
        hold.heed(last_command(), command)
        files.ensure_directory(paths.here.state, 0o755)
        files.replace(paths.here.command, hold.render_command(command).encode(), 0o644)


def take(
    one: Hold, connections: Sequence[Connection], now: datetime, command: Optional[Command] = None
) -> Decisions:
    """Hold connections, on disk before this returns. Raises HostIPsecError; nothing was written then."""
    with _locked():
        hold.heed(last_command(), command)
        decisions = hold.taken(read(), one)
        _write(decisions, connections, now, command)
    return decisions


def lift(
    one: Lift, connections: Sequence[Connection], now: datetime, command: Optional[Command] = None
) -> Decisions:
    """Lift holds, on disk before this returns; returns the decisions that are left."""
    with _locked():
        hold.heed(last_command(), command)
        decisions = hold.lifted(read(), one, connections)
        _write(decisions, connections, now, command)
    return decisions


def enforce(connections: Sequence[Connection], now: datetime) -> bool:
    """Make ipsec.conf what the holds on disk say, without those that are over; returns whether it was not."""
    with _locked():
        decisions = hold.current(read(), now)
        held = hold.held_names(decisions, connections, now)
        return bool(_swap(decisions if held else (), connections, now))


def held(connections: Sequence[Connection], now: datetime) -> dict[str, str]:
    """Return ``{name: "since ... by ... because ..."}`` of the connections that are held."""
    return hold.reasons(read(), connections, now)


def free(connections: Sequence[Connection]) -> tuple[Connection, ...]:
    """Return the connections that are not held now."""
    names = held(connections, datetime.now(timezone.utc))
    return tuple(one for one in connections if one.name not in names)


def ignore(connections: Sequence[Connection]) -> None:
    """Keep connections out of charon although the hold itself could not be written."""
    conf = files.read(paths.here.conf)
    if conf is not None:
        autos = {one.name: sections.HELD for one in connections}
        files.replace(paths.here.conf, _with_autos(conf, autos), 0o644)


def _with_autos(conf: bytes, autos: Mapping[str, str]) -> bytes:
    """Edit in place, whatever another hand or a failing disk has left there: every other byte stays."""
    return parse.with_autos(conf.decode("utf-8", _ANY), autos).encode("utf-8", _ANY)


def _write(
    decisions: Decisions, connections: Sequence[Connection], now: datetime, command: Optional[Command]
) -> None:
    files.ensure_directory(paths.here.state, 0o755)  # whoever logs in may read why the host is held
    _swap(decisions, connections, now, command)


def _swap(
    decisions: Decisions,
    connections: Sequence[Connection],
    now: datetime,
    command: Optional[Command] = None,
) -> tuple[Path, ...]:
    """Write hold.json, command.json and ipsec.conf together; returns the paths that were changed."""
    content = hold.render(decisions).encode() if decisions else None
    changes: dict[Path, files.Change] = {paths.here.hold: (content, 0o644)}
    if command is not None:
        changes[paths.here.command] = (hold.render_command(command).encode(), 0o644)
    conf = files.read(paths.here.conf)
    if conf is not None:
        held = hold.held_names(decisions, connections, now)
        autos = sections.autos(connections, held, service.systemd_runs())
        changes[paths.here.conf] = (_with_autos(conf, autos), 0o644)
    before = {path: files.read(path) for path in changes}
    files.swap(changes)
    return tuple(path for path, (content, _) in changes.items() if before[path] != content)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Keep out another who reads and writes the hold at this moment, for LOCK_DEADLINE at most."""
    end = time.monotonic() + LOCK_DEADLINE
    try:
        lock = paths.here.lock.open("a")
    except OSError:
        yield  # a full /run must not keep anybody from an emergency stop
        return
    with lock:
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(_POLL)
        yield
