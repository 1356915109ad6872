"""A host's configuration brought into effect: tried, swapped in, proven; or the last good one brought back.

The order of events: starter's parser, a trial charon, all files at once, the gentlest way of making
charon take them up, then charon itself is asked whether it has exactly the connections expected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from .. import paths
from ..charon.credentials import Loaded
from ..emergency import loading, starting
from ..emergency.host import Host
from ..errors import CharonError, ConfigError, HostIPsecError
from ..health import repair
from ..model import SWANCTL, Charon
from ..store import generations, holdfile, present, record
from ..system import backend, files, service
from . import configuration, trial
from .configuration import Wanted, Work

LOADED_DEADLINE = 20.0  # seconds, until charon has what the files say
_POLL = 0.1


AFTERWARDS = "after a hold was taken or lifted meanwhile"


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be."""

    changes: Mapping[str, object] = field(default_factory=dict)
    done: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    overtaken: bool = False  # a hold was taken or lifted meanwhile: something else is wanted now

    def then(self, later: Outcome) -> Outcome:
        """Return both: what this one did, and what was done after it."""
        changes = {**self.changes, AFTERWARDS: later.changes} if self.changes else later.changes
        return Outcome(
            changes=changes if later.changes else self.changes,
            done=(*self.done, *later.done),
            warnings=(*self.warnings, *later.warnings),
            overtaken=later.overtaken,
        )


def apply(want: Wanted, work: Work, host: Host) -> Outcome:
    """Bring files and charon to what is wanted. Raises HostIPsecError; what ran before runs then as well.

    Where it is overtaken the files are the new ones, and nothing is brought back: that would undo what was
    written for the hold.
    """
    warnings = _ready(want, work, host)
    files.ensure_directory(paths.here.state, 0o755)
    generations.keep_originals()
    undo = _swapped(want, work, host)
    outcome = Outcome(work.as_changes(), warnings=warnings)
    try:
        outcome = replace(outcome, done=_take_up(want, work, host))
        charon = _wait_loaded(want, work, host)
        _ask_for_credentials(want, charon, host)
    except HostIPsecError as error:
        if _overtaken(want):
            return replace(outcome, overtaken=True)
        raise ConfigError(f"{error}; {_bring_back(undo, work, host, _changed(want, work))}") from None
    if work.moves:
        host.stay()
    if _overtaken(want):
        return replace(outcome, overtaken=True)
    ended = _end_outdated(want, work, host)
    started = _start_absent(want, host) if service.keeper_runs() else ()
    warnings = (*warnings, *_finish_record(want))
    return Outcome(outcome.changes, (*outcome.done, *ended, *started), warnings, _overtaken(want))


def _overtaken(want: Wanted) -> bool:
    return {one.name for one in holdfile.free(want.record.connections)} != want.names


# Trying --------------------------------------------------------------------------------------


def _tried(want: Wanted) -> tuple[str, ...]:
    """Try the new files; return warnings. Raises ConfigError, and then nothing was touched."""
    names = trial.FILES[want.configuration.backend]
    content = {name: want.files[getattr(paths.here, field)] for name, field in names.items()}
    with trial.staged(content, paths.here.strongswan_d, paths.here.state) as directory:
        trial.parsed(directory)
        verdict = trial.run(directory, want.names)
    if verdict.charon is None:
        return (verdict.warning,)
    lacking = configuration.lacking(want, verdict.charon)
    if lacking:
        raise ConfigError(f"charon cannot do what the pillar proposes: {'; '.join(lacking)}")
    unbound = configuration.missing(want, verdict.charon)
    if unbound:
        raise ConfigError(f"charon does not take connections as they are meant: {', '.join(unbound[:5])}")
    unbelieved = _unbelieved(want, verdict.charon, verdict.loaded)
    if unbelieved:
        raise ConfigError(f"a charon on trial {unbelieved}")
    return ()


def _ready(want: Wanted, work: Work, host: Host) -> tuple[str, ...]:
    """Try what is new, by the programs that shall run it; return warnings. What runs goes on meanwhile."""
    if not work.moves:
        return _tried(want) if work.new_files or work.restart else ()
    try:
        host.leave(want.configuration.backend)
        _provide(want.configuration.backend, host)
        return _tried(want)
    except HostIPsecError as error:
        raise ConfigError(f"{error}; {_stays(work, host)}") from None


def _provide(by: str, host: Host) -> None:
    """Have the programs of a back end here. Raises HostIPsecError."""
    if not trial.can_start(by):
        host.install(by)
    if not trial.can_start(by):
        raise HostIPsecError(f"the packages of {by} are installed, and its programs are not there")


def _stays(work: Work, host: Host) -> str:
    """Have what ran before run on, also after a boot, where other packages took the place of its own."""
    try:
        _provide(work.moves, host)
        if work.running and not host.pids(service.CHARON):
            host.begin()
        host.stay()
    except HostIPsecError as error:
        return f"going on by {work.moves} failed as well: {error}"
    return f"nothing was changed, and this host goes on by {work.moves}"


def _unbelieved(want: Wanted, charon: Charon, loaded: Optional[Loaded]) -> str:
    """Say what of the certificates charon has not made its own, though it has all connections."""
    unloaded = configuration.unloaded(want, loaded) if loaded is not None else ()
    if unloaded:
        place = backend.top(want.configuration.backend)
        return f"does not load {', '.join(unloaded[:5])} from {place}: see its log"
    misnamed = configuration.misnamed(want, charon)
    return f"takes another identity for this host, {'; '.join(misnamed[:3])}" if misnamed else ""


