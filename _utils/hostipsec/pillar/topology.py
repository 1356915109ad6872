"""Which hosts pair up, and the connections that follow for each of them.

Symmetric by construction: whether two hosts pair up depends on the unordered pair alone, and
both ends derive their connection from the same two :class:`~hostipsec.model.Host` values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Optional

from ..answer import counted
from ..errors import Problem
from ..model import FAMILIES, PASSIVE, REQUIRE, STAGES, Address, Connection, Fleet, Host, Rule
from ..strongswan import identity
from . import translated, unmanaged
from .matching import applies, rule_pairs

Pairs = dict[tuple[str, str], Rule]
Fitting = Mapping[tuple[str, str], Sequence[Rule]]  # by pair all rules that fit it, the deciding one first
_FEW = 5  # names of hosts that a sentence has
_ANYWHERE: Mapping[str, Address] = {
    "v4": IPv4Address(0),
    "v6": IPv6Address(0),
}  # whatever address this host has there


def rule_for(fleet: Fleet, one: Host, other: Host) -> Optional[Rule]:
    """Return the first rule that pairs two hosts up, or None."""
    return next((rule for rule in fleet.rules if applies(rule, one, other)), None)


def pairs(fleet: Fleet, maintenance: bool = False) -> Pairs:
    """Return ``{(id, id): rule}`` for all pairs, the ids of each in order; the first rule wins.

    Hosts in maintenance, and pairs of stage ``off``, are left out; with ``maintenance``
    such hosts count as if they were in service.
    """
    hosts = [host for host in fleet.hosts if maintenance or not host.maintenance]
    found = decided(fleet.rules, hosts)
    return {pair: rule for pair, rule in sorted(found.items()) if rule.stage != "off"}


def fitting(fleet: Fleet) -> Fitting:
    """Return ``{(id, id): rules}`` for all pairs that rules fit, by id; the first of the rules decides."""
    found: dict[tuple[str, str], list[Rule]] = {}
    for rule in fleet.rules:
        for one, other in rule_pairs(rule, fleet.hosts):
            rules = found.setdefault((min(one.id, other.id), max(one.id, other.id)), [])
            if not rules or rules[-1] is not rule:
                rules.append(rule)
    return dict(sorted(found.items(), key=lambda item: item[0]))


def decided(rules: Sequence[Rule], hosts: Sequence[Host]) -> Pairs:
    """Return ``{(id, id): rule}`` for all pairs of some hosts, the ids in order; the first rule wins."""
    found: Pairs = {}
    for rule in rules:
        for one, other in rule_pairs(rule, hosts):
            found.setdefault((min(one.id, other.id), max(one.id, other.id)), rule)
    return found


def peers(fleet: Fleet, host: Host, maintenance: bool = False) -> tuple[tuple[Host, Rule], ...]:
    """Return the peers of one host with the rule that makes each one, sorted by id."""
    if host.maintenance and not maintenance:
        return ()
    found = (
        (other, rule_for(fleet, host, other)) for other in fleet.hosts if maintenance or not other.maintenance
    )
    chosen = ((other, rule) for other, rule in found if rule and rule.stage != "off")
    return tuple(sorted(chosen, key=lambda item: item[0].id))


def partly(fleet: Fleet, meant: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Say of how many of these pairs (the ids of each in order) not all is encrypted, and by which rules."""
    if not any(rule.only or rule.clear for rule in fleet.rules):
        return ()
    deciding = (rule for pair, rule in pairs(fleet).items() if pair in meant)
    rules = Counter(rule for rule in deciding if rule.only or rule.clear)
    return tuple(
        f"rule {rule.name!r}: {_encrypted(rule)}, of {counted(number, 'pair')}"
        for rule, number in rules.items()
    )


