"""A hold: who keeps which connections down, since when, until when, and why; as values, and as text.

``hold.json`` is a short history of decisions: each takes a hold or lifts one, of the connections whose peer
and name match its two shell patterns. A connection is held by every hold after the last decision that
lifted it, unless that hold has expired. So a host that is held as a whole can come up peer by peer, and of
two operators who hold it both are named. A whole host stays held for peers yet to come until all of it is
lifted at once, and a hold that is over stays on disk: a clock that was wrong for a moment lifts nothing for
good. What no connection can depend on any more is left out (:func:`compact`).

A *command* is what the whole fleet was told, with the time at which it was given, by the clock of the master.
A host obeys no command that is older than the last one it obeyed: of two that cross on their way, the later
one wins on every host. What is decided at one host has no such time, and counts when it comes; a hold that is
taken so is remembered as a command of that moment, over one that is still on its way. A time that lies ahead
of the host's own clock is no time at all: such a command counts as given now (:func:`counted`).

``hold.json`` carries a checksum, so that a flipped bit neither takes nor lifts anything; those of releases
without one are read as they are. What cannot be read says nothing, and changes nothing: until an operator
decides anew, down is what ipsec.conf keeps down (:func:`unreadable`).
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple, Optional, Tuple, Union

from ..errors import HostIPsecError
from ..model import Connection

EVERY = "*"
NO_REASON = "no reason was given"
AHEAD = 5.0  # seconds that the clocks of a fleet may differ; what lies further ahead was no clock's time
JUST = 0.001  # seconds by which what is to count is later than what shall not
REMEMBERED = 16  # commands that came with a time ahead
LATEST = 253402300799.0  # the last second of the year 9999
WRITE_ANEW = "ipsec-global up brings all up and ipsec-global down holds all: either writes it anew"


class Scope(NamedTuple):
    """Connections, by shell patterns of the peer's minion id and of the connection's name."""

    peer: str = EVERY
    connection: str = EVERY

    @property
    def whole(self) -> bool:
        """Whether this is every connection of the host, also those that it does not have yet."""
        return self == Scope()

    def includes(self, other: Scope) -> bool:
        """Whether every connection of the other scope is of this one for sure, also one yet to come."""
        return _includes(self.peer, other.peer) and _includes(self.connection, other.connection)

    def has(self, connection: Connection) -> bool:
        """Whether a connection is meant."""
        return fnmatchcase(connection.peer, self.peer) and fnmatchcase(connection.name, self.connection)

    def select(self, connections: Iterable[Connection]) -> tuple[Connection, ...]:
        """Return the connections that are meant."""
        return tuple(one for one in connections if self.has(one))

    def __str__(self) -> str:
        """Return the patterns in words; empty for everything."""
        parts = (("peer", self.peer), ("connection", self.connection))
        return ", ".join(f"{name} {pattern}" for name, pattern in parts if pattern != EVERY)


def _includes(pattern: str, other: str) -> bool:
    """Whether a pattern fits all that another fits; it may say no where only one who tried all would know.

    Where the pattern has stars alone, it has to swallow the other's stars and question marks with its own.
    """
    if pattern == other:
        return True
    return not {*"?["} & {*pattern} and "[" not in other and fnmatchcase(other, pattern)


class Hold(NamedTuple):
    """The decision to keep connections down. Times are in UTC."""

    who: str
    when: datetime
    why: str
    until: Optional[datetime] = None
    scope: Scope = Scope()

    def in_force(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.until is None or now < self.until

    def __str__(self) -> str:
        """Say it as every status does: ``since 2026-11-24 04:50 UTC by ada because T195365``."""
        only = f" ({self.scope})" if str(self.scope) else ""
        until = f" until {minute(self.until)}" if self.until else ""
        return printable(f"since {minute(self.when)}{until} by {self.who}{only} because {self.why}")


class Lift(NamedTuple):
    """The decision that earlier holds of these connections are over."""

    who: str
    when: datetime
    scope: Scope = Scope()


Decision = Union[Hold, Lift]
Decisions = Tuple[Decision, ...]  # in the order in which they were made


class Command(NamedTuple):
    """What the fleet was told: ``asked`` is when, in seconds since 1970, at the master.

    ``stamp`` is the time that it came with, where that lay ahead of this host's clock; ``asked`` is then when
    it came first.
    """

    verb: str
    asked: float
    who: str
    stamp: Optional[float] = None

    @property
    def warning(self) -> str:
        """Say that it came with a time that lies ahead; empty where it did not."""
        if self.stamp is None:
            return ""
        return (
            f"asked={self.stamp:.15g} lies {round(self.stamp - self.asked):.15g} s ahead of this host's "
            "clock, so the command counts as given now; see whose clock is wrong, the master's or this host's"
        )

    def __str__(self) -> str:
        """Say it: ``down by ada (salt-run), given 2026-11-24 04:50:12 UTC``."""
        given = datetime.fromtimestamp(min(max(0.0, self.asked), LATEST), timezone.utc)
        return printable(f"{self.verb} by {self.who}, given {given.strftime('%Y-%m-%d %H:%M:%S UTC')}")


class OverruledError(HostIPsecError):
    """A later command was obeyed already, which counts from ``later``; nothing was done."""

    def __init__(self, text: str, later: float) -> None:
        super().__init__(text)
        self.later = later


class Obeyed(NamedTuple):
    """What a host remembers of commands: the last one, and which came with a time ahead."""

    last: Optional[Command] = None
    ahead: Mapping[float, float] = MappingProxyType({})  # stamp -> when that command came first

    def and_then(self, command: Command) -> Obeyed:
        """Return it with one more."""
        if command.stamp is None:
            return Obeyed(command, self.ahead)
        known = {**self.ahead, command.stamp: command.asked}
        return Obeyed(command, dict(sorted(known.items(), key=lambda one: one[1])[-REMEMBERED:]))


def counted(obeyed: Obeyed, command: Optional[Command], now: float) -> Optional[Command]:
    """Return a command with the time that counts here: one that lies ahead of the clock is none.

    The phases of one command come with the same time: it counts as given when the first of them came.
    """
    if command is None or command.asked <= now + AHEAD:
        return command
    return command._replace(asked=min(now, obeyed.ahead.get(command.asked, now)), stamp=command.asked)


def heed(last: Optional[Command], command: Optional[Command], now: float = math.inf) -> None:
    """Refuse a command that is older than the last one; the phases of one command are equal.

    A last one that lies ahead of the clock refuses nothing: a clock was wrong then, or is now.
    """
    if last and command and command.asked < last.asked <= now + AHEAD:
        raise OverruledError(f"a later command counts: {last}; nothing was done for {command}", last.asked)


def printable(text: str) -> str:
    """Return a text without what a terminal would act on, or could not show."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def minute(time: datetime) -> str:
    """Return ``2026-11-24 04:50 UTC``."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


# Deciding ------------------------------------------------------------------------------------


def taken(decisions: Decisions, hold: Hold) -> Decisions:
    """Return the decisions with one more; the same person's hold of the same connections is told anew."""
    lifts = len(holds(decisions)) < len(decisions)
    same = [one for one in holds(decisions) if (one.who, one.scope) == (hold.who, hold.scope)]
    since = hold.when if lifts else min([hold.when, *(one.when for one in same)])
    return compact((*(one for one in decisions if one not in same), hold._replace(when=since)))


