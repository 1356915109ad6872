"""A roll-out carried out, or taken back, with what the master keeps of it: who runs one, and the last one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, Optional

from .. import arguments
from ..errors import HostIPsecError
from ..model import STAGES, Fleet
from . import batches, commands, marks, outcome
from .asking import Asking, Client, Heard
from .fleetrollout import Rollout
from .ledger import Ledger
from .marks import Last
from .minions import Minions
from .outcome import Outcome


class Order(NamedTuple):
    """What is to be rolled out, and where."""

    fleet: Fleet
    hosts: Sequence[str]
    by: str
    size: int
    deadline: float
    stages: Sequence[str]
    whole: bool = True  # all hosts are meant, and all stages
    back: bool = False  # where it stops, what it changed is taken back

    def rollout(self, hands: Minions) -> Rollout:
        """Return the roll-out, yet to be run."""
        return Rollout(self.fleet, self.hosts, self.by, self.size, self.deadline, hands)


def ordered(
    fleet: Fleet,
    hosts: Sequence[str],
    by: str,
    batch: object,
    deadline: object,
    stage: str,
    whole: bool,
    back: object,
) -> Order:
    """Return the order that an operator gives. Raises HostIPsecError where an argument cannot be."""
    size, seconds = arguments.batch(batch), arguments.seconds("deadline", deadline)
    arguments.one_of("by", by, {label for host in fleet.hosts for label in host.labels})
    if stage:
        arguments.one_of("stage", stage, STAGES[1:])
    again, stages = arguments.switch("back", back), batches.stages(fleet, stage)
    return Order(fleet, hosts, by, size, seconds, stages, whole and not stage, again)


def foresee(order: Order, client: Client) -> dict[str, Any]:
    """Say in which order hosts would be changed."""
    rolling = order.rollout(Minions(client, Last(""), str, lambda _: None))
    interrupted = _run(rolling, rolling.foresee, order.stages)
    lines = [*rolling.said, *rolling.stopped, "nothing was changed"]
    return {**_told(rolling, interrupted), "mark": None, "lines": lines}


def roll(
    order: Order, client: Client, ledger: Ledger, pillar: Callable[[], str], now: datetime, who: str
) -> dict[str, Any]:
    """Roll out, alone at this master. Raises HostIPsecError where nothing was begun.

    ``pillar`` returns a digest of the master's pillar: first of the one that the order was made from.
    """
    with ledger.lease(f"ipsec.rollout by {who}"):
        noted = ledger.last()
        try:
            last, said = commands.gone_on(Asking(client), order.hosts, noted)
        except KeyboardInterrupt:
            return _refused_by_ctrl_c()
        partly = last is not None and not order.whole  # of what was stopped: these do not make it whole

        def keep(one: Last) -> None:
            ledger.keep(one._replace(through=one.through and not partly))

        hands = Minions(client, last or Last(marks.fresh(now, noted)), pillar, keep)
        rolling = order.rollout(hands)
        rolling.said += [said] if said else []
        interrupted = _run(rolling, rolling.run, order.stages)
        if last and not rolling.stopped and not rolling.changed:  # another hand did the rest
            keep(last._replace(through=True))
        lines = list(rolling.lines())
        if order.back and rolling.stopped and not interrupted:
            lines += _taken_back(client, ledger, order.hosts, hands.mark)
    return {**_told(rolling, interrupted), "mark": hands.mark, "lines": lines}


def _taken_back(client: Client, ledger: Ledger, hosts: Sequence[str], mark: str) -> Sequence[str]:
    """Take back what a roll-out changed, if that is anything, and no other; return what came of it."""
    noted = ledger.last()
    if noted is None or noted.mark != mark:
        return ["nothing was changed, so nothing is taken back"]
    try:
        found = _back(Asking(client), ledger, sorted({*hosts, *noted.told}), noted, named=False, mark=mark)
    except HostIPsecError as error:
        return str(error).splitlines()
    return [*found.lines, *outcome.lost(found.heard)]


def _refused_by_ctrl_c() -> dict[str, Any]:
    lines = ["interrupted; nothing was changed"]
    found: dict[str, Any] = {"changed": [], "unknown": [], "stopped": lines, "mark": None, "lines": lines}
    return {**found, "retcode": outcome.INTERRUPTED}


def _run(rolling: Rollout, run: Callable[[Sequence[str]], None], stages: Sequence[str]) -> bool:
    """Go through the stages; return whether it was interrupted."""
    try:
        run(stages)
    except (KeyboardInterrupt, SystemExit):  # Salt turns Ctrl-C into the latter
        rolling.stopped.append("interrupted; hosts that were told finish what they have begun")
        return True
    return False


def _told(rolling: Rollout, interrupted: bool) -> dict[str, Any]:
    return {
        "changed": rolling.changed,
        "unknown": rolling.unknown,
        "stopped": rolling.stopped,
        "retcode": 2
        if rolling.wrong_pillar
        else outcome.status(not (rolling.stopped or rolling.left), interrupted),
    }


# The way back ----------------------------------------------------------------------------------


def would_go_back(asking: Asking, ledger: Ledger, accepted: Sequence[str], named: bool, mark: str) -> Outcome:
    """Return what :func:`back` would do."""
    heard, way = _way(asking, accepted, None if named else _last(ledger, mark), named, mark)
    return outcome.would_go_back(heard, way) if way else _interrupted(heard)


def back(
    asking: Asking, ledger: Ledger, accepted: Sequence[str], named: bool, whole: bool, mark: str, who: str
) -> Outcome:
    """Have hosts go back: those that are ``named``, or all that a roll-out changed, without a mark the last.

    ``whole`` says whether all hosts are meant: then the roll-out is noted as taken back.
    """
    with ledger.lease_if_kept(f"ipsec.rollback by {who}"):
        last = None if named else _last(ledger, mark)
        return _back(asking, ledger, accepted, last, named, mark, whole)


def _back(
    asking: Asking,
    ledger: Ledger,
    accepted: Sequence[str],
    last: Optional[Last],
    named: bool,
    mark: str,
    whole: bool = True,
) -> Outcome:
    heard, way = _way(asking, accepted, last, named, mark)
    if way is None:
        return _interrupted(heard)
    found = commands.rollback(asking, way, heard)
    if way.whole and whole and (last or way.whole).mark == way.whole.mark:
        return _noted(ledger, way.whole._replace(told=way.whole.told or way.every, back=found.ok), found)
    return found


def _way(
    asking: Asking, accepted: Sequence[str], last: Optional[Last], named: bool, mark: str
) -> tuple[Heard, Optional[marks.Way]]:
    """Return what hosts would go back to, and who goes; nobody where that was interrupted."""
    heard = commands.previous(asking, accepted, last.told if last else accepted)
    if heard.interrupted:
        return heard, None
    now = datetime.now(timezone.utc)
    return heard, marks.by_name(heard) if named else marks.whole(heard, last, mark, now)


def _last(ledger: Ledger, mark: str) -> Optional[Last]:
    """Return the last roll-out; who names one by its mark needs no more."""
    try:
        return ledger.last()
    except HostIPsecError:
        if not mark:
            raise
        return None


def _interrupted(heard: Heard) -> Outcome:
    return Outcome(heard, ("nothing was changed",), ok=False)


def _noted(ledger: Ledger, last: Last, found: Outcome) -> Outcome:
    """Note that a roll-out is taken back; it is where that cannot be noted, too."""
    try:
        ledger.keep(last)
    except HostIPsecError as error:
        said = f"that it is taken back is not noted at this master: {error}"
        return dataclasses.replace(found, lines=(*found.lines, said))
    return found
