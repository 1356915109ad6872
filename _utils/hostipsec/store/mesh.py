"""The record of a host's connections and MTU (mesh.json), for programs on the host that have no pillar."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Optional

from ..errors import HostIPsecError
from ..model import Connection


def render(connections: Sequence[Connection], mtu: Optional[int] = None) -> str:
    """Return the record as JSON, one connection a line; ``mtu`` is the one to lock, if any."""
    lines = ",\n".join(json.dumps(_plain(one), sort_keys=True) for one in connections)
    end = "" if mtu is None else f', "mtu": {mtu}'
    return f'{{"connections": [\n{lines}\n]{end}}}\n'


def parse(text: str) -> tuple[Connection, ...]:
    """Return the connections of a record. Raises HostIPsecError where it is none."""
    try:
        return tuple(_connection(entry) for entry in json.loads(text)["connections"])
    except (ValueError, TypeError, KeyError) as error:
        raise HostIPsecError(f"mesh.json cannot be read ({error!r}); apply state ipsec again") from None


def parse_mtu(text: str) -> Optional[int]:
    """Return the MTU of a record that :func:`parse` reads; None where no MTU is locked."""
    found = json.loads(text).get("mtu")
    return found if isinstance(found, int) else None


def _plain(connection: Connection) -> dict[str, object]:
    return {**connection._asdict(), "left": str(connection.left), "right": str(connection.right)}


def _connection(entry: dict[str, str]) -> Connection:
    addresses = {side: ipaddress.ip_address(entry[side]) for side in ("left", "right")}
    return Connection(**{**{key: entry[key] for key in Connection._fields}, **addresses})  # type: ignore[arg-type]
