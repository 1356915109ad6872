"""Which connections of a fleet may be begun anew, by what both their ends say; and why others not. Pure.

The rule: both ends answered, and both with a charon; one of them at least has no SA that is used; no end
holds it, or rests; and a new start can cure it. All else is left alone, with a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..answer import Answer
from ..health import repair
from ..health.report import CARRYING
from ..model import Fleet
from ..pillar import topology
from . import authentication, ends
from .ends import End
from .joined import Joined

CURED = ("down", "connecting", "no child", "no xfrm", *CARRYING)  # states of an end that a new start cures


class Side(NamedTuple):
    """A connection at one of its ends."""

    host: str
    name: str
    ids: tuple[int, ...]  # of IKE SAs that are to be ended


class Broken(NamedTuple):
    """A connection that may be begun anew."""

    row: Joined
    starts: Side
    answers: Side

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what tells it from others."""
        return self.row.one, self.row.other, self.row.family

    @property
    def would(self) -> str:
        """Say what is to be done."""
        ended = [
            f"end IKE SA {', '.join(map(str, side.ids))} at {side.host}"
            for side in (self.answers, self.starts)
            if side.ids
        ]
        return ", ".join([*ended, f"start {self.starts.name} at {self.starts.host}"])


class Choice(NamedTuple):
    """What may be begun anew, and what is in trouble and is left alone."""

    broken: tuple[Broken, ...] = ()
    left: tuple[tuple[Joined, str], ...] = ()  # each with a sentence
    resting: tuple[tuple[Joined, str], ...] = ()  # held, or in maintenance: as somebody wants it

    def again(self, later: Choice) -> Choice:
        """Return what is broken at both of two looks, and of its SAs those that were there at both."""
        seen = {one.key: one for one in later.broken}
        both = [_at_both(one, seen[one.key]) for one in self.broken if one.key in seen]
        gone = [(one.row, "is another one at a second look") for one in self.broken if one.key not in seen]
        return self._replace(broken=tuple(both), left=(*self.left, *gone))


def _at_both(one: Broken, later: Broken) -> Broken:
    def kept(side: Side, other: Side) -> Side:
        return side._replace(ids=tuple(number for number in side.ids if number in other.ids))

    return later._replace(starts=kept(one.starts, later.starts), answers=kept(one.answers, later.answers))


def choose(fleet: Fleet, answers: Mapping[str, Answer], rows: Iterable[Joined]) -> Choice:
    """Choose from connections; ``answers`` are the hosts' own to ``ipsec.status``."""
    called = topology.names(fleet)
    broken, left, resting = [], [], []
    for row in rows:
        starts = _side(answers, row.one, f"{called[row.other]}_{row.family}")
        served = _side(answers, row.other, f"{called[row.one]}_{row.family}")
        both = [_end(answers, side, row) for side in (starts, served)]
        rests, why = _rests(row, both), _why_not(row, both, answers)
        if rests:
            resting.append((row, rests))
        elif why:
            left.append((row, why))
        else:
            broken.append(Broken(row, starts, served))
    return Choice(tuple(broken), tuple(left), tuple(resting))


def _end(answers: Mapping[str, Answer], side: Side, row: Joined) -> End:
    rows = answers[side.host].connections if side.host in answers else None
    return ends.end(side.host, rows, side.name, row.stage)


def _side(answers: Mapping[str, Answer], host: str, name: str) -> Side:
    told = answers[host].connections.get(name, {}).get("ike_ids") if host in answers else None
    numbers = told if isinstance(told, (list, tuple)) else ()
    return Side(host, name, tuple(one for one in numbers if isinstance(one, int)))


def _rests(row: Joined, both: Sequence[End]) -> str:
    """Say that somebody wants it so."""
    if row.state == "maintenance":
        return "in maintenance"
    held = [end.host for end in both if end.held]
    return f"held at {' and '.join(held)}" if held else ""


def _why_not(row: Joined, both: Sequence[End], answers: Mapping[str, Answer]) -> str:
    one, other = both
    if row.unmanaged:
        return f"{row.unmanaged} is not managed by Salt: nothing is done by the word of one end"
    for end in both:
        said = _of_end(end, answers)
        if said:
            return said
    if one.up and other.up:
        return "up at both ends: there is nothing to begin anew"
    if (one.initiator, other.initiator) != (True, False):
        return "the ends do not agree which of them starts it"
    if row.anew == authentication.NO:
        return "the two would refuse each other, and it would stay down"
    return ""


def _of_end(end: End, answers: Mapping[str, Answer]) -> str:
    """Say why nothing is to be done by what this end says."""
    if not end.answered:
        return f"{end.host} does not answer: nothing is done by the word of one end"
    if answers[end.host].own.get("backend", "") is None:
        return f"charon of {end.host} does not answer"
    if not end.known:
        return f"{end.host} does not know it: state ipsec is to be applied there"
    if end.stage not in repair.STARTED:
        return f"stage {end.stage} at {end.host}: nobody starts it"
    if end.state not in CURED:
        return f"{end.host} says {end.state}: no new start cures that"
    return ""
