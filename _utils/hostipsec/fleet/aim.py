"""Which hosts a command goes to, by what was typed: a target of Salt's, sites of the pillar, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

from .. import arguments
from ..errors import HostIPsecError
from ..model import Fleet
from . import commands, gone, targets
from .asking import Asking
from .gone import Foreign, Gone
from .targets import Meant


class Aim(NamedTuple):
    """What tells the hosts: the ``accepted`` minions of a target, and the ``fleet`` of the pillar."""

    accepted: Callable[[object, str], Sequence[str]]
    fleet: Callable[[], Fleet]
    foreign: Foreign = gone.nobody  # which of some minions are another fleet's
    group: targets.Group = targets.no_group  # what a nodegroup of the master stands for

    def fleet_or_why(self) -> tuple[Optional[Fleet], str]:
        """Return the fleet of the pillar; None where that cannot be used, and why."""
        try:
            return self.fleet(), ""
        except HostIPsecError as error:
            return None, str(error)

    def everybody(self) -> Sequence[str]:
        """Return all accepted minions."""
        return self.accepted("*", "glob")

    def others(self) -> Gone:
        """Return all accepted minions: any of them may be one that the pillar does not have."""
        return Gone(self.everybody(), self.foreign)

    def some(self, tgt: object, kind: str) -> Sequence[str]:
        """Return the accepted minions of a target, by default all; a target that means none is an error."""
        found = self.accepted("*" if tgt is None else tgt, kind)
        if not found:
            raise HostIPsecError(f"tgt={tgt}: no accepted minion fits; nothing was asked of any host")
        return found

    def known(self, tgt: object, kind: str, site: object = None) -> Sequence[str]:
        """Return the hosts that are meant; a name that no accepted minion has is an error."""
        return self.meant(None, tgt, kind, site).known(tgt)

    def meant(self, ask: Optional[Asking], tgt: object, kind: str, site: object) -> Meant:
        """Return the hosts that are meant; with a target the pillar, which may be broken, is not read."""
        if site is not None and tgt is not None:
            raise HostIPsecError("tgt and site: one of them, not both; nothing was asked of any host")
        if tgt is not None:
            return targets.meant(tgt, kind, self.some(tgt, kind), self.everybody(), self.group)
        fleet, why = self.fleet_or_why()
        if fleet is None:
            return self.recorded(ask, why, site)
        return targets.of_fleet(fleet, site, self.others())

    def recorded(self, ask: Optional[Asking], why: str, site: object) -> Meant:
        """Return, where the pillar does not tell, who counts by his record; without ``ask`` none is asked."""
        everybody = Meant(self.everybody(), why=why)
        sites = arguments.listed("site", site)
        return everybody if site is None or ask is None else commands.at_sites(ask, everybody, sites)
