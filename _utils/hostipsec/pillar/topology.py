"""Which hosts pair up, and the connections that follow for each of them.

Symmetric by construction: whether two hosts pair up depends on the unordered pair alone, and
both ends derive their connection from the same two :class:`~hostipsec.model.Host` values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Optional

from .. import plane
from ..errors import Problem, nearest
from ..model import FAMILIES, REQUIRE, STAGES, Address, Connection, Fleet, Host, Rule, Selector
from ..strongswan import identity
from . import translated

Pairs = dict[tuple[str, str], Rule]
_FEW = 5  # names of hosts that a sentence has
_Values = tuple[str, ...]  # of some labels of a host
_ANYWHERE: Mapping[str, Address] = {
    "v4": IPv4Address(0),
    "v6": IPv6Address(0),
}  # whatever address this host has there


def matches(selector: Selector, host: Host) -> bool:
    """Say whether a host has the labels of one side of a rule."""
    return all(host.labels.get(label) in values for label, values in selector)


def _joined(rule: Rule, one: Host, other: Host) -> bool:
    """Whether ``same`` and ``different`` hold; a host without the label is never joined by it."""
    mine, theirs = one.labels, other.labels
    if any(label not in mine or mine[label] != theirs.get(label) for label in rule.same):
        return False
    return all(label in mine and label in theirs and mine[label] != theirs[label] for label in rule.different)


def applies(rule: Rule, one: Host, other: Host) -> bool:
    """Say whether a rule pairs two hosts up, whichever of them is named first."""
    if one.id == other.id or not _joined(rule, one, other):
        return False
    return (matches(rule.between, one) and matches(rule.and_, other)) or (
        matches(rule.between, other) and matches(rule.and_, one)
    )


def rule_for(fleet: Fleet, one: Host, other: Host) -> Optional[Rule]:
    """Return the first rule that pairs two hosts up, or None."""
    return next((rule for rule in fleet.rules if applies(rule, one, other)), None)


def _rule_pairs(
    rule: Rule, hosts: Sequence[Host], others: Optional[Sequence[Host]] = None
) -> Iterator[tuple[Host, Host]]:
    """Yield the pairs of one rule, its ``and`` side from ``others`` where given.

    Indexes over ``same`` and ``different`` keep it near the size of the result.
    """
    partners: dict[_Values, dict[_Values, list[Host]]] = {}
    for host in hosts if others is None else others:
        if labelled(rule, host) and matches(rule.and_, host):
            alike = partners.setdefault(values_of(host, rule.same), {})
            alike.setdefault(values_of(host, rule.different), []).append(host)
    for host in hosts:
        if labelled(rule, host) and matches(rule.between, host):
            mine = values_of(host, rule.different)
            for theirs, some in partners.get(values_of(host, rule.same), {}).items():
                if all(one != other for one, other in zip(mine, theirs)):
                    yield from ((host, other) for other in some if other.id != host.id)


def labelled(rule: Rule, host: Host) -> bool:
    """Say whether a host has the labels of ``same`` and ``different``; without one it is never joined."""
    return all(label in host.labels for label in (*rule.same, *rule.different))


def values_of(host: Host, labels: Sequence[str]) -> _Values:
    """Return the values of labels that a host has."""
    return tuple(host.labels[label] for label in labels)


def pairs(fleet: Fleet, maintenance: bool = False) -> Pairs:
    """Return ``{(id, id): rule}`` for all pairs, the ids of each in order; the first rule wins.

    Hosts in maintenance, and pairs of stage ``off``, are left out; with ``maintenance``
    such hosts count as if they were in service.
    """
    hosts = [host for host in fleet.hosts if maintenance or not host.maintenance]
    found: Pairs = {}
    for rule in fleet.rules:
        for one, other in _rule_pairs(rule, hosts):
            found.setdefault((min(one.id, other.id), max(one.id, other.id)), rule)
    return {pair: rule for pair, rule in sorted(found.items()) if rule.stage != "off"}


def fitting(fleet: Fleet) -> Mapping[tuple[str, str], Sequence[Rule]]:
    """Return ``{(id, id): rules}`` for all pairs that rules fit, by id; the first of the rules decides."""
    found: dict[tuple[str, str], list[Rule]] = {}
    for rule in fleet.rules:
        for one, other in _rule_pairs(rule, fleet.hosts):
            rules = found.setdefault((min(one.id, other.id), max(one.id, other.id)), [])
            if not rules or rules[-1] is not rule:
                rules.append(rule)
    return dict(sorted(found.items(), key=lambda item: item[0]))


def peers(fleet: Fleet, host: Host, maintenance: bool = False) -> tuple[tuple[Host, Rule], ...]:
    """Return the peers of one host with the rule that makes each one, sorted by id."""
    if host.maintenance and not maintenance:
        return ()
    found = (
        (other, rule_for(fleet, host, other)) for other in fleet.hosts if maintenance or not other.maintenance
    )
    chosen = ((other, rule) for other, rule in found if rule and rule.stage != "off")
    return tuple(sorted(chosen, key=lambda item: item[0].id))


def is_initiator(local: str, peer: str) -> bool:
    """Say whether the local host starts the pair's connections: the id that sorts first does."""
    return local < peer


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
    addresses = {f"ip{family}": str(host.address(family) or "") for family in FAMILIES}
    return host.subject or fill(fleet.settings.certificates.subject, host.id, **addresses)


