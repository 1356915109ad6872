"""The record of this host's connections and MTU (mesh.json), for programs that have no pillar.

It names every connection of ours that charon may have. While a change is on its way, that is also what the
change removes, until its SAs are ended: an emergency stop ends those as well, and a change that was cut short
is finished by the next ``state.apply``. Beside them it names what stage ``require`` blocks without one.

It ends with a sum of what stands before it, so that a damaged record is not believed: then the copy of the
last one that was read well counts (mesh.copy.json), and without that what ipsec.conf tells.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from .. import paths, unicast
from ..errors import HostIPsecError
from ..model import FAMILIES, PASSIVE, REQUIRE, STAGES, START, Connection
from ..strongswan import defaults, exceptions, shared
from ..system import files
from . import present

_SUM = re.compile(rb', "sum": "([0-9a-f]{8})"\}\n\Z')
_UNSUMMED = frozenset(("connections", "mtu", "warn_days"))  # what a record of the release before has
_CURE = "apply state ipsec again"


class Place(NamedTuple):
    """Where a host is, by the labels of the pillar, and what its peers call it."""

    site: str = ""
    host: str = ""
    sites: Mapping[str, str] = MappingProxyType({})


class Record(NamedTuple):
    """What programs without the pillar have to know of it."""

    connections: tuple[Connection, ...] = ()
    mtu: Optional[int] = None  # of the routes to the peers; None where none is locked
    warn_days: int = defaults.WARN_DAYS  # before the certificate's end
    barred: tuple[Connection, ...] = ()  # blocked, and none of charon's: see ``topology.barred``
    resting: tuple[Connection, ...] = ()  # left out since an end is in maintenance
    site: str = ""  # the host's label, for an emergency on a day on which the pillar does not tell
    host: str = ""  # its minion id, as its peers call it
    sites: Mapping[str, str] = MappingProxyType({})  # labels of its peers, of those that have one
    clear_text: bool = False  # whether what goes in the clear with the peers is counted

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the connections."""
        return frozenset(one.name for one in self.connections)

    @property
    def guarded(self) -> tuple[Connection, ...]:
        """Return all that the guard of stage ``require`` has to do with."""
        return (*self.connections, *self.barred)

    def only(self, names: Collection[str]) -> Record:
        """Return the record of those connections alone."""
        return self._replace(connections=tuple(one for one in self.connections if one.name in names))


class Found(NamedTuple):
    """What is known of this host, and what is wrong with its record; empty for nothing."""

    record: Record
    wrong: str = ""
    guessed: bool = False  # by ipsec.conf, which tells less than a record


def read() -> Record:
    """Return the record of this host, else its copy, else what an ipsec.conf of ours tells; empty for none.

    Raises HostIPsecError where the record is damaged, and nothing else tells of connections.
    """
    return needed().record


def needed() -> Found:
    """Return the same with what is wrong; raises as well."""
    known = found()
    if known.wrong and not known.record.connections:
        raise HostIPsecError(known.wrong)
    return known


def found() -> Found:
    """Return the same with what is wrong; raises nothing, and has no connections then."""
    there, wrong = _tried(paths.here.record)
    if there is not None and there.connections:
        return Found(there)
    if there is None:
        copy, _ = _tried(paths.here.record_copy)
        if copy is not None and copy.connections:
            return Found(copy, f"{wrong or f'mesh.json is gone; {_CURE}'} (its copy counts meanwhile)")
    told = _told_by_conf()
    if told.connections:
        return Found(told, wrong and f"{wrong} (what ipsec.conf tells counts meanwhile)", guessed=True)
    return Found(there or told, wrong, guessed=there is None)


def keep_copy() -> None:
    """Keep a copy of the record if it reads well; else, or where the disk is full, raise HostIPsecError."""
    content = files.read(paths.here.record)
    if content is not None and content != files.read(paths.here.record_copy):
        if not _is_summed(content):
            _decoded(content)
        files.replace(paths.here.record_copy, content, 0o644)


def _tried(path: Path) -> tuple[Optional[Record], str]:
    """Return the record at a path, None for none, and why it cannot be read."""
    try:
        content = files.read(path)
        return None if content is None else _decoded(content), ""
    except HostIPsecError as error:
        return None, str(error)


def _decoded(content: bytes) -> Record:
    try:
        return parse(content.decode())
    except UnicodeDecodeError as error:
        raise HostIPsecError(f"mesh.json cannot be read ({error!r:.200}); {_CURE}") from None


def render(record: Record) -> str:
    """Return the record as JSON, one connection a line."""
    told_of = bool(record.guarded or record.resting)
    rest: dict[str, object] = {"mtu": record.mtu, "warn_days": record.warn_days}
    if told_of:
        rest.update(site=record.site, host=record.host, sites=dict(sorted(record.sites.items())))
        rest["clear_text"] = record.clear_text
    told = {key: value for key, value in rest.items() if value != Record._field_defaults[key]}
    parts = [f'"connections": [\n{_lines(record.connections)}\n]']
    others = {"barred": record.barred, "resting": record.resting}
    parts += [f'"{key}": [\n{_lines(connections)}\n]' for key, connections in others.items() if connections]
    text = ", ".join([*parts, *(f'"{key}": {json.dumps(value)}' for key, value in told.items())])
    return _summed(f"{{{text}") if told_of else f"{{{text}}}\n"


