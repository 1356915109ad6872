"""More in charon's log for a while, by type, without a restart; undone by itself.

charon has its levels from ``charondebug`` of ipsec.conf, or from loggers of strongswan.conf. Another level
lasts while that charon runs; what was changed, and until when, stands in a file below /run, by the time since
boot, which no clock that is set changes. ``hostipsec-keeper`` reads it each pass.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, Optional

from .. import arguments, paths
from ..answer import Answer
from ..charon import charon
from ..errors import CharonError, HostIPsecError
from ..model import SWANCTL
from ..store import present
from ..strongswan import catalog, options
from ..strongswan.sections import Configuration
from ..system import backend, files, heartbeat, service

MINUTES = 10.0
MOST = 1440.0  # minutes
SECRETS = 4  # a level
USUAL = 1  # of a type that nothing is said of
_LEVELS = "zz-hostipsec-levels.conf"  # read last, over all others
_LOGGERS = ("filelog", "syslog")


class Raised(NamedTuple):
    """Levels that are not the usual ones."""

    levels: Mapping[str, int]
    end: float  # seconds since boot
    pid: int  # of the charon that has them; another one has the usual ones


def change(levels: Mapping[str, object], minutes: Optional[object], now: datetime) -> Answer:
    """Set levels by type for some minutes, or say what is; 0 minutes: what is usual again, now.

    Raises HostIPsecError for what cannot be, and where charon cannot be reached.
    """
    wanted, wrong = options.check_charondebug(levels, "loglevel")
    if wrong:
        raise HostIPsecError("; ".join(map(str, wrong)))
    span = MINUTES if minutes is None else _minutes(minutes)
    if minutes is not None and span == 0:
        undo()
    elif wanted:
        _raise(wanted, span)
    elif minutes is not None:
        raise arguments.wrong("minutes", minutes, "0, to undo; else with types, as ike=2")
    return _answer(now)


def _minutes(value: object) -> float:
    try:
        return arguments.seconds("minutes", value, 0, MOST)
    except HostIPsecError:
        raise arguments.wrong("minutes", value, f"minutes from 0 to {MOST:g}") from None


def expire() -> bool:
    """Have charon's usual levels again where the time is over; returns whether it did.

    Of no file, and of one of another charon, it costs a look at the file.
    """
    raised = _read()
    if raised is None or _since_boot() < raised.end:
        return False
    undo()
    return True


def undo() -> None:
    """Have charon's usual levels again. Raises CharonError where it cannot be told."""
    raised = _read()
    if raised and raised.pid == _pid():
        usual, own = _usual()
        charon.reload_settings()  # makes its loggers anew, with the levels of strongswan.conf or of its start
        if not own and backend.here() != SWANCTL:
            _set({kind: usual.get(kind, USUAL) for kind in raised.levels})
    files.remove(paths.here.loglevel)


def _raise(levels: Mapping[str, int], minutes: float) -> None:
    pid, before = _pid(), _read()
    if not pid:
        raise CharonError(f"charon is not running ({backend.started()}); nothing was changed")
    there = before.levels if before and before.pid == pid else {}
    raised = Raised({**there, **levels}, _since_boot() + minutes * 60, pid)
    files.ensure_directory(paths.here.locks, 0o700)
    # first: what is raised and not written down would stay so
    files.replace(paths.here.loglevel, json.dumps(raised._asdict()).encode(), 0o600)
    if backend.here() == SWANCTL:
        _have_read(raised.levels)
    else:
        _set(levels)


def _have_read(levels: Mapping[str, int]) -> None:
    """Have charon-systemd read a file with these levels, gone at once: they last until it reads again."""
    from ..strongswan import render, swanctl  # here: where ipsec.conf counts, nobody waits for its tables

    below = present.value(present.texts()).strongswan.get("charon")
    loggers = {key: below[key] for key in _LOGGERS if key in below} if isinstance(below, Mapping) else {}
    told = {kind: str(level) for kind, level in levels.items()}
    named = {key: dict.fromkeys(names, told) for key, names in loggers.items() if isinstance(names, Mapping)}
    tree = {"charon": named, swanctl.JOURNAL: {"journal": told}}
    path = paths.here.strongswan_d / _LEVELS
    files.replace(path, render.strongswan_conf(Configuration(strongswan=tree)).encode(), 0o644)
    try:
        charon.reload_settings()
    finally:
        files.remove(path)


def _set(levels: Mapping[str, int]) -> None:
    refused = charon.set_log_levels(levels)
    if refused:
        said = "; ".join(f"{kind}: {why}" for kind, why in sorted(refused.items()))
        raise CharonError(f"charon did not take each log level: {said}")


def _answer(now: datetime) -> Answer:
    usual, own = _usual()
    found = _read()
    raised = found if found and found.pid == _pid() else None
    more = raised.levels if raised else {}
    until = now + timedelta(seconds=raised.end - _since_boot()) if raised else None
    levels = {kind: more.get(kind, usual.get(kind, USUAL)) for kind in catalog.CHARONDEBUG}
    words = [f"{kind} {level} (else {usual.get(kind, USUAL)})" for kind, level in sorted(more.items())]
    end = f"{until.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC" if until else ""
    return Answer(
        True,
        f"until {end}: {', '.join(words)}" if end else "the usual log levels",
        notes=[
            *_unkept(bool(raised)),
            *([_OWN] if own else []),
            *([_KEYS] if SECRETS in more.values() else []),
        ],
        own={"levels": levels, "usual": dict(usual), "raised": dict(more), "until": end or None},
    )


_KEYS = "level 4 writes keys and shared secrets into the log"
_OWN = "strongswan.conf has loggers of its own: what is usual there stands there, and comes back all the same"


def _unkept(raised: bool) -> list[str]:
    """Say that nobody undoes it."""
    dead = raised and (service.lacking(paths.KEEPER_UNIT, paths.CALL_DEADLINE) or heartbeat.missing())
    return [f"not undone by itself: {dead}; undo it with minutes=0"] if dead else []


def _usual() -> tuple[Mapping[str, int], bool]:
    """Return the levels of ``charondebug``, and whether strongswan.conf has loggers of its own instead."""
    found = present.value(present.texts())
    below = found.strongswan.get("charon")
    own = isinstance(below, Mapping) and any(key in below for key in _LOGGERS)
    return {kind: level for kind, level in found.levels.items() if kind in catalog.CHARONDEBUG}, own


def _read() -> Optional[Raised]:
    """Return what was raised; a file that cannot be read counts as over, for every type."""
    content = files.read(paths.here.loglevel)
    if content is None:
        return None
    try:
        found = json.loads(content)
        levels = {kind: int(found["levels"][kind]) for kind in found["levels"] if kind in catalog.CHARONDEBUG}
        return Raised(levels, float(found["end"]), int(found["pid"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Raised(dict.fromkeys(catalog.CHARONDEBUG, USUAL), 0.0, _pid())


def _pid() -> int:
    """Return the process of charon, 0 for none."""
    try:
        pid = service.charon_pid()
        return pid if (paths.here.proc / str(pid)).is_dir() else 0
    except OSError:
        return 0


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