def fill(template: str, minion_id: str, **more: str) -> str:
    """Fill ``{id}``, ``{short}`` and further fields into a template of the pillar."""
    fields = {"id": minion_id, "short": minion_id.partition(".")[0], **more}
    for name, value in fields.items():
        template = template.replace("{" + name + "}", value)
    return template


def connections(fleet: Fleet, minion_id: str) -> tuple[Connection, ...]:
    """Return the connections of one host, sorted by name; none for a host that is in no pair."""
    host = fleet.host(minion_id)
    if host is None:
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
        initiator=is_initiator(host.id, peer.id),
        stage=rule.stage,
    )


def barred(fleet: Fleet, minion_id: str) -> tuple[Connection, ...]:
    """Return what stage ``require`` blocks beside a host's connections, as connections that charon lacks.

    That is each address of a peer by which the two have no connection: since this host has none of its
    family, or since the peer is in maintenance, unless the pillar says that it may be reached in the clear;
    and the public address of one behind the same NAT.
    """
    host = fleet.host(minion_id)
    if host is None or host.maintenance or all(rule.stage != REQUIRE for rule in fleet.rules):
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


def remembering(fleet: Fleet, before: Sequence[Connection]) -> Fleet:
    """Return the fleet in which hosts that are lost have the addresses that they had for one of their peers.

    ``before`` are the connections that the peer was given last. Nothing is known of them that would be new,
    so nothing changes there; an address that another host has now is no longer theirs.
    """
    taken = {address for host in fleet.hosts for address in translated.every(host)}
    kept = [one for one in before if one.right not in taken]
    ipv4 = {one.peer: one.right for one in kept if isinstance(one.right, IPv4Address)}
    ipv6 = {one.peer: one.right for one in kept if isinstance(one.right, IPv6Address)}
    hosts = (
        host._replace(ipv4=ipv4.get(host.id), ipv6=ipv6.get(host.id)) if host.lost else host
        for host in fleet.hosts
    )
    return fleet._replace(hosts=tuple(hosts))


def limited(wanted: Sequence[Connection], limit: str, before: Sequence[Connection]) -> tuple[Connection, ...]:
    """Return connections at no later stage than ``limit``, but for those that are past it already.

    ``before`` is what the host has. A roll-out goes through the stages so: a pair is configured at both ends
    before one end starts it, and up before anything requires it. A connection with another name or address is
    new, but for ``require``: that goes down by an edit of its stage alone.
    """
    there = _reached(before)
    found = []
    for one in wanted:
        most = max(STAGES.index(limit), *(there.get(key, 0) for key in _identities(one)))
        found.append(one._replace(stage=STAGES[min(most, STAGES.index(one.stage))]))
    return tuple(found)


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


# What a pillar that reads well can still get wrong -------------------------------------------


def problems(fleet: Fleet) -> list[Problem]:
    """Return what is wrong with rules and expectations of a fleet whose parts are valid."""
    found = [
        *_empty_rules(fleet),
        *_idle_rules(fleet),
        *_familyless_pairs(fleet),
        *translated.problems(fleet.hosts, lambda some: pairs(fleet._replace(hosts=some), maintenance=True)),
    ]
    return [*found, *_unguarded(fleet), *_bypassed(fleet)]


def _bypassed(fleet: Fleet) -> Iterator[Problem]:
    """Refuse the plugin whose policies for a host's own networks come before those of every connection."""
    path = plane.loads(fleet.settings.charon, "bypass-lan")
    if path and any(rule.stage == REQUIRE for rule in fleet.rules):
        yield Problem(
            f"ipsec:charon:{path}",
            "found bypass-lan beside a rule of stage 'require': what it passes by goes in the clear",
            "no, or no rule of stage 'require'",
        )


