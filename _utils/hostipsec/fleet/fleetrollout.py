"""A roll-out over the fleet: stage by stage, batch by batch, until it is through or something is wrong.

It does nothing by itself: what asks and changes hosts is given (:class:`Hands`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..answer import counted
from ..errors import HostIPsecError
from ..health.report import SEVERITIES
from ..model import PASSIVE, REQUIRE, START, Fleet
from ..pillar import topology
from . import authentication, batches, fleetplan, joined, objections, targets
from .batches import Done
from .hostnames import few
from .joined import Joined

STRANGER = "its own pillar does not make it a member, the master's does: see top.sls"
LASTING = "SAs go on by the options that they were made with; to make new ones: salt-run ipsec.reauthenticate"
ASK_AGAIN = 2.0  # seconds, between two questions about connections that are coming up

Answers = Mapping[str, Mapping[str, Any]]  # by minion id, what a function of its module ipsec returned


class Hands(Protocol):
    """What reaches the hosts, and the master."""

    def ask(self, function: str, hosts: Sequence[str], **arguments: object) -> tuple[Answers, Sequence[str]]:
        """Ask hosts; return their answers, and sentences about those that gave none."""

    def apply(
        self, hosts: Sequence[str], stage: str, pillars: Mapping[str, str]
    ) -> Iterable[tuple[str, Done]]:
        """Apply the state as far as a stage; yield each host as it answers, and what became of it.

        A host whose digest in ``pillars`` is not that of the pillar that it gets changes nothing.
        """

    def pillar(self) -> str:
        """Return a digest of the pillar as it is now at the master. Raises HostIPsecError."""

    def keep(self, told: Sequence[str], through: bool) -> None:
        """Note which hosts were told to change so far, and whether it is through. Raises HostIPsecError."""

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
        lost = {one.id: one.lost for one in fleet.hosts if one.lost and one.id in hosts}
        self.left = tuple(sorted(lost))  # hosts whose address nobody knows: they stop no other
        self.fleet, self.hosts, self.by, self.size = (
            fleet,
            tuple(host for host in hosts if host not in lost),
            by,
            size,
        )
        self.deadline, self.hands = deadline, hands
        self.changed: list[str] = []  # hosts, in their order
        self.unknown: list[str] = []  # hosts that were told to change, and did not say what they did
        self.stopped: list[str] = []  # what stops it, sentences
        self.wrong_pillar = False  # whether that is the pillar, and nothing was changed
        self.said: list[str] = [f"{problem}; left out" for found in lost.values() for problem in found]
        self._told: list[str] = []
        self._pillar = ""  # digest of the master's pillar at the start
        self._pillars: Mapping[str, str] = {}  # digests of the hosts' own, where they say it
        self._known: Mapping[str, str] = {}  # connections that were in trouble before -> the worst expected
        self._fresh: frozenset[str] = frozenset()  # connections that an end does not have yet
        self._rows: Sequence[Joined] = ()  # both ends of every pair, as last seen
        self._up = False  # whether of what stops it some is up, and not as it is configured
        self._remade = False  # whether it changes options that SAs have from when they were made

    def run(self, stages: Sequence[str]) -> None:
        """Go through the stages; what stops it is in ``stopped``."""
        try:
            self._run(stages)
        except HostIPsecError as error:
            self.stopped += str(error).splitlines()

    def _run(self, stages: Sequence[str]) -> None:
        self._pillar = self.hands.pillar()
        last = self._plans(stages[-1])
        self._pillars = {host: str(said["pillar"]) for host, said in last.items() if said.get("pillar")}
        self.stopped += _strangers(self.fleet, last)
        if self.stopped:
            return
        if not batches.to_change(last):
            self._rows = self._both_ends(stages[-1]).rows
            return
        self._look_before(last)
        if self.stopped:
            return
        self._remade = batches.remade(last)
        for stage in stages:
            plans = self._plans(stage) if self.changed or stage != stages[-1] else last
            self._stage(stage, plans)
            if self.stopped or plans == last:  # later stages add nothing to most edits
                break
        if not self.stopped:
            self._look_after(stages[-1])

    def foresee(self, stages: Sequence[str]) -> None:
        """Say in which order :meth:`run` would change hosts."""
        plans = self._plans(stages[-1])
        self.stopped += [*_strangers(self.fleet, plans), *self._objections(plans)]
        refusals = authentication.refusals(topology.pairs(self.fleet), authentication.of(plans))
        self.stopped += authentication.lines(refusals)
        for batch in self._batches(plans):
            self.said.append(f"{batch.name}: {', '.join(batch.hosts)}")

    # Before and after

    def _look_before(self, plans: Answers) -> None:
        """Note what is in trouble by what is configured; what the edit makes another is judged anew."""
        self.stopped += self._objections(plans)
        self.wrong_pillar = bool(self.stopped)
        if self.stopped:
            return
        self._fresh = batches.fresh(plans)
        serving = self._serving()
        answers, lost = self.hands.ask("status", serving, configured=True)
        if {*serving} & {*self.hosts} - {*answers}:
            self.stopped += lost
            return
        self._look_at_certificates(plans, answers)
        if self.stopped:
            return
        before = [row for row in self._joined(answers).trouble if batches.key(row) not in self._fresh]
        touched = batches.touched(plans)
        self._known = batches.known([row for row in before if row.up or batches.key(row) not in touched])
        self.said += joined.capped([f"in trouble before: {row}" for row in before])

    def _look_at_certificates(self, plans: Answers, answers: Answers) -> None:
        """Stop where ends would refuse each other once all is changed; say what is so only on the way."""
        changed, anew = batches.to_change(plans), batches.anew(plans)
        pairs = [pair for pair in topology.pairs(self.fleet) if {*pair} & changed]
        now = authentication.of(answers)
        later = {**now, **authentication.of(plans)}
        before = {*authentication.refusals(pairs, now)}  # of these the status tells, and an SA goes on
        wrong = authentication.refusals(pairs, later)
        self.stopped += authentication.lines(
            [one for one in wrong if one not in before or anew & {one.host, one.by, one.pair}]
        )
        halfway = authentication.halfway(pairs, now, later)
        if halfway:
            number = f"{counted(len(halfway), 'pair')}, as {' - '.join(halfway[0])}"
            self.said.append(f"cannot authenticate anew while one end only is changed: {number}; SAs go on")

    def _look_after(self, stage: str) -> None:
        """Ask all hosts again, before anything is said of them: others may have been at it meanwhile."""
        self._check_pillar()
        if self.stopped:
            return
        for host in sorted(batches.to_change(self._plans(stage))):
            self.stopped.append(
                f"{host}: does not run what the pillar says: changed by another hand meanwhile"
            )
        if self.stopped:
            return
        self._judge(stage, targets.managed(self.fleet), ())
        if not self.stopped:
            self.hands.keep(self._told, through=True)

    def _check_pillar(self) -> None:
        if self.hands.pillar() != self._pillar:
            self.stopped.append("the pillar is another than at the start of this roll-out")

    # On the way

    def _stage(self, stage: str, plans: Answers) -> None:
        parts = self._batches(plans)
        pending = {host for batch in parts for host in batch.hosts}
        if stage == REQUIRE and not self.stopped:
            self._prove(pending)
        for batch in parts:
            if not self.stopped:
                self._check_pillar()
            if self.stopped:
                return
            self.hands.say(f"== stage {stage}, {batch.name}: {', '.join(batch.hosts)}")
            self._apply(stage, batch.hosts)
            pending -= {*batch.hosts}
            if not self.stopped:
                self._judge(stage, batch.hosts, pending)

    def _objections(self, plans: Answers) -> Sequence[str]:
        """Say what of hosts that are to change is not to be done; of others their status tells."""
        changing = {host: plans[host] for host in batches.to_change(plans)}
        return [*objections.astray(changing), *objections.unpaired(self.fleet, changing)]

    def _batches(self, plans: Answers) -> tuple[batches.Batch, ...]:
        alone = batches.moving(plans)
        return batches.ordered(self.fleet, batches.to_change(plans), self.by, self.size, alone)

    def _plans(self, stage: str) -> Answers:
        """Return what each host would change; one that does not answer stops the roll-out."""
        plans, lost = self.hands.ask("plan", self.hosts, stage=stage)
        self.stopped += lost
        for host, digest in sorted(self._pillars.items()):
            if plans.get(host, {}).get("pillar", digest) != digest:
                self.stopped.append(f"{host}: its pillar is another than at the start of this roll-out")
        return plans

    def _serving(self) -> list[str]:
        return targets.serving(self.fleet)

    def _both_ends(self, stage: str, hosts: Collection[str] = ()) -> joined.View:
        """Return both ends of every pair, asked at these hosts or all that are in service.

        They are judged as far as a stage brings them: a trap that is yet to come is not missing.
        """
        serving = self._serving()
        answers, _ = self.hands.ask(
            "status", sorted({*serving} & {*hosts}) if hosts else serving, stage=stage
        )
        return self._joined(answers, hosts)

    def _joined(self, answers: Answers, hosts: Collection[str] = ()) -> joined.View:
        """Bring both ends together; of some hosts alone it takes as long as these are many."""
        some = tuple(one for one in self.fleet.hosts if not hosts or one.id in hosts)
        connections = {host: found["connections"] for host, found in answers.items()}
        return joined.join(self.fleet._replace(hosts=some), connections, told=authentication.of(answers))

    def _apply(self, stage: str, hosts: Sequence[str]) -> None:
        """Have hosts change; whatever ends it, it is known who did, and who may have."""
        self._told += [host for host in hosts if host not in self._told]
        self.hands.keep(self._told, through=False)
        pillars = {host: self._pillars[host] for host in hosts if host in self._pillars}
        waiting = dict.fromkeys(hosts)
        try:
            for host, done in self.hands.apply(hosts, stage, pillars):
                waiting.pop(host, None)
                part = self.unknown if done.changed is None else self.changed
                if done.changed is not False and host not in part:
                    part.append(host)
                self.stopped += [f"{host}: {text}" for text in done.wrong]
        finally:
            self.unknown += [host for host in waiting if host not in self.unknown]
        self.stopped += [f"{host}: did not answer: what it runs is not known" for host in waiting]

    def _judge(self, stage: str, hosts: Sequence[str], pending: Collection[str]) -> None:
        """Wait until both ends of every pair of these hosts are well, as far as this stage brings them."""
        fresh = self._fresh if stage == PASSIVE else ()
        known = {**self._known, **dict.fromkeys(fresh, SEVERITIES[-1])}
        asked = {end for pair in topology.pairs(self.fleet) if {*pair} & {*hosts} for end in pair}
        end = self.hands.clock() + self.deadline
        while True:
            self._rows = self._both_ends(stage, asked).rows if asked else ()
            wrong = batches.trouble(self._rows, hosts, pending, known)
            if not wrong or self.hands.clock() > end:
                break
            self.hands.sleep(ASK_AGAIN)
        self.stopped += joined.capped([str(row) for row in wrong])
        self._up = any(row.state == "up" for row in wrong)

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
        said = {
            (host, one["peer"], one["family"]): (name, one)
            for host, found in answers.items()
            for name, one in found["connections"].items()
        }
        unproven = [_unproven(row, *said.get((row.one, row.other, row.family), ("", {}))) for row in rows]
        self.stopped += [*lost, *filter(None, unproven)]

    def lines(self) -> Iterable[str]:
        """Return the text for people."""
        yield from self.said
        if not self.stopped:
            if self._remade:
                yield LASTING
            yield self._well() + (f"; left out: {', '.join(self.left)}" if self.left else "")
            if off := sorted({*targets.resting(self.fleet)} - {*self.hosts}):
                yield f"not asked, as rules are off: {few(off)}; what is there, salt-run ipsec.plan says"
            return
        yield f"STOPPED; hosts changed so far: {', '.join(self.changed) or 'none'}"
        if self.unknown:
            yield f"told to change, and not known whether they did: {', '.join(self.unknown)}"
        yield from (f"  {text}" for text in self.stopped)
        if self._up:
            yield "to give what is up new SAs, by what is configured now: salt-run ipsec.reauthenticate"
        yield "to go on, when this is mended: salt-run ipsec.rollout"
        if self.changed or self.unknown:
            yield "to go back: salt-run ipsec.rollback"

    def _well(self) -> str:
        """Say what was done, and of which connections it can be said that they are as they should be."""
        done = "nothing to do: every host is as the pillar says"
        if self.changed:
            done = f"{counted(len(self.changed), 'host')} changed"
        rest = [row for row in self._rows if row.state != "held"]
        bad, held = sum(not row.ok for row in rest), batches.held(self._rows)
        if not bad and not held:
            return f"{done}, every connection as it should be" if self.changed else done
        before = f", {bad} in trouble{' as before' if self.changed else ''}" if bad else ""
        number = f"{len(rest) - bad} of {counted(len(self._rows))} as they should be"
        return f"{done}; {number}{before}{f', {held}' if held else ''}"


def _strangers(fleet: Fleet, plans: Answers) -> Sequence[str]:
    """Say to which hosts the fleet gives connections, and their own pillar, which they go by, none."""
    others = sorted(host for host, said in plans.items() if said["standing"] not in fleetplan.SERVING)
    meant = topology.named(fleet) if others else {}
    return [f"{host}: {STRANGER}" for host in others if host in meant]


def _unproven(row: Joined, name: str, proof: Mapping[str, Any]) -> str:
    """Say why a connection must not be required; empty where it is proven that it is encrypted."""
    if not proof:
        return f"not proven, so not required: {row.one} - {row.other} {row.family}"
    return "" if proof["ok"] else f"not encrypted, so not required: {row.one}: {name}: {proof['reason']}"
