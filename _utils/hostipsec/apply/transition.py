"""A host's configuration brought into effect: tried, swapped in, proven; or the last good one brought back.

The order of events: starter's parser, a trial charon, all files at once, the gentlest way of making
charon take them up, then charon itself is asked whether it has exactly the connections expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional, Protocol

from .. import paths
from ..errors import CharonError, ConfigError, HostIPsecError
from ..health import repair
from ..model import Charon
from ..strongswan import render
from ..system import files, service
from . import configuration, trial
from .configuration import Plan, Wanted

LOADED_DEADLINE = 20.0  # seconds, until charon has what the files say
_POLL = 0.1


class Daemon(Protocol):
    """What the flow needs of charon and of the service manager."""

    def observe(self) -> Optional[Charon]:
        """Return what charon shows, None where none runs. Raises CharonError for one that hangs."""

    def update(self) -> None:
        """Make charon take up the connections that differ (``ipsec update``)."""

    def reload(self) -> None:
        """Make charon take up all connections anew (``ipsec reload``); SAs stay."""

    def settings(self, charondebug: Mapping[str, int]) -> None:
        """Make charon read strongswan.conf anew, and set its log levels."""

    def restart(self) -> None:
        """Start the service, or restart it, through the service manager."""

    def reread(self) -> None:
        """Make charon read keys, certificates and CAs again."""

    def initiate(self, names: Collection[str]) -> None:
        """Start connections, waiting for no peer."""

    def terminate(self, ike_sas: Sequence[int]) -> None:
        """End IKE SAs by unique id."""


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be."""

    changes: Mapping[str, object] = field(default_factory=dict)
    done: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def apply(want: Wanted, plan: Plan, daemon: Daemon) -> Outcome:
    """Bring files and charon to what is wanted. Raises HostIPsecError; what ran before runs then as well."""
    warnings = _tried(want) if not plan.difference.empty or plan.restart else ()
    _keep_originals(want)
    undo = files.swap({path: (content, configuration.modes()[path]) for path, content in want.files.items()})
    try:
        done = _take_up(want, plan, daemon)
        _wait_loaded(want, plan, daemon)
    except HostIPsecError as error:
        raise ConfigError(f"{error}; {_bring_back(undo, plan, daemon)}") from None
    ended = _end_outdated(want, plan, daemon)
    started = _start_absent(want, daemon) if service.kept() else ()
    return Outcome(plan.as_changes(), (*done, *ended, *started), (*warnings, *_keep_last_good(want)))


# Trying --------------------------------------------------------------------------------------


def _tried(want: Wanted) -> tuple[str, ...]:
    """Try the new files; return warnings. Raises ConfigError, and then nothing was touched."""
    content = {
        "ipsec.conf": want.files[paths.here.conf],
        "ipsec.secrets": want.files[paths.here.secrets],
        "strongswan.d/hostipsec.conf": want.files[paths.here.strongswan],
    }
    with trial.staged(content, paths.here.strongswan_d, paths.here.state) as directory:
        trial.conftest(directory / "ipsec.conf")
        verdict = trial.run(directory, want.names)
    if verdict.charon is None:
        return (verdict.warning,)
    lacking = configuration.lacking(want, verdict.charon)
    if lacking:
        raise ConfigError(f"charon cannot do what the pillar proposes: {'; '.join(lacking)}")
    return ()


def _keep_originals(want: Wanted) -> None:
    """Keep files that somebody else wrote, once, so that removing this package brings them back."""
    for path in (paths.here.conf, paths.here.secrets, paths.here.strongswan):
        content = files.read(path)
        kept = paths.here.kept("original", path)
        foreign = content is not None and not content.startswith(render.HEADER.encode())
        if content is not None and foreign and files.read(kept) is None:
            files.ensure_directory(kept.parent, 0o700)
            files.replace(kept, content, 0o600)
    for path in want.files:
        files.ensure_directory(paths.here.kept("good", path).parent, 0o700)