def _unguarded(fleet: Fleet) -> Iterator[Problem]:
    """Refuse what only the kernel can keep: where charon does ESP, its own packets meet the policies, too."""
    if plane.chosen(fleet.settings) == plane.KERNEL:
        return
    for index, rule in enumerate(fleet.rules):
        if rule.stage == REQUIRE:
            yield Problem(
                f"ipsec:rules:{index}:stage",
                "found 'require', while charon does ESP itself (kernel-libipsec)",
                "off, passive, start",
            )


def _empty_rules(fleet: Fleet) -> Iterator[Problem]:
    for index, rule in enumerate(fleet.rules):
        if next(_rule_pairs(rule, fleet.hosts), None) is None:
            yield Problem(f"ipsec:rules:{index}", *_why_empty(rule, fleet.hosts))


def _idle_rules(fleet: Fleet) -> Iterator[Problem]:
    """Refuse rules that decide for no pair: what they say about its stage counts for nobody."""
    for index, rule in enumerate(fleet.rules):
        before = fleet._replace(rules=fleet.rules[:index])
        deciding = (rule_for(before, *pair) for pair in _rule_pairs(rule, fleet.hosts))
        first = next(deciding, None)
        if first is not None and all(deciding):
            yield Problem(
                f"ipsec:rules:{index}",
                f"rule {rule.name!r} never decides: rules before it, as {first.name!r}, fit all of its pairs",
                "a place before those rules, or no such rule",
            )


def shadowed(fleet: Fleet, host: Host) -> tuple[str, ...]:
    """Say for which peers of a host a rule of an earlier stage decides, though a later rule asks for more."""
    found: dict[tuple[Rule, Rule], list[str]] = {}
    for other in fleet.hosts if len(fleet.rules) > 1 else ():
        fitting = [rule for rule in fleet.rules if applies(rule, host, other)]
        most = max(fitting, key=lambda rule: STAGES.index(rule.stage), default=None)
        if most is not None and most.stage != fitting[0].stage:
            found.setdefault((fitting[0], most), []).append(other.id)
    return tuple(
        f"rule {most.name!r} ({most.stage}) does not decide for {host.id} with {few(others)}: "
        f"rule {first.name!r} ({first.stage}) comes first"
        for (first, most), others in found.items()
    )


def few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"


def _why_empty(rule: Rule, hosts: Sequence[Host]) -> tuple[str, str]:
    for side, selector in (("between", rule.between), ("and", rule.and_)):
        for label, values in selector:
            known = {host.labels[label] for host in hosts if label in host.labels}
            if not known:
                labels = {name for host in hosts for name in host.labels}
                return (
                    f"rule {rule.name!r} matches no pair: no host has the label {label!r} of '{side}'",
                    nearest(label, labels),
                )
            if not known & values:
                return (
                    f"rule {rule.name!r} matches no pair: no host has {label} {' or '.join(sorted(values))}",
                    nearest(sorted(values)[0], known),
                )
    labels = {name for host in hosts for name in host.labels}
    for joint, names in (("same", rule.same), ("different", rule.different)):
        for label in names:
            if label not in labels:
                found = f"rule {rule.name!r} matches no pair: no host has the label {label!r} of '{joint}'"
                return found, nearest(label, labels)
    joins = [*(f"same {label}" for label in rule.same), *(f"different {label}" for label in rule.different)]
    return (
        f"rule {rule.name!r} matches no pair" + (f" with {' and '.join(joins)}" if joins else ""),
        "labels that at least two hosts fit",
    )


def _familyless_pairs(fleet: Fleet) -> Iterator[Problem]:
    """Find pairs that could not be encrypted at all, since they share no address family."""
    lacking = [
        [host for host in fleet.hosts if host.address(family) is None and not host.lost]
        for family in FAMILIES
    ]
    found: Pairs = {}
    for rule in fleet.rules:
        for sides in (lacking, lacking[::-1]):
            for one, other in _rule_pairs(rule, *sides):
                found.setdefault((min(one.id, other.id), max(one.id, other.id)), rule)
    for (one_id, other_id), rule in sorted(found.items(), key=lambda item: item[0]):
        if rule.stage != "off":
            yield Problem(
                f"ipsec:hosts:{one_id}",
                f"no address family in common with {other_id}, its peer by rule {rule.name!r}",
                "'ipv4' at both hosts or 'ipv6' at both",
            )
