"""Repair on request: what both ends say is broken, begun anew, a few connections and one at a time.

More than the budget is not done in part: what breaks a mesh at once is no matter of single connections, and a
look that is wrong must not end every SA of a fleet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional

from ..answer import counted
from ..model import Fleet
from . import broken, fleetstatus, joined, outcome, targets
from .asking import Asking, Heard, sentence, trouble
from .broken import Broken, Choice, Side
from .fleetstatus import Filter
from .joined import Joined
from .ledger import Ledger

APART = 2.0  # seconds between two looks at what may be broken
RESTART = "ipsec_host.restart"
TODO = 3  # exit status: something would be done


class Done(NamedTuple):
    """What became of one connection."""

    one: Broken
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Repairs:
    """What was found broken, and what became of it."""

    heard: Heard
    choice: Choice
    budget: int
    only_said: bool = True
    done: tuple[Done, ...] = ()
    told: Heard = field(default_factory=Heard)  # what hosts answered to orders

    @property
    def over(self) -> bool:
        """Whether more is broken than may be begun anew at once."""
        return len(self.choice.broken) > self.budget

    @property
    def status(self) -> int:
        """Return the exit status."""
        if self.heard.interrupted or self.told.interrupted:
            return outcome.INTERRUPTED
        broken_yet = self.choice.broken if self.over or self.only_said else ()
        if self.only_said and broken_yet and not self.over:
            return TODO
        whole = not (broken_yet or self.choice.left or self.heard.silent or self.heard.failed)
        return 0 if whole and all(one.ok for one in self.done) else 1

    @property
    def lines(self) -> list[str]:
        """Return the text for people."""
        left = [f"{_named(row)} {row.state}, left alone: {why}" for row, why in self.choice.left]
        resting = [f"{_named(row)}, left alone: {why}" for row, why in self.choice.resting]
        return [
            self._heading,
            *self._each,
            *joined.capped(left),
            *joined.capped(resting),
            *outcome.lost(self.heard),
        ]

    @property
    def _heading(self) -> str:
        number = len(self.choice.broken)
        if not number:
            return "nothing to begin anew: of no connection both ends say that it is broken"
        if self.over:
            return (
                f"{counted(number)} to begin anew, and the budget is {self.budget}: nothing was done; "
                "so many at once have one cause, see ipsec.status; choose some (site=, host=), or say budget="
            )
        if self.only_said:
            return f"{counted(number)} would be begun anew; nothing was done yet: dry_run=False does it"
        return f"{sum(one.ok for one in self.done)} of {counted(number)} begun anew and up at both ends"

    @property
    def _each(self) -> Sequence[str]:
        if self.only_said or self.over:
            return joined.capped([f"{one.row}; would {one.would}" for one in self.choice.broken])
        undone = [one for one in self.choice.broken if one.key not in {done.one.key for done in self.done}]
        told = [f"{_named(done.one.row)}: {done.reason or 'up'}" for done in self.done]
        return [*told, *(f"{_named(one.row)}: not begun, interrupted" for one in undone)]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, the text and the exit status with it."""
        done = {one.one.key: one for one in self.done}
        return {
            "broken": [_plain(one, done.get(one.key)) for one in self.choice.broken],
            "left": [{**_ends(row), "why": why} for row, why in self.choice.left],
            "resting": [{**_ends(row), "why": why} for row, why in self.choice.resting],
            "budget": self.budget,
            "silent": list(self.heard.silent),
            "failed": dict(self.heard.failed),
            "lines": self.lines,
            "retcode": self.status,
        }


def _named(row: Joined) -> str:
    return f"{row.one} - {row.other} {row.family}"


def _ends(row: Joined) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("one", "other", "family", "state", "reason")}


def _plain(one: Broken, done: Optional[Done]) -> dict[str, Any]:
    told = {"done": None, "why": ""} if done is None else {"done": done.ok, "why": done.reason}
    return {**_ends(one.row), "would": one.would, **told}


# Asking ----------------------------------------------------------------------------------------


class Repair(NamedTuple):
    """A repair that is asked for."""

    asking: Asking
    fleet: Fleet
    chosen: Filter
    budget: int
    deadline: float  # seconds for each connection

    def foresee(self) -> Repairs:
        """Look twice, and say what would be begun anew."""
        heard = self.asking.ask(targets.serving(self.fleet), "ipsec.status", line=trouble)
        choice = self._choice(heard)
        if choice.broken and not heard.interrupted:
            self.asking.client.sleep(APART)
            again = self.asking.ask(_hosts(choice.broken), "ipsec.status", line=trouble)
            heard, choice = (again if again.interrupted else heard), choice.again(self._choice(again))
        return Repairs(heard, choice, self.budget)

    def carry_out(self, ledger: Ledger, who: str) -> Repairs:
        """Begin it anew. Raises HostIPsecError where another changes the fleet at this moment."""
        with ledger.lease(f"ipsec.repair by {who}"):
            found = self.foresee()
            if found.over or found.heard.interrupted:
                return replace(found, only_said=False)
            return self._all(found)

    def _choice(self, heard: Heard) -> Choice:
        rows = fleetstatus.join(self.fleet, heard, self.chosen).shown.trouble
        return broken.choose(self.fleet, heard.answers, rows)

    def _all(self, found: Repairs) -> Repairs:
        done: list[Done] = []
        told = Heard()
        for one in found.choice.broken:
            heard, reason = self._one(one)
            told += heard
            if told.interrupted:
                break
            done.append(Done(one, not reason, reason))
        hosts = _hosts([one.one for one in done])
        last = self.asking.ask(hosts, "ipsec.status", line=trouble) if hosts else Heard()
        view = fleetstatus.join(self.fleet, last, Filter()).shown.rows
        rows = {(row.one, row.other, row.family): row for row in view}
        judged = tuple(_judged(one, rows) for one in done)
        return replace(found, only_said=False, done=judged, told=told + last)

    def _one(self, one: Broken) -> tuple[Heard, str]:
        """Have the end that answers end its SAs, then the other begin anew; why not, where it did not."""
        heard, why = Heard(), ""
        for side in ([one.answers] if one.answers.ids else []) + [one.starts]:
            if why or heard.interrupted:
                break
            order = {"connection": side.name, "ids": list(side.ids), "deadline": self.deadline}
            said = self.asking.ask([side.host], RESTART, order, sentence)
            heard, why = heard + said, _why(said, side)
        return heard, why


def _hosts(some: Sequence[Broken]) -> list[str]:
    return sorted({side.host for one in some for side in (one.starts, one.answers)})


def _why(said: Heard, side: Side) -> str:
    """Say why an end did not do it; empty where it did."""
    answer = said.answers.get(side.host)
    if answer is None:
        return f"{side.host}: {said.failed.get(side.host, 'did not answer')}"
    reason = str(answer.connections.get(side.name, {}).get("reason", "")) or answer.sentence
    return "" if answer.ok else f"{side.host}: {reason}"


def _judged(one: Done, rows: Mapping[tuple[str, str, str], Joined]) -> Done:
    """Return what became of it by what both ends say of it now."""
    row = rows.get(one.one.key)
    if one.reason or (row is not None and row.up):
        return one
    return Done(one.one, False, f"{row.state}: {row.reason}" if row else "is not known any more")