def one_sided(fleet: Fleet, meant: Collection[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return those of some pairs (the ids of each in order) of which Salt manages one end alone."""
    strangers = unmanaged.strangers(fleet.hosts)
    return tuple(pair for pair in meant if strangers & {*pair})


def _encrypted(rule: Rule) -> str:
    """Say what alone is encrypted by a rule, or what is not."""
    if rule.only:
        return f"only {', '.join(rule.only)} is encrypted"
    return f"{', '.join(rule.clear)} stays in the clear"


def names(fleet: Fleet) -> Mapping[str, str]:
    """Return the name of each host in connections."""
    return {host.id: host.called for host in fleet.hosts}


def named(fleet: Fleet) -> Mapping[str, frozenset[str]]:
    """Return the names of the connections of every host that is in service and has some."""
    called, hosts = names(fleet), {host.id: host for host in fleet.hosts}
    found: dict[str, set[str]] = {}
    for pair in pairs(fleet):
        for one, other in (pair, pair[::-1]):
            for family in FAMILIES:
                if hosts[one].address(family) and hosts[other].address(family):
                    found.setdefault(one, set()).add(f"{called[other]}_{family}")
    return {host: frozenset(every) for host, every in found.items()}


def subject(fleet: Fleet, host: Host) -> str:
    """Return the IKE identity of a host, which its certificate confirms, as strongSwan writes it."""
    return identity.written(filled(fleet, host))


def filled(fleet: Fleet, host: Host) -> str:
    """Return the same as the pillar writes it: the subject at the host, or that of all hosts."""
    if host.subject:
        return host.subject
    template = fleet.settings.certificates.subject
    named = (family for family in FAMILIES if f"{{ip{family}}}" in template)
    return fill(template, host.id, **{f"ip{family}": str(host.address(family) or "") for family in named})


def fill(template: str, minion_id: str, **more: str) -> str:
    """Fill ``{id}``, ``{short}`` and further fields into a template of the pillar."""
    fields = {"id": minion_id, "short": minion_id.partition(".")[0], **more}
    for name, value in fields.items():
        template = template.replace("{" + name + "}", value)
    return template


def connections(fleet: Fleet, minion_id: str) -> tuple[Connection, ...]:
    """Return the connections of one host, sorted by name; none for a host that is in no pair."""
    host = fleet.host(minion_id)
    if host is None or not host.managed:
        return ()
    called = names(fleet)
    result = [
        _connection(fleet, host, peer, rule, family, called[peer.id])
        for peer, rule in peers(fleet, host)
        for family in FAMILIES
        if host.address(family) and peer.address(family)
    ]
    return tuple(sorted(result, key=lambda connection: connection.name))


def _connection(fleet: Fleet, host: Host, peer: Host, rule: Rule, family: str, called: str) -> Connection:
    left, right = translated.ends(host, peer, family)
    if right is None:
        raise ValueError(f"{peer.id} has no {family} address")
    return Connection(
        name=f"{called}_{family}",
        peer=peer.id,
        family=family,
        left=left or _ANYWHERE[family],
        right=right,
        leftid=subject(fleet, host),
        rightid=subject(fleet, peer),
        initiator=unmanaged.starts(host, peer),
        stage=rule.stage,
        options=rule.options,
        mtu=rule.mtu,
        clear=rule.clear,
        only=rule.only,
    )


def barred(fleet: Fleet, minion_id: str) -> tuple[Connection, ...]:
    """Return what stage ``require`` blocks beside a host's connections, as connections that charon lacks.

    That is each address of a peer by which the two have no connection: since this host has none of its
    family, or since the peer is in maintenance, unless the pillar says that it may be reached in the clear;
    and the public address of one behind the same NAT.
    """
    host = fleet.host(minion_id)
    if (
        host is None
        or not host.managed
        or host.maintenance
        or all(rule.stage != REQUIRE for rule in fleet.rules)
    ):
        return ()
    called = names(fleet)
    required = [
        (peer, family, _connection(fleet, host, peer, rule, family, called[peer.id]))
        for peer, rule in peers(fleet, host, maintenance=True)
        if rule.stage == REQUIRE and not peer.clear
        for family in FAMILIES
        if peer.address(family)
    ]
    found = [one for peer, family, one in required if peer.maintenance or not host.address(family)]
    found += [
        one._replace(right=public)
        for peer, family, one in required
        if translated.beside(host, peer) and (public := peer.address(family)) not in (None, one.right)
    ]
    return tuple(sorted(found, key=lambda one: (one.name, int(one.right))))


def remembering(
    fleet: Fleet, before: Sequence[Connection], looked_up: Collection[str] = (), own: str = ""
) -> Fleet:
    """Return the fleet in which hosts that are lost have the addresses that they had for one of their peers.

    ``before`` are the connections that the peer was given last. Nothing is known of them that would be new,
    so nothing changes there; an address that the pillar gives to another host now is no longer theirs. Of
    whom one was ``looked_up`` not everything is believed. ``own`` is the host that has these connections.
    """
    fleet = fleet._replace(hosts=_believed(fleet, before, looked_up, own))
    taken = {address for host in fleet.hosts for address in translated.every(host)}
    kept = [one for one in before if one.right not in taken]
    ipv4 = {one.peer: one.right for one in kept if isinstance(one.right, IPv4Address)}
    ipv6 = {one.peer: one.right for one in kept if isinstance(one.right, IPv6Address)}
    hosts = (
        host._replace(ipv4=ipv4.get(host.id), ipv6=ipv6.get(host.id)) if host.lost else host
        for host in fleet.hosts
    )
    return fleet._replace(hosts=tuple(hosts))


def _believed(
    fleet: Fleet, before: Sequence[Connection], looked_up: Collection[str], own: str
) -> tuple[Host, ...]:
    """Return hosts without what no mine can say of them: what a lost peer had, and one family less."""
    lost = {host.id for host in fleet.hosts if host.lost}
    had = {one.right: one.peer for one in before if one.peer in lost}
    required = _required(fleet, before, own)
    found = []
    for host in fleet.hosts:
        told: list[Problem] = []
        if host.id in looked_up and not host.lost:
            claimed = [one for one in translated.every(host) if had.get(one, host.id) != host.id]
            gone = [one for one in FAMILIES if (host.id, one) in required and not host.address(one)]
            why = [f"{one}, which {had[one]} had, and of that no address is known now" for one in claimed]
            why += [f"no address of IP{family}, by which it has connections in 'require'" for family in gone]
            path, allowed = f"ipsec:hosts:{host.id}", "the address that it has, and no other's"
            told = [Problem(path, f"found {one}", allowed) for one in why]
        found.append(host._replace(ipv4=None, ipv6=None, lost=tuple(told)) if told else host)
    return tuple(found)


def _required(fleet: Fleet, before: Sequence[Connection], own: str) -> frozenset[tuple[str, str]]:
    """Return host and family of both ends of what was in ``require``, and is to be by the pillar.

    Such a pair goes down by an edit of the pillar, and not since a minion leaves out an address.
    """
    known = {host.id: host for host in fleet.hosts}
    there = [one for one in before if one.stage == REQUIRE and own in known and one.peer in known]
    rules = {peer: rule_for(fleet, known[own], known[peer]) for peer in {one.peer for one in there}}
    kept = [one for one in there if (rule := rules[one.peer]) and rule.stage == REQUIRE]
    return frozenset((host, one.family) for one in kept for host in (one.peer, own))


def limited(wanted: Sequence[Connection], limit: str, before: Sequence[Connection]) -> tuple[Connection, ...]:
    """Return connections at no later stage than ``limit``, but for those that are past it already.

    ``before`` is what the host has. A roll-out goes through the stages so: a pair is configured at both ends
    before one end starts it, and up before anything requires it. A connection with another name or address is
    new, but for ``require``: that goes down by an edit of its stage alone.

    At the first stage a connection that is not new sends in the clear what was and will be, and takes what
    was or will be: once all ends do, each may send as the pillar says, and nothing is dropped at the other.
    """
    there = _reached(before)
    had = {(one.peer, one.family): one for one in before} if limit == PASSIVE else {}
    wanted = [_halfway(one, had.get((one.peer, one.family), one)) for one in wanted]
    found = []
    for one in wanted:
        most = max(STAGES.index(limit), *(there.get(key, 0) for key in _identities(one)))
        found.append(one._replace(stage=STAGES[min(most, STAGES.index(one.stage))]))
    return tuple(found)


def _halfway(one: Connection, before: Connection) -> Connection:
    """Return a connection between what stays in the clear now and what will.

    Where nothing would be left that alone is encrypted of what comes in, it changes at once.
    """
    took = before.taking
    clear = _either(took.clear, one.clear)
    only = _both(took.only, one.only) if took.only and one.only else took.only or one.only
    left = tuple(text for text in only if text not in clear)
    if only and not left:
        return one
    sent = _both(before.clear, one.clear), _either(before.only, one.only) if before.only and one.only else ()
    taken = ((), left) if only else (clear, ())
    return one._replace(clear=sent[0], only=sent[1], taken=None if taken == sent else taken)


def _both(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*first} & {*second}))


def _either(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*first, *second}))


def left_behind(
    fleet: Fleet, before: Sequence[Connection], required: Collection[str]
) -> tuple[Connection, ...]:
    """Return, to be barred, what peers in ``require`` had before by an address that no host has any more."""
    known = {address for host in fleet.hosts for address in translated.every(host)}
    return tuple(
        one._replace(left=_ANYWHERE[one.family])
        for one in before
        if one.stage == REQUIRE and one.peer in required and one.right not in known
    )


def _reached(before: Sequence[Connection]) -> Mapping[object, int]:
    """Return by what a connection is known again how far it has come."""
    there: dict[object, int] = {}
    for one in before:
        exact, *loose = _identities(one)
        for key in (exact, *(loose if one.stage == REQUIRE else ())):
            there[key] = max(there.get(key, 0), STAGES.index(one.stage))
    return there


def _identities(one: Connection) -> tuple[object, ...]:
    """Return it as it is, then by its peer and family, and by the peer's address, whoever has that now."""
    return (one.name, one.left, one.right), (one.peer, one.family), one.right


def few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"
