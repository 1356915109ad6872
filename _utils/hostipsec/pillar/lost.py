"""Hosts whose addresses were looked up and cannot be used: such a host is lost, and no other. Pure.

A minion writes its mine itself. What is wrong with the address of one, beside the pillar's own words or
beside another's, must not make the pillar of the fleet wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ..errors import Problem
from ..model import Address, Fleet, Host
from . import faults, identity, translated


def to_others(hosts: tuple[Host, ...], looked_up: Collection[str]) -> tuple[Host, ...]:
    """Take an address away from each host for which it was looked up, if another host has it, too.

    The pillar's word counts before that of a mine; of two that a mine gives it to, either may lie.
    """
    owners: dict[Address, list[str]] = {}
    for host in hosts:
        for address in translated.every(host):
            owners.setdefault(address, []).append(host.id)
    return tuple(
        _without(host, tuple(_shared(host, owners)))
        if host.id in looked_up and any(len(owners[one]) > 1 for one in translated.every(host))
        else host
        for host in hosts
    )


def _shared(host: Host, owners: Mapping[Address, Sequence[str]]) -> Iterator[Problem]:
    for address in translated.every(host):
        for other in owners[address]:
            if other != host.id:
                found = f"found {address}, which {other} has too"
                yield Problem(f"ipsec:hosts:{host.id}", found, "an address of its own")


def misfits(fleet: Fleet, looked_up: Collection[str]) -> Fleet:
    """Take the addresses away from hosts for which what was looked up does not fit the rest of the pillar."""
    found: dict[str, list[Problem]] = {}
    for host, problem in (*identity.faults(fleet, looked_up), *_familyless(fleet)):
        if host in looked_up:
            found.setdefault(host, []).append(problem)
    hosts = (_without(host, tuple(found[host.id])) if host.id in found else host for host in fleet.hosts)
    return fleet._replace(hosts=tuple(hosts)) if found else fleet


def _familyless(fleet: Fleet) -> Iterator[tuple[str, Problem]]:
    for pair, rule in faults.familyless(fleet):
        for host, other in (pair, pair[::-1]):
            yield host, faults.no_family(host, other, rule)


def _without(host: Host, why: tuple[Problem, ...]) -> Host:
    return host._replace(ipv4=None, ipv6=None, lost=why)
