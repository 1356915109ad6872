"""This package taken off a host, without a trace: tunnels first, what it knows of itself last.

Works without a pillar, from what is on disk. Each part says what is there of it, so that a run
that was cut short goes on where it was, and test mode says what would go.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from .. import owner, paths
from ..answer import counted
from ..certificates.copies import Destination
from ..charon import charon
from ..emergency import stop
from ..emergency.stopped import Down
from ..errors import CharonError, HostIPsecError
from ..kernel import cleartext, counting, guard, kernel, leftovers, routing
from ..model import IPSEC_CONF, SWANCTL
from ..store import generations, hold, holdfile, record
from ..store.generations import Before
from ..store.hold import Hold, Scope
from ..strongswan import defaults
from ..system import backend, diversion, files, handover, manager, packages, service, sysctlconf, sysctls
from . import remains

WHO = "root (ipsec.clean)"  # of the hold that keeps peers out meanwhile
_BOTH = (IPSEC_CONF, SWANCTL)
# below /etc/ipsec.d, of the starter
_DIRECTORIES = ("aacerts", "acerts", "cacerts", "certs", "crls", "ocspcerts", "policies", "private", "reqs")
_FETCHED = re.compile(r"[0-9a-f]{40}(-delta)?\.crl\Z")  # by charon, with cachecrls


@dataclass(frozen=True)
class Minion:
    """What only Salt knows of the host, and does on it."""

    id: str
    service: str  # of strongSwan
    purge: Callable[[Sequence[str]], None]
    vici: Callable[[], bool]  # whether Salt's Python has the library
    remove_vici: Callable[[], None]


@dataclass(frozen=True)
class Part:
    """One part of what is there: what, in words by name, and how it goes."""

    traces: Mapping[str, str]
    remove: Callable[[], None]


@dataclass(frozen=True)
class Traces:
    """All that is there of this package, in the order in which it goes."""

    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def changes(self) -> dict[str, str]:
        """Return it by name, in words."""
        return {name: said for part in self.parts for name, said in part.traces.items()}

    def remove(self) -> Iterator[Mapping[str, str]]:
        """Remove everything, and yield each part that is gone, in words by name.

        Raises HostIPsecError; what is left then goes with the next run.
        """
        for part in self.parts:
            try:
                part.remove()
            except OSError as error:
                raise HostIPsecError(f"{error.filename}: cannot be removed: {error.strerror}") from None
            yield part.traces


def traces(host: Minion) -> Traces:
    """Return what is there of this package on this host."""
    kept = generations.before()
    removal = packages.removal(kept.asked, kept.packages) if kept else packages.Removal()
    parts = [
        _tunnels(),
        _units(),
        _routes(),
        _guard(),
        _counters(),
        _sysctls(kept),
        _certificates(host.id, kept, bool(removal.purge)),
        _configuration(),
        _service(host.service, removal, kept),
        _withheld(),
        _diversion(),  # before the packages: dpkg removes a file of theirs where it belongs
        _packages(host, removal, kept),
        _service_of_before(host.service, kept),
        _vici(host, kept),
        _files(),
        _state(),
    ]
    found = Traces(tuple(part for part in parts if part.traces))
    return Traces(found.parts, (*held(), *_warnings(removal, kept)) if found.parts else ())


def held() -> tuple[str, ...]:
    """Say what operators hold down here, as that ends with this package, too."""
    said = hold.words(tuple(one for one in hold.holds(holdfile.read()) if one.who != WHO))
    return (f"held {said}: forgotten with this package, so state ipsec would bring it up",) if said else ()


def _warnings(removal: packages.Removal, kept: Optional[Before]) -> list[str]:
    said = []
    if kept is None:
        said.append("strongSwan stays installed: whether it was there before this package is not known")
    if removal.needed_by:
        said.append(f"strongSwan stays installed: {', '.join(removal.needed_by)} would have to go with it")
    return said


# Tunnels -------------------------------------------------------------------------------------


def _tunnels() -> Part:
    """Every connection of ours that charon has. A hold keeps peers from bringing one back meanwhile."""
    connections = record.read().connections
    names = {one.name for one in connections}
    try:
        seen = charon.observe()
        up = {name for name, sas in owner.shares(connections, seen.ike_sas).items() if sas}
        there = names & {one.name for one in seen.connections} | up
    except CharonError:
        there = names if service.pids(service.CHARON) else set()
    said = {f"connection {name}": "ended" for name in sorted(there)}
    left = leftovers.leftovers(kernel.observe(), owner.Ours(connections)) if connections else None
    if left and not said:
        said = {"what a charon that was killed left": f"{left} deleted"}

    def remove() -> None:
        for path in manager.ours():
            manager.stop(path.name)
        now = datetime.now(timezone.utc)
        done = stop.down_host(Scope(), Hold(WHO, now, "this package is removed", None, Scope()))
        if not done.ok:
            raise HostIPsecError(undone(done))

    return Part(said, remove)


def undone(done: Down) -> str:
    """Say what became of the tunnels, and why nothing else is removed."""
    number = len(done.connections)
    ended = f"tunnels do not end: {number - len(done.left)} of {counted(number)} down"
    if not done.left:
        ended = f"{counted(number)} ended"
    left = [f"{one.connection.name}: {one.left}" for one in done.left]
    said = "; ".join([*done.problems, *left, *done.notes])
    return f"{ended}; keeper and guard are stopped, and nothing else was removed: {said}"


def _routes() -> Part:
    differs = routing.compare((), None).difference
    deleted = differs.as_changes().get("deleted", {})
    names = deleted if isinstance(deleted, (dict, list, tuple)) else ()
    return Part(
        {f"route to {name}": "deleted" for name in sorted(map(str, names))},
        lambda: _ignored(routing.apply((), None)),
    )


def _guard() -> Part:
    there = guard.present(kernel.policies())
    traces_ = {"policies of the guard": f"{len(there)} deleted"} if there else {}
    return Part(traces_, lambda: _ignored(guard.apply(())))


def _counters() -> Part:
    name = f"nftables table {cleartext.NAME}"
    there = {name: "deleted"} if counting.is_there() else {}
    return Part(there, counting.remove)


# Files ---------------------------------------------------------------------------------------


def _units() -> Part:
    there = manager.ours()

    def remove() -> None:
        for path in there:
            manager.remove(path)
        manager.reread()

    return Part({str(path): "stopped, disabled and removed" for path in there}, remove)


def _sysctls(kept: Optional[Before]) -> Part:
    """Our lines go; the file goes where nothing else is in it."""
    text = (files.read(paths.here.sysctl) or b"").decode("utf-8", "surrogateescape")
    known = {**defaults.SYSCTL_KERNEL, **(kept.sysctl if kept else {})}
    there = sysctlconf.settings(text) if generations.was_here() else {}
    back = {key: known[key] for key in there if key in known}
    left = sysctlconf.without(text, known, kept.conf if kept else None)

    def remove() -> None:
        for key, value in back.items():
            if sysctls.live(key) not in (None, value):
                sysctls.set_live(key, value)
        if left is None:
            files.remove(paths.here.sysctl)
        elif left != text:
            mode = paths.here.sysctl.stat()
            content = left.encode("utf-8", "surrogateescape")
            files.replace(paths.here.sysctl, content, stat.S_IMODE(mode.st_mode), mode.st_uid, mode.st_gid)

    said = {f"sysctl {key}": f"back to {value}" for key, value in back.items() if sysctls.live(key) != value}
    if back:
        said[str(paths.here.sysctl)] = "removed" if left is None else "without our lines"
    return Part(said, remove)


def _certificates(host_id: str, kept: Optional[Before], purged: bool) -> Part:
    """Our copies go, and what charon fetched since; not what stood there before, whatever its name."""
    found = _copies(host_id) if generations.was_here() else []
    if purged or (kept is not None and kept.files is not None):
        tops = map(backend.top, _BOTH) if kept else ()
        crls = [path for top in tops for path in sorted(backend.places(top).crls.glob("*"))]
        found += [str(path) for path in crls if _FETCHED.match(path.name)]
    before = {str(paths.here.root / name) for name in (kept.files if kept else None) or ()}
    gone = [path for path in found if path not in before]
    modes = remains.changed_modes(kept)

    def remove() -> None:
        _remove(gone)
        for path, mode in modes.items():
            files.ensure_directory(path, *mode)
        for path in {str(Path(one).parent) for one in gone} - {*remains.modes(kept)}:
            _empty(Path(path))

    said = {path: f"back to mode {mode[0]:04o}" for path, mode in modes.items()}
    return Part({**dict.fromkeys(gone, "removed"), **said}, remove)


def _copies(host_id: str) -> list[str]:
    """Return our copies; one without a fingerprint in its name, of an early release, as our files name it."""
    found = [path for by in _BOTH for path in _below(Destination(str(backend.top(by)), host_id))]
    if f"{host_id}.pem" in generations.named_by_us():
        destination = Destination(str(backend.top()), host_id)
        early = (Path(directory, f"{host_id}.pem") for directory in (destination.certs, destination.private))
        found += [str(path) for path in early if path.is_file()]
    return found


def _below(destination: Destination) -> Iterator[str]:
    yield from (*destination.own(destination.certs), *destination.own(destination.private))
    yield from (*destination.shared(destination.cacerts), *destination.shared(destination.crls))


def _configuration() -> Part:
    """Files of ours are what they were before us: another's, the package's own, or none."""
    originals = {**generations.originals(), **generations.others()}
    said = {
        str(path): "removed" if found is None else "as it was before" for path, found in originals.items()
    }
    before = {str(path): found for path, found in originals.items()}
    return Part(said, lambda: files.Undo(before).restore())


def _files() -> Part:
    here = paths.here
    ours = (here.ipsec_global, here.completion, here.login, here.check, here.check_rights, here.engine)
    there = [path for path in ours if path.exists()]

    def remove() -> None:
        _remove(list(map(str, (path for path in there if path != here.engine))))
        if here.engine.exists():
            shutil.rmtree(here.engine)
        for directory in (
            here.completion.parent,
            here.completion.parent.parent,
            here.login.parent,
            here.check.parent,
            here.check.parent.parent,
        ):
            _empty(directory)  # where they were missing

    return Part(dict.fromkeys(map(str, there), "removed"), remove)


def _state() -> Part:
    here = paths.here
    there = [path for path in (here.state, here.locks, here.lock_of_before) if path.exists()]

    def remove() -> None:
        here.lock_of_before.unlink(missing_ok=True)
        here.keeper_beat.unlink(missing_ok=True)
        for directory in (here.locks, here.state):
            shutil.rmtree(directory, ignore_errors=True)
        if here.state.exists():
            raise HostIPsecError(f"{here.state}: cannot be removed")

    return Part({str(path): "removed" for path in there}, remove)


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        files.remove(path)


def _empty(directory: Path) -> None:
    """Remove a directory that nothing is in and no package has brought."""
    if not packages.owned(str(directory)):
        with contextlib.suppress(OSError):
            directory.rmdir()


# strongSwan ----------------------------------------------------------------------------------


def _service(name: str, removal: packages.Removal, kept: Optional[Before]) -> Part:
    """Where the package stays and did not run before us, its service is stopped and disabled."""
    running = bool(service.pids(service.CHARON, service.STARTER))
    enabled, ours = manager.enabled(name), paths.here.record.exists()
    if removal.purge or (kept and kept.ran) or not (ours and (running or enabled)):
        return Part({}, lambda: None)
    return Part({f"service {name}": "stopped and disabled"}, lambda: manager.disable(name))


def _service_of_before(name: str, kept: Optional[Before]) -> Part:
    """Where strongSwan ran before us it runs what it ran: once its files and packages are those of before."""
    if not (kept and kept.ran and paths.here.record.exists()):
        return Part({}, lambda: None)
    return Part({f"service {name}": "runs what it ran before"}, lambda: manager.restart(name))


def _packages(host: Minion, removal: packages.Removal, kept: Optional[Before]) -> Part:
    def remove() -> None:
        manager.stop(host.service)
        stays = remains.others(kept)
        host.purge(removal.purge)
        remains.bring_back(stays, remains.modes(kept))
        left = packages.installed() & {*removal.purge}
        if left:
            raise HostIPsecError(f"packages {', '.join(sorted(left))} cannot be purged; see apt's log")
        for path in sorted(paths.here.run.glob("charon.*")):  # sockets, which charon does not take with it
            path.unlink()
        for name in _DIRECTORIES:
            _empty(paths.here.ipsec_d / name)
        _empty(paths.here.strongswan_d)

    return Part({f"package {name}": "purged" for name in removal.purge}, remove)


def _withheld() -> Part:
    """The service of a back end that the host left, or did not get to."""
    there = [by for by in _BOTH if handover.withheld(by)] if generations.was_here() else []

    def remove() -> None:
        for by in there:
            handover.release(by)

    return Part({f"service {handover.UNITS[by]}": "masked no more" for by in there}, remove)


def _diversion() -> Part:
    found = diversion.look(str(paths.here.init_script)) if generations.was_here() else None
    if found is None or (found.owner, found.target) != (
        diversion.LOCAL,
        str(paths.here.init_script_diverted),
    ):
        return Part({}, lambda: None)

    def remove() -> None:
        diversion.undivert(str(paths.here.init_script))
        manager.reread()

    return Part({f"diversion of {paths.here.init_script}": "taken back"}, remove)


def _vici(host: Minion, kept: Optional[Before]) -> Part:
    if kept is None or kept.vici or not host.vici():
        return Part({}, lambda: None)
    return Part({"vici in Salt's Python": "removed"}, host.remove_vici)


def _ignored(_: object) -> None:
    """Return nothing."""
