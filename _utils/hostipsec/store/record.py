"""The record of this host's connections, read where no Salt process runs and no pillar is at hand."""

from __future__ import annotations

import ipaddress
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import Connection
from ..strongswan import render
from ..system import files
from . import mesh


def read() -> tuple[Connection, ...]:
    """Return the connections of this host: of the record, else of an ipsec.conf that Salt wrote.

    None where there is neither. Raises HostIPsecError where the record is damaged and ipsec.conf no help.
    """
    content = files.read(paths.here.record)
    try:
        return mesh.parse(content.decode("utf-8", "replace")) if content is not None else _written()
    except HostIPsecError:
        found = _written()
        if found:
            return found
        raise


def _written() -> tuple[Connection, ...]:
    """Return the connections of ipsec.conf where Salt wrote it."""
    conf = (files.read(paths.here.conf) or b"").decode("utf-8", "replace")
    return of_conf(conf) if conf.startswith(render.HEADER) else ()


def of_conf(conf: str) -> tuple[Connection, ...]:
    """Return the connections of an ipsec.conf; it tells less of them than the record does."""
    found = (_connection(name, options) for name, options in render.parse_ipsec_conf(conf).items())
    return tuple(one for one in found if one)


def _connection(name: str, options: dict[str, str]) -> Optional[Connection]:
    try:
        left, right = (ipaddress.ip_address(options[side]) for side in ("left", "right"))
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
        return "require"
    return "passive" if auto == "add" and not starts else "start"
