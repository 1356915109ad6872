"""From one pillar to the next without a host: the files of both, and what the hosts would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from hostipsec.apply import configuration
from hostipsec.fleet import fleetplan
from hostipsec.model import Connection, Fleet
from hostipsec.pillar import topology
from hostipsec.store import mesh
from hostipsec.strongswan import difference, render

Texts = dict[str, str]
NOTHING: Mapping[str, Optional[str]] = {"conf": None, "secrets": None, "strongswan": None, "mesh": None}


def texts(fleet: Fleet, host: str, connections: tuple[Connection, ...]) -> Texts:
    """Return the files of a host, as state ipsec writes them."""
    peers = len({one.peer for one in connections})
    return {
        "conf": render.ipsec_conf(connections, fleet.settings, f"{host}.pem"),
        "secrets": render.ipsec_secrets("ECDSA", f"{host}.pem"),
        "strongswan": render.strongswan_conf(peers, fleet.settings),
        "mesh": mesh.render(connections, fleet.settings.mtu),
    }


def rendered(fleet: Fleet) -> dict[str, Texts]:
    """Return the files of each host that has peers."""
    found = {host.id: topology.connections(fleet, host.id) for host in fleet.hosts}
    return {host: texts(fleet, host, mine) for host, mine in found.items() if mine}


def answer(old: Mapping[str, Optional[str]], new: Optional[Texts], fleet: Fleet, host: str) -> dict:
    """Return what a host says that runs ``old``; ``new`` is None where the pillar gives it no peers.

    The changes are those of ``ipsec.configured``: the same difference, in the same words.
    """
    former = mesh.parse(old["mesh"]) if old["mesh"] else ()
    if new is None:
        entry = fleet.host(host)
        alone = fleetplan.LEAVES if former else fleetplan.OUTSIDE
        standing = fleetplan.RESTS if entry and entry.maintenance else alone
        return fleetplan.answer(standing, (), former, {}, configured=len(former))
    differs = difference.between(old, new)
    reasons = () if differs.new else differs.restart_reasons(fleet.settings.charon)
    plan = configuration.Plan(differs, running=True, restart=reasons)
    changes = {} if plan.empty else {fleetplan.CONFIGURED: plan.as_changes()}
    standing = fleetplan.MEMBER if former else fleetplan.ENTERS
    return fleetplan.answer(standing, mesh.parse(new["mesh"]), former, changes, configured=len(former))


def answers(old: Mapping[str, Texts], fleet: Fleet) -> dict[str, dict]:
    """Return what every host says that is in the fleet, or runs files of ours."""
    new = rendered(fleet)
    hosts = {*old, *(host.id for host in fleet.hosts)}
    return {host: answer(old.get(host, NOTHING), new.get(host), fleet, host) for host in sorted(hosts)}
