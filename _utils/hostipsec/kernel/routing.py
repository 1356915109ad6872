"""The host routes with a locked MTU, read and changed by ``ip``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional

from .. import paths
from .. import plane as planes
from ..errors import HostIPsecError
from ..model import Connection
from ..system import processes
from . import routes

_SHOW = ("route", "show", "table", "main")
_OURS = (*_SHOW, "proto", str(routes.PROTOCOL))


class RouteError(HostIPsecError):
    """Routes cannot be read, or are not what was asked for."""


@dataclass(frozen=True)
class Comparison:
    """The routes that are wanted, and what differs from them in the kernel."""

    wanted: routes.Wanted
    difference: routes.Difference


def observe(run: processes.Run = processes.run) -> routes.Table:
    """Return what is in table main of this network namespace."""
    tables = {version: _ip(run, "-j", "-d", f"-{version}", *_SHOW) for version in (4, 6)}
    locks = [_ip(run, "-d", "-o", f"-{version}", *_OURS) for version in (4, 6)]
    return routes.parse(tables, "\n".join(locks))


def compare(
    connections: Sequence[Connection], mtu: Optional[int], run: processes.Run = processes.run
) -> Comparison:
    """Return what has to change so that each peer has its route, and no other host has one of ours."""
    table = observe(run)
    want = routes.wanted(connections, mtu, table)
    return Comparison(want, routes.difference(want.routes, table.ours))


def apply(
    connections: Sequence[Connection], mtu: Optional[int], run: processes.Run = processes.run
) -> routes.Difference:
    """Make the routes what they should be; returns what was changed.

    Raises RouteError where they are not so afterwards, as the kernel shows them.
    """
    differs = compare(connections, mtu, run).difference
    if differs.empty:
        return differs
    said = _batch(differs.batch(), run)
    left = compare(connections, mtu, run).difference
    if not left.empty:
        names = [str(one) for part in left.as_changes().values() for one in _names(part)]
        raise RouteError(f"routes to {', '.join(names)} cannot be changed: {said or 'ip gave no reason'}")
    return differs


def _names(part: object) -> Iterable[object]:
    return part if isinstance(part, Mapping) else ()


def _batch(commands: str, run: processes.Run) -> str:
    """Run commands of ``ip``, those after one that fails as well; returns what it complained of."""
    with tempfile.NamedTemporaryFile("w", prefix="hostipsec-routes-") as file:
        file.write(commands)
        file.flush()
        return " ".join(run(["ip", "-force", "-batch", file.name], paths.IP_DEADLINE).stderr.split())


@dataclass(frozen=True)
class Row:
    """What is to be said about one route."""

    name: str  # of the connection, or the address where no connection wants the route
    peer: str
    address: str
    state: str  # ok, missing, differs, unwanted, no way, in the way, not wanted
    wanted: str = ""
    there: str = ""
    used: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values, without its name."""
        plain = asdict(self)
        del plain["name"]
        return plain


def rows(
    connections: Sequence[Connection], mtu: Optional[int], run: processes.Run = processes.run
) -> tuple[Row, ...]:
    """Return a row for each connection, and one for each route of ours that none of them wants."""
    table = observe(run)
    want = routes.wanted(connections, mtu, table)
    there = {route.destination: route for route in table.ours}
    asked = {route.destination: route for route in want.routes}
    taken = {entry.network.network_address for entry in want.conflicts}
    found = []
    for one in connections:
        ours, wish = there.get(one.right), asked.get(one.right)
        used = ours is not None and chosen(one, run).get("protocol") == str(routes.PROTOCOL)
        lacking = "in the way" if one.right in taken else "no way"
        lacking = lacking if one.mtu or mtu else "not wanted"
        state = _state(wish, ours) or lacking
        found.append(Row(one.name, one.peer, str(one.right), state, _said(wish), _said(ours), used))
    stray = (route for route in table.ours if route.destination not in {one.right for one in connections})
    found += [Row(str(one.destination), "", str(one.destination), "unwanted", "", str(one)) for one in stray]
    return tuple(found)


def _state(wish: Optional[routes.Route], ours: Optional[routes.Route]) -> str:
    """Compare one route; nothing is said where there is neither."""
    if wish is None:
        return "unwanted" if ours else ""
    if ours is None:
        return "missing"
    return "ok" if wish == ours else "differs"


def _said(route: Optional[routes.Route]) -> str:
    return str(route) if route else ""


def chosen(connection: Connection, run: processes.Run = processes.run) -> Mapping[str, Any]:
    """Return the entry that the kernel chooses from left to right, in whichever table it is.

    As ``ip -j -d route get fibmatch`` says: ``{"dst": ..., "dev": ..., "table": "main", "protocol": "73"}``;
    empty where there is no route.
    """
    way = [str(connection.right), "from", str(connection.left)]
    result = run(["ip", "-j", "-d", "route", "get", "fibmatch", *way], paths.IP_DEADLINE)
    entries = json.loads(result.stdout or "[]") if result.status == 0 else []
    return next((entry for entry in entries if entry), {})


def devices(
    connections: Sequence[Connection], who: str, run: processes.Run = processes.run
) -> dict[Connection, tuple[str, ...]]:
    """Return the devices by which ESP to each peer leaves; none for one without a route.

    Where charon does ESP (``who``), packets to a peer go to its own device first, by a table of its own:
    ESP leaves by table main.
    """
    if who == planes.KERNEL:
        return {one: _devices(chosen(one, run)) for one in connections}
    entries = observe(run).entries
    ways = ((one, routes.way(one.right, entries)) for one in connections)
    return {one: way.devices if way else () for one, way in ways}


def _devices(entry: Mapping[str, Any]) -> tuple[str, ...]:
    hops = entry.get("nexthops", (entry,))
    return tuple(dict.fromkeys(str(hop["dev"]) for hop in hops if "dev" in hop))


def _ip(run: processes.Run, *words: str) -> str:
    result = run(["ip", *words], paths.IP_DEADLINE)
    if result.status != 0:
        said = " ".join(result.text.split()) or "no output"
        raise RouteError(f"ip {' '.join(words)}: status {result.status}, {said}; needs iproute2")
    return result.stdout
