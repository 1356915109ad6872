"""Both ends of every pair brought together: what the fleet's hosts said of their connections, by pair."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Optional, Protocol, TypeVar

from ..health.report import ADDRESSLESS, SEVERITY, worst
from ..model import FAMILIES, Fleet, Host, Rule
from ..pillar import topology, unmanaged
from . import authentication, ends
from .authentication import Refusal, Told
from .ends import End
from .hostnames import few

STATES = ("up", "down", "ends disagree", "held", "maintenance", "one-way", "duplicate", "not answering")
_WORSE = ("one-way", "duplicate")  # of those that are up at both ends, the worse first
_LEAST = {"ends disagree": "critical", "not answering": "warning"}  # severities that neither end can know
_SAYS = "says: "  # before the reason that one end gives
_NO_SITE = "no site"
ALL = 8  # lines of trouble in full; what is more is told in groups, so that the rest is on the screen yet
SCREEN = 30  # lines of groups, and of what has none
MOVED = "has an SA between other addresses than the pillar says"
NUMBERS = re.compile(r" \([0-9]+ tries\)|(?<=IKE SA) [0-9]+")  # differ where all else is the same
_FEW = 2  # rows of a group that are told one by one all the same

Answers = Mapping[str, ends.Rows]  # minion id -> connections of its ipsec.status
Said = tuple[tuple[str, str], ...]  # who, empty for nobody in particular, and what


class Verdict(NamedTuple):
    """What both ends together are."""

    state: str  # one of STATES
    severity: str  # one of health's, never better than the worse of both ends
    said: Said = ()  # why


class Joined(NamedTuple):
    """One connection of a pair, as both its ends see it."""

    one: str  # minion ids; the first is the initiator
    other: str
    family: str
    stage: str
    sites: tuple[str, str]
    state: str  # these three are of the verdict
    severity: str
    said: Said = ()
    anew: str = ""  # whether the two could authenticate anew: one of authentication's; empty if nobody asks
    ends: tuple[End, ...] = ()  # what each of the two said of it, in their order
    unmanaged: str = ""  # the one of the two that Salt does not manage: the verdict is by the other's word

    @property
    def reason(self) -> str:
        """Return why, in words; empty where all is well."""
        return _sentence(self.said)

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done about it."""
        return self.severity == "ok"

    @property
    def up(self) -> bool:
        """Whether both ends have an SA that is used."""
        return self.state in ("up", *_WORSE)

    @property
    def post_quantum(self) -> Optional[bool]:
        """Whether no quantum computer finds its keys, by each end that has an SA; None where none has."""
        found = {end.post_quantum for end in self.ends} - {None}
        return found == {True} if found else None

    def __str__(self) -> str:
        """Say it on a line."""
        said = f"{self.one} - {self.other} {self.family}: {self.state}"
        return f"{said}: {self.reason}" if self.reason else said


