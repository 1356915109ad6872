"""What one host shall run, compared with its files and with the charon that runs.

A difference in meaning is what counts. What to do about it is the business of ``rollout``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .. import owner, paths
from ..model import Charon, Connection, IkeSA, Settings
from ..store import mesh
from ..strongswan import difference, proposals, render
from ..system import files, service

_QUOTED = re.compile(r'"([^"]+)"')
_GOING = ("DELETING", "DESTROYING")


def modes() -> dict[Path, int]:
    """Return the files that hold a host's configuration, with their modes."""
    here = paths.here
    return {here.conf: 0o644, here.secrets: 0o600, here.strongswan: 0o644, here.record: 0o644}


@dataclass(frozen=True)
class Wanted:
    """What the host shall run."""

    connections: tuple[Connection, ...]
    settings: Settings
    files: Mapping[Path, bytes] = field(repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Return the names of all connections that charon shall have: those held are not among them."""
        return frozenset(connection.name for connection in self.connections)


@dataclass(frozen=True)
class Plan:
    """What differs, in the files and in charon, and what has to happen for it."""

    difference: difference.Difference
    missing: tuple[str, ...] = ()  # charon has not loaded them, or with other addresses
    stale: tuple[str, ...] = ()  # charon still has them, the files no longer
    outdated: tuple[str, ...] = ()  # charon has SAs of them that are to end
    running: bool = False
    restart: tuple[str, ...] = ()
    modes: Mapping[str, str] = field(default_factory=dict)  # path -> what its mode was and will be
    ours: frozenset[str] = frozenset()  # connections of the files on disk and of the last good ones
    loaded: frozenset[str] = frozenset()  # what charon has now
    established: frozenset[str] = frozenset()  # connections that charon has SAs of

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to do."""
        in_charon = self.missing or self.stale or self.outdated or self.restart
        return self.running and self.difference.empty and not (in_charon or self.modes)

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
        if self.running:
            changes.update(self._in_charon())
        if self.modes and not differs.new:
            changes["modes"] = dict(self.modes)
        if not self.running or differs.new:  # the package starts a charon of its own
            changes["charon"] = "started"
        elif self.restart:
            changes["charon"] = f"restarted ({'; '.join(self.restart)})"
        return changes

    def _in_charon(self) -> dict[str, object]:
        """Return what changes in charon beyond what the files' difference says."""
        differs = self.difference
        found = {
            "loaded into charon": {*self.missing} - {*differs.added, *differs.changed},
            "unloaded from charon": {*self.stale} - {*differs.removed},
            "SAs ended": {*self.outdated} - {*differs.removed, *differs.changed},
        }
        return {key: sorted(names) for key, names in found.items() if names}


def wanted(
    connections: Sequence[Connection],
    settings: Settings,
    certificate: str,
    secrets: tuple[str, str],
    held: frozenset[str] = frozenset(),
) -> Wanted:
    """Return what a host shall run.

    ``certificate`` is the file name below /etc/ipsec.d/certs; ``secrets`` the keyword of
    ipsec.secrets and the file name of the key. The connections named in ``held`` are in the files, but
    charon is not to have them.
    """
    peers = len({connection.peer for connection in connections})
    texts = {
        paths.here.conf: render.with_auto(
            render.ipsec_conf(connections, settings, certificate, service.systemd_runs()),
            dict.fromkeys(held, render.HELD),
        ),
        paths.here.secrets: render.ipsec_secrets(*secrets),
        paths.here.strongswan: render.strongswan_conf(peers, settings),
        paths.here.record: mesh.render(connections, settings.mtu),
    }
    free = tuple(one for one in connections if one.name not in held)
    return Wanted(free, settings, {path: text.encode() for path, text in texts.items()})


def plan(want: Wanted, charon: Optional[Charon]) -> Plan:
    """Compare what is wanted with the files on disk and with what charon has loaded."""
    old = {path: _text(files.read(path)) for path in want.files}
    last_good = _text(files.read(paths.here.kept("good", paths.here.conf)))
    differs = difference.between(_by_part(old), {k: v or "" for k, v in _by_part(_texts(want)).items()})
    ours = difference.names(old[paths.here.conf]) | difference.names(last_good)
    return Plan(
        differs,
        missing(want.connections, charon),
        tuple(sorted(loaded(charon) & ours - want.names)),
        tuple(sorted({sa.name for sa in outdated(want, ours, charon)})),
        charon is not None,
        (*differs.restart_reasons(want.settings.charon), *lacking(want, charon)) if charon else (),
        _modes(want),
        ours,
        loaded(charon),
        frozenset(sa.name for sa in charon.ike_sas) if charon else frozenset(),
    )


def recorded() -> tuple[Connection, ...]:
    """Return the connections that were configured last; none where none are on record."""
    text = _text(files.read(paths.here.record))
    return mesh.parse(text) if text else ()


def configured_names() -> frozenset[str]:
    """Return the names of the connections that files of ours on disk hold."""
    text = _text(files.read(paths.here.conf)) or ""
    return difference.names(text) if text.startswith(render.HEADER) else frozenset()


def files_in_use() -> frozenset[str]:
    """Return the certificates and keys that our files name: on disk, the last good ones, those of before."""
    found: set[str] = set()
    for path in _generations(paths.here.conf):
        sections = render.parse_ipsec_conf(_text(files.read(path)) or "")
        found.update(options["leftcert"] for options in sections.values() if "leftcert" in options)
    for path in _generations(paths.here.secrets):
        found.update(_QUOTED.findall(_text(files.read(path)) or ""))
    return frozenset(found)


def _generations(path: Path) -> tuple[Path, ...]:
    """Return where a file is: in use, the last good one, the one of before."""
    return path, paths.here.kept("good", path), paths.here.kept("previous", path)


def certificate() -> str:
    """Return the name of the certificate that an ipsec.conf of ours on disk has; empty for none."""
    text = _text(files.read(paths.here.conf)) or ""
    sections = render.parse_ipsec_conf(text) if text.startswith(render.HEADER) else {}
    return next((options["leftcert"] for options in sections.values() if "leftcert" in options), "")


# Reading -------------------------------------------------------------------------------------


def lacking(want: Wanted, charon: Charon) -> tuple[str, ...]:
    """Say which plugins charon lacks for the proposals; it may have started before they were installed."""
    options = render.common_options(want.settings)
    ike = proposals.missing_plugins(options["ike"], charon.plugins)
    return (*ike, *proposals.missing_esp_plugins(options["esp"], charon.plugins))


def missing(connections: Sequence[Connection], charon: Optional[Charon]) -> tuple[str, ...]:
    """Return the connections that charon has not loaded, or has with other addresses."""
    there = {connection.name: connection for connection in charon.connections} if charon else {}
    return tuple(
        sorted(
            want.name
            for want in connections
            if want.name not in there
            or there[want.name].local_addrs != (str(want.left),)
            or there[want.name].remote_addrs != (str(want.right),)
        )
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
    found = {path: files.look(path) for path in want.files}
    return {
        str(path): f"{entry.mode:04o} -> {modes()[path]:04o}"
        for path, entry in found.items()
        if entry is not None and entry.mode != modes()[path]
    }


def _text(content: Optional[bytes]) -> Optional[str]:
    return None if content is None else content.decode("utf-8", "replace")


def _texts(want: Wanted) -> dict[Path, Optional[str]]:
    return {path: _text(content) for path, content in want.files.items()}


def _by_part(texts: Mapping[Path, Optional[str]]) -> dict[str, Optional[str]]:
    parts = {
        "conf": paths.here.conf,
        "secrets": paths.here.secrets,
        "strongswan": paths.here.strongswan,
        "mesh": paths.here.record,
    }
    return {part: texts[path] for part, path in parts.items()}
