"""The record of this host's connections and MTU (mesh.json), for programs that have no pillar.

It names every connection of ours that charon may have. While a change is on its way, that is also what the
change removes, until its SAs are ended: an emergency stop ends those as well, and a change that was cut short
is finished by the next ``state.apply``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import NamedTuple, Optional

from .. import paths, unicast
from ..errors import HostIPsecError
from ..model import PASSIVE, REQUIRE, START, Connection
from ..strongswan import defaults
from ..strongswan import parse as strongswan
from ..system import files


class Record(NamedTuple):
    """What programs without the pillar have to know of it."""

    connections: tuple[Connection, ...] = ()
    mtu: Optional[int] = None  # of the routes to the peers; None where none is locked
    warn_days: int = defaults.WARN_DAYS  # before the certificate's end

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the connections."""
        return frozenset(one.name for one in self.connections)

    def only(self, names: Collection[str]) -> Record:
        """Return the record of those connections alone."""
        return self._replace(connections=tuple(one for one in self.connections if one.name in names))


def read() -> Record:
    """Return the record of this host, else what an ipsec.conf of ours tells; empty where there is neither.

    Raises HostIPsecError where the record is damaged and ipsec.conf no help.
    """
    try:
        found = written()
        return found if found.connections else of_conf()
    except HostIPsecError:
        found = of_conf()
        if found.connections:
            return found
        raise


def written() -> Record:
    """Return the record on disk, empty where nothing is there. Raises HostIPsecError for a damaged one."""
    content = files.read(paths.here.record)
    return parse(content.decode("utf-8", "replace")) if content else Record()


def render(record: Record) -> str:
    """Return the record as JSON, one connection a line."""
    lines = ",\n".join(json.dumps(_plain(one), sort_keys=True) for one in record.connections)
    rest = {"mtu": record.mtu, "warn_days": record.warn_days}
    told = {key: value for key, value in rest.items() if value != Record._field_defaults[key]}
    end = "".join(f', "{key}": {value}' for key, value in told.items())
    return f'{{"connections": [\n{lines}\n]{end}}}\n'


def parse(text: str) -> Record:
    """Read what :func:`render` wrote. Raises HostIPsecError where it is no record."""
    try:
        found = json.loads(text)
        rest = {key: found[key] for key in ("mtu", "warn_days") if isinstance(found.get(key), int)}
        connections = tuple(_connection(entry) for entry in found["connections"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HostIPsecError(f"mesh.json cannot be read ({error!r}); apply state ipsec again") from None
    return Record(connections, **rest)


def _plain(connection: Connection) -> dict[str, object]:
    return {**connection._asdict(), "left": str(connection.left), "right": str(connection.right)}


def _connection(entry: dict[str, str]) -> Connection:
    addresses = {side: unicast.parse(entry[side]) for side in ("left", "right")}
    return Connection(**{**{key: entry[key] for key in Connection._fields}, **addresses})  # type: ignore[arg-type]


# From ipsec.conf -----------------------------------------------------------------------------


def of_conf() -> Record:
    """Return what an ipsec.conf of ours tells of the connections, which is less than the record does."""
    conf = strongswan.configuration((files.read(paths.here.conf) or b"").decode("utf-8", "replace"))
    found = (_told(name, options) for name, options in conf.connections.items()) if conf.ours else ()
    return Record(tuple(one for one in found if one))


def _told(name: str, options: Mapping[str, str]) -> Optional[Connection]:
    try:
        left, right = (unicast.parse(options[side]) for side in ("left", "right"))
    except (KeyError, ValueError):
        return None
    rightid = options.get("rightid", name)
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
    )


def _stage(auto: str, starts: bool) -> str:
    if auto == "route":
        return REQUIRE
    return PASSIVE if auto == "add" and not starts else START
