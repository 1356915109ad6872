"""The commands that a fleet is given, from asking its hosts to what it came to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Optional

from ..model import Fleet
from ..pillar import topology
from . import fleetplan, fleetstatus, marks, outcome, targets
from .asking import Arguments, Asking, Heard, nothing, sentence, trouble
from .fleetplan import FleetPlan
from .fleetstatus import Filter, FleetStatus
from .hostnames import few
from .marks import Last, Way
from .outcome import Outcome

ASK_AGAIN = 1.0  # seconds, at most, between two questions about connections that are coming up
AT_IT = 60.0  # seconds, for state runs of a roll-out that was interrupted


def command(
    asking: Asking, verb: str, hosts: Sequence[str], arguments: Arguments, batch: int = 0, threshold: int = 0
) -> Outcome:
    """Give hosts one command, so many at a time; so many may fail."""
    return outcome.summed(
        verb, hosts, asking.ask(hosts, f"ipsec.{verb}", arguments, sentence, batch), threshold
    )


def verify(asking: Asking, hosts: Sequence[str], arguments: Arguments, fleet: Optional[Fleet]) -> Outcome:
    """Have hosts prove what the pillar gives them; what a host passes over is not proven.

    Without a ``fleet``, whose pillar cannot be read, a host has to have proven something.
    """
    heard = asking.ask(hosts, "ipsec.verify", arguments, sentence)
    return outcome.proven(hosts, heard, None if fleet is None else topology.named(fleet))


def dry_run(asking: Asking, verb: str, hosts: Sequence[str]) -> Outcome:
    """Ask hosts for their status only, and say what ``down`` or ``up`` would do."""
    return outcome.tried(verb, asking.ask(hosts, "ipsec.status", line=trouble))


def start(
    asking: Asking, hosts: Sequence[str], arguments: Arguments, batch: int, threshold: int = 0
) -> Outcome:
    """Have hosts lift their holds and start what they have; nobody waits for what comes up."""
    heard = asking.ask(hosts, "ipsec.up", {**arguments, "wait": False}, sentence, batch)
    return outcome.summed("start", hosts, heard, threshold)


def up(
    asking: Asking,
    hosts: Sequence[str],
    arguments: Arguments,
    jitter: float,
    batch: int,
    threshold: int,
    accepted: Collection[str],
) -> Outcome:
    """Have every host start, then wait for all: a peer that is still held would refuse.

    A host that says nothing is not asked again. Why something did not come up takes into account what the
    other end says, which is asked where it is one of the ``accepted`` minions.
    """
    starting = {**arguments, "wait": False, "jitter": jitter}
    started = asking.ask(hosts, "ipsec.up", starting, trouble, batch)
    if started.interrupted:
        return outcome.summed("start", hosts, started, threshold)
    heard = asking.ask([one for one in hosts if one not in started.silent], "ipsec.up", arguments, sentence)
    silent = {*started.silent, *heard.silent}
    heard = replace(heard, silent=tuple(one for one in hosts if one in silent))
    others = [] if heard.interrupted else sorted(outcome.lacking(heard) & {*accepted})
    ends = asking.ask(others, "ipsec.status", line=trouble)
    return outcome.summed("up", hosts, outcome.explained(heard, ends), threshold)


def status(asking: Asking, fleet: Fleet, chosen: Filter, patience: float) -> FleetStatus:
    """Ask both ends of every pair, and again for so many seconds while something is not well."""
    end = asking.client.clock() + patience
    while True:
        heard = asking.ask(targets.serving(fleet), "ipsec.status", line=sentence)
        found = fleetstatus.join(fleet, heard, chosen)
        left = end - asking.client.clock()
        if heard.interrupted or found.well or left <= 0:
            return found
        asking.client.sleep(min(ASK_AGAIN, left))


def plan(asking: Asking, fleet: Fleet, accepted: Sequence[str], whole: bool) -> tuple[FleetPlan, Heard]:
    """Ask what each host would change: the ``accepted`` minions, and the ``whole`` fleet or these alone.

    Of the whole fleet the silence of those counts that have peers, or had some.
    """
    members = fleetplan.concerned(fleet, {}) if whole else frozenset()
    heard = asking.ask(sorted({*accepted, *members}), "ipsec.plan")
    plans = {host: one.as_dict() for host, one in heard.answers.items()}
    heard = heard.of(fleetplan.concerned(fleet, plans) if whole else accepted)
    return fleetplan.join(fleet, plans, {*heard.silent, *heard.failed}), heard


def gone_on(asking: Asking, hosts: Sequence[str], last: Optional[Last]) -> tuple[Optional[Last], str]:
    """Return the last roll-out if the next one is the rest of it, and a sentence about that; else None.

    It is where it was stopped, not taken back, and nobody else changed a host since.
    """
    if last is None or not last.open:
        return None, ""
    others = marks.since(last, asking.ask(sorted({*hosts, *last.told}), "ipsec.previous").answers)
    if others:
        said = f"{few(others)} changed by another hand since: this is a new one, all that rollback takes back"
        return None, f"the roll-out of {last.mark} was stopped, and {said}"
    return last, f"goes on with the roll-out of {last.mark}, which was stopped: rollback takes back both"


def previous(asking: Asking, hosts: Sequence[str], told: Collection[str]) -> Heard:
    """Ask what hosts would go back to; those that were ``told`` to change may be at it yet, for a while."""
    end = asking.client.clock() + AT_IT
    while True:
        heard = asking.ask(hosts, "ipsec.previous", line=nothing)
        busy = [host for host, one in heard.answers.items() if host in told and one.own.get("running")]
        if not busy or heard.interrupted or asking.client.clock() > end:
            return heard
        asking.client.say(f"waiting for state.apply at {few(busy)}")
        asking.client.sleep(ASK_AGAIN)


def rollback(asking: Asking, way: Way, heard: Heard) -> Outcome:
    """Have hosts go back; each is told the mark of the change that is to be undone, and refuses another's.

    ``heard`` is what they answered to ``ipsec.previous``. A host of the release before takes no mark; it has
    just said of which its last change is.
    """
    found = Heard()
    for arguments, hosts in _orders(way, heard):
        if found.interrupted:
            found += Heard(unasked=tuple(hosts))
        elif hosts:
            found += asking.ask(hosts, "ipsec.rollback", arguments, sentence)
    return outcome.summed("rollback", [*way.every, *way.left], outcome.went_back(found, way))


def _orders(way: Way, heard: Heard) -> Iterator[tuple[Arguments, Sequence[str]]]:
    for mark, hosts in sorted(way.hosts.items()):
        old = [host for host in hosts if "edition" not in heard.answers[host].own]
        yield {}, old
        yield {"mark": mark}, [host for host in hosts if host not in old]
    if way.whole:
        yield {"mark": way.whole.mark}, way.slow
