"""Both ends of every pair brought together: what the fleet's hosts said of their connections, by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..charon import reasons
from ..model import FAMILIES, Fleet, Host
from ..pillar import topology

STATES = ("up", "down", "ends disagree", "held", "maintenance", "one-way", "duplicate", "not answering")
_UP = ("established", "duplicate", "one-way")  # of one end
_NO_SITE = "no site"
SCREEN = 30  # lines of trouble in full; what is more is told in groups
_FEW = 3  # rows of a group, and hosts, that are told one by one all the same

Answers = Mapping[str, Mapping[str, Mapping[str, object]]]  # minion id -> connections of its ipsec.status


@dataclass(frozen=True)
class Joined:
    """One connection of a pair, as both its ends see it."""

    one: str  # minion ids; the first is the initiator
    other: str
    family: str
    stage: str
    state: str  # one of STATES
    reason: str = ""
    sites: tuple[str, str] = (_NO_SITE, _NO_SITE)

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done about it; a passive connection may be down."""
        return self.state in ("up", "maintenance") or (self.state == "down" and self.stage == "passive")

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
    def ok(self) -> bool:
        """Whether every connection is as it should be."""
        return all(row.ok for row in self.rows) and not self.stray

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
        return [*said, *self._told(), *capped(self.stray)]

    def _told(self) -> list[str]:
        """Return the trouble in full, or in groups of one state and reason where that fits no screen."""
        if len(self.trouble) <= SCREEN:
            return [str(row) for row in self.trouble]
        groups: dict[tuple[str, str], list[Joined]] = {}
        for row in self.trouble:
            groups.setdefault((row.state, _anybody(row)), []).append(row)
        lines = []
        for (state, why), rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
            if len(rows) <= _FEW:
                lines += [str(row) for row in rows]
            else:
                said = (
                    f"{len(rows)} connections {state}: {why}" if why else f"{len(rows)} connections {state}"
                )
                lines.append(f"{said}; at {some([host for host, _ in culprits(rows)])}")
        return [*capped(lines), "each connection: --out=json, or host=, site=, state="]


def culprits(rows: Sequence[Joined]) -> list[tuple[str, tuple[Joined, ...]]]:
    """Return the fewest hosts, roughly, that have all of these rows, each with those not told before it."""
    left, found = list(rows), []
    while left:
        ends = Counter(host for row in left for host in (row.one, row.other))
        worst = min(ends, key=lambda host: (-ends[host], host))
        found.append((worst, tuple(row for row in left if worst in (row.one, row.other))))
        left = [row for row in left if worst not in (row.one, row.other)]
    return found


def some(hosts: Sequence[str]) -> str:
    """Return the names of hosts, or of some of many."""
    if len(hosts) <= 2 * _FEW:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:_FEW])} and {len(hosts) - _FEW} more hosts"


def capped(lines: Sequence[str]) -> list[str]:
    """Return as many lines as fit a screen, and the number of those that do not."""
    if len(lines) <= SCREEN:
        return list(lines)
    return [*lines[:SCREEN], f"and {len(lines) - SCREEN} lines more; all of them: --out=json"]


def _anybody(row: Joined) -> str:
    """Return the reason without the names of the two hosts, so that those of many rows are one."""
    parts = row.reason.replace(row.one, "host").replace(row.other, "host").split("; ")
    return "; ".join(dict.fromkeys(parts))


def _counts(rows: Sequence[Joined]) -> Mapping[str, int]:
    counts = Counter(row.state for row in rows)
    return {state: counts[state] for state in STATES if counts[state]}


