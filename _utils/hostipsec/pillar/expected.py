"""What an operator expects of the fleet (``expect``), and whether rules and hosts make it so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import Problem
from ..model import Fleet, Host, Rule, Selector
from . import topology

_Values = tuple[str, ...]  # of some labels of a host
_Alike = dict[_Values, dict[_Values, list[str]]]  # ids by their values of `same`, then of `different`


def problems(fleet: Fleet) -> Iterator[Problem]:
    """Yield what is not as expected; hosts in maintenance count, or each would break it.

    Hosts are put in order once a rule; what is expected of one host is then found in the size of its answer.
    """
    hosts = {host.id: host for host in fleet.hosts}
    sides = [(rule, _Sides(rule, fleet.hosts)) for rule in fleet.rules] if fleet.expectations else []
    for index, expected in enumerate(fleet.expectations):
        path, host = f"ipsec:expect:{index}", hosts.get(expected.host)
        if host is None:
            continue
        found = _peers(sides, host)
        if expected.pairs_with is not None and expected.pairs_with not in found:
            shown = topology.few(sorted(found)) or "no host"
            yield Problem(path, f"{host.id} pairs with {shown}", f"a pair with {expected.pairs_with}")
        if expected.peers is not None and expected.peers != len(found):
            yield Problem(path, f"{host.id} has {len(found)} peers", f"{expected.peers} peers")


class _Sides:
    """The hosts of both sides of a rule, by the labels that join them."""

    def __init__(self, rule: Rule, hosts: Sequence[Host]) -> None:
        self._rule = rule
        joined = [host for host in hosts if topology.labelled(rule, host)]
        self._sides = (
            (rule.between, self._alike(rule.and_, joined)),
            (rule.and_, self._alike(rule.between, joined)),
        )

    def _alike(self, selector: Selector, hosts: Sequence[Host]) -> _Alike:
        found: _Alike = {}
        for host in hosts:
            if topology.matches(selector, host):
                alike = found.setdefault(topology.values_of(host, self._rule.same), {})
                alike.setdefault(topology.values_of(host, self._rule.different), []).append(host.id)
        return found

    def partners(self, host: Host) -> set[str]:
        """Return the hosts that the rule fits together with one."""
        found: set[str] = set()
        if not topology.labelled(self._rule, host):
            return found
        mine, same = (topology.values_of(host, labels) for labels in (self._rule.different, self._rule.same))
        for selector, others in self._sides:
            if topology.matches(selector, host):
                for theirs, some in others.get(same, {}).items():
                    if all(one != other for one, other in zip(mine, theirs)):
                        found.update(some)
        return found - {host.id}


def _peers(sides: Sequence[tuple[Rule, _Sides]], host: Host) -> set[str]:
    """Return the peers of a host: for each pair the first rule that fits it decides."""
    decided: set[str] = set()
    paired: set[str] = set()
    for rule, both in sides:
        fitting = both.partners(host) - decided
        decided |= fitting
        paired |= fitting if rule.stage != "off" else set()
    return paired
