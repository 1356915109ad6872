"""The way back: a host runs again what it ran before its last change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from .. import paths
from ..answer import Answer, counted
from ..emergency.host import Host
from ..errors import HostIPsecError
from ..kernel import guard, routing
from ..model import SWANCTL, Connection
from ..store import generations, holdfile, present, record
from ..store.generations import Previous
from ..store.record import Record
from ..strongswan import autos as language
from ..strongswan import sections, swanctl
from ..strongswan.sections import Configuration
from ..system import backend, files, service
from . import configuration, existing, transition
from .configuration import Wanted


@dataclass(frozen=True)
class Back:
    """What the host runs now, and what had to be changed for it."""

    when: str  # the change was made that is undone
    connections: tuple[Connection, ...] = ()  # that are configured, those held among them
    held: Mapping[str, str] = field(default_factory=dict)  # by name, since when, by whom and why
    changes: Mapping[str, object] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the host runs what it ran before."""
        return not self.problems

    @property
    def sentence(self) -> str:
        """Sum up."""
        held = f", {len(self.held)} of them held {'; and '.join(sorted({*self.held.values()}))}"
        nothing = "" if self.changes else "; nothing had to be changed"
        return f"as before {self.when}: {counted(len(self.connections))}{held if self.held else ''}{nothing}"

    def answer(self) -> Answer:
        """Return it in the shape that all verbs answer in."""
        return Answer(
            ok=self.ok,
            sentence=self.sentence,
            connections={one.name: self._row(one) for one in self.connections},
            problems=self.problems,
            notes=self.notes,
            own={"changes": dict(self.changes)},
        )

    def _row(self, one: Connection) -> dict[str, str]:
        return {"peer": one.peer, "family": one.family, "held": self.held.get(one.name, "")}


def back(host: Host, now: datetime, mark: Optional[str] = None) -> Back:
    """Bring files, charon, the guard and the routes to what they were before the last change, once.

    What is held stays held. Raises HostIPsecError where nothing is kept, where the last change is of another
    roll-out than ``mark``, or charon does not take it: what ran before runs then as well. What the kernel
    refuses afterwards is a problem of the result.
    """
    return _back(host, now, mark, transition.Outcome())


def _back(host: Host, now: datetime, mark: Optional[str], before: transition.Outcome) -> Back:
    """Go back; ``before`` is what was done until a hold was taken or lifted meanwhile."""
    previous = generations.previous()
    if previous is None:
        raise HostIPsecError("nothing to go back to: the last change is undone already, or none was made")
    if mark not in (None, previous.mark):
        raise HostIPsecError(
            f"the last change here, of {previous.when}, is {_whose(previous)}, not of roll-out {mark}; "
            "nothing was changed"
        )
    connections, guarded, mtu = previous.record.connections, previous.record.guarded, previous.record.mtu
    held = holdfile.known(connections, now)
    want = wanted(previous, frozenset(held))
    others = existing.look(connections)
    choice = existing.KEEP if want.configuration.kept else existing.REPLACE
    _has_authorities(want.configuration)
    kept_names = others.names if want.configuration.kept else frozenset()
    want = replace(want, kept=kept_names, gone=_gone(want.configuration))
    host.settle()
    work = configuration.work(want, host.observe_if_running())
    # added by hand since: nobody is asked now, nothing is lost
    with existing.settled(choice, connections):
        done = transition.Outcome() if work.empty else transition.apply(want, work, host)
    outcome = before.then(done)
    if outcome.overtaken:
        return _back(host, datetime.now(timezone.utc), mark, outcome)
    generations.forget_previous()
    return Back(
        when=previous.when,
        connections=connections,
        held=held,
        changes=outcome.changes,
        problems=_problems(
            lambda: guard.apply(holdfile.free(guarded)), lambda: routing.apply(connections, mtu)
        ),
        notes=(*outcome.done, *outcome.warnings, *map(_without, sorted(want.gone)), *_told(others, choice)),
    )


def _gone(back: Configuration) -> frozenset[Path]:
    """Return the CAs of peers that are none of the configuration of before, which may be bound to no CA."""
    now = present.connections()
    stay = {_authority(one) for one in (now.defaults, back.defaults, *back.connections.values())}
    theirs = {*map(_authority, now.connections.values())} - stay
    return frozenset(path for path in (backend.places().cacerts / name for name in theirs) if path.exists())


