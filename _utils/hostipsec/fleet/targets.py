"""Which hosts a command means, and which connections: by site, by host, by state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from .. import arguments
from ..model import Fleet
from ..pillar import topology
from . import joined
from .fleetstatus import Filter

_NO_SITE = "no site"


def paired(fleet: Fleet) -> list[str]:
    """Return the ids of the hosts that have peers; in maintenance as well, they may have tunnels yet."""
    return sorted({host for pair in topology.pairs(fleet, maintenance=True) for host in pair})


def serving(fleet: Fleet) -> list[str]:
    """Return the ids of the hosts that are not in maintenance."""
    return sorted(host.id for host in fleet.hosts if not host.maintenance)


def by_site(fleet: Fleet) -> Mapping[str, Sequence[str]]:
    """Return the hosts that have peers, by site."""
    members = {*paired(fleet)}
    found: dict[str, list[str]] = {}
    for host in fleet.hosts:
        if host.id in members:
            found.setdefault(str(host.labels.get("site", _NO_SITE)), []).append(host.id)
    return found


def at_sites(fleet: Fleet, sites: object) -> list[str]:
    """Return the hosts that have peers, at one site or at each of several; no site at all is an error."""
    found = by_site(fleet)
    wanted = arguments.listed("site", sites, sorted(found))
    if not wanted:
        raise arguments.wrong("site", sites, ", ".join(sorted(found)))
    return sorted({host for site in wanted for host in found[site]})


def chosen(
    fleet: Fleet, site: Optional[str], host: Optional[str], state: Optional[str], within: object
) -> Filter:
    """Refuse what cannot fit, as no answer would look like a fleet at rest; return the filter."""
    sites = sorted({str(one.labels["site"]) for one in fleet.hosts if "site" in one.labels})
    allowed = {"site": sites, "host": sorted(one.id for one in fleet.hosts), "state": joined.STATES}
    for name, value in (("site", site), ("host", host), ("state", state)):
        if value is not None:
            arguments.one_of(name, value, allowed[name])
    return Filter(site, host, state, tuple(arguments.listed("within", within, sites)))
