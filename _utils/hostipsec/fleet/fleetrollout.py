"""A roll-out over the fleet: stage by stage, batch by batch, until it is through or something is wrong.

It does nothing by itself: what asks and changes hosts is given (:class:`Hands`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..health.report import SEVERITIES
from ..model import PASSIVE, REQUIRE, START, Fleet
from ..pillar import topology
from . import batches, joined

ASK_AGAIN = 2.0  # seconds, between two questions about connections that are coming up

Answers = Mapping[str, Mapping[str, Any]]  # by minion id, what a function of its module ipsec returned


class Hands(Protocol):
    """What reaches the hosts."""

    def ask(self, function: str, hosts: Sequence[str], **arguments: object) -> tuple[Answers, Sequence[str]]:
        """Ask hosts; return their answers, and sentences about those that gave none."""

    def apply(self, hosts: Sequence[str], stage: str) -> Mapping[str, Sequence[str]]:
        """Apply the state as far as a stage; return by host what is wrong, without those that are silent."""

    def say(self, text: str) -> None:
        """Tell the operator how far it has come."""

    def clock(self) -> float:
        """Return seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Rollout:
    """A roll-out on its way; see ``salt-run ipsec.rollout`` for what it does."""

    def __init__(
        self, fleet: Fleet, hosts: Sequence[str], by: str, size: int, deadline: float, hands: Hands
    ) -> None:
        self.fleet, self.hosts, self.by, self.size = fleet, tuple(hosts), by, size
        self.deadline, self.hands = deadline, hands
        self.changed: list[str] = []  # hosts, in their order
        self.stopped: list[str] = []  # what stops it, sentences
        self.said: list[str] = []
        self._known: Mapping[str, str] = {}  # connections that were in trouble before -> the worst expected
        self._fresh: frozenset[str] = frozenset()  # connections that an end does not have yet

    def run(self, stages: Sequence[str]) -> None:
        """Go through the stages."""
        last = self._plans(stages[-1])
        if self.stopped or not batches.to_change(last):
            return
        self._fresh = batches.fresh(last)
        before = [row for row in self._both_ends(stages[0]).trouble if batches.key(row) not in self._fresh]
        self._known = batches.known(before)
        self.said += joined.capped([f"in trouble before: {row}" for row in before])
        for stage in stages:
            plans = self._plans(stage) if self.changed or stage != stages[-1] else last
            self._stage(stage, plans)
            if self.stopped or plans == last:  # later stages add nothing to most edits
                return

    def foresee(self, stages: Sequence[str]) -> None:
        """Say in which order :meth:`run` would change hosts."""
        plans = self._plans(stages[-1])
        for batch in self._batches(plans):
            self.said.append(f"{batch.name}: {', '.join(batch.hosts)}")

    def _stage(self, stage: str, plans: Answers) -> None:
        parts = self._batches(plans)
        pending = {host for batch in parts for host in batch.hosts}
        if stage == REQUIRE and not self.stopped:
            self._prove(pending)
        for batch in parts:
            if self.stopped:
                return
            self.hands.say(f"== stage {stage}, {batch.name}: {', '.join(batch.hosts)}")
            self._apply(stage, batch.hosts)
            pending -= {*batch.hosts}
            if not self.stopped:
                self._judge(stage, batch.hosts, pending)

    def _batches(self, plans: Answers) -> tuple[batches.Batch, ...]:
        return batches.ordered(self.fleet, batches.to_change(plans), self.by, self.size)

    def _plans(self, stage: str) -> Answers:
        """Return what each host would change; one that does not answer stops the roll-out."""
        plans, lost = self.hands.ask("plan", self.hosts, stage=stage)
        self.stopped += lost
        return plans

    def _both_ends(self, stage: str, hosts: Collection[str] = ()) -> joined.View:
        """Return both ends of every pair, asked at these hosts or all that are in service.

        They are judged as far as a stage brings them: a trap that is yet to come is not missing.
        """
        serving = [one.id for one in self.fleet.hosts if not one.maintenance]
        asked = sorted({*serving} & {*hosts} if hosts else serving)
        answers, _ = self.hands.ask("status", asked, stage=stage)
        return joined.join(self.fleet, {host: found["connections"] for host, found in answers.items()})

    def _apply(self, stage: str, hosts: Sequence[str]) -> None:
        found = self.hands.apply(hosts, stage)
        self.changed += [host for host in hosts if host not in self.changed]
        for host in hosts:
            wrong = found.get(host, ["did not answer: what it runs is not known"])
            self.stopped += [f"{host}: {text}" for text in wrong]

    def _judge(self, stage: str, hosts: Sequence[str], pending: Collection[str]) -> None:
        """Wait until both ends of every pair of these hosts are well, as far as this stage brings them."""
        fresh = self._fresh if stage == PASSIVE else ()
        known = {**self._known, **dict.fromkeys(fresh, SEVERITIES[-1])}
        asked = {end for pair in topology.pairs(self.fleet) if {*pair} & {*hosts} for end in pair}
        end = self.hands.clock() + self.deadline
        while True:
            rows = self._both_ends(stage, asked).rows if asked else ()
            wrong = batches.trouble(rows, hosts, pending, known)
            if not wrong or self.hands.clock() > end:
                break
            self.hands.sleep(ASK_AGAIN)
        self.stopped += joined.capped([str(row) for row in wrong])

    def _prove(self, hosts: Collection[str]) -> None:
        """Ask both ends for the SA, and verify, before anything requires it."""
        rows = [
            row
            for row in self._both_ends(START).rows
            if row.stage == REQUIRE and {row.one, row.other} & {*hosts} and row.state != "held"
        ]
        bad = [row for row in rows if row.state != "up" or row.severity == SEVERITIES[-1]]
        self.stopped += [f"not up, so not required: {row}" for row in bad]
        if self.stopped or not rows:
            return
        answers, lost = self.hands.ask("verify", sorted({row.one for row in rows}))
        pairs = {(row.one, row.other) for row in rows}
        unproven = [
            f"not encrypted, so not required: {host}: {name}: {one['reason']}"
            for host, found in sorted(answers.items())
            for name, one in sorted(found["connections"].items())
            if (host, one["peer"]) in pairs and not one["ok"]
        ]
        self.stopped += [*lost, *unproven]

    def lines(self) -> Iterable[str]:
        """Return the text for people."""
        yield from self.said
        if not self.stopped:
            number = len(self.changed)
            done = f"{number} host{'' if number == 1 else 's'} changed, every connection as it should be"
            yield done if self.changed else "nothing to do: every host is as the pillar says"
            return
        yield f"STOPPED; hosts changed so far: {', '.join(self.changed) or 'none'}"
        yield from (f"  {text}" for text in self.stopped)
        yield "to go on, when this is mended: salt-run ipsec.rollout"
        if self.changed:
            yield "to go back: salt-run ipsec.rollback"
