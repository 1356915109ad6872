"""What an emergency stop did, as a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Optional

from ..answer import Answer, counted
from ..kernel.leftovers import Leftovers
from ..model import Connection

_NOTHING = Leftovers()


class Ended(NamedTuple):
    """What became of one connection."""

    connection: Connection
    sas: int = 0  # IKE SAs that were asked to end
    how: str = "was down"  # was down, ended, forced, killed, cleared (in the kernel only), asked, left
    left: str = ""  # what is left of it, in words

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        one = self.connection
        return {"peer": one.peer, "family": one.family, "sas": self.sas, "how": self.how, "left": self.left}


class Down(NamedTuple):
    """What an emergency stop did."""

    connections: tuple[Ended, ...] = ()
    held: str = ""  # since when, by whom, why; empty where no hold was asked for or could be kept
    seconds: float = 0.0
    charon: str = "runs"  # runs, not running, killed
    cleared: Leftovers = _NOTHING  # what only the kernel still had
    problems: tuple[str, ...] = ()  # what is not as asked
    notes: tuple[str, ...] = ()
    lost_hold: bool = False  # asked for, and could not be written
    proven: bool = True  # False: the SAs were asked to end, and nobody waited
    overruled: str = ""  # the later command of the fleet that counts instead
    later: Optional[float] = None  # from when on that counts, in seconds since 1970
    ahead: str = ""  # that the command came with a time ahead of this host's clock

    @property
    def left(self) -> tuple[Ended, ...]:
        """Return the connections of which something is left."""
        return tuple(one for one in self.connections if one.left)

    @property
    def ok(self) -> bool:
        """Whether everything is as asked, and proven."""
        return not self.problems and not self.left and not self.overruled

    def answer(self) -> Answer:
        """Return it in the shape that all verbs answer in."""
        own = {
            "overruled": self.overruled,
            "later": self.later,
            "ahead": self.ahead,
            "seconds": round(self.seconds, 2),
            "held": self.held,
            "hold_lost": self.lost_hold,
            "charon": self.charon,
            "cleared": {"states": len(self.cleared.states), "policies": len(self.cleared.policies)},
        }
        rows = {one.connection.name: one.as_dict() for one in self.connections}
        notes = (self.ahead, *self.notes) if self.ahead else self.notes
        return Answer(self.ok, self.sentence, rows, self.problems, notes, own)

    @property
    def sentence(self) -> str:
        """Sum up."""
        if self.overruled:
            return self.overruled
        number = len(self.connections) - len(self.left)
        if not self.proven:
            asked = counted(sum(one.sas for one in self.connections), "IKE SA")
            return f"{asked} of {counted(len(self.connections))} asked to end; not proven"
        said = f"{number} of {counted(len(self.connections))} down in {self.seconds:.1f} s"
        return f"{said}: {', '.join(self._hows())}" if self._hows() else said

    def _hows(self) -> Sequence[str]:
        counts = Counter(one.how for one in self.connections if one.how != "left")
        return [f"{number} {_many(how) if number > 1 else how}" for how, number in sorted(counts.items())]


def _many(how: str) -> str:
    """Return what became of several connections: ``were down``."""
    return how.replace("was ", "were ")
