"""The part of the fleet's pillar that one host is given: itself, its peers, and what holds for all.

A part is a pillar again, so that a host reads it as it reads the whole. Of the fleet's hosts it has those
that rules pair it with, and in place of their labels the number of the rule that decides; of such a rule it
has all but whom it fits. What has to hold of the whole was checked there; key ``part`` says what came of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..answer import counted
from ..errors import HostIPsecError, PillarError, Problem
from ..model import Address, Fleet, Host, Part, Rule
from ..strongswan.kinds import word
from . import digest, doubts, pillar, topology
from .found import Found

KEY = "part"
_OF_ALL = ("hosts", "rules", "labels", "expect", "addresses")  # what a part has not, or otherwise
_WHOM = ("name", "between", "and", "same", "different")  # what a rule of a part has otherwise
_SHOWN = "site"  # the label that hosts show of each other
_RULE = "rule"  # the label that stands for all others
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_MOST = 20  # errors that are told to each host
_DAMAGED = "a part as the master's ext_pillar gives it; no other pillar has anything below 'ipsec'"
Partners = Mapping[str, Sequence[tuple[str, int]]]  # minion id -> others, and the number of the rule


# At the master -------------------------------------------------------------------------------


class Whole:
    """The pillar of a fleet, put in order once, so that the part of a host takes what that part is long."""

    def __init__(self, data: Mapping[str, Any], fleet: Fleet) -> None:
        """Take what stands below ``ipsec``, and what that means."""
        self.data, self.fleet = data, fleet
        self._hosts = {host.id: host for host in fleet.hosts}
        self._entries = {word(name): entry or {} for name, entry in data["hosts"].items()}
        self._peers, self._several = _partners(fleet)
        self._settings = {key: value for key, value in data.items() if key not in _OF_ALL}

    def part(self, minion_id: str) -> dict[str, Any]:
        """Return the part of a host, below ``ipsec``; nothing for a host that the fleet does not have."""
        host = self._hosts.get(minion_id)
        if host is None:
            return {}
        deciding = dict(self._peers.get(minion_id, ()))
        numbers = sorted({*deciding.values()})
        members = [(host, ""), *((self._hosts[peer], str(rule)) for peer, rule in deciding.items())]
        known = {one.id for one, _ in members}

        def told(text: str) -> str:
            return veiled(text, lambda name: name in self._hosts and name not in known)

        return _sealed(
            minion_id,
            {
                **self._settings,
                "hosts": {one.id: self._entry(one, rule) for one, rule in members},
                "rules": [self._rule(number, minion_id) for number in numbers],
            },
            warnings=[*map(told, self._warnings(minion_id))],
            looked_up=sorted(one.id for one, _ in members if self._is_looked_up(one)),
            lost={
                one.id: [[told(each.found), each.allowed] for each in one.lost]
                for one, _ in members
                if one.lost
            },
        )

    def _entry(self, host: Host, rule: str) -> dict[str, Any]:
        """Return what the part says of a host: its labels but one are the master's alone."""
        said = self._entries[host.id]
        kept = (*pillar.HOST_KEYS, _SHOWN)
        entry = {key: said[key] for key in kept if key in said and key != "addresses"}
        looked_up = _addresses(host) if self._is_looked_up(host) else {}
        return {**entry, **looked_up, **({_RULE: rule} if rule else {})}

    def _is_looked_up(self, host: Host) -> bool:
        return not {*pillar.ADDRESS_KEYS} & {*self._entries[host.id]}

    def _rule(self, number: int, minion_id: str) -> dict[str, Any]:
        name, said = self.fleet.rules[number].name, self.data["rules"][number]
        sides = {"name": name, "between": {"id": minion_id}, "and": {_RULE: str(number)}}
        return {**sides, **{key: value for key, value in said.items() if key not in _WHOM}}

    def _warnings(self, minion_id: str) -> list[str]:
        return [*map(str, doubts.overruled(self.fleet, self._several.get(minion_id, {})))]