def lifted(decisions: Decisions, lift: Lift) -> Decisions:
    """Return the decisions with one that lifts; none once nothing can be held by what is left."""
    return compact((*decisions, lift))


def compact(decisions: Decisions) -> Decisions:
    """Return the decisions without those on which no connection, present or to come, depends any more.

    That is a decision whose connections are all lifted by a later one, and one that lifts what nobody holds.
    """
    rest: Decisions = ()
    for number, one in enumerate(decisions):
        if not _overtaken(one, decisions[number + 1 :]) and not _idle(one, rest):
            rest = (*rest, one)
    return rest


def _overtaken(decision: Decision, later: Decisions) -> bool:
    return any(isinstance(one, Lift) and one.scope.includes(decision.scope) for one in later)


def _idle(decision: Decision, earlier: Decisions) -> bool:
    """Whether it lifts what no hold is left to hold: an earlier one lifted all of it since the last hold."""
    if isinstance(decision, Hold):
        return False
    for one in reversed(earlier):
        if isinstance(one, Hold):
            return False
        if one.scope.includes(decision.scope):
            return True
    return True


def holds(decisions: Decisions) -> tuple[Hold, ...]:
    """Return those that take a hold."""
    return tuple(one for one in decisions if isinstance(one, Hold))


def covering(decisions: Decisions, connection: Connection, now: datetime) -> tuple[Hold, ...]:
    """Return the holds that keep a connection down."""
    found: list[Hold] = []
    for one in decisions:
        if one.scope.has(connection):
            found = [*found, one] if isinstance(one, Hold) else []
    return tuple(one for one in found if one.in_force(now))


