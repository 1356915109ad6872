"""What the fleet's pillar means for one host."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..errors import HostIPsecError, PillarError, Problem, nearest
from ..model import FAMILIES, REQUIRE, Connection, Fleet, Host
from . import pillar, topology


@dataclass(frozen=True)
class Membership:
    """One host of a fleet, and the connections that follow for it."""

    fleet: Fleet
    host: Host
    connections: tuple[Connection, ...]
    barred: tuple[Connection, ...] = ()  # see topology.barred

    @property
    def guarded(self) -> tuple[Connection, ...]:
        """Return all that the guard of stage ``require`` has to do with."""
        return (*self.connections, *self.barred)

    def unpaired(self, before: Sequence[Connection]) -> tuple[Problem, ...]:
        """Return the same as :func:`unpaired`; ``before`` is what the host was given last."""
        required = {(one.peer, _paired(one)) for one in before if one.stage == REQUIRE}
        now = {(one.peer, one.family) for one in self.connections}
        return unpaired(self.fleet, self.host, now, required)

    @property
    def peers(self) -> tuple[str, ...]:
        """Return the ids of the peers, sorted."""
        return tuple(sorted({connection.peer for connection in self.connections}))

    @property
    def site(self) -> str:
        """Return the label ``site`` of the host; empty where it has none."""
        return self.host.label("site")

    @property
    def sites(self) -> dict[str, str]:
        """Return the label ``site`` of the peers that have one, by minion id."""
        peers = set(self.peers)
        every = ((one.id, one.label("site")) for one in self.fleet.hosts if one.id in peers)
        return {peer: site for peer, site in every if site}

    @property
    def backend(self) -> str:
        """Return by what the pillar has this host run: of BACKENDS."""
        return self.host.backend or self.fleet.settings.backend

    @property
    def subject(self) -> str:
        """Return the subject that peers expect in this host's certificate."""
        return topology.subject(self.fleet, self.host)

    @property
    def resting(self) -> tuple[Connection, ...]:
        """Return the connections that this host would have if no host were in maintenance."""
        if not any(host.maintenance for host in self.fleet.hosts):
            return ()
        hosts = tuple(host._replace(maintenance=False) for host in self.fleet.hosts)
        every = topology.connections(self.fleet._replace(hosts=hosts), self.host.id)
        return tuple(one for one in every if one not in self.connections)

    def limited(self, stage: str, before: Sequence[Connection]) -> Membership:
        """Return the membership with connections at no later stage than this, see topology.limited.

        What is barred goes with them: as soon as one connection of the pair is required. Until the last stage
        so are addresses that a required peer had before: it may not have moved yet.
        """
        found = topology.limited(self.connections, stage, before)
        required = {one.peer for one in found if one.stage == REQUIRE}
        rest = zip(self.barred, topology.limited(self.barred, stage, before))
        kept = (one for one, limited in rest if limited.stage == REQUIRE or one.peer in required)
        moving = () if stage == REQUIRE else topology.left_behind(self.fleet, before, required)
        return replace(self, connections=found, barred=(*kept, *moving))

    @property
    def lost(self) -> tuple[str, ...]:
        """Say of which peers no address is known; with them it stays at what was."""
        every = self.fleet._replace(
            hosts=tuple(host._replace(maintenance=False) for host in self.fleet.hosts)
        )
        peers = {peer.id for peer, _ in topology.peers(every, self.host)}
        found = (host.lost for host in self.fleet.hosts if host.lost and host.id in peers)
        return tuple(f"{problem}; what stands here stays" for lost in found for problem in lost)

    @property
    def lonely(self) -> str:
        """Say why the host has no peers; empty when it has some."""
        if self.connections:
            return ""
        why = "it is in maintenance" if self.host.maintenance else "no rule pairs it with a host in service"
        if self.lost:
            why = "no address of those that rules pair it with is known"
        return f"{self.host.id} has no peers: {why}"


