"""Both ends of every pair brought together: what the fleet's hosts said of their connections, by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from . import topology
from .model import FAMILIES, Fleet, Host

STATES = ("up", "down", "ends disagree", "held", "maintenance", "one-way", "duplicate", "not answering")
_UP = ("established", "duplicate", "one-way")  # of one end
_NO_SITE = "no site"

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

    def lines(self) -> list[str]:
        """Return the text for people: the sum, pairs of sites, then trouble in full."""
        pairs = {(row.one, row.other) for row in self.rows}
        said = [f"{len(self.rows)} connections of {len(pairs)} pairs{_listed(self.counts)}"]
        width = max((len(" - ".join(sites)) for sites in self.sites), default=0)
        said += [
            f"  {' - '.join(sites):{width}}  {sum(counts.values()):4}{_listed(counts)}"
            for sites, counts in self.sites.items()
        ]
        return [*said, *(str(row) for row in self.trouble), *self.stray]


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
        return "held", "; ".join(f"{host} {reason}" for host, state, reason in heard if state == "held")
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