def _lines(connections: Iterable[Connection]) -> str:
    return ",\n".join(json.dumps(_plain(one), sort_keys=True) for one in connections)


def _plain(connection: Connection) -> dict[str, object]:
    return {"name": connection.name, **connection.as_dict()}


def _summed(text: str) -> str:
    return f'{text}, "sum": "{zlib.crc32(text.encode()):08x}"}}\n'


def parse(text: str) -> Record:
    """Read what :func:`render` wrote. Raises HostIPsecError where it is no record."""
    try:
        found = json.loads(text)
        _check_sum(text, found)
        rest: dict[str, Any] = {
            key: _number(found[key]) for key in ("mtu", "warn_days") if found.get(key) is not None
        }
        shall, barred, resting = (
            _connections(found.get(key, ())) for key in ("connections", "barred", "resting")
        )
        site, host = (_text(found.get(key, "")) for key in ("site", "host"))
        sites = {_text(peer): _text(label) for peer, label in found.get("sites", {}).items()}
        rest["clear_text"] = found.get("clear_text") is True
        return Record(shall, barred=barred, resting=resting, site=site, host=host, sites=sites, **rest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HostIPsecError(f"mesh.json cannot be read ({error!r:.200}); {_CURE}") from None


def _check_sum(text: str, found: Mapping[str, object]) -> None:
    """Raise ValueError for another sum; a record of the release before has none, and just its own keys."""
    if "connections" not in found:
        raise ValueError("no connections")
    content = text.encode()
    if _is_summed(content):
        return
    if _SUM.search(content):
        raise ValueError("its sum is another")
    if {*found} - _UNSUMMED:
        raise ValueError(f"{', '.join(sorted({*found} - _UNSUMMED))} without a sum")


def _is_summed(content: bytes) -> bool:
    found = _SUM.search(content)
    return found is not None and b"%08x" % zlib.crc32(content[: found.start()]) == found[1]


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"no number: {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"no text: {value!r:.50}")
    return value


def _connections(entries: Iterable[Mapping[str, object]]) -> tuple[Connection, ...]:
    return tuple(map(_connection, entries))


def _connection(entry: Mapping[str, Any]) -> Connection:
    """Return a connection; each value has to be what it is said to be, since programs act on it."""
    told = {key: entry[key] for key in Connection._fields if key in entry}
    ends = {side: unicast.parse(entry[side]) for side in ("left", "right")}
    own = tuple(sorted(dict(entry.get("options", {})).items()))
    found = Connection(**{**told, **ends, "options": own})
    texts = (found.name, found.peer, found.leftid, found.rightid, *(text for pair in own for text in pair))
    if not all(isinstance(text, str) and text.isprintable() for text in texts) or not found.name:
        raise ValueError("no name")
    if found.family not in FAMILIES or {found.left.version, found.right.version} != {int(found.family[1])}:
        raise ValueError(f"addresses of {found.name} are not of its family")
    if found.stage not in STAGES or not isinstance(found.initiator, bool):
        raise ValueError(f"no stage of {found.name}")
    if found.mtu is not None:
        _number(found.mtu)
    clear, only = _exceptions(found.name, (found.clear, found.only))
    taken = None if found.taken is None else _exceptions(found.name, found.taken)
    return found._replace(clear=clear, only=only, taken=taken)


def _exceptions(name: str, told: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    clear, only = map(tuple, told)
    if None in map(exceptions.parse, clear) or not all(map(exceptions.may_be_only, only)):
        raise ValueError(f"{name}: no exceptions: {(clear, only)!r:.50}")
    return clear, only


# From ipsec.conf -----------------------------------------------------------------------------


def _told_by_conf() -> Record:
    try:
        return of_conf()
    except HostIPsecError:
        return Record()


def of_conf() -> Record:
    """Return what files of ours tell of the connections, which is less than the record does."""
    conf = present.connections()
    found = (_told(name, options) for name, options in conf.connections.items()) if conf.ours else ()
    return Record(tuple(one for one in found if one))


def _told(name: str, options: Mapping[str, str]) -> Optional[Connection]:
    try:
        left, right = (unicast.parse(options[side]) for side in ("left", "right"))
    except (KeyError, ValueError):
        return None
    rightid = options.get("rightid", name)
    if left.version != right.version or not f"{name}{rightid}".isprintable():
        return None
    starts = options.get("dpdaction") == "restart"
    return Connection(
        name=name,
        peer=rightid.partition("CN=")[2].partition(",")[0] or rightid,
        family=f"v{left.version}",
        left=left,
        right=right,
        leftid=options.get("leftid", ""),
        rightid=rightid,
        initiator=starts,
        stage=_stage(options.get("auto", ""), starts),
        options=tuple((key, options[key]) for key in shared.OF_A_RULE if key in options),
    )


def _stage(auto: str, starts: bool) -> str:
    if auto == "route":
        return REQUIRE
    return PASSIVE if auto == "add" and not starts else START
