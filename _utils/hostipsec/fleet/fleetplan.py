"""What a pillar edit would do to the whole fleet: the hosts' own plans brought together, by pair.

Each host says what its states would change (:func:`answer`); here both ends of a pair are joined, what is
alike is told once, and it is said where only one end would change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..model import Connection, Fleet
from ..pillar import doubts, topology, translated, unmanaged
from ..strongswan import childname, difference, shared
from . import authentication, objections
from .authentication import Refusal

# the states that are asked, by their name in an SLS file
CONFIGURED, CERTIFICATES = "ipsec.configured", "ipsec.certificate_reused"
GUARD, ROUTES = "ipsec.guarded", "ipsec.routes_present"
ALL = "all connections"  # what ipsec.configured changes for them alike
SYSCTL, PACKAGES = "sysctl.present", "pkg.installed"
# a host runs connections; has none yet; has some and shall have none; keeps what it has; has nothing of ours
MEMBER, ENTERS, LEAVES, RESTS, OUTSIDE = "member", "enters", "leaves", "maintenance", "outside"
STANDINGS = (MEMBER, ENTERS, LEAVES, RESTS, OUTSIDE)
SERVING = (MEMBER, ENTERS)
ADDED, REMOVED, RENAMED, CHANGED = "added", "removed", "renamed", "changed"
NOTHING, FAILED, SOMETHING = 0, 1, 3  # exit status; 2 is for a pillar that is wrong
GONE, RESTING = "no longer in the pillar", "in maintenance"
_NO_SITE, _GONE_SITE = "no site", "gone"
_ALIKE = ("stage", "options", "mtu", "clear", "only")
_MIRRORED = {
    "left": "right",
    "right": "left",
    "leftid": "rightid",
    "rightid": "leftid",
    **dict(zip(_ALIKE, _ALIKE)),
}

HostPlan = dict[str, Any]
HostPlans = Mapping[str, HostPlan]
Key = tuple[str, str, str]  # the pair's minion ids, the initiator first, and the family
Fact = tuple[str, str]  # what changes, and how: ("margintime", "13m -> 5m")


# One host ------------------------------------------------------------------------------------


def answer(
    standing: str,
    connections: Sequence[Connection],
    former: Sequence[Connection],
    changes: Mapping[str, Mapping[str, object]],
    warnings: Sequence[str] = (),
    configured: int = 0,
) -> HostPlan:
    """Return what one host says, as plain data.

    ``connections``  what the pillar gives it, by name
    ``former``       what it was given last, by name: peer, family and stage
    ``changes``      by state, what that reports in test mode; states without changes are left out
    ``configured``   number of connections in its files now
    """
    return {
        "standing": standing,
        "connections": {one.name: _plain(one) for one in connections},
        "former": {one.name: {"peer": one.peer, "family": one.family, "stage": one.stage} for one in former},
        "configured": configured,
        "changes": {state: dict(found) for state, found in changes.items() if found},
        "warnings": list(warnings),
    }


def _plain(connection: Connection) -> dict[str, object]:
    return {"name": connection.name, **connection.as_dict()}


# The fleet -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What happens to one connection of a pair, as both its ends say."""

    one: str  # minion ids; the first is the initiator
    other: str
    family: str
    change: str  # added, removed, renamed, changed
    why: str  # the rule that makes the pair, or why there is none any more
    sites: tuple[str, str]
    ends: tuple[str, ...]  # the hosts that would change something
    options: Mapping[str, Mapping[str, Mapping[str, Optional[str]]]]  # host -> option -> old and new
    stages: frozenset[Fact] = frozenset()
    disagree: str = ""  # why the ends would not agree afterwards
    settled: bool = False  # only one end changes, and the other is so already

    @property
    def facts(self) -> frozenset[Fact]:
        """Return what changes, said without sides: the address of a host is left here and right there."""
        return self.stages | {
            self._fact(host, option, change)
            for host, options in self.options.items()
            for option, change in childname.untold(options).items()
        }

    def _fact(self, host: str, option: str, change: Mapping[str, Optional[str]]) -> Fact:
        sides = {"left": host, "right": self.other if host == self.one else self.one}
        for side, whose in sides.items():
            if option in (side, f"{side}id"):
                what = f"address {self.family}" if option == side else "identity"
                return f"{what} of {whose}", arrow(change)
        if option == "leftcert":
            return "leftcert", "another file"
        if option == childname.OPTION:
            return option, "another name"
        if option == "reqid":  # of what a rule's only sends
            return "reqid", "another number"
        return option, arrow(change)