def _paired(one: Connection) -> str:
    """Return the family of a connection; none of what is blocked since this host has no address there."""
    return "" if one.left.is_unspecified else one.family


def unpaired(
    fleet: Fleet, host: Host, now: Collection[tuple[str, str]], required: Collection[tuple[str, str]]
) -> tuple[Problem, ...]:
    """Say which pairs in ``require`` no rule fits any more, though both hosts are there, or lose a family.

    ``now`` are the peers that the pillar gives the host, with each family, ``required`` those with which it
    had that stage. A slip in a label would take such a pair out of its guard as an edit that is meant does:
    so that is a word of its own, ``stage: off`` in a rule, or ``alone: true``; and an earlier stage first,
    where an address is taken out. Where no peer is left, that is a matter for state ``ipsec.clean``.
    """
    missing = {*required} - {*now} if now else frozenset()
    if not missing:
        return ()
    names = {name for name, _ in missing}
    peers = [peer for peer in fleet.hosts if peer.id in names and not peer.alone]
    rules = {peer.id: topology.rule_for(fleet, host, peer) for peer in peers}
    still = [peer for peer in peers if (rule := rules[peer.id]) and rule.stage == REQUIRE]
    there = {name for name, _ in now}
    ended = [peer.id for peer in peers if rules[peer.id] is None and peer.id not in there]
    return (
        *_ended(sorted(ended)),
        *(one for family in FAMILIES for one in _bereft(host, still, missing, family)),
    )


def _ended(peers: Sequence[str]) -> Iterator[Problem]:
    if peers:
        yield Problem(
            "ipsec:rules",
            f"no rule pairs this host with {topology.few(peers)} any more, and 'require' was their stage",
            "a rule that fits such a pair, with 'stage: off' where it is to end; or 'alone: true' at a host",
        )


def _bereft(
    host: Host, peers: Sequence[Host], missing: Collection[tuple[str, str]], family: str
) -> Iterator[Problem]:
    """Say which pairs are still in ``require``, and have no connection of a family since an address went."""
    own = host.address(family) is None
    gone = sorted(
        peer.id
        for peer in peers
        if (peer.id, family) in missing and not (host.lost or peer.lost or peer.clear)
        if own or peer.address(family) is None
    )
    if gone:
        path, who = f"ipsec:hosts:{host.id}:ip{family}" if own else "ipsec:hosts", topology.few(gone)
        here = f"no address, and 'require' is the stage of its IP{family} with {who}"
        there = f"no ip{family} of {who}, by which they have connections with this host in 'require'"
        ends = f"where IP{family} is to end: 'stage: start' of such pairs with it, 'require' by the next edit"
        yield Problem(path, here if own else there, f"that address; or, {ends}")


def read(data: object, minion_id: str, resolved: Optional[pillar.Resolved] = None) -> Membership:
    """Return what the pillar below ``ipsec`` means for a host.

    Raises :class:`~hostipsec.errors.PillarError`, and
    :class:`~hostipsec.errors.HostIPsecError` where the host is not in it.
    """
    return of(pillar.read(data, resolved), minion_id)


def of(fleet: Fleet, minion_id: str) -> Membership:
    """Return what a fleet means for a host.

    Raises :class:`~hostipsec.errors.HostIPsecError` where the host is not in it, or has no address that is
    known.
    """
    host = fleet.host(minion_id)
    if host is None:
        known = nearest(minion_id, (one.id for one in fleet.hosts))
        raise HostIPsecError(f"ipsec:hosts: {minion_id} is not there; {known}")
    if not host.managed:
        raise HostIPsecError(f"ipsec:hosts:{minion_id}: found 'managed: false', and it is a minion of Salt's")
    if host.lost:
        raise PillarError(host.lost)
    return Membership(fleet, host, topology.connections(fleet, host.id), topology.barred(fleet, host.id))
