"""The commands that a fleet is given, from asking its hosts to what it came to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Optional, Union

from ..answer import Answer
from ..errors import HostIPsecError
from ..model import Fleet
from ..pillar import topology, unmanaged
from . import fleetplan, fleetstatus, gone, marks, outcome, targets
from .answers import Instead
from .asking import Arguments, Asking, Heard, Line, nothing, sentence, trouble
from .fleetplan import FleetPlan
from .fleetstatus import Filter, FleetStatus
from .gone import PLACELESS, Gone, outside
from .hostnames import few
from .marks import Last, Way
from .outcome import Outcome
from .targets import Meant

_NONE: Arguments = MappingProxyType({})
_NOBODY = Gone()
ASK_AGAIN = 1.0  # seconds, at most, between two questions about connections that are coming up
PEERLESS = "the pillar gives no host a peer, so the accepted minions were asked"
UNTOLD = "none of them tells of connections on record"
AT_IT = 60.0  # seconds, for state runs of a roll-out that was interrupted


def command(
    asking: Asking, verb: str, meant: Meant, arguments: Arguments, batch: int = 0, threshold: int = 0
) -> Outcome:
    """Give hosts one command, so many at a time; so many may fail."""
    hosts, heard = _ask(asking, meant, f"ipsec.{verb}", arguments, sentence, batch)
    return outcome.summed(verb, hosts, heard, threshold, meant.lines)


def verify(asking: Asking, hosts: Sequence[str], arguments: Arguments, fleet: Optional[Fleet]) -> Outcome:
    """Have hosts prove what the pillar gives them; what a host passes over is not proven.

    Without a ``fleet``, whose pillar cannot be read, a host has to have proven something.
    """
    heard = asking.ask(hosts, "ipsec.verify", arguments, sentence)
    if fleet is None:
        return outcome.proven(hosts, heard, None)
    found = outcome.proven(hosts, heard, topology.named(fleet))
    pairs = [pair for pair in topology.pairs(fleet) if {*pair} & {*hosts}]
    alone = unmanaged.proven_alone(len(topology.one_sided(fleet, pairs)))
    return replace(found, lines=(*found.lines, *topology.partly(fleet, pairs), *alone))


def reauthenticate(asking: Asking, hosts: Sequence[str], arguments: Arguments) -> Outcome:
    """Have hosts authenticate anew; what was refused is told with the reason of the end that refused."""
    heard = asking.ask(hosts, "ipsec.reauthenticate", arguments, sentence)
    return outcome.summed("reauthenticate", hosts, outcome.refused(heard))


def dry_run(asking: Asking, verb: str, meant: Meant) -> Outcome:
    """Ask hosts for their status only, and say what ``down`` or ``up`` would do."""
    _, heard = _ask(asking, meant, "ipsec.status", _NONE, trouble)
    return outcome.tried(verb, heard, meant.lines)


def start(asking: Asking, meant: Meant, arguments: Arguments, batch: int, threshold: int = 0) -> Outcome:
    """Have hosts lift their holds and start what they have; nobody waits for what comes up."""
    hosts, heard = _ask(asking, meant, "ipsec.up", {**arguments, "wait": False}, sentence, batch)
    return outcome.summed("start", hosts, heard, threshold, meant.lines)


def up(
    asking: Asking,
    meant: Meant,
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
    hosts, started = _ask(asking, meant, "ipsec.up", starting, trouble, batch)
    if started.interrupted:
        return outcome.summed("start", hosts, started, threshold, meant.lines)
    failed = {host: text for host, text in started.failed.items() if host in meant.gone.hosts}
    there = [one for one in hosts if one not in {*started.silent, *meant.unknown, *failed}]
    heard = asking.ask(there, "ipsec.up", arguments, sentence) + _unknown(meant)
    silent = {*started.silent, *heard.silent}
    lost = tuple(one for one in hosts if one in silent)
    heard += replace(started, answers={}, failed=failed, silent=())
    heard = _bare(replace(heard, silent=lost), meant.fleet)
    others = [] if heard.interrupted else sorted(outcome.lacking(heard) & {*accepted})
    ends = asking.ask(others, "ipsec.status", line=trouble)
    return outcome.summed("up", hosts, outcome.explained(heard, ends), threshold, meant.lines)


def _bare(heard: Heard, fleet: Optional[Fleet]) -> Heard:
    """Return it where hosts are not as asked that have nothing, and to which the pillar gives some."""
    bare = {host for host, one in heard.answers.items() if not (one.connections or one.own.get("overruled"))}
    if not bare or fleet is None:
        return heard
    return outcome.bare(heard, bare & {*topology.named(fleet)})


def recorded_status(asking: Asking, meant: Meant) -> Outcome:
    """Ask hosts for their own status, where the pillar does not say which pairs there are."""
    hosts, heard = _ask(asking, meant, "ipsec.status", {"configured": True}, sentence)
    return outcome.summed("status", hosts, heard, lines=meant.lines)


def _ask(
    asking: Asking, meant: Meant, function: str, arguments: Arguments, line: Line, batch: int = 0
) -> tuple[Sequence[str], Heard]:
    """Ask the hosts that are meant; return who counts, and what they said.

    Where all minions are asked, those without connections on record do nothing, and do not count; nor do
    those that do not have our modules. So it is with hosts whose rules are off, and with minions that no rule
    has. A name that no minion has counts as a host that said so.
    """
    if meant.sites or not meant.why:
        heard = asking.ask(meant.hosts, function, arguments, line, batch) + _unknown(meant)
        there, more = _recorded(asking, meant.former, function, arguments, line, batch, heard.interrupted)
        heard += more
        left = gone.having(asking, meant.gone, heard)
        hosts = [*meant.hosts, *meant.unknown, *there, *left.answers, *left.silent, *left.failed]
        heard += replace(left, answers={})
        if not heard.interrupted:
            heard += asking.ask([*left.answers], function, arguments, line, batch)
    else:
        found, heard = _recorded(asking, meant.hosts, function, arguments, line, batch)
        hosts = [*found]
    if not (hosts or heard.interrupted):
        raise HostIPsecError("\n".join([*(meant.lines or [PEERLESS]), UNTOLD, *outcome.lost(heard)]))
    return hosts, heard


def _recorded(
    asking: Asking,
    some: Sequence[str],
    function: str,
    arguments: Arguments,
    line: Line,
    batch: int,
    interrupted: bool = False,
) -> tuple[Sequence[str], Heard]:
    """Ask hosts of which those count that have connections on record; nobody after an interruption."""

    def told(said: Union[Answer, Instead]) -> str:
        return "" if outside(said) else line(said)

    if interrupted:
        return some, Heard(unasked=tuple(some))
    heard = asking.ask(some, function, {**arguments, "known": True}, told, batch)
    strangers = {host for host, one in heard.answers.items() if outside(one)} | heard.outdated
    hosts = [host for host in some if host not in strangers]
    return hosts, replace(heard.without(strangers), outdated=heard.outdated)


def _unknown(meant: Meant) -> Heard:
    return Heard(failed=meant.unknown)


def at_sites(asking: Asking, everybody: Meant, sites: Sequence[str]) -> Meant:
    """Ask ``everybody`` where they are, and return who is at these sites; the pillar does not tell."""
    heard = asking.ask(everybody.hosts, "ipsec.status", {"known": True})
    if heard.interrupted:
        raise HostIPsecError("interrupted while hosts were asked where they are; nothing was done")
    places = {host: str(one.own.get("site", "")) for host, one in heard.answers.items() if not outside(one)}
    unknown = {
        **dict.fromkeys(heard.silent, "did not answer where it is"),
        **{host: text for host, text in heard.failed.items() if host not in heard.outdated},
        **{host: PLACELESS for host, site in places.items() if not site},
    }
    said = {host: site for host, site in places.items() if site}
    return targets.at_recorded(everybody, sites, said, unknown)


def status(
    asking: Asking, fleet: Fleet, chosen: Filter, patience: float, others: Gone = _NOBODY
) -> FleetStatus:
    """Ask both ends of every pair, and again for so many seconds while something is not well.

    Where all is asked for, ``others``, minions that the pillar does not have, are asked at the end.
    """
    end = asking.client.clock() + patience
    while True:
        heard = asking.ask(targets.serving(fleet), "ipsec.status", line=sentence)
        found = fleetstatus.join(fleet, heard, chosen)
        left = end - asking.client.clock()
        if heard.interrupted or found.well or left <= 0:
            break
        asking.client.sleep(min(ASK_AGAIN, left))
    if heard.interrupted or chosen != Filter():
        return found
    return fleetstatus.join(fleet, heard, chosen, gone.having(asking, others, heard))


def whole(asking: Asking, fleet: Fleet, others: Gone = _NOBODY) -> FleetStatus:
    """Ask both ends of every pair once, and print nothing as they answer. Raises HostIPsecError at Ctrl-C."""
    heard = asking.ask(targets.serving(fleet), "ipsec.status")
    left = gone.having(asking, others, heard)
    if heard.interrupted or left.interrupted:
        raise HostIPsecError("interrupted while hosts were asked; nothing was written")
    return fleetstatus.join(fleet, heard, Filter(), left)


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
    heard = asking.ask(sorted({*hosts, *last.told}), "ipsec.previous")
    if heard.interrupted:
        raise KeyboardInterrupt
    others = marks.since(last, heard.answers)
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