@dataclass(frozen=True)
class FleetPlan:
    """What would change in the fleet."""

    rows: tuple[Row, ...]
    answers: HostPlans
    missing: tuple[str, ...]  # asked for, and not known
    strangers: tuple[str, ...]  # the fleet has them as members, their own pillar has not
    expectations: int
    chosen: Collection[str]  # names in strongswan.conf that are the pillar's
    members: frozenset[str]  # hosts of the pillar
    refusals: tuple[Refusal, ...] = ()  # who would refuse whom, with what the plans bring
    doubts: tuple[str, ...] = ()  # what in the pillar may not be meant
    unmanaged: tuple[str, ...] = ()  # hosts that Salt does not manage, and that members pair with
    objections: tuple[str, ...] = ()  # what stops it at single hosts

    @property
    def status(self) -> int:
        """Return the exit status."""
        wrong = self.strangers or any(self.misfits) or self.refusals or self.objections
        if self.missing or wrong:
            return FAILED
        return SOMETHING if self.hosts_to_change or self.standing(LEAVES) else NOTHING

    @property
    def foreign(self) -> tuple[str, ...]:
        """Return the hosts that their own pillar makes members, and that the fleet does not have."""
        serving = (host for host, found in self.answers.items() if found["standing"] in SERVING)
        return tuple(sorted(host for host in serving if host not in self.members))

    @property
    def hosts_to_change(self) -> tuple[str, ...]:
        """Return the hosts on which some state would change something."""
        return tuple(sorted(host for host, found in self.answers.items() if found["changes"]))

    @property
    def misfits(self) -> tuple[Row, ...]:
        """Return the rows whose ends would not agree."""
        return tuple(row for row in self.rows if row.disagree)

    def standing(self, which: str) -> tuple[str, ...]:
        """Return the hosts of that standing."""
        return tuple(sorted(host for host, found in self.answers.items() if found["standing"] == which))

    def of(self, change: str) -> tuple[Row, ...]:
        """Return the rows of one kind."""
        return tuple(row for row in self.rows if row.change == change)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        kinds = (ADDED, REMOVED, RENAMED, CHANGED)
        return {
            "enter": list(self.standing(ENTERS)),
            "leave": list(self.standing(LEAVES)),
            **{kind: [_row(row) for row in self.of(kind)] for kind in kinds},
            "restart": {host: said for host, said in self.charon.items() if said != "started"},
            "expect": self.expectations,
            "refusals": [one._asdict() for one in self.refusals],
            "doubts": list(self.doubts),
            "unmanaged": list(self.unmanaged),
            "hosts": {
                host: {
                    "standing": found["standing"],
                    "changes": found["changes"],
                    "warnings": found["warnings"],
                }
                for host, found in sorted(self.answers.items())
            },
        }

    @property
    def charon(self) -> Mapping[str, str]:
        """Return what happens to charon, by host."""
        parts = ((host, found["changes"].get(CONFIGURED, {})) for host, found in sorted(self.answers.items()))
        return {host: str(found["charon"]) for host, found in parts if "charon" in found}

    def parts(self, part: str) -> Iterable[tuple[str, Mapping[str, Mapping[str, Optional[str]]]]]:
        """Yield what changes in one part of the configuration, by host."""
        for host, found in sorted(self.answers.items()):
            if part in (changes := found["changes"].get(CONFIGURED, {})):
                yield host, changes[part]

    def keys(self, hosts: Iterable[str]) -> Collection[Key]:
        """Return the connections that the pillar gives these hosts, those of a pair once."""
        return {
            _key(host, one["peer"], one["family"])
            for host in hosts
            for one in self.answers[host]["connections"].values()
        }