def held_names(decisions: Decisions, connections: Iterable[Connection], now: datetime) -> frozenset[str]:
    """Return the names of the connections that are held."""
    return frozenset(one.name for one in connections if covering(decisions, one, now))


def current(decisions: Decisions, now: datetime) -> Decisions:
    """Return the decisions without holds that are over."""
    return tuple(one for one in decisions if isinstance(one, Lift) or one.in_force(now))


def words(decisions: Decisions) -> str:
    """Say who holds, since when and why; empty for no hold."""
    return "; and ".join(str(one) for one in holds(decisions))


def reasons(decisions: Decisions, connections: Iterable[Connection], now: datetime) -> dict[str, str]:
    """Return ``{name: "since ... by ... because ..."}`` of the connections that are held."""
    found = {one.name: covering(decisions, one, now) for one in connections}
    return {name: words(holding) for name, holding in sorted(found.items()) if holding}


# On disk -------------------------------------------------------------------------------------


def render(decisions: Decisions) -> str:
    """Return the text of hold.json, one decision a line, and a checksum of these lines."""
    lines = ",\n".join(json.dumps(_plain(one), sort_keys=True) for one in decisions)
    return f'{{"holds": [\n{lines}\n], "check": "{_check(lines)}"}}\n'


def _check(lines: str) -> str:
    return f"{binascii.crc32(lines.encode('utf-8', 'surrogatepass')):08x}"


def parse(text: str) -> Decisions:
    """Return the decisions of hold.json. Raises HostIPsecError where it is damaged."""
    try:
        found = json.loads(text)
        decisions = tuple(_decision(entry) for entry in found["holds"])
        lines = text.partition("[\n")[2].rpartition("\n]")[0]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise HostIPsecError(f"hold.json cannot be read ({error!r})") from None
    if {*found} - {"holds", "check"} or found.get("check", _check(lines)) != _check(lines):
        raise HostIPsecError("hold.json cannot be read (it is not as it was written: the checksum differs)")
    return decisions


def unreadable(error: HostIPsecError, when: datetime, ignored: Collection[str]) -> Decisions:
    """Return what counts where hold.json cannot be read: what ipsec.conf keeps down stays so, by name."""
    why = f"{error}, and ipsec.conf keeps it down"
    return tuple(Hold("somebody", when, why, scope=Scope(connection=name)) for name in sorted(ignored))


def render_command(obeyed: Obeyed) -> str:
    """Return the text of command.json."""
    last, ahead = obeyed.last, sorted(obeyed.ahead.items())
    return json.dumps({**(last._asdict() if last else {}), "ahead": ahead}, sort_keys=True) + "\n"


def parse_command(text: str) -> Obeyed:
    """Return the commands of command.json; none where it is damaged: it decides between commands only."""
    try:
        found = json.loads(text)
        ahead = {_number(stamp): _number(came) for stamp, came in found.get("ahead", ())}
        stamp = found.get("stamp")
        stamped = None if stamp is None else _number(stamp)
        return Obeyed(Command(str(found["verb"]), _number(found["asked"]), str(found["who"]), stamped), ahead)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Obeyed()


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _plain(decision: Decision) -> dict[str, object]:
    held, scope = isinstance(decision, Hold), decision.scope._asdict()
    common = {"who": decision.who, "when": decision.when.isoformat(), "held": held, **scope}
    if isinstance(decision, Lift):
        return {**common, "why": ""}  # releases with one type for both decisions expect it
    until = {"until": decision.until.isoformat()} if decision.until else {}
    return {**common, "why": decision.why, **until}


def _decision(entry: Mapping[str, object]) -> Decision:
    texts = (entry["who"], entry["peer"], entry["connection"], entry["why"])
    if not all(isinstance(one, str) for one in texts) or not isinstance(entry["held"], bool):
        raise ValueError("no decision")
    who, peer, connection, why = (str(one) for one in texts)
    when, scope = _time(entry["when"]), Scope(peer, connection)
    if not entry["held"]:
        return Lift(who, when, scope)
    until = entry.get("until")
    return Hold(who, when, why, None if until is None else _time(until), scope)


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(str(value))
    time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return time.astimezone(timezone.utc)  # here: one at the end of time would be a traceback later
