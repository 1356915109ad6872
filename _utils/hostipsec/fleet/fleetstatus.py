"""The status of the fleet: the pairs that were asked for, certificates, and who gave no answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, cast

from ..model import Fleet
from . import joined, outcome
from .asking import Heard
from .joined import Joined, View


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

    @property
    def well(self) -> bool:
        """Whether nothing is wrong now, whatever certificates may expire."""
        return not self.bad and not self.shown.stray

    def ok(self, threshold: int) -> bool:
        """Whether all is well, or so many hosts explain what is not."""
        return len(self.bad) <= threshold if threshold else self.well and not self._expiring

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
        rest = [*outcome.lost(self.heard), *outcome.mixed(self.heard, edition)]
        unusable = joined.capped(self.unusable)
        return [*self.shown.lines(), *unusable, *self._first_end(), *self._expiring, *rest]

    def _first_end(self) -> Iterable[str]:
        """Say which host's certificate expires first."""
        ends = [(one["days_left"], host) for host, one in self.certificates.items()]
        if ends:
            days, host = min(ends)
            yield f"certificates: the first expires in {days} days, that of {host}"

    def as_dict(self, threshold: int, edition: str) -> dict[str, Any]:
        """Return it as plain values, the text and the exit status with it."""
        heard = self.heard
        return {
            "connections": [_plain(row) for row in self.shown.rows],
            "counts": dict(self.shown.counts),
            "certificates": {host: one["days_left"] for host, one in self.certificates.items()},
            "silent": list(heard.silent),
            "failed": dict(heard.failed),
            "editions": outcome.editions(heard, edition),
            "lines": self.lines(edition),
            "retcode": outcome.status(self.ok(threshold), heard.interrupted),
        }


def join(fleet: Fleet, heard: Heard, chosen: Filter) -> FleetStatus:
    """Bring together what hosts answered, and choose what is asked for."""
    answers = heard.answers
    view = joined.join(
        fleet,
        {host: one.connections for host, one in answers.items()},
        {host: sorted(cast("dict[str, object]", one.own["unmanaged"])) for host, one in answers.items()},
    )
    shown = view.only(chosen.site, chosen.host, chosen.state, chosen.within)
    # of the whole only
    lost = [host for host in fleet.hosts if host.lost and shown == view]
    silent = {*heard.silent, *heard.failed, *(host.id for host in lost)} if shown == view else set()
    bad = frozenset(silent | {host for host, _ in joined.culprits(shown.trouble)})
    return FleetStatus(heard, shown, bad, tuple(str(problem) for host in lost for problem in host.lost))


def _plain(row: Joined) -> dict[str, object]:
    names = ("one", "other", "family", "stage", "state", "severity", "reason", "ok")
    return {**{name: getattr(row, name) for name in names}, "sites": list(row.sites)}
