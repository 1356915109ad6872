"""What one host shall run, compared with its files and with the charon that runs.

A difference in meaning is what counts. What to do about it is the business of ``transition``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Optional

from .. import owner, paths
from ..certificates import names
from ..charon import credentials
from ..model import IPSEC_CONF, SWANCTL, Charon, Connection, IkeSA, Settings
from ..store import present, record
from ..store.record import Place, Record
from ..strongswan import defaults, difference, proposals, render, sections, swanctl
from ..strongswan.difference import Difference
from ..strongswan.sections import Configuration, Secret
from ..system import files, service

_GOING = ("DELETING", "DESTROYING")
_NOWHERE = Place()


@dataclass(frozen=True)
class Wanted:
    """What the host shall run."""

    connections: tuple[Connection, ...]  # that charon shall have: those held are not among them
    configuration: Configuration
    record: Record
    files: Mapping[Path, bytes] = field(repr=False)
    chosen: frozenset[str] = frozenset()  # keys of strongswan.conf that an operator has set
    kept: frozenset[str] = frozenset()  # connections of others, which go on in a file of their own
    credentials: Optional[credentials.Expected] = None  # None: not known, as on the way back
    left: tuple[str, ...] = ()  # proposals of the pillar that this host's charon cannot do, and why not
    gone: frozenset[Path] = frozenset()  # CAs that are to vouch for nobody any more

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the connections that charon shall have."""
        return frozenset(connection.name for connection in self.connections)


@dataclass(frozen=True)
class Work:
    """What differs, in the files and in charon, and what has to happen for it."""

    difference: Difference
    record: bool = False  # whether the record differs in what shall run
    leaving: tuple[Connection, ...] = ()  # on record, but no longer wanted
    missing: tuple[str, ...] = ()  # charon has not loaded them, or with other addresses
    stale: tuple[str, ...] = ()  # charon still has them, the files no longer
    outdated: tuple[str, ...] = ()  # charon has SAs of them that are to end
    running: bool = False
    restart: tuple[str, ...] = ()
    modes: Mapping[str, str] = field(default_factory=dict)  # path -> what its mode was and will be
    ours: frozenset[str] = frozenset()  # connections of the files on disk, and those on record
    loaded: frozenset[str] = frozenset()  # what charon has now
    established: frozenset[str] = frozenset()  # connections that charon has SAs of
    takes_over: bool = False  # a charon with connections of others, which starts anew

    @property
    def new_files(self) -> bool:
        """Say whether files are to mean something else."""
        return self.record or not self.difference.empty

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to do."""
        in_charon = self.missing or self.stale or self.outdated or self.restart
        return self.running and not (self.new_files or self.leaving or in_charon or self.modes)

    @property
    def moves(self) -> str:
        """Return the back end that the host leaves; empty where it stays with the one it has."""
        return str(self.difference.backend[0]) if self.difference.backend else ""

    @property
    def lost(self) -> tuple[str, ...]:
        """Return the connections that charon lacks although the files had them all along."""
        new = {*self.difference.added, *self.difference.changed}
        return () if self.difference.defaults else tuple(sorted({*self.missing} - new))

    @property
    def later(self) -> tuple[str, ...]:
        """Return the connections with SAs that go on with the options of before."""
        stays = frozenset() if self.restart else self.established - {*self.outdated}
        return tuple(sorted(stays if self.difference.defaults else stays & {*self.difference.changed}))

    def as_changes(self) -> dict[str, object]:
        """Return what changes, as a state reports it."""
        differs = self.difference
        changes = differs.as_changes()
        if (self.record or self.leaving) and not {*changes} - {difference.FOREIGN}:
            changes["mesh.json"] = "rewritten"
        if self.running:
            changes.update(self._in_charon())
        if self.modes and not differs.new:
            changes["modes"] = dict(self.modes)
        if not self.running or (
            differs.new and not self.takes_over
        ):  # the package starts a charon of its own
            changes["charon"] = "started"
        elif self.restart:
            changes["charon"] = f"restarted ({'; '.join(self.restart)})"
        return changes

    def _in_charon(self) -> dict[str, object]:
        """Return what changes in charon beyond what the files' difference says."""
        differs = self.difference
        # where an option of all connections differs, charon takes all of them anew
        anew = {*self.missing} if differs.defaults else {*differs.added, *differs.changed}
        found = {
            "loaded into charon": {*self.missing} - anew,
            "unloaded from charon": {*self.stale} - {*differs.removed},
            "SAs ended": {*self.outdated} - {*differs.removed, *differs.changed},
        }
        return {key: sorted(names) for key, names in found.items() if names}


