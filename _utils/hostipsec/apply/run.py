"""One run of Salt over this host: the pillar is read and checked once, and the certificate inspected once.

A run of states asks for both again and again: each SLS file what there is to set up, each state what it is
to settle. What holds for all of a run is the first answer. It is kept in Salt's ``__context__``, which each
run has for itself, and which the SLS files' functions and the states of one run share (Salt 3006 to 3008;
:data:`RUN` is how such a context is told from that of a single call, for which nothing is kept). A run whose
pillar changes on its way, or another run, reads anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from .. import calls, paths
from ..answer import Answer, counted
from ..certificates import source
from ..errors import HostIPsecError, PillarError
from ..model import IPSEC_CONF, Connection
from ..pillar import addressed, digest, doubts
from ..pillar.membership import Membership
from ..store import present, record
from ..system import backend, platforms, service, sysctls, tools
from . import existing, hostplan

RUN = "fileclient"  # what Salt's State puts into the context of each run: an object of that run
_KEPT = "hostipsec.reading"
_Stamp = tuple[Optional[tuple[int, ...]], ...]


class Reading:
    """A host's pillar, and its certificate, key and CAs at their source; each read when first asked for."""

    def __init__(
        self, data: object, minion_id: str, mine: Callable[..., object], masters: Collection[str] = ()
    ) -> None:
        """Take the pillar below ``ipsec``; ``mine`` is Salt's ``mine.get``."""
        self._data, self._minion_id, self._mine, self._masters = data, minion_id, mine, masters
        self._inspected: Optional[tuple[_Stamp, source.Inspection]] = None

    @property
    def member(self) -> Membership:
        """Return what the pillar means for the host. Raises HostIPsecError, each time."""
        if isinstance(self._read, HostIPsecError):
            raise self._read
        return self._read

    @functools.cached_property
    def _read(self) -> Union[Membership, HostIPsecError]:
        try:
            found = addressed.member(self._data, self._minion_id, self._mine, self._masters, given)
        except HostIPsecError as error:
            return error
        unpaired = found.unpaired(record.found().record.guarded)
        return PillarError(unpaired) if unpaired else found

    @functools.cached_property
    def absent(self) -> Mapping[str, str]:
        """Return the addresses that the host lacks, see :func:`hostplan.absent`. Raises HostIPsecError."""
        return hostplan.absent(self.member)

    @functools.cached_property
    def doubts(self) -> Sequence[str]:
        """Return what in the pillar may not be meant, see :func:`doubts.told`. Raises HostIPsecError."""
        return doubts.told(self.member.fleet)

    @property
    def digest(self) -> str:
        """Return what tells the pillar from others."""
        return digest.of(self._data)

    @property
    def inspection(self) -> source.Inspection:
        """Return what the host's files at their source are, inspected anew only where one has changed.

        Raises HostIPsecError where they are looked for in vain.
        """
        member = self.member
        where = source.locate(member.fleet.settings.certificates, member.host.id)
        others = sorted({host.ca for host in member.fleet.hosts if host.ca})
        stamp = _stamp((where.certificate, where.key, where.ca, where.crl, *others))
        if self._inspected is None or self._inspected[0] != stamp:
            self._inspected = stamp, source.inspect_member(member, datetime.now(timezone.utc))
        return self._inspected[1]


def _stamp(files: Iterable[str]) -> _Stamp:
    """Return what tells whether files at the source are those of before."""
    return tuple(map(_look, files))


def _look(path: str) -> Optional[tuple[int, ...]]:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Kept(NamedTuple):
    run: object
    data: str
    reading: Reading


def given() -> tuple[Connection, ...]:
    """Return what this host was given last, with what is barred. Raises HostIPsecError if it is not known."""
    return record.read().guarded