def join(fleet: Fleet, answers: HostPlans, missing: Collection[str] = ()) -> FleetPlan:
    """Bring the hosts' answers together.

    ``answers``  by minion id, what :func:`answer` returned there
    ``missing``  hosts that were asked and gave none; hosts that were not asked are neither here nor there
    """
    serving = {pair: rule.name for pair, rule in topology.pairs(fleet).items()}
    sites = {host.id: host.label("site", _NO_SITE) for host in fleet.hosts}
    why, sides = _Why(fleet, serving), _sides(answers, translated.Seen(fleet.hosts))
    rows = []
    for (key, change), ends in sorted(_ends(answers).items()):
        one, other, _ = key
        places = sorted(sites.get(host, _GONE_SITE) for host in (one, other))
        options = {host: dict(found) for host, found in sorted(ends.items()) if found}
        joint = change != CHANGED or _mirrors(options)
        disagree = _disagree(key, sides, missing) if joint else ""
        serve = all(host in answers and answers[host]["standing"] in SERVING for host in (one, other))
        rows.append(
            Row(
                *key,
                change,
                why(change, one, other),
                (places[0], places[1]),
                tuple(sorted(ends)),
                options,
                frozenset(_stages(key, ends, sides)) if change == CHANGED else frozenset(),
                disagree,
                settled=joint and change != RENAMED and serve and len(ends) == 1 and not disagree,
            )
        )
    members = {host for pair in serving for host in pair}
    strangers = sorted(host for host in members & {*answers} if answers[host]["standing"] not in SERVING)
    chosen = difference.chosen(fleet.settings)
    return FleetPlan(
        tuple(rows),
        answers,
        tuple(sorted(missing)),
        tuple(strangers),
        len(fleet.expectations),
        chosen,
        frozenset(sites),
        authentication.refusals(serving, authentication.of(answers)),
        doubts.told(fleet),
        tuple(sorted(unmanaged.strangers(fleet.hosts) & {host for pair in serving for host in pair})),
        (*objections.astray(answers), *objections.unpaired(fleet, answers)),
    )


def concerned(fleet: Fleet, answers: HostPlans) -> frozenset[str]:
    """Return the hosts whose silence matters: those that have peers, or had some by what others say."""
    members = {host for pair in topology.pairs(fleet) for host in pair}
    resting = {host.id for host in fleet.hosts if host.maintenance}
    alone = {host.id for host in fleet.hosts if not host.managed}
    former = {one["peer"] for found in answers.values() for one in found["former"].values()}
    return frozenset((members | (former - resting)) - alone)


# Both ends -----------------------------------------------------------------------------------

Options = Mapping[str, Mapping[str, Optional[str]]]
Sides = Mapping[str, Mapping[str, Mapping[Key, Mapping[str, Any]]]]


def _key(host: str, peer: str, family: str) -> Key:
    return (host, peer, family) if unmanaged.is_initiator(host, peer) else (peer, host, family)


def _ends(answers: HostPlans) -> dict[tuple[Key, str], dict[str, Options]]:
    """Return what each end does, by connection and kind of change."""
    found: dict[tuple[Key, str], dict[str, Options]] = {}
    for host, said in answers.items():
        changes = said["changes"].get(CONFIGURED, {}).get("connections", {})
        verbs: dict[Key, dict[str, Options]] = {}
        for name in changes.get("added", ()):
            verbs.setdefault(_named(host, name, said), {})[ADDED] = {}
        for name in changes.get("removed", ()):
            verbs.setdefault(_named(host, name, said, "former"), {})[REMOVED] = {}
        for name, options in changes.get("changed", {}).items():
            old, new = _named(host, name, said, "former"), _named(host, name, said)
            if name in said["former"] and old != new:  # a short name that is another host's now
                verbs.setdefault(old, {})[REMOVED] = {}
                verbs.setdefault(new, {})[ADDED] = {}
            else:
                verbs.setdefault(new, {})[CHANGED] = options
        for key, kinds in verbs.items():
            anew = {RENAMED: {}} if ADDED in kinds and REMOVED in kinds else kinds
            for kind, options in anew.items():
                found.setdefault((key, kind), {})[host] = options
    return found