@dataclass(frozen=True)
class View:
    """The fleet's connections, sorted; ``stray`` are sentences about what no pillar gives a host."""

    rows: tuple[Joined, ...] = ()
    stray: tuple[str, ...] = field(default=())

    @property
    def severity(self) -> str:
        """Return the worst severity."""
        stray = SEVERITY["unmanaged"] if self.stray else "ok"
        return worst(stray, *{row.severity for row in self.rows})

    @property
    def ok(self) -> bool:
        """Whether every connection is as it should be."""
        return self.severity == "ok"

    @property
    def trouble(self) -> tuple[Joined, ...]:
        """Return what is not as it should be."""
        return tuple(row for row in self.rows if not row.ok)

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of connections by state, without zeros."""
        return _counts(self.rows)

    @property
    def sites(self) -> Mapping[tuple[str, str], Mapping[str, int]]:
        """Return the number of connections by state, for each pair of sites."""
        found: dict[tuple[str, str], list[Joined]] = {}
        for row in self.rows:
            found.setdefault(row.sites, []).append(row)
        return {sites: _counts(rows) for sites, rows in sorted(found.items())}

    def only(
        self,
        site: Optional[str] = None,
        host: Optional[str] = None,
        state: Optional[str] = None,
        within: Sequence[str] = (),
    ) -> View:
        """Return the part that is asked for; what is stray is of no pair, and shows with the whole only."""
        rows = tuple(
            row
            for row in self.rows
            if site in (None, *row.sites)
            and host in (None, row.one, row.other)
            and state in (None, row.state)
            and (not within or {*row.sites} <= {*within})
        )
        return View(rows, self.stray if rows == self.rows else ())

    def lines(self) -> list[str]:
        """Return the text for people: the sum, pairs of sites, then trouble in full."""
        pairs = {(row.one, row.other) for row in self.rows}
        said = [f"{len(self.rows)} connections of {len(pairs)} pairs{_listed(self.counts)}"]
        width = max((len(" - ".join(sites)) for sites in self.sites), default=0)
        said += [
            f"  {' - '.join(sites):{width}}  {sum(counts.values()):4}{_listed(counts)}"
            for sites, counts in self.sites.items()
        ]
        alone = sum(bool(row.unmanaged) for row in self.rows)
        said += [f"by the word of one end, since Salt does not manage the other: {alone}"] if alone else []
        return [*said, *self._told(), *capped(self.stray)]

    def _told(self) -> list[str]:
        """Return the trouble in full, or in groups of one state and reason where that fits no screen."""
        if len(self.trouble) <= ALL:
            return [str(row) for row in self.trouble]
        groups: dict[tuple[str, str], list[Joined]] = {}
        for row in self.trouble:
            groups.setdefault((row.state, anybody(row)), []).append(row)
        lines = []
        for (state, why), rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
            if len(rows) <= _FEW:
                lines += [str(row) for row in rows]
            else:
                said = (
                    f"{len(rows)} connections {state}: {why}" if why else f"{len(rows)} connections {state}"
                )
                lines.append(f"{said}; at {few([host for host, _ in culprits(rows)])}")
        return [*capped(lines), "each connection: --out=json, or host=, site=, state="]


class Between(Protocol):
    """What is between two hosts."""

    @property
    def one(self) -> str:
        """Return the one host."""

    @property
    def other(self) -> str:
        """Return the other one."""


Row = TypeVar("Row", bound=Between)


def culprits(rows: Sequence[Row]) -> list[tuple[str, tuple[Row, ...]]]:
    """Return the fewest hosts, roughly, that have all of these rows, each with those not told before it."""
    at: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        for host in (row.one, row.other):
            at.setdefault(host, []).append(number)
    left = {host: len(numbers) for host, numbers in at.items()}
    queue = [(-count, host) for host, count in left.items()]
    heapq.heapify(queue)
    told: set[int] = set()
    found = []
    while queue:
        count, host = heapq.heappop(queue)
        if left[host] < -count:  # some of its rows were told since: its turn comes later, if at all
            if left[host]:
                heapq.heappush(queue, (-left[host], host))
            continue
        mine = [number for number in at[host] if number not in told]
        told.update(mine)
        for number in mine:
            left[rows[number].one] -= 1
            left[rows[number].other] -= 1
        found.append((host, tuple(rows[number] for number in mine)))
    return found


def capped(lines: Sequence[str]) -> list[str]:
    """Return as many lines as fit a screen, and the number of those that do not."""
    if len(lines) <= SCREEN:
        return list(lines)
    return [*lines[:SCREEN], f"and {len(lines) - SCREEN} lines more; all of them: --out=json"]


def anybody(row: Joined) -> str:
    """Return the reason without the names of the two hosts, so that those of many rows are one."""

    def nameless(text: str) -> str:
        return NUMBERS.sub("", text).replace(row.one, "host").replace(row.other, "host")

    said = [
        ("", nameless(what[len(_SAYS) :])) if what.startswith(_SAYS) else (nameless(who), nameless(what))
        for who, what in row.said
    ]
    return _sentence(tuple(dict.fromkeys(said)))


def _sentence(said: Said) -> str:
    return "; ".join(f"{who} {what}" if who else what for who, what in said)


def _counts(rows: Sequence[Joined]) -> Mapping[str, int]:
    counts = Counter(row.state for row in rows)
    return {state: counts[state] for state in STATES if counts[state]}


def _listed(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f": {parts}" if parts else ""


# Both ends ------------------------------------------------------------------------------------


def join(
    fleet: Fleet,
    answers: Answers,
    unmanaged: Optional[Mapping[str, Sequence[str]]] = None,
    told: Mapping[str, Told] = MappingProxyType({}),
) -> View:
    """Bring both ends of every pair of the fleet together.

    ``answers``    by minion id the connections of its ``ipsec.status``; a host that is not there did not
                   answer
    ``unmanaged``  by minion id the names of what its charon has and no pillar gives it
    ``told``       by minion id what it tells of its certificate, where it does
    """
    called, hosts = topology.names(fleet), {host.id: host for host in fleet.hosts}
    rows = [
        row
        for (one, other), rule in topology.pairs(fleet, maintenance=True).items()
        for row in _rows(hosts[one], hosts[other], rule, called, answers, told)
    ]
    stray = [
        f"{host}: {name} {MOVED if name in answers.get(host, ()) else 'is not in the pillar'}"
        for host, names in (unmanaged or {}).items()
        for name in names
    ]
    return View(tuple(sorted(rows, key=lambda row: (row.one, row.other, row.family))), tuple(sorted(stray)))


def _rows(
    one: Host,
    other: Host,
    rule: Rule,
    called: Mapping[str, str],
    answers: Answers,
    told: Mapping[str, Told],
) -> Iterator[Joined]:
    """Yield what two hosts, in the order of their ids, are to each other, by family."""
    if not unmanaged.starts(one, other):
        one, other = other, one
    alone = "" if other.managed else other.id  # what Salt manages is the one that starts it
    low, high = sorted((place(one), place(other)))
    resting = [host.id for host in (one, other) if host.maintenance]
    anew, refusals = authentication.pair(one.id, other.id, told)
    for family in FAMILIES:
        mine = ends.end(one.id, answers.get(one.id), f"{called[other.id]}_{family}", rule.stage)
        theirs = ends.end(other.id, answers.get(other.id), f"{called[one.id]}_{family}", rule.stage)
        # of a host that is lost the fleet has no address, and its peers keep what they had
        lost = bool(one.lost or other.lost) and (mine.known or theirs.known)
        if not lost and not (one.address(family) and other.address(family)):
            continue
        if alone:
            theirs = mine._replace(host=other.id, initiator=None)
        both = one_sided(mine) if alone else judged(mine, theirs)
        verdict = at_rest(resting, mine, theirs) if resting else refusing(both, refusals)
        known = (one.id, other.id, family, rule.stage, (low, high))
        yield Joined(*known, *verdict, "" if alone else anew, (mine, theirs), alone)


def place(host: Host) -> str:
    """Return the site of a host, or that it has none."""
    return host.label("site", _NO_SITE)


def judged(one: End, other: End) -> Verdict:
    """Return the verdict on a pair: the worse of both ends', and what needs both of them to be seen."""
    both = (one, other)
    state, differing = _state(both), _differing(both)
    severity = worst(
        one.severity,
        other.severity,
        _LEAST.get(state, "ok"),
        "warning" if differing else "ok",
        "ok" if one.answered or other.answered else "critical",
    )
    return Verdict(state, severity, (*_why(state, both), *differing))


