"""The configuration that a host ran before its last change, and the way back to it.

A change that comes in steps (a roll-out goes through the stages) has one mark: what was there before the
first step is what one goes back to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import Certificates, Connection, Settings
from ..store import hold, mesh
from ..strongswan import difference, render
from ..system import files, service
from . import configuration
from .configuration import Wanted


@dataclass(frozen=True)
class Previous:
    """What a host ran before its last change. ``secrets`` is no secret: it names the file of the key."""

    mark: str  # of the change, empty for one that has none
    when: str  # it was changed
    contents: Mapping[Path, str] = field(repr=False)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Return the connections of then; none for a host that was no member."""
        return mesh.parse(self.contents[paths.here.record]) if paths.here.record in self.contents else ()

    @property
    def mtu(self) -> Optional[int]:
        """Return the MTU that was locked then."""
        return (
            mesh.parse_mtu(self.contents[paths.here.record]) if paths.here.record in self.contents else None
        )


def look(want: Wanted) -> dict[Path, str]:
    """Return the contents that a change to ``want`` replaces; of a new host, those without connections."""
    found = {path: files.read(path) for path in configuration.modes()}
    conf = found[paths.here.conf]
    if conf is None or not conf.startswith(render.HEADER.encode()):
        texts = {path: content.decode() for path, content in want.files.items()}
        return {
            **texts,
            paths.here.conf: without_connections(texts[paths.here.conf]),
            paths.here.record: mesh.render(()),
        }
    return {
        path: content.decode("utf-8", "replace") for path, content in found.items() if content is not None
    }


def without_connections(conf: str) -> str:
    """Return an ipsec.conf with its connections left out."""
    head, mark, rest = conf.partition("\nconn %default\n")
    return head + mark + rest.partition("\n\nconn ")[0].rstrip("\n") + "\n"


def keep(contents: Mapping[Path, str], mark: str, now: datetime) -> None:
    """Keep what was there before a change; the later steps of a change with a mark keep nothing."""
    change = _change()
    if mark and change and change.get("mark") == mark:
        return
    kept: dict[Path, files.Change] = {
        paths.here.kept("previous", path): (
            contents[path].encode() if path in contents else None,
            configuration.modes()[path],
        )
        for path in configuration.modes()
    }
    kept[paths.here.change] = (json.dumps({"mark": mark, "when": hold.minute(now)}).encode(), 0o600)
    for path in kept:
        files.ensure_directory(path.parent, 0o700)
    files.swap(kept)


def read() -> Optional[Previous]:
    """Return what the host ran before; None where nothing is kept."""
    change = _change()
    if change is None:
        return None
    found = {path: files.read(paths.here.kept("previous", path)) for path in configuration.modes()}
    texts = {
        path: content.decode("utf-8", "replace") for path, content in found.items() if content is not None
    }
    return Previous(str(change.get("mark", "")), str(change.get("when", "")), texts)


def _change() -> Optional[dict[str, object]]:
    content = files.read(paths.here.change)
    try:
        found = None if content is None else dict(json.loads(content))
    except (ValueError, TypeError) as error:
        raise HostIPsecError(
            f"{paths.here.change} cannot be read ({error!r}); correct the pillar and apply it"
        ) from None
    return found


def forget() -> None:
    """Keep nothing any more: going back twice would go forward."""
    files.swap(
        {
            paths.here.change: (None, 0o600),
            **{
                paths.here.kept("previous", one): (None, configuration.modes()[one])
                for one in configuration.modes()
            },
        }
    )


def wanted(previous: Previous, held: Sequence[str] = ()) -> Wanted:
    """Return what the host shall run to be as before; the connections in ``held`` stay down."""
    contents = dict(previous.contents)
    every = previous.connections
    kept = service.systemd_runs()
    autos = {one.name: render.HELD if one.name in held else render.auto(one, kept) for one in every}
    contents[paths.here.conf] = render.with_auto(contents[paths.here.conf], autos)
    free = tuple(one for one in every if one.name not in held)
    encoded = {path: text.encode() for path, text in contents.items()}
    return Wanted(free, settings(contents[paths.here.conf], contents.get(paths.here.strongswan, "")), encoded)


def settings(conf: str, strongswan: str) -> Settings:
    """Return the settings that files of ours hold; what the package derives from the peers is left out."""
    sections = render.parse_ipsec_conf(conf)
    setup = dict(sections.get("setup", {}))
    levels = (pair.split() for pair in setup.pop("charondebug", "").split(",") if pair.strip())
    charon = render.parse_strongswan_conf(strongswan).get("charon", {})
    derived = {name.partition(".")[2] for name in difference.DERIVED_SETTINGS}
    tree = charon if isinstance(charon, Mapping) else {}
    return Settings(
        certificates=Certificates("", "", "", "", ""),
        connection=sections.get("%default", {}),
        setup=setup,
        charondebug={kind: int(level) for kind, level in levels},
        charon={key: value for key, value in tree.items() if key not in derived},
    )