def _has_authorities(back: Configuration) -> None:
    """Raise HostIPsecError where a CA of before is gone: certificates are not brought back."""
    bound = (back.defaults, *back.connections.values()) if back.names else ()
    names = {_authority(options) for options in bound if options.get("rightca2")}
    gone = sorted(str(path) for name in names if not (path := backend.places().cacerts / name).exists())
    if gone:
        raise HostIPsecError(
            f"{', '.join(gone)}: is gone, the CA that connections of before are bound to; it was changed "
            "since, and is not brought back; nothing was changed: correct the pillar and apply it"
        )


def _authority(options: Mapping[str, str]) -> str:
    """Return the file of the CA that options bind to; of a name without a file where they do not."""
    return swanctl.authority_file(options.get("rightca2", ""))


def _without(path: Path) -> str:
    return f"{path} is taken away: no connection of before is bound to that CA, which would vouch for others"


def _told(others: existing.Others, choice: str) -> tuple[str, ...]:
    """Say what became of what was added by hand since."""
    went = "goes on in a file of its own" if choice == existing.KEEP else "is kept aside, for ipsec.clean"
    said = (f"what was added by hand {went}: {others}",) if others else ()
    return (*said, *([_BY_CLEAN] if choice == existing.REPLACE and existing.is_aside() else []))


_BY_CLEAN = "what this host had of a strongSwan of others is kept aside; ipsec.clean alone brings it back"


def kept() -> dict[str, object]:
    """Return what :func:`back` would go back to, as plain values; None for nothing."""
    found = generations.previous()
    if found is None:
        return {"mark": None, "when": None, "connections": []}
    return {"mark": found.mark, "when": found.when, "connections": sorted(found.record.names)}


def _whose(previous: Previous) -> str:
    return f"of roll-out {previous.mark}" if previous.mark else "of a plain state.apply"


def _problems(*acts: Callable[[], object]) -> tuple[str, ...]:
    """Do each; return what fails, in sentences."""
    found = []
    for act in acts:
        try:
            act()
        except HostIPsecError as error:
            found.append(str(error))
    return tuple(found)


def keep(want: Wanted, mark: str, now: datetime) -> Optional[files.Undo]:
    """Keep what a change to ``want`` replaces; return what was kept until then.

    The later steps of a change with a mark keep nothing, and return None.
    """
    return generations.keep_previous(replaced(want), mark, now)


@contextlib.contextmanager
def keeping(want: Wanted, mark: str, now: datetime) -> Iterator[None]:
    """:func:`keep` while the change is made: one that leaves the files as they were undoes nothing later."""
    there, undo = present.texts(), keep(want, mark, now)
    try:
        yield
    finally:
        if undo is not None and present.texts() == there:
            with contextlib.suppress(HostIPsecError):  # kept is then what runs: going back does nothing
                undo.restore()


def replaced(want: Wanted) -> dict[Path, str]:
    """Return the contents that ``want`` replaces; of a host that is new, its own without connections."""
    there = present.texts()
    if present.value(there).ours:
        return there
    empty = configuration.rendered(want.configuration._replace(connections={}), Record())
    return present.of_contents(empty)


def wanted(previous: Previous, held: Collection[str] = ()) -> Wanted:
    """Return what the host shall run to be as before; the connections in ``held`` stay down.

    The files are those of before, as they were; only what is held may differ by now.
    """
    recorded = previous.record
    autos = sections.autos(recorded.connections, held, service.keeper_runs())
    absent = present.of_contents(configuration.rendered(previous.configuration, recorded))
    contents = {path: previous.contents.get(path, text) for path, text in absent.items()}
    by = previous.configuration.backend
    conf = paths.here.swanctl if by == SWANCTL else paths.here.conf
    contents[conf] = language.changed(contents[conf], autos, by)
    contents[paths.here.record] = record.render(recorded)
    return Wanted(
        connections=tuple(one for one in recorded.connections if one.name not in held),
        configuration=present.value(contents),
        record=recorded,
        files={path: text.encode() for path, text in contents.items()},
    )
