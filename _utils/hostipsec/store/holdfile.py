"""The hold on disk, and what makes it last: ``auto=ignore`` in ipsec.conf for each connection that is held.

By swanctl such a connection stands in a section of its own, which swanctl does not load.
The starter does not load such a connection: not at boot, not at a start of the service or by ``ipsec start``,
not after the package was installed again, whatever a peer tries; and it unloads one within milliseconds of
``ipsec update``. The other connections go on. So one means serves a whole host and a single peer, with
systemd and without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Optional

from .. import paths
from ..errors import ConfigError, HostIPsecError
from ..model import SWANCTL, Connection
from ..strongswan import parse, sections
from ..system import backend, files, locks, service
from . import hold, present
from .hold import Command, Decisions, Hold, Lift, Obeyed

LOCK_DEADLINE = 1.0  # seconds; an emergency waits for nobody longer
_ANY = "surrogateescape"  # bytes that are no text go through as they are


class Found(NamedTuple):
    """What is on disk: the decisions, and why that cannot be read, empty where it can."""

    decisions: Decisions = ()
    wrong: str = ""


def found() -> Found:
    """Return what is on disk; where that cannot be read, what ipsec.conf keeps down stays held."""
    try:
        content = files.read(paths.here.hold)
        return Found(hold.parse(_text(content)) if content is not None else ())
    except HostIPsecError as error:
        said = f"{error}; who holds what is not known, and nothing changes; {hold.WRITE_ANEW}"
        return Found(hold.unreadable(error, _changed(), _ignored()), hold.printable(said))


def read() -> Decisions:
    """Return the decisions of this host."""
    return found().decisions


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except ValueError:
        raise HostIPsecError("hold.json cannot be read (it is no text)") from None


def _changed() -> datetime:
    try:
        return datetime.fromtimestamp(paths.here.hold.stat().st_mtime, timezone.utc)
    except (OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(0, timezone.utc)


def _ignored() -> frozenset[str]:
    """Return the connections that ipsec.conf keeps out of charon."""
    try:
        conf = present.connections()
    except HostIPsecError:
        return frozenset()
    options = conf.connections.items()
    return frozenset(name for name, one in options if one.get("auto") == sections.HELD)


def obeyed() -> Obeyed:
    """Return what this host remembers of the commands of the fleet."""
    try:
        content = files.read(paths.here.command)
    except HostIPsecError:
        return Obeyed()
    return hold.parse_command(content.decode("utf-8", "replace")) if content is not None else Obeyed()


def _heed(command: Optional[Command], now: datetime) -> Optional[Obeyed]:
    """Return what is to be remembered then, None for nothing new. Raises OverruledError."""
    before, clock = obeyed(), now.timestamp()
    command = hold.counted(before, command, clock)
    hold.heed(before.last, command, clock)
    return None if command is None else before.and_then(command)


def _over(who: str, now: datetime) -> Obeyed:
    """Return what is to be remembered of a stop that was ordered here: what came before is over by that.

    So is what the fleet was told before, and is still on its way: the second phase of an ``up``.
    """
    before, clock = obeyed(), now.timestamp()
    last = before.last.asked if before.last else clock
    after = last + hold.JUST if last <= clock + hold.AHEAD else clock
    return before.and_then(Command("down", max(clock, after), who))


def obey(command: Command, now: datetime) -> None:
    """Note a command that neither takes nor lifts a hold. Raises OverruledError where a later one counts."""
    with locks.held(paths.here.lock, LOCK_DEADLINE):
        _write({}, _heed(command, now))


def take(
    one: Hold, connections: Sequence[Connection], now: datetime, command: Optional[Command] = None
) -> Decisions:
    """Hold connections, on disk before this returns. Raises HostIPsecError; nothing was written then."""
    heed = (lambda: _heed(command, now)) if command else (lambda: _over(one.who, now))
    return _decide(lambda before: hold.taken(before, one), connections, now, heed)


def lift(
    one: Lift, connections: Sequence[Connection], now: datetime, command: Optional[Command] = None
) -> Decisions:
    """Lift holds, on disk before this returns; returns the decisions that are left."""
    return _decide(lambda before: hold.lifted(before, one), connections, now, lambda: _heed(command, now))


def _decide(
    decide: Callable[[Decisions], Decisions],
    connections: Sequence[Connection],
    now: datetime,
    heed: Callable[[], Optional[Obeyed]],
) -> Decisions:
    """Write hold.json anew, whatever is there, and ipsec.conf with it; ``heed`` may refuse it."""
    with locks.held(paths.here.lock, LOCK_DEADLINE):
        remembered = heed()
        decisions = decide(read())
        changes = _conf(decisions, connections, now)
        changes[paths.here.hold] = (hold.render(decisions).encode() if decisions else None, 0o644)
        _set_aside(paths.here.hold)
        _write(changes, remembered)
    return decisions


def enforce(connections: Sequence[Connection], now: datetime) -> bool:
    """Make ipsec.conf what the holds on disk say, of those that are not over; returns whether it was not.

    The holds themselves stay as they are: one that is over by a wrong clock is in force again when that is
    right. Where they cannot be read nothing is changed.
    """
    with locks.held(paths.here.lock, LOCK_DEADLINE):
        there = found()
        changes = {} if there.wrong else _conf(there.decisions, connections, now)
        before = {path: files.read(path) for path in changes}
        files.swap(changes)
    return any(before[path] != content for path, (content, _) in changes.items())


def held(connections: Sequence[Connection], now: datetime) -> dict[str, str]:
    """Return ``{name: "since ... by ... because ..."}`` of the connections that are held."""
    return hold.reasons(read(), connections, now)


def known(connections: Sequence[Connection], now: datetime) -> dict[str, str]:
    """Return the same, for who writes ipsec.conf. Raises HostIPsecError where hold.json cannot be read.

    A connection that has not been there yet may be held by it, or have been held under another name.
    """
    there = found()
    if there.wrong:
        raise HostIPsecError(there.wrong)
    return hold.reasons(there.decisions, connections, now)


def free(connections: Sequence[Connection]) -> tuple[Connection, ...]:
    """Return the connections that are not held now."""
    names = held(connections, datetime.now(timezone.utc))
    return tuple(one for one in connections if one.name not in names)


def ignore(connections: Sequence[Connection]) -> None:
    """Keep connections out of charon although the hold itself could not be written."""
    path = present.conf()
    conf = files.read(path)
    if conf is not None:
        autos = {one.name: sections.HELD for one in connections}
        files.replace(path, _with_autos(conf, autos), 0o644)


def _with_autos(conf: bytes, autos: Mapping[str, str]) -> bytes:
    """Edit in place, whatever another hand or a failing disk has left there: every other byte stays."""
    text, by = conf.decode("utf-8", _ANY), backend.here()
    if by == SWANCTL:
        from ..strongswan import autos as language  # here: where ipsec.conf counts, its tables cost time

        return language.changed(text, autos, by).encode("utf-8", _ANY)
    return parse.with_autos(text, autos).encode("utf-8", _ANY)


def _conf(decisions: Decisions, connections: Sequence[Connection], now: datetime) -> dict[Path, files.Change]:
    """Return the file of the connections as the holds say; nothing where there is none, or a damaged one."""
    path = present.conf()
    conf = files.read(path)
    if conf is None:
        return {}
    held = hold.held_names(decisions, connections, now)
    autos = sections.autos(connections, held, service.keeper_runs())
    try:
        return {path: (_with_autos(conf, autos), 0o644)}
    except ConfigError:  # nothing of it is loaded at the next start, whoever is held
        return {}


def _write(changes: Mapping[Path, files.Change], remembered: Optional[Obeyed]) -> None:
    """Write files together, and with them what is to be remembered of commands; that alone may fail."""
    files.ensure_directory(paths.here.state, 0o755)  # whoever logs in may read why the host is held
    if remembered is None:
        files.swap(changes)
        return
    _set_aside(paths.here.command)
    content = hold.render_command(remembered).encode()
    try:
        files.swap({**changes, paths.here.command: (content, 0o644)})
    except HostIPsecError:
        if not changes:
            raise
        files.swap(changes)  # a full disk keeps nobody from lifting a hold, which takes no space


def _set_aside(path: Path) -> None:
    """Rename what is in the way of a file and cannot be read, let alone replaced."""
    try:
        files.look(path)
    except HostIPsecError:
        with contextlib.suppress(OSError):
            path.replace(path.with_name(f"{path.name}.unreadable"))
