"""What an edit of the pillar means for the fleet, from both pillars alone, before any host is asked.

Each host's plan is reckoned as if the host were what the old pillar says; :mod:`.fleetplan` brings them
together and :mod:`.planwords` says them, as those that hosts give. What only a host knows (certificates, its
kernel, what is held there) is in no such plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ..kernel import guard
from ..model import Certificates, Connection, Fleet, Host, Settings
from ..pillar import membership, topology
from ..strongswan import defaults, difference, sections
from ..strongswan.sections import Configuration, Secret
from . import fleetplan
from .fleetplan import FleetPlan, HostPlan

_FILE = "host.pem"  # of certificate and key: the same before and after
_PLAIN = ("backend", "existing", "metrics", "vici", "weak")  # settings that are said by their key
_FILES = ("certificate", "key", "ca", "crl")  # paths, of which nobody knows here what is there
_ASK = "what is in that file, salt-run ipsec.plan asks"
_V6 = 2**32  # the first of the IPv6 addresses that stand for some that nobody knows: no host has one of these
_Given = tuple[Connection, ...]


def plan(old: Fleet, new: Fleet) -> FleetPlan:
    """Return what would change in a fleet that runs the one, if it were given the other.

    Hosts whose addresses are not known, since they are looked up, count as if they kept theirs.
    """
    before, after = map(_Fleet, _addressed(old, new))
    managed = {host.id: host.managed for fleet in (old, new) for host in fleet.hosts}  # by the new one
    hosts = sorted(host for host, is_ours in managed.items() if is_ours)
    return fleetplan.join(after.fleet, {host: _host(before, after, host) for host in hosts})


def unknown(old: Fleet, new: Fleet) -> tuple[str, ...]:
    """Return the ids of the hosts whose addresses one of the two does not know."""
    return tuple(sorted({host.id for fleet in (old, new) for host in fleet.hosts if host.lost}))


def _addressed(old: Fleet, new: Fleet) -> tuple[Fleet, Fleet]:
    """Return both with addresses for all hosts: those of the other one, or what stands for some."""
    stand_ins = {
        name: (IPv4Address(number), IPv6Address(_V6 + number))
        for number, name in enumerate(unknown(old, new), 1)
    }
    if not stand_ins:
        return old, new
    known = {
        host.id: (host.ipv4, host.ipv6)
        for host in itertools.chain(old.hosts, new.hosts)
        if host.id in stand_ins and not host.lost
    }

    def found(host: Host) -> Host:
        ipv4, ipv6 = known.get(host.id, stand_ins[host.id])
        return host._replace(ipv4=ipv4, ipv6=ipv6, lost=())

    first, second = (
        fleet._replace(hosts=tuple(found(host) if host.lost else host for host in fleet.hosts))
        for fleet in (old, new)
    )
    return first, second


class _Fleet:
    """A fleet of which the connections of a host are found in the size of what they are."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.settings = fleet, fleet.settings
        self._hosts = {host.id: host for host in fleet.hosts}
        self._partners: dict[str, list[str]] = {}
        for one, other in topology.fitting(fleet):
            self._partners.setdefault(one, []).append(other)
            self._partners.setdefault(other, []).append(one)

    def rests(self, host: str) -> bool:
        """Whether a host is in maintenance."""
        return host in self._hosts and self._hosts[host].maintenance

    def connections(self, host: str) -> _Given:
        """Return the connections of a host."""
        return topology.connections(self._around(host), host)

    def guarded(self, host: str, connections: _Given) -> frozenset[guard.Policy]:
        """Return the policies of its guard; those are its connections."""
        return guard.wanted((*connections, *topology.barred(self._around(host), host)))

    def recorded(self, host: str, connections: _Given) -> tuple[object, ...]:
        """Return what a host keeps on record, but for what is barred; those are its connections."""
        around = self._around(host)
        here = membership.Membership(around, self._hosts[host], connections)
        resting = here.resting if any(one.maintenance for one in around.hosts) else ()
        return connections, self.settings.mtu, resting, here.site, here.sites

    def settings_of(self, host: str) -> Settings:
        """Return the settings that hold for a host."""
        own = self._hosts[host].backend if host in self._hosts else ""
        return self.settings._replace(backend=own or self.settings.backend)

    def authorities(self, connections: _Given) -> dict[str, str]:
        """Return where their host has the CAs of peers that Salt does not manage, by peer."""
        peers = (self._hosts[one.peer] for one in connections)
        return {peer.id: peer.ca for peer in peers if not peer.managed}

    def _around(self, host: str) -> Fleet:
        names = [host, *self._partners.get(host, ())]
        return self.fleet._replace(hosts=tuple(self._hosts[one] for one in names if one in self._hosts))


