"""From one pillar to the next without a host: the files of both, and what the hosts would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hostipsec.apply.configuration import Work
from hostipsec.fleet import fleetplan
from hostipsec.model import Connection, Fleet
from hostipsec.pillar import topology
from hostipsec.store import record
from hostipsec.store.record import Record
from hostipsec.strongswan import difference, parse, render, sections
from hostipsec.strongswan.sections import Configuration, Secret


class Texts(NamedTuple):
    """The files of a host; None for one that is not there."""

    conf: str | None = None
    secrets: str | None = None
    strongswan: str | None = None
    mesh: str | None = None

    @property
    def configuration(self) -> Configuration:
        """Return what strongSwan's files say."""
        return parse.configuration(self.conf, self.secrets, self.strongswan)

    @property
    def record(self) -> Record:
        """Return what is on record."""
        return record.parse(self.mesh) if self.mesh else Record()


NOTHING = Texts()


def value_of(fleet: Fleet, host: str, connections: tuple[Connection, ...]) -> Configuration:
    """Return what a host shall run."""
    secret = Secret("ECDSA", f"{host}.pem")
    return sections.configuration(connections, fleet.settings, f"{host}.pem", secret)


def texts(fleet: Fleet, host: str, connections: tuple[Connection, ...]) -> Texts:
    """Return the files of a host, as state ipsec writes them."""
    value = value_of(fleet, host, connections)
    return Texts(
        render.ipsec_conf(value),
        render.ipsec_secrets(value),
        render.strongswan_conf(value),
        record.render(Record(connections, fleet.settings.mtu)),
    )


def rendered(fleet: Fleet) -> dict[str, Texts]:
    """Return the files of each host that has peers."""
    found = {host.id: topology.connections(fleet, host.id) for host in fleet.hosts}
    return {host: texts(fleet, host, mine) for host, mine in found.items() if mine}


def answer(old: Texts, new: Texts | None, fleet: Fleet, host: str) -> dict:
    """Return what a host says that runs ``old``; ``new`` is None where the pillar gives it no peers.

    The changes are those of ``ipsec.configured``: the same difference, in the same words.
    """
    then = old.record
    former = then.connections
    if new is None:
        entry = fleet.host(host)
        alone = fleetplan.LEAVES if former else fleetplan.OUTSIDE
        standing = fleetplan.RESTS if entry and entry.maintenance else alone
        return fleetplan.answer(standing, (), former, {}, configured=len(former))
    differs, now = difference.between(old.configuration, new.configuration), new.record
    reasons = () if differs.new else differs.restart_reasons(difference.chosen(fleet.settings))
    work = Work(differs, record=then != now, running=True, restart=reasons)
    changes = {} if work.empty else {fleetplan.CONFIGURED: work.as_changes()}
    standing = fleetplan.MEMBER if former else fleetplan.ENTERS
    return fleetplan.answer(standing, now.connections, former, changes, configured=len(former))


def answers(old: Mapping[str, Texts], fleet: Fleet) -> dict[str, dict]:
    """Return what every host says that is in the fleet, or runs files of ours."""
    new = rendered(fleet)
    hosts = {*old, *(host.id for host in fleet.hosts)}
    return {host: answer(old.get(host, NOTHING), new.get(host), fleet, host) for host in sorted(hosts)}