# Writing -------------------------------------------------------------------------------------


def _contents(want: Wanted, work: Work) -> dict[Path, files.Change]:
    """Return the files to be written; what leaves stays on record until its SAs are ended."""
    meanwhile = want.record._replace(connections=(*want.record.connections, *work.leaving))
    contents = {**want.files, paths.here.record: record.render(meanwhile).encode()}
    written = {path: (content, present.modes()[path]) for path, content in contents.items()}
    return {**written, **dict.fromkeys(want.gone, (None, 0))}


def _swapped(want: Wanted, work: Work, host: Host) -> files.Undo:
    """Swap the files in; where a host moves, while nothing runs. Raises HostIPsecError; all is back then."""
    if not work.moves:
        return files.swap(_contents(want, work))
    try:
        host.hand_over(want.configuration.backend)
        return files.swap({**_contents(want, work), **generations.without(work.moves)})
    except HostIPsecError as error:
        raise ConfigError(f"{error}; {_bring_back(files.Undo({}), work, host, ())}") from None


def _finish_record(want: Wanted) -> tuple[str, ...]:
    """Take off the record what has left; a disk that is full by now is a warning."""
    path = paths.here.record
    try:
        files.replace(path, want.files[path], present.modes()[path])
        record.keep_copy()
        if want.configuration.backend == SWANCTL:
            loading.keep_copy()
    except HostIPsecError as error:
        return (f"connections that are gone stay on record: {error}",)
    return ()


# Acting --------------------------------------------------------------------------------------


def _take_up(want: Wanted, work: Work, host: Host) -> tuple[str, ...]:
    if not work.running or work.restart:
        host.restart()
        if work.moves:
            return (f"moved from {work.moves} to {want.configuration.backend}",)
        return ("charon restarted" if work.running else "charon started",)
    differs = work.difference
    done = []
    if differs.charon or differs.setup:
        host.settings(want.configuration.levels)
        done.append("settings read anew")
    if differs.secrets:  # before connections whose certificate belongs to another key
        host.reread()
        done.append("keys read anew")
    if want.gone:  # before connections that are bound to no CA
        host.reread()
        done.append("CAs read anew")
    if work.lost:  # starter believes that charon has them, so that an update would do nothing
        host.reload()
        done.append("all connections loaded anew")
    elif (
        differs.added
        or differs.removed
        or differs.changed
        or differs.defaults
        or differs.kept
        or differs.foreign
        or work.missing
        or work.stale
    ):
        host.update(changed=_changed(want, work))
        done.append("connections updated")
    return tuple(done)


def _changed(want: Wanted, work: Work) -> frozenset[str]:
    """Return the connections that mean something else than before."""
    differs = work.difference
    return want.names if differs.defaults else frozenset((*differs.changed, *work.missing))


def _ask_for_credentials(want: Wanted, charon: Charon, host: Host) -> None:
    """Ask charon whether it has what it authenticates with. Raises CharonError where it lacks something."""
    if want.credentials is None:
        return
    deadline = host.clock() + LOADED_DEADLINE
    while (unbelieved := _unbelieved(want, charon, host.credentials())) and host.clock() < deadline:
        host.sleep(_POLL)
    if unbelieved:
        raise CharonError(f"charon {unbelieved}")


def _wait_loaded(want: Wanted, work: Work, host: Host) -> Charon:
    gone = {*work.stale, *work.difference.removed} - want.names

    def exactly(charon: Charon) -> bool:
        return not configuration.missing(want, charon) and not configuration.loaded(charon) & gone

    charon, reached = _wait(host, lambda charon: exactly(charon) or _overtaken(want))
    if charon is None or not reached:
        missing = configuration.missing(want, charon)
        raise CharonError(_not_as_expected(charon, missing, sorted(configuration.loaded(charon) & gone)))
    return charon


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


def _bring_back(undo: files.Undo, work: Work, host: Host, changed: Collection[str]) -> str:
    try:
        if work.moves:
            _provide(work.moves, host)
            host.hand_over(work.moves)
        undo.restore()
        if work.moves:
            host.stay()
        if not work.running:
            return "the files are as they were"
        if work.moves:
            host.begin()
        elif work.restart:
            host.restart()
        else:
            host.settings({})
            host.reread()
            host.update(changed=changed)
    except HostIPsecError as error:
        return f"bringing back the last good configuration failed as well: {error}"
    if _wait(host, lambda charon: work.loaded <= configuration.loaded(charon))[1]:
        return "the last good configuration is back"
    return "the files are as they were, but charon does not run with them either"


def _end_outdated(want: Wanted, work: Work, host: Host) -> tuple[str, ...]:
    """End the SAs of connections of ours that are no longer configured, or have other addresses now."""
    doomed = [sa.uniqueid for sa in configuration.outdated(want, work.ours, host.observe_if_running())]
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
        started = starting.start(lambda look: repair.absent(want.connections, look), want.connections, host)
    except CharonError as error:
        return (f"{len(names)} connections left to the keeper: {error}",)
    return (f"{len(started.names)} connections started",) if started.names else ()
