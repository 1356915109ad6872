"""What a plan cannot be carried out for, though each end of a pair would agree: sentences by host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model import REQUIRE, Fleet
from ..pillar import membership

Answers = Mapping[str, Mapping[str, Any]]  # by minion id, a plan: see fleetplan.answer


def astray(answers: Answers) -> tuple[str, ...]:
    """Return sentences about hosts of which no interface has an address that the pillar gives them."""
    return tuple(
        f"{host}: no interface there has {address}; correct ipsec:hosts:{host} in the pillar, or give it "
        "to the host first"
        for host, said in sorted(answers.items())
        for address in sorted(map(str, said.get("absent", ())))
    )


def unpaired(fleet: Fleet, answers: Answers) -> tuple[str, ...]:
    """Return sentences about pairs in ``require`` that end, or lose a family, see membership.unpaired.

    A host that reads the whole pillar refuses such a one itself; by a part it cannot know who is there.
    """
    hosts = {host.id: host for host in fleet.hosts}
    found = []
    for host, said in sorted(answers.items()):
        now = {(one["peer"], one["family"]) for one in said["connections"].values()}
        had = {(one["peer"], one["family"]) for one in said["former"].values() if one["stage"] == REQUIRE}
        names = {peer for peer, _ in had - now}
        around = fleet._replace(hosts=tuple(hosts[peer] for peer in sorted(names) if peer in hosts))
        if host in hosts and around.hosts:
            found += [f"{host}: {problem}" for problem in membership.unpaired(around, hosts[host], now, had)]
    return tuple(found)