def _named(host: str, name: str, said: HostPlan, where: str = "connections") -> Key:
    """Return the connection that a host calls so; one that no record knows has the name for a peer."""
    short, _, family = name.rpartition("_")
    one = said[where].get(name, {"peer": short or name, "family": family if short else ""})
    return _key(host, one["peer"], one["family"])


def _sides(answers: HostPlans, seen: translated.Seen) -> Sides:
    """Return what each host had and shall have, by connection of a pair; its address as peers have it."""
    return {
        host: {
            where: {_key(host, one["peer"], one["family"]): seen(host, one) for one in said[where].values()}
            for where in ("former", "connections")
        }
        for host, said in answers.items()
    }


def _stages(key: Key, ends: Iterable[str], sides: Sides) -> Iterable[Fact]:
    for host in ends:
        old, new = (sides[host][where].get(key) for where in ("former", "connections"))
        if old and new and old["stage"] != new["stage"]:
            yield "stage", f"{old['stage']} -> {new['stage']}"


def _mirrors(options: Mapping[str, Options]) -> bool:
    """Whether an option changes that the other end has on its other side."""
    return any({*found} & {*_MIRRORED, *shared.OF_A_RULE} for found in options.values())


def _disagree(key: Key, sides: Sides, missing: Collection[str]) -> str:
    """Say why the ends would not agree afterwards; empty where they would, or one was not asked."""
    one, other, _ = key
    silent = [host for host in (one, other) if host in missing]
    if silent:
        return f"{' and '.join(silent)} gave no plan"
    if one not in sides or other not in sides:
        return ""
    mine, theirs = (sides[host]["connections"].get(key) for host in (one, other))
    if mine is None and theirs is None:
        return ""
    if mine is None or theirs is None:
        lacks, has = (one, other) if mine is None else (other, one)
        return f"the pillar of {has} has {lacks} as a peer, that of {lacks} does not have {has}"
    wrong = [side for side, opposite in _MIRRORED.items() if mine.get(side) != theirs.get(opposite)]
    return f"{one} and {other} have pillars that differ: {', '.join(wrong)}" if wrong else ""


class _Why:
    """Says why a pair is there, or no longer."""

    def __init__(self, fleet: Fleet, serving: Mapping[tuple[str, str], str]) -> None:
        self._fleet, self._serving = fleet, serving
        self._hosts = {host.id: host for host in fleet.hosts}

    def __call__(self, change: str, one: str, other: str) -> str:
        if change != REMOVED:
            name = self._serving.get((min(one, other), max(one, other)))
            return f"rule {name}" if name else GONE
        if not {one, other} <= {*self._hosts}:
            return GONE
        if self._hosts[one].maintenance or self._hosts[other].maintenance:
            return RESTING
        rule = topology.rule_for(self._fleet, self._hosts[one], self._hosts[other])
        if rule is None:
            return "no rule pairs them"
        return f"rule {rule.name} has stage off" if rule.stage == "off" else f"rule {rule.name}"


# Plain data ----------------------------------------------------------------------------------


def _row(row: Row) -> dict[str, Any]:
    names = ("one", "other", "family", "why", "disagree")
    return {
        **{name: getattr(row, name) for name in names},
        "sites": list(row.sites),
        "ends": list(row.ends),
        "options": {host: dict(found) for host, found in row.options.items()},
    }


def arrow(change: Mapping[str, Optional[str]]) -> str:
    """Return an old and a new value in words."""
    return " -> ".join("unset" if change[when] is None else str(change[when]) for when in ("old", "new"))