def _partners(fleet: Fleet) -> tuple[Partners, Mapping[str, topology.Fitting]]:
    """Return by host whom the first rule pairs it with, and its pairs that further rules fit; by id."""
    number = {rule.name: index for index, rule in enumerate(fleet.rules)}
    peers: dict[str, list[tuple[str, int]]] = {}
    several: dict[str, dict[tuple[str, str], Sequence[Rule]]] = {}
    for pair, rules in topology.fitting(fleet).items():
        for host, partner in (pair, pair[::-1]):
            if rules[0].stage != "off":
                peers.setdefault(host, []).append((partner, number[rules[0].name]))
            if len(rules) > 1:
                several.setdefault(host, {})[pair] = rules
    return peers, several


def _addresses(host: Host) -> dict[str, str]:
    found: dict[str, Address | None] = {"ipv4": host.ipv4, "ipv6": host.ipv6}
    return {key: str(address) for key, address in found.items() if address is not None}


def veiled(text: str, is_other: Callable[[str], bool]) -> str:
    """Return a text without the ids of other hosts, of which a minion is to know nothing."""
    return _NAME.sub(lambda found: "another host" if is_other(found[0]) else found[0], text)


def refused(error: HostIPsecError, minion_id: str, hosts: Collection[str] = ()) -> dict[str, Any]:
    """Return, in place of a part, why there is none: a host that reads it changes nothing.

    ``hosts`` are those of the fleet, as far as they are known: what is wrong at others is not told here.
    """
    problems = (
        error.problems if isinstance(error, PillarError) else (Problem("ipsec", str(error), "to be asked"),)
    )
    there = [one for one in problems if not _is_of_another(one.path, minion_id)]

    def is_other(name: str) -> bool:
        return name in hosts and name != minion_id

    told = [[veiled(text, is_other) for text in one] for one in there[:_MOST]]
    if more := len(problems) - len(told):
        told.append(["ipsec", f"{counted(more, 'error')} more", "see salt-run ipsec.check, at the master"])
    return _sealed(minion_id, {}, errors=told)


def _is_of_another(path: str, minion_id: str) -> bool:
    key = "ipsec:hosts:"
    return path.startswith(key) and path[len(key) :].partition(":")[0] != minion_id


def _sealed(minion_id: str, rest: Mapping[str, object], **said: object) -> dict[str, Any]:
    """Return a part with a mark of all that it says: what another pillar adds to it is noticed."""
    part = {"of": minion_id, **{key: value for key, value in said.items() if value}}
    plain = _plain({**rest, KEY: part})
    plain[KEY]["mark"] = digest.of(plain)
    return plain


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    return {word(key): digest.plain(value) for key, value in data.items()}


# At a host -----------------------------------------------------------------------------------


def read(data: Mapping[str, Any]) -> Fleet:
    """Return the fleet as a host's part has it. Raises PillarError with every problem found."""
    plain = _plain(data)
    said = _unsealed(plain)
    if errors := [Problem(*map(str, one)) for one in said.get("errors", ())]:
        raise PillarError(errors)
    found = {
        host: Found(wrong=tuple((str(a), str(b)) for a, b in lost))
        for host, lost in said.get("lost", {}).items()
    }
    rest = {key: value for key, value in plain.items() if key != KEY}
    told, looked_up = (tuple(map(str, said.get(key, ()))) for key in ("warnings", "looked_up"))
    return pillar.read(rest, found, Part(said["of"], told, looked_up))


def _unsealed(data: Mapping[str, Any]) -> Mapping[str, Any]:
    part = data[KEY]
    if not isinstance(part, dict) or not isinstance(part.get("of"), str):
        raise PillarError([Problem(f"ipsec:{KEY}", "found something else", _DAMAGED)])
    mark = part.pop("mark", "")
    if mark != digest.of(data):
        raise PillarError(
            [Problem(f"ipsec:{KEY}", "found a part that is not as the master gave it", _DAMAGED)]
        )
    return part