def wanted(
    connections: Sequence[Connection],
    settings: Settings,
    certificate: str,
    secret: Secret,
    held: frozenset[str] = frozenset(),
    binding: Mapping[str, str] = MappingProxyType({}),
    barred: Sequence[Connection] = (),
    resting: Sequence[Connection] = (),
    place: Place = _NOWHERE,
    kept: Optional[frozenset[str]] = None,
    expected: Optional[credentials.Expected] = None,
    partners: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    backend: str = IPSEC_CONF,
) -> Wanted:
    """Return what a host shall run.

    ``certificate`` is the file name below /etc/ipsec.d/certs; ``binding`` are the options that bind peers to
    a CA, none for any CA that charon has. The connections named in ``held`` are in the files, but charon is
    not to have them. ``barred`` is blocked beside them, see ``topology.barred``; ``resting``
    would be beside them if no end were in maintenance. ``place`` is the host's. ``kept`` are connections of
    others that go on; None where there are none of others to be included. ``expected`` is what charon is to
    have of certificates. ``partners`` are by peer the options that bind it to a CA of its own. ``backend`` is
    what it runs by.
    """
    keeper = service.keeper_runs()
    named = (certificate, secret, held, keeper, binding, kept is not None, partners)
    value = sections.required(sections.configuration(connections, settings, *named), barred)
    value = swanctl.settled(value) if backend == SWANCTL else value
    warn_days = settings.certificates.warn_days
    told = (tuple(barred), tuple(resting), *place)
    recorded = Record(tuple(connections), settings.mtu, warn_days, *told, settings.metrics.clear_text)
    return Wanted(
        connections=tuple(one for one in connections if one.name not in held),
        configuration=value,
        record=recorded,
        files=rendered(value, recorded),
        chosen=difference.chosen(settings),
        kept=kept or frozenset(),
        credentials=expected,
    )


def rendered(value: Configuration, recorded: Record) -> dict[Path, bytes]:
    """Return the contents of a host's files."""
    texts = {**_texts(value), paths.here.record: record.render(recorded)}
    return {path: text.encode() for path, text in texts.items()}


def _texts(value: Configuration) -> dict[Path, str]:
    here = paths.here
    if value.backend == SWANCTL:
        return {here.swanctl: swanctl.conf(value), here.strongswan: swanctl.strongswan_conf(value)}
    return {
        here.conf: render.ipsec_conf(value),
        here.secrets: render.ipsec_secrets(value),
        here.strongswan: render.strongswan_conf(value),
    }


def work(want: Wanted, charon: Optional[Charon]) -> Work:
    """Compare what is wanted with the files on disk and with what charon has loaded."""
    old, known = _without(present.value(present.texts()), want), record.found()
    then = Record() if known.guessed else known.record
    differs = _aside(difference.between(old, want.configuration), known)
    ours = old.names | then.names
    return Work(
        difference=differs,
        record=bool(known.wrong) or then.only(want.record.names) != want.record,
        leaving=tuple(one for one in then.connections if one.name not in want.record.names),
        missing=missing(want, charon),
        stale=tuple(sorted(loaded(charon) & ours - want.names)),
        outdated=tuple(sorted({sa.name for sa in outdated(want, ours, charon)})),
        running=charon is not None,
        restart=(*differs.restart_reasons(want.chosen, charon.plugins), *lacking(want, charon))
        if charon
        else (),
        modes=_modes(want),
        ours=ours,
        loaded=loaded(charon),
        established=frozenset(sa.name for sa in charon.ike_sas) if charon else frozenset(),
        takes_over=charon is not None and differs.new and bool(differs.aside or want.kept),
    )