def _host(before: _Fleet, after: _Fleet, host: str) -> HostPlan:
    old, new = before.connections(host), after.connections(host)
    if not new:
        rests = fleetplan.RESTS if after.rests(host) else ""
        standing = rests or (fleetplan.LEAVES if old else fleetplan.OUTSIDE)
        return fleetplan.answer(standing, (), old, {}, configured=len(old))
    changes: dict[str, Mapping[str, object]] = {
        fleetplan.CONFIGURED: {
            **_configured(before.settings_of(host), old, after.settings_of(host), new),
            **_authorities(before.authorities(old), after.authorities(new)),
        },
        fleetplan.ROUTES: _routes(_sizes(old, before.settings), _sizes(new, after.settings)),
        fleetplan.GUARD: _guard(before.guarded(host, old), after.guarded(host, new)),
        **_system(before.settings if old else Settings(after.settings.certificates), after.settings),
    }
    same = before.recorded(host, old) == after.recorded(host, new) if old else True
    if not changes[fleetplan.CONFIGURED] and (changes[fleetplan.GUARD] or not same):
        changes[fleetplan.CONFIGURED] = {"mesh.json": "rewritten"}
    standing = fleetplan.MEMBER if old else fleetplan.ENTERS
    return fleetplan.answer(standing, new, old, changes, configured=len(old))


def _configured(before: Settings, old: _Given, after: Settings, new: _Given) -> dict[str, object]:
    """Return what state ``ipsec.configured`` would report."""
    if (old, before) == (new, after):
        return {}
    there = _configuration(old, before) if old else Configuration(ours=False)
    differs = difference.between(there, _configuration(new, after))
    changes = differs.as_changes()
    if not old:
        return {**changes, "charon": "started"}
    for key in _PLAIN:
        if getattr(before, key) != getattr(after, key):
            changes[f"ipsec:{key}"] = _arrow(getattr(before, key), getattr(after, key))
    changes.update(_certificates(before.certificates, after.certificates))
    if restart := differs.restart_reasons(difference.chosen(after)):
        changes["charon"] = f"restarted ({'; '.join(restart)})"
    return changes


def _certificates(old: Certificates, new: Certificates) -> dict[str, str]:
    """Return what hosts would prove themselves by from now on, by key of the pillar."""
    pairs = zip(old._fields, zip(old, new))
    found = {key: _arrow(*both) for key, both in pairs if both[0] != both[1]}
    return {
        f"ipsec:certificates:{key}": f"{said}; {_ASK}" if key in _FILES else said
        for key, said in found.items()
    }


def _authorities(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return by which CAs peers that Salt does not manage would prove themselves, of those it had before."""
    return {
        f"ipsec:hosts:{peer}:ca": f"{_arrow(old[peer], new[peer])}; {_ASK}"
        for peer in sorted({*old} & {*new})
        if old[peer] != new[peer]
    }


def _arrow(old: object, new: object) -> str:
    """Return an old and a new setting in words, where they are words."""
    if all(isinstance(one, (str, int, type(None))) for one in (old, new)):
        return " -> ".join("unset" if one in (None, "") else str(one) for one in (old, new))
    return "changed"


def _configuration(connections: _Given, settings: Settings) -> Configuration:
    return sections.configuration(connections, settings, _FILE, Secret("RSA", _FILE))


def _sizes(connections: _Given, settings: Settings) -> dict[str, int]:
    """Return the MTU that is locked for the routes to peers, by their address; of those that have one."""
    found = {str(one.right): one.mtu or settings.mtu for one in connections}
    return {address: mtu for address, mtu in found.items() if mtu is not None}


def _routes(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, object]:
    """Return what state ``ipsec.routes_present`` would report, but for the way that only a host knows."""
    was, wanted = ({one: f"{one} mtu lock {mtu}" for one, mtu in sizes.items()} for sizes in (old, new))
    parts: dict[str, dict[str, object]] = {
        "added": {one: wanted[one] for one in sorted({*new} - {*old})},
        "replaced": {
            one: {"old": was[one], "new": wanted[one]}
            for one in sorted({*new} & {*old})
            if new[one] != old[one]
        },
        "deleted": {one: was[one] for one in sorted({*old} - {*new})},
    }
    return {verb: found for verb, found in parts.items() if found}


def _guard(old: frozenset[guard.Policy], new: frozenset[guard.Policy]) -> dict[str, object]:
    parts = {"added": new - old, "removed": old - new}
    return {key: [one.said for one in sorted(found)] for key, found in parts.items() if found}


def _system(old: Settings, new: Settings) -> dict[str, Mapping[str, Any]]:
    """Return sysctls and packages; one that the pillar does not have any more stays as it is."""
    was, wanted = ({**defaults.SYSCTL, **one.sysctl} for one in (old, new))
    sysctl = {
        key: {"old": was.get(key), "new": value} for key, value in wanted.items() if was.get(key) != value
    }
    packages = {name: {"old": None, "new": "installed"} for name in new.packages if name not in old.packages}
    return {fleetplan.SYSCTL: sysctl, fleetplan.PACKAGES: packages}
