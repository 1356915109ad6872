"""The configuration that a host ran before its last change, and the way back to it.

A change that comes in steps (a roll-out goes through the stages) has one mark: what was there before the
first step is what one goes back to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional

from . import difference, files, hold, mesh, render, service
from .configuration import CONF, MESH, SECRETS, STATE, STRONGSWAN, Wanted
from .errors import HostIPsecError
from .model import Certificates, Connection, Settings

FILE = STATE / "previous.json"
PATHS = (CONF, SECRETS, STRONGSWAN, MESH)


@dataclass(frozen=True)
class Previous:
    """What a host ran before its last change. ``secrets`` is no secret: it names the file of the key."""

    mark: str  # of the change, empty for one that has none
    when: str  # it was changed
    contents: Mapping[str, str] = field(repr=False)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Return the connections of then; none for a host that was no member."""
        return mesh.parse(self.contents[MESH]) if MESH in self.contents else ()

    @property
    def mtu(self) -> Optional[int]:
        """Return the MTU that was locked then."""
        return mesh.parse_mtu(self.contents[MESH]) if MESH in self.contents else None


def look(want: Wanted) -> dict[str, str]:
    """Return the contents that a change to ``want`` replaces; of a new host, those without connections."""
    found = {path: files.read(path) for path in PATHS}
    conf = found[CONF]
    if conf is None or not conf.startswith(render.HEADER.encode()):
        texts = {path: content.decode() for path, content in want.files.items()}
        return {**texts, CONF: without_connections(texts[CONF]), MESH: mesh.render(())}
    return {
        path: content.decode("utf-8", "replace") for path, content in found.items() if content is not None
    }


def without_connections(conf: str) -> str:
    """Return an ipsec.conf with its connections left out."""
    head, mark, rest = conf.partition("\nconn %default\n")
    return head + mark + rest.partition("\n\nconn ")[0].rstrip("\n") + "\n"


def keep(contents: Mapping[str, str], mark: str, now: datetime) -> None:
    """Keep what was there before a change; the later steps of a change with a mark keep nothing."""
    before = read()
    if before is not None and mark and before.mark == mark:
        return
    record = {"mark": mark, "when": hold.minute(now), "contents": dict(contents)}
    files.ensure_directory(STATE, 0o755)
    files.replace(FILE, json.dumps(record).encode(), 0o600)


def read() -> Optional[Previous]:
    """Return what the host ran before; None where nothing is kept."""
    content = files.read(FILE)
    if content is None:
        return None
    try:
        found: dict[str, Any] = json.loads(content)
        return Previous(str(found["mark"]), str(found["when"]), {**found["contents"]})
    except (ValueError, TypeError, KeyError) as error:
        raise HostIPsecError(f"{FILE} cannot be read ({error!r}); correct the pillar and apply it") from None


def forget() -> None:
    """Keep nothing any more: going back twice would go forward."""
    files.remove(FILE)


def wanted(previous: Previous, held: Sequence[str] = ()) -> Wanted:
    """Return what the host shall run to be as before; the connections in ``held`` stay down."""
    contents = dict(previous.contents)
    every = previous.connections
    kept = service.kept()
    autos = {one.name: render.HELD if one.name in held else render.auto(one, kept) for one in every}
    contents[CONF] = render.with_auto(contents[CONF], autos)
    free = tuple(one for one in every if one.name not in held)
    encoded = {path: text.encode() for path, text in contents.items()}
    return Wanted(free, settings(contents[CONF], contents.get(STRONGSWAN, "")), encoded)


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