def _listed(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f": {parts}" if parts else ""


def join(fleet: Fleet, answers: Answers, unmanaged: Optional[Mapping[str, Sequence[str]]] = None) -> View:
    """Bring both ends of every pair of the fleet together.

    ``answers``    by minion id the connections of its ``ipsec.status``; a host that is not there did not
                   answer
    ``unmanaged``  by minion id the names of what its charon has and no pillar gives it
    """
    called = topology.names(fleet)
    serving = topology.pairs(fleet)
    rows = []
    for pair, rule in topology.pairs(fleet, maintenance=True).items():
        ends = [host for host in fleet.hosts if host.id in pair]
        one, other = sorted(ends, key=lambda host: not topology.is_initiator(host.id, _peer(ends, host).id))
        sites = tuple(sorted(str(host.labels.get("site", _NO_SITE)) for host in ends))
        for family in FAMILIES:
            if not (one.address(family) and other.address(family)):
                continue
            if pair in serving:
                state, reason = _judged(
                    (one.id, _row(answers, one, f"{called[other.id]}_{family}")),
                    (other.id, _row(answers, other, f"{called[one.id]}_{family}")),
                )
            else:
                resting = " and ".join(host.id for host in ends if host.maintenance)
                state, reason = "maintenance", f"{resting} in maintenance"
            rows.append(Joined(one.id, other.id, family, rule.stage, state, reason, (sites[0], sites[1])))
    stray = [
        f"{host}: {name} is not in the pillar" for host, names in (unmanaged or {}).items() for name in names
    ]
    return View(tuple(sorted(rows, key=lambda row: (row.one, row.other, row.family))), tuple(sorted(stray)))


def _peer(ends: Sequence[Host], host: Host) -> Host:
    return ends[1] if ends[0] is host else ends[0]


def _row(answers: Answers, host: Host, name: str) -> Optional[tuple[str, str]]:
    """Return state and reason at one end; None where the host did not answer."""
    if host.id not in answers:
        return None
    row = answers[host.id].get(name)
    if row is None:
        return "unknown", "does not know it"
    return str(row.get("state", "unknown")), str(row.get("reason", ""))


def _judged(*ends: tuple[str, Optional[tuple[str, str]]]) -> tuple[str, str]:
    """Return one state, and why, of what both ends say."""
    silent = [host for host, row in ends if row is None]
    heard = [(host, *row) for host, row in ends if row is not None]
    if silent:
        said = [f"{host} does not answer" for host in silent]
        said += [f"{host} {_worded(state, reason)}" for host, state, reason in heard]
        return "not answering", "; ".join(said)
    states = [state for _, state, _ in heard]
    if "held" in states:
        holding = [(host, reason) for host, state, reason in heard if state == "held"]
        if len(holding) == len(ends) and len({reason for _, reason in holding}) == 1:
            return "held", f"both {holding[0][1]}"
        return "held", "; ".join(f"{host} {reason}" for host, reason in holding)
    said = [f"{host} {_worded(state, reason)}" for host, state, reason in heard]
    up = [state in _UP for state in states]
    if all(up):
        worst = next((state for state in ("one-way", "duplicate") if state in states), "")
        return (worst, "; ".join(said)) if worst else ("up", "")
    if any(up) or "unknown" in states:
        return "ends disagree", "; ".join(said)
    return "down", "; ".join(dict.fromkeys(reason or state for _, state, reason in heard))


def _worded(state: str, reason: str) -> str:
    """Say what one end says, after its name."""
    if state == "unknown":
        return reason
    if state == "established":
        return "has it"
    return f"says {state}: {reason}" if reason else f"says {state}"


# Why one end could not bring it up ------------------------------------------------------------


def because(host: str, row: Mapping[str, object], rows: Optional[Mapping[str, Mapping[str, object]]]) -> str:
    """Say why a connection of ``host`` did not come up, from what its peer says where charon can but guess.

    ``row``   the connection, as ``ipsec.up`` of the host tells it
    ``rows``  connections of the peer, as its ``ipsec.up`` or ``ipsec.status`` tells them; None where it did
              not answer
    """
    peer, reason = str(row["peer"]), str(row["reason"])
    if rows is None:
        return f"{reason}; {peer} does not answer Salt either"
    there = [one for one in rows.values() if (one["peer"], one["family"]) == (host, row["family"])]
    if not there:
        return f"{peer} does not have it"
    state, said = str(there[0]["state"]), str(there[0]["reason"])
    if state == "held":
        return f"held at {peer}: {said}"
    if reason.endswith("; the peer starts it") and said:
        return f"{peer} starts it, and says: {said}"
    if reason == reasons.REFUSED:
        return (
            f"the peer refused (NO_PROPOSAL_CHOSEN): {peer} has it and does not hold it, so the two share no "
            "IKE proposal, or it was lifted just then"
        )
    return reason
