"""A host's configuration brought into effect: tried, swapped in, proven; or the last good one brought back.

The order of events: starter's parser, a trial charon, all files at once, the gentlest way of making
charon take them up, then charon itself is asked whether it has exactly the connections expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from .. import paths
from ..emergency.host import Host
from ..errors import CharonError, ConfigError, HostIPsecError
from ..health import repair
from ..model import Charon
from ..strongswan import render
from ..system import files, service
from . import configuration, trial
from .configuration import Plan, Wanted

LOADED_DEADLINE = 20.0  # seconds, until charon has what the files say
_POLL = 0.1


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be."""

    changes: Mapping[str, object] = field(default_factory=dict)
    done: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def apply(want: Wanted, plan: Plan, host: Host) -> Outcome:
    """Bring files and charon to what is wanted. Raises HostIPsecError; what ran before runs then as well."""
    warnings = _tried(want) if not plan.difference.empty or plan.restart else ()
    _keep_originals(want)
    undo = files.swap({path: (content, configuration.modes()[path]) for path, content in want.files.items()})
    try:
        done = _take_up(want, plan, host)
        _wait_loaded(want, plan, host)
    except HostIPsecError as error:
        raise ConfigError(f"{error}; {_bring_back(undo, plan, host)}") from None
    ended = _end_outdated(want, plan, host)
    started = _start_absent(want, host) if service.systemd_runs() else ()
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


def _take_up(want: Wanted, plan: Plan, host: Host) -> tuple[str, ...]:
    if not plan.running or plan.restart:
        host.restart()
        return ("charon restarted" if plan.running else "charon started",)
    differs = plan.difference
    done = []
    if differs.charon or differs.setup:
        host.settings(want.settings.charondebug)
        done.append("settings read anew")
    if differs.secrets:  # before connections whose certificate belongs to another key
        host.reread()
        done.append("keys read anew")
    if plan.lost:  # starter believes that charon has them, so that an update would do nothing
        host.reload()
        done.append("all connections loaded anew")
    elif (
        differs.added or differs.removed or differs.changed or differs.defaults or plan.missing or plan.stale
    ):
        host.update()
        done.append("connections updated")
    return tuple(done)


def _wait_loaded(want: Wanted, plan: Plan, host: Host) -> None:
    gone = {*plan.stale, *plan.difference.removed} - want.names

    def exactly(charon: Charon) -> bool:
        return not configuration.missing(want.connections, charon) and not configuration.loaded(charon) & gone

    charon, reached = _wait(host, exactly)
    if not reached:
        missing = configuration.missing(want.connections, charon)
        raise CharonError(_not_as_expected(charon, missing, sorted(configuration.loaded(charon) & gone)))


def _wait(host: Host, reached: Callable[[Charon], bool]) -> tuple[Optional[Charon], bool]:
    """Look until charon has reached something, or the time is over; return the last look."""
    deadline = host.clock() + LOADED_DEADLINE
    while True:
        charon = _observed(host)
        if charon and reached(charon):
            return charon, True
        if host.clock() > deadline:
            return charon, False
        host.sleep(_POLL)


def _observed(host: Host) -> Optional[Charon]:
    """Return what charon shows; one that is just starting does not answer yet."""
    try:
        return host.observe_if_running()
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


def _bring_back(undo: files.Undo, plan: Plan, host: Host) -> str:
    try:
        undo.restore()
        if not plan.running:
            return "the files are as they were"
        if plan.restart:
            host.restart()
        else:
            host.settings({})
            host.reread()
            host.update()
    except HostIPsecError as error:
        return f"bringing back the last good configuration failed as well: {error}"
    if _wait(host, lambda charon: plan.loaded <= configuration.loaded(charon))[1]:
        return "the last good configuration is back"
    return "the files are as they were, but charon does not run with them either"


def _end_outdated(want: Wanted, plan: Plan, host: Host) -> tuple[str, ...]:
    """End the SAs of connections of ours that are no longer configured, or have other addresses now."""
    doomed = [sa.uniqueid for sa in configuration.outdated(want, plan.ours, host.observe_if_running())]
    if not doomed:
        return ()
    refused = host.terminate(doomed)
    if refused:
        why = "; ".join(sorted({*refused.values()}))
        raise CharonError(f"charon does not end {len(refused)} IKE SA(s): {why}")
    return (f"{len(doomed)} IKE SA(s) of removed or changed connections ended",)


def _start_absent(want: Wanted, host: Host) -> tuple[str, ...]:
    """Start what this host has to start and is not there: sooner than the keeper would."""
    charon = _observed(host)
    names = repair.absent(want.connections, charon) if charon else ()
    if not names:
        return ()
    try:
        host.initiate(names)
    except CharonError as error:
        return (f"{len(names)} connections left to the keeper: {error}",)
    return (f"{len(names)} connections started",)