def compiled(compiler: Callable[[], Mapping[str, Any]]) -> object:
    """Return the pillar below ``ipsec`` as a state run gets it; that in memory is of the last refresh."""
    found = calls.Calls({"pillar.items": compiler})["pillar.items"]()
    if found.get("_errors"):
        raise HostIPsecError(f"the pillar of this host: {'; '.join(map(str, found['_errors']))}")
    return found.get("ipsec")


def of(
    context: MutableMapping[str, Any],
    data: object,
    minion_id: str,
    mine: Callable[..., object],
    masters: Collection[str] = (),
) -> Reading:
    """Return the reading of this run; ``context`` is Salt's, ``data`` the pillar below ``ipsec``.

    ``mine`` is Salt's ``mine.get``, ``masters`` are the addresses of the master.
    """
    run, text = context.get(RUN), repr(digest.plain(data))
    kept = context.get(_KEPT)
    if run is not None and isinstance(kept, _Kept) and kept.run is run and kept.data == text:
        return kept.reading
    found = Reading(data, minion_id, mine, masters)
    if run is not None:
        context[_KEPT] = _Kept(run, text, found)
    return found


# What it says --------------------------------------------------------------------------------


def check(reading: Reading, grains: Mapping[str, Any]) -> Answer:
    """Check the pillar, the release, and the addresses, certificate, key and CAs of a host."""
    problems: list[str] = []
    warnings: list[str] = []
    member = None
    try:
        member = reading.member
        warnings += reading.doubts
        if member.connections:
            platforms.of(grains, backend.chosen(member.backend))
            later = tools.later()
            problems += () if later else reading.absent.values()
            warnings += [later] if later else []
            problems += map(str, hostplan.unknown_sysctls(member.fleet.settings))
            problems += [*existing.obstacles(member), *reading.inspection.errors]
            warnings += [*reading.inspection.warnings, *member.lost]
            warnings += sysctls.overruled(hostplan.sysctls(member.fleet.settings))
            warnings += [*hostplan.exhausting(member), *existing.told(member)]
    except PillarError as error:
        problems += [str(problem) for problem in error.problems]
    except HostIPsecError as error:
        problems.append(str(error))
    return _checked(member, problems, warnings)


def _checked(member: Optional[Membership], problems: list[str], warnings: list[str]) -> Answer:
    connections = member.connections if member else ()
    lonely = member.lonely if member else ""
    fine = lonely or f"{counted(len(member.peers) if member else 0, 'peer')}, {counted(len(connections))}"
    return Answer(
        ok=not problems,
        sentence=counted(len(problems), "problem") if problems else fine,
        connections={one.name: one.as_dict() for one in connections},
        problems=problems,
        notes=warnings,
        own={"warnings": warnings, "peers": list(member.peers) if member else [], "lonely": lonely},
    )


def facts(reading: Reading, grains: Mapping[str, Any]) -> dict[str, object]:
    """Return what the SLS files need to know; of a host that nothing is to be set up on, only that."""
    checked = check(reading, grains)
    if not checked.ok or not checked.connections:
        return {"member": False}
    settings, by = reading.member.fleet.settings, backend.chosen(reading.member.backend)
    platform = platforms.of(grains, by)
    every = hostplan.packages(settings, platform)
    later = platforms.PACKAGES_OF[by] if present.moves(by) else ()  # ipsec.configured brings them as it moves
    diverts = platform.systemd and by == IPSEC_CONF  # charon-systemd brings no init script
    return {
        "member": True,
        "tools": sorted(tools.PROGRAMS),
        "packages": [name for name in every if name not in later],
        "every_package": every,
        "service": platform.service,
        "systemd": platform.systemd,
        "scripts": not platform.systemd and service.scripts_run(),
        "certificates": str(backend.top(by)),
        "init_script": str(paths.here.init_script) if diverts else None,
        "init_script_diverted": str(paths.here.init_script_diverted) if diverts else None,
        "sysctl": hostplan.sysctls(settings),
        "vici": settings.vici,
        "metrics": {"arguments": list(settings.metrics.arguments), "textfile": settings.metrics.textfile},
    }
