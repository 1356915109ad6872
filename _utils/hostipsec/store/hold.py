"""A hold: who keeps which connections down, since when, until when, and why; as values, and as text.

``hold.json`` is a short history of decisions: each takes a hold or lifts one, of the connections whose peer
and name match its two shell patterns. A connection is held by every hold after the last decision that
lifted it, unless that hold has expired. So a host that is held as a whole can come up peer by peer, and of
two operators who hold it both are named.

A *command* is what the whole fleet was told, with the time at which it was given, by the clock of the master.
A host obeys no command that is older than the last one it obeyed: of two that cross on their way, the later
one wins on every host. What is decided at one host has no such time, and counts when it comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import NamedTuple, Optional, Union

from ..errors import HostIPsecError
from ..model import Connection

EVERY = "*"
NO_REASON = "no reason was given"


class Scope(NamedTuple):
    """Connections, by shell patterns of the peer's minion id and of the connection's name."""

    peer: str = EVERY
    connection: str = EVERY

    @property
    def whole(self) -> bool:
        """Whether this is every connection of the host, also those that it does not have yet."""
        return self == Scope()

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
        return f"since {minute(self.when)}{until} by {self.who}{only} because {self.why}"


class Lift(NamedTuple):
    """The decision that earlier holds of these connections are over."""

    who: str
    when: datetime
    scope: Scope = Scope()


Decision = Union[Hold, Lift]
Decisions = tuple[Decision, ...]  # in the order in which they were made


class Command(NamedTuple):
    """What the fleet was told: ``asked`` is when, in seconds since 1970, at the master."""

    verb: str
    asked: float
    who: str

    def __str__(self) -> str:
        """Say it: ``down by ada (salt-run), given 2026-11-24 04:50:12 UTC``."""
        given = datetime.fromtimestamp(self.asked, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{self.verb} by {self.who}, given {given}"


class OverruledError(HostIPsecError):
    """A later command was obeyed already; nothing was done."""


def heed(last: Optional[Command], command: Optional[Command]) -> None:
    """Refuse a command that is older than the last one; the phases of one command are equal."""
    if last and command and command.asked < last.asked:
        raise OverruledError(f"a later command counts: {last}; nothing was done for {command}")


def minute(time: datetime) -> str:
    """Return ``2026-11-24 04:50 UTC``."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


# Deciding ------------------------------------------------------------------------------------


def taken(decisions: Decisions, hold: Hold) -> Decisions:
    """Return the decisions with one more; the same person's hold of the same connections is told anew."""
    lifts = len(holds(decisions)) < len(decisions)
    same = [one for one in holds(decisions) if (one.who, one.scope) == (hold.who, hold.scope)]
    since = hold.when if lifts else min([hold.when, *(one.when for one in same)])
    return (*(one for one in decisions if one not in same), hold._replace(when=since))


def lifted(decisions: Decisions, lift: Lift, connections: Sequence[Connection]) -> Decisions:
    """Return the decisions with one that lifts; none where nothing stays held."""
    rest = () if lift.scope.whole else (*decisions, lift)
    return rest if held_names(rest, connections, lift.when) else ()


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


def expired(decisions: Decisions, now: datetime) -> bool:
    """Whether some hold is over, so that connections wait to be brought back."""
    return any(not one.in_force(now) for one in holds(decisions))


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
    """Return the text of hold.json, one decision a line."""
    lines = ",\n".join(json.dumps(_plain(one), sort_keys=True) for one in decisions)
    return f'{{"holds": [\n{lines}\n]}}\n'


def parse(text: str) -> Decisions:
    """Return the decisions of hold.json. Raises HostIPsecError where it is damaged."""
    try:
        return tuple(_decision(entry) for entry in json.loads(text)["holds"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HostIPsecError(f"hold.json cannot be read ({error!r})") from None


def damaged(error: HostIPsecError, when: datetime) -> Decisions:
    """Return what a hold that cannot be read counts as: somebody held something, so all is held."""
    return (Hold("somebody", when, f"{error}; ipsec-global up lifts it"),)


def render_command(command: Command) -> str:
    """Return the text of command.json."""
    return json.dumps(command._asdict(), sort_keys=True) + "\n"


def parse_command(text: str) -> Optional[Command]:
    """Return the command of command.json; None where it is damaged: it decides between commands only."""
    try:
        found = json.loads(text)
        return Command(str(found["verb"]), float(found["asked"]), str(found["who"]))
    except (ValueError, TypeError, KeyError):
        return None


def _plain(decision: Decision) -> dict[str, object]:
    held, scope = isinstance(decision, Hold), decision.scope._asdict()
    common = {"who": decision.who, "when": decision.when.isoformat(), "held": held, **scope}
    if isinstance(decision, Lift):
        return {**common, "why": ""}  # releases with one type for both decisions expect it
    until = {"until": decision.until.isoformat()} if decision.until else {}
    return {**common, "why": decision.why, **until}


def _decision(entry: Mapping[str, object]) -> Decision:
    who, when = str(entry["who"]), _time(entry["when"])
    scope = Scope(str(entry["peer"]), str(entry["connection"]))
    if entry["held"] is not True:
        return Lift(who, when, scope)
    until = entry.get("until")
    return Hold(who, when, str(entry["why"]), None if until is None else _time(until), scope)


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(str(value))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