def _keep_last_good(want: Wanted) -> tuple[str, ...]:
    """Keep the files that charon runs with; a disk that is full by now is a warning."""
    modes, kept = configuration.modes(), paths.here.kept
    try:
        files.swap({kept("good", path): (content, modes[path]) for path, content in want.files.items()})
    except HostIPsecError as error:
        return (f"the last good configuration cannot be kept: {error}",)
    return ()


# Acting --------------------------------------------------------------------------------------


def _take_up(want: Wanted, plan: Plan, daemon: Daemon) -> tuple[str, ...]:
    if not plan.running or plan.restart:
        daemon.restart()
        return ("charon restarted" if plan.running else "charon started",)
    differs = plan.difference
    done = []
    if differs.charon or differs.setup:
        daemon.settings(want.settings.charondebug)
        done.append("settings read anew")
    if differs.secrets:  # before connections whose certificate belongs to another key
        daemon.reread()
        done.append("keys read anew")
    if plan.lost:  # starter believes that charon has them, so that an update would do nothing
        daemon.reload()
        done.append("all connections loaded anew")
    elif (
        differs.added or differs.removed or differs.changed or differs.defaults or plan.missing or plan.stale
    ):
        daemon.update()
        done.append("connections updated")
    return tuple(done)


def _wait_loaded(want: Wanted, plan: Plan, daemon: Daemon) -> None:
    gone = {*plan.stale, *plan.difference.removed} - want.names

    def exactly(charon: Charon) -> bool:
        return not configuration.missing(want.connections, charon) and not configuration.loaded(charon) & gone

    charon, reached = _wait(daemon, exactly)
    if not reached:
        missing = configuration.missing(want.connections, charon)
        raise CharonError(_not_as_expected(charon, missing, sorted(configuration.loaded(charon) & gone)))


def _wait(daemon: Daemon, reached: Callable[[Charon], bool]) -> tuple[Optional[Charon], bool]:
    """Look until charon has reached something, or the time is over; return the last look."""
    deadline = time.monotonic() + LOADED_DEADLINE
    while True:
        charon = _observed(daemon)
        if charon and reached(charon):
            return charon, True
        if time.monotonic() > deadline:
            return charon, False
        time.sleep(_POLL)


def _observed(daemon: Daemon) -> Optional[Charon]:
    """Return what charon shows; one that is just starting does not answer yet."""
    try:
        return daemon.observe()
    except CharonError:
        return None


def _not_as_expected(charon: Optional[Charon], missing: Sequence[str], extra: Sequence[str]) -> str:
    if charon is None:
        return f"charon does not answer {LOADED_DEADLINE:g} s after it got the new configuration"
    parts = [("lacks", missing), ("still has", extra)]
    found = "; ".join(
        f"{verb} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for verb, names in parts
        if names
    )
    return f"charon does not run with exactly the expected connections: it {found}"


def _bring_back(undo: files.Undo, plan: Plan, daemon: Daemon) -> str:
    try:
        undo.restore()
        if not plan.running:
            return "the files are as they were"
        if plan.restart:
            daemon.restart()
        else:
            daemon.settings({})
            daemon.reread()
            daemon.update()
    except HostIPsecError as error:
        return f"bringing back the last good configuration failed as well: {error}"
    if _wait(daemon, lambda charon: plan.loaded <= configuration.loaded(charon))[1]:
        return "the last good configuration is back"
    return "the files are as they were, but charon does not run with them either"


def _end_outdated(want: Wanted, plan: Plan, daemon: Daemon) -> tuple[str, ...]:
    """End the SAs of connections of ours that are no longer configured, or have other addresses now."""
    doomed = [sa.uniqueid for sa in configuration.outdated(want, plan.ours, daemon.observe())]
    if not doomed:
        return ()
    daemon.terminate(doomed)
    return (f"{len(doomed)} IKE SA(s) of removed or changed connections ended",)


def _start_absent(want: Wanted, daemon: Daemon) -> tuple[str, ...]:
    """Start what this host has to start and is not there: sooner than the keeper would."""
    charon = _observed(daemon)
    names = repair.absent(want.connections, charon) if charon else ()
    if not names:
        return ()
    try:
        daemon.initiate(names)
    except CharonError as error:
        return (f"{len(names)} connections left to the keeper: {error}",)
    return (f"{len(names)} connections started",)