def one_sided(end: End) -> Verdict:
    """Return the verdict on a pair of which one host is asked alone: what that one says."""
    state = _state((end, end))
    severity = worst(end.severity, _LEAST.get(state, "ok"), "ok" if end.answered else "critical")
    return Verdict(state, severity, () if state == "up" and end.ok else ((end.host, str(end)),))


def refusing(verdict: Verdict, refusals: Sequence[Refusal]) -> Verdict:
    """Return the verdict on a pair whose ends would refuse each other: what is up ends with its SAs."""
    if not refusals:
        return verdict
    said = (*verdict.said, *((one.by, one.what) for one in refusals))
    return verdict._replace(severity=worst(verdict.severity, "warning"), said=said)


def at_rest(resting: Sequence[str], one: End, other: End) -> Verdict:
    """Return the verdict on a pair with hosts in maintenance: an end that has it all the same counts."""
    having = [end for end in (one, other) if end.known and not end.ok]
    said = [("", f"{' and '.join(resting)} in maintenance"), *((end.host, str(end)) for end in having)]
    return Verdict("maintenance", worst(*(end.severity for end in having)), tuple(said))


def _state(both: tuple[End, End]) -> str:
    if not all(end.answered for end in both):
        return "not answering"
    states = {end.state for end in both}
    if all(end.up for end in both):
        return next((state for state in _WORSE if state in states), "up")
    if any(end.up for end in both):
        return "ends disagree"
    if "held" in states:
        return "held"
    return "down" if all(end.known for end in both) else "ends disagree"


def _why(state: str, both: tuple[End, End]) -> Said:
    if state == "up" and all(end.ok for end in both):
        return ()
    if state == "down":
        return _apart(both)
    if state == "held":
        return _holding(both)
    return tuple((end.host, str(end)) for end in sorted(both, key=lambda end: end.answered))


def _apart(both: tuple[End, End]) -> Said:
    """Return why it is down: once where both ends say the same, else by which of them says it."""
    said = {end.reason or end.state for end in both}
    if len(said) == 1 and ADDRESSLESS not in {end.state for end in both}:
        return (("", said.pop()),)
    return tuple(
        (end.host, str(end) if end.state == ADDRESSLESS else f"{_SAYS}{end.reason or end.state}")
        for end in both
    )


def _holding(both: tuple[End, End]) -> Said:
    """Say who holds it, and who does and has SAs of it all the same; that the other end is down follows."""
    if both[0].state == both[1].state and both[0].reason == both[1].reason:
        return (("both", both[0].reason),)
    having = [end for end in both if end.held or not end.known]
    return tuple((end.host, end.reason if end.state == "held" else str(end)) for end in having)


def _differing(both: tuple[End, End]) -> Said:
    """Say in what the configurations of both ends do not fit each other."""
    one, other = both
    said = []
    if one.stage and other.stage and one.stage != other.stage:
        said.append(("", f"stage {one.stage} at {one.host}, {other.stage} at {other.host}"))
    if one.initiator is not None and one.initiator == other.initiator:
        said.append(("", "each end is to start it" if one.initiator else "neither end is to start it"))
    return tuple(said)
