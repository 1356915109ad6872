"""The status of the fleet: the pairs that were asked for, certificates, and who gave no answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, cast

from ..answer import Answer, counted
from ..health.report import CARRYING, worst
from ..model import Fleet, Host
from ..pillar import topology, translated
from . import authentication, joined, outcome
from .asking import Heard
from .authentication import Told
from .ends import End
from .hostnames import few
from .joined import Joined, View

_NOBODY = Heard()
_FORMER = "is not in the pillar; the host has it by an older one (saltutil.refresh_pillar, state.apply)"


@dataclass(frozen=True)
class Filter:
    """Which connections are asked for; by default all."""

    site: Optional[str] = None
    host: Optional[str] = None
    state: Optional[str] = None
    within: Sequence[str] = ()


@dataclass(frozen=True)
class FleetStatus:
    """What the fleet's hosts said, as far as it was asked for."""

    heard: Heard
    shown: View
    bad: frozenset[str]  # the fewest hosts, roughly, that explain all that is not well
    unusable: tuple[str, ...] = ()  # what was looked up for hosts, and is no address that they can have

    # by host, what it could not look at, and who does not run there
    warned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    partly: tuple[str, ...] = ()  # of which pairs not all is encrypted, by their rule

    @property
    def well(self) -> bool:
        """Whether nothing is wrong now, whatever certificates may expire."""
        return not (self.bad or self.warned or self.shown.stray)

    def ok(self, threshold: int) -> bool:
        """Whether all is well, or so many hosts explain what is not; one whose certificate is over is one."""
        over = {host for host, one in self.certificates.items() if one["severity"] == "critical"}
        return len(self.bad | over) <= threshold if threshold else self.well and not self._expiring

    @property
    def certificates(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the certificate that each host's charon runs with."""
        told = ((host, one.own.get("certificate")) for host, one in sorted(self.heard.answers.items()))
        return {host: found for host, found in told if isinstance(found, dict)}

    @property
    def _expiring(self) -> list[str]:
        found = self.certificates.items()
        return [f"{host}: {one['sentence']}" for host, one in found if one["severity"] != "ok"]

    def lines(self, edition: str) -> list[str]:
        """Return the text for people; ``edition`` is this master's."""
        warned = [f"{host}: {text}" for host, said in self.warned.items() for text in said]
        rest = [*joined.capped(warned), *outcome.lost(self.heard), *outcome.mixed(self.heard, edition)]
        unusable = joined.capped(self.unusable)
        certificates = [*self._untold(), *self._first_end(), *self._expiring, *self._post_quantum()]
        return [*self.shown.lines(), *self.partly, *unusable, *certificates, *rest]

    def _first_end(self) -> Iterable[str]:
        """Say which host's certificate expires first."""
        ends = [(one["days_left"], host) for host, one in self.certificates.items()]
        if ends:
            days, host = min(ends)
            yield f"certificates: the first expires in {days} days, that of {host}"

    def _post_quantum(self) -> Iterable[str]:
        """Say which connections have keys that no quantum computer finds, where some have."""
        told = [row for row in self.shown.rows if row.post_quantum is not None]
        without = [f"{row.one} - {row.other} {row.family}" for row in told if not row.post_quantum]
        if len(without) < len(told):
            rest = f"; without: {few(without)}" if without else ""
            yield f"post-quantum keys: {len(told) - len(without)} of {counted(len(told))}{rest}"

    def _untold(self) -> Iterable[str]:
        """Say of which hosts it is not known whether they could authenticate anew what they have up."""
        up = [row for row in self.shown.rows if row.up and row.anew == authentication.UNKNOWN]
        told = _told(self.heard.answers)
        if up:
            hosts = authentication.silent(((row.one, row.other) for row in up), told)
            number = f"{len(up)} of {counted(len(self.shown.rows))}"
            yield f"not known of {number} whether they could authenticate anew: {few(hosts)} do not tell"

    def as_dict(self, threshold: int, edition: str) -> dict[str, Any]:
        """Return it as plain values, the text and the exit status with it."""
        heard = self.heard
        return {
            "connections": [_plain(row) for row in self.shown.rows],
            "counts": dict(self.shown.counts),
            "certificates": {host: one["days_left"] for host, one in self.certificates.items()},
            "stray": list(self.shown.stray),
            "unusable": list(self.unusable),
            "warnings": {host: list(said) for host, said in self.warned.items()},
            "silent": list(heard.silent),
            "failed": dict(heard.failed),
            "editions": outcome.editions(heard, edition),
            "lines": self.lines(edition),
            "retcode": outcome.status(self.ok(threshold), heard.interrupted),
        }


def join(fleet: Fleet, heard: Heard, chosen: Filter, gone: Heard = _NOBODY) -> FleetStatus:
    """Bring together what hosts answered, and choose what is asked for.

    ``gone`` is what minions said that the pillar does not have, of what was configured there last.
    """
    answers = heard.answers
    view = joined.join(
        fleet,
        {host: one.connections for host, one in answers.items()},
        {host: sorted(cast("dict[str, object]", one.own["unmanaged"])) for host, one in answers.items()},
        _told(answers),
    )
    hosts = {host.id: host for host in fleet.hosts}
    rows = tuple(_behind(row, hosts) for row in view.rows)
    stray = (*view.stray, *_former(rows, answers), *_yet(gone.answers))
    view = replace(view, rows=rows, stray=stray)
    heard = replace(heard + gone, answers=answers)
    shown = view.only(chosen.site, chosen.host, chosen.state, chosen.within)
    # of the whole only
    lost = [host for host in fleet.hosts if host.lost and shown == view]
    silent = {*heard.silent, *heard.failed, *(host.id for host in lost)}
    if shown != view:
        silent = _unheard(view.only(chosen.site, chosen.host, None, chosen.within).rows)
    meant = {*answers} if shown == view else {host for row in shown.rows for host in (row.one, row.other)}
    told = [(host, one) for host, one in sorted(answers.items()) if host in meant]
    said = ((host, _warnings(one)) for host, one in [*told, *sorted(gone.answers.items())])
    warned = {host: warnings for host, warnings in said if warnings}
    bad = frozenset(silent | {*warned} | {host for host, _ in joined.culprits(shown.trouble)})
    problems = tuple(str(problem) for host in lost for problem in host.lost)
    return FleetStatus(heard, shown, bad, problems, warned, topology.partly(fleet, _pairs(shown.rows)))


def _unheard(rows: Sequence[Joined]) -> set[str]:
    """Return the hosts that said nothing of connections which may be in any state."""
    ends = ((row, end) for row in rows if row.state == "not answering" for end in row.ends)
    return {end.host for row, end in ends if not end.answered and end.host != row.unmanaged}


def _former(rows: Sequence[Joined], answers: Mapping[str, Answer]) -> Iterator[str]:
    """Say what hosts have by a pillar of before, and the fleet's does not have."""
    known = {(*ends, row.family) for row in rows for ends in ((row.one, row.other), (row.other, row.one))}
    for host, one in sorted(answers.items()):
        for name, row in sorted(one.connections.items()):
            if (host, row["peer"], row["family"]) not in known:
                yield f"{host}: {name} {_FORMER}"


def _yet(gone: Mapping[str, Answer]) -> Iterator[str]:
    """Say which hosts left the pillar and have connections yet."""
    for host, one in sorted(gone.items()):
        there = {**cast("dict[str, object]", one.own["unmanaged"]), **one.connections}
        if there:
            up = sum(row["state"] in CARRYING for row in one.connections.values())
            number = f"{counted(len(there))} ({few(sorted(there))}), of which {up} up"
            yield f"{host} is not in the pillar, and has {number}: state.apply ipsec.clean there ends them"


def _pairs(rows: Sequence[Joined]) -> frozenset[tuple[str, str]]:
    return frozenset((min(row.one, row.other), max(row.one, row.other)) for row in rows)


def _behind(row: Joined, hosts: Mapping[str, Host]) -> Joined:
    """Return a row that says which hosts go by another stage, or another address, than the pillar says."""
    if row.state == "maintenance":
        return row
    said = tuple(
        (end.host, f"{what}: its pillar is old (saltutil.refresh_pillar, state.apply)")
        for end, peer in zip(row.ends, reversed(row.ends))
        if end.host != row.unmanaged
        for what in (*_staged(end, row), *_placed(end, hosts[end.host], hosts[peer.host], row.family))
    )
    return row._replace(severity=worst(row.severity, "warning"), said=(*row.said, *said)) if said else row


def _staged(end: End, row: Joined) -> Iterator[str]:
    if end.stage not in ("", row.stage):
        yield f"goes by stage {end.stage}, the pillar says {row.stage}"


def _placed(end: End, host: Host, peer: Host, family: str) -> Iterator[str]:
    """Say which addresses an end has that are not the pillar's; a host that is lost has none there."""
    for found, meant, who in zip(end.ends, translated.ends(host, peer, family), ("itself", peer.id)):
        if meant and found != str(meant):
            yield f"has {who} at {found}, the pillar says {meant}"


def _told(answers: Mapping[str, Answer]) -> Mapping[str, Told]:
    return authentication.of({host: one.own for host, one in answers.items()})


def _warnings(answer: Answer) -> Sequence[str]:
    """Return what is not well at a host beside connections and certificate, which tell of themselves."""
    certificate = cast("dict[str, str]", answer.own.get("certificate") or {})
    said = [one for one in outcome.beside(answer) if one != certificate.get("sentence")]
    known = said or answer.own["unmanaged"] or certificate.get("severity", "ok") != "ok"
    return said if known else outcome.unsaid(answer)


def _plain(row: Joined) -> dict[str, object]:
    names = "one other family stage state severity reason ok anew post_quantum unmanaged"
    return {**{name: getattr(row, name) for name in names.split()}, "sites": list(row.sites)}