def _aside(differs: Difference, known: record.Found) -> Difference:
    """Return a difference that says which connections are removed that are not ours."""
    if known.guessed and not differs.new:  # nobody can tell
        return differs
    ours = frozenset() if known.guessed else known.record.names
    return replace(differs, aside=tuple(name for name in differs.removed if name not in ours))


def _without(old: Configuration, want: Wanted) -> Configuration:
    """Return what is on disk without what goes on in a file of its own; nothing where another file counts."""
    if old.backend != want.configuration.backend and not old.ours:
        return Configuration(ours=False)
    if not want.configuration.kept:
        return old
    left = {name: options for name, options in old.connections.items() if name not in want.kept}
    return old._replace(connections=left, foreign=())


# Reading -------------------------------------------------------------------------------------


def lacking(want: Wanted, charon: Charon) -> tuple[str, ...]:
    """Say which plugins charon lacks for the proposals; it may have started before they were installed."""
    every = {**defaults.CONNECTION, **want.configuration.defaults}  # files of before may lack one
    used = {
        key: {options.get(key, every[key]) for options in want.configuration.connections.values()}
        for key in ("ike", "esp")
    }
    ike = [said for text in used["ike"] for said in proposals.missing_plugins(text, charon.plugins)]
    esp = [said for text in used["esp"] for said in proposals.missing_esp_plugins(text, charon.plugins)]
    return tuple(dict.fromkeys([*sorted(ike), *sorted(esp)]))


def missing(want: Wanted, charon: Optional[Charon]) -> tuple[str, ...]:
    """Return the connections that charon has not loaded, or has with other addresses, or for any CA.

    charon drops a CA from a connection, and no more than logs it, where it does not find that CA.
    """
    there = {connection.name: connection for connection in charon.connections} if charon else {}
    bound = "rightca" in want.configuration.defaults
    return tuple(
        sorted(
            one.name
            for one in want.connections
            if one.name not in there
            or there[one.name].local_addrs != (str(one.left),)
            or there[one.name].remote_addrs != (str(one.right),)
            or (bound and not there[one.name].remote_cas)
        )
    )


def unloaded(want: Wanted, found: credentials.Loaded) -> tuple[str, ...]:
    """Say which certificates, keys and CAs charon has not loaded."""
    return credentials.lacking(want.credentials, found, bool(want.names)) if want.credentials else ()


def misnamed(want: Wanted, charon: Charon) -> tuple[str, ...]:
    """Say which connections charon has with another identity of this host: one that its certificate confirms.

    It takes the certificate's subject where that does not confirm the identity, and no more than logs it.
    """
    there = {connection.name: connection.local_id for connection in charon.connections}
    return tuple(
        f"{one.name}: '{there[one.name]}' in place of '{one.leftid}'"
        for one in want.connections
        if there.get(one.name) and names.prints_otherwise(one.leftid, there[one.name])
    )


def loaded(charon: Optional[Charon]) -> frozenset[str]:
    """Return the names of the connections that charon has."""
    return frozenset(connection.name for connection in charon.connections) if charon else frozenset()


def outdated(want: Wanted, ours: frozenset[str], charon: Optional[Charon]) -> tuple[IkeSA, ...]:
    """Return the IKE SAs to end: of connections of ours that are no longer configured, or moved.

    strongSwan leaves them up when their connection goes or gets other addresses.
    """
    now = {one.name: one for one in want.connections}
    gone = ours - want.names
    there = [sa for sa in (charon.ike_sas if charon else ()) if sa.state not in _GOING]
    return tuple(sa for sa in there if sa.name in gone or (sa.name in now and owner.moved(sa, now[sa.name])))


def _modes(want: Wanted) -> dict[str, str]:
    """Say which files have another mode than they should."""
    found, modes = {path: files.look(path) for path in want.files}, present.modes()
    return {
        str(path): f"{entry.mode:04o} -> {modes[path]:04o}"
        for path, entry in found.items()
        if entry is not None and entry.mode != modes[path]
    }
