"""What a verdict is, as values: on a connection, and on a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple, Optional

from ..answer import counted
from ..model import PASSIVE
from .expiry import Expiry

ADDRESSLESS = "no address"  # the host does not have the address that the connection is from
LEAKS = "not encrypted"  # SAs are there, and not all between the two hosts is encrypted by them
# what each state means, where stage, trap and hold say nothing else
SEVERITY: Mapping[str, str] = {
    "established": "ok",
    "connecting": "warning",
    "down": "critical",
    "no child": "critical",
    "no xfrm": "critical",
    ADDRESSLESS: "critical",
    LEAKS: "critical",
    "duplicate": "warning",
    "one-way": "warning",
    "held": "warning",
    "unmanaged": "warning",
}
STATES = tuple(SEVERITY)
CARRYING = ("established", "duplicate", "one-way")  # states in which an SA is there, and used
SEVERITIES = ("ok", "warning", "critical")
# causes of not being up, of which the other end knows more
WAITS = "waits"  # the peer is to start it
REFUSED = "refused"  # the peer chose none of the proposals


def worst(*severities: str) -> str:
    """Return the worst of some severities; ``ok`` for none."""
    return max(severities, key=SEVERITIES.index, default="ok")


def severity(state: str, stage: str) -> str:
    """Return the severity of a state that came without one, from modules that are older than severities."""
    if state == "down" and stage == PASSIVE:
        return "ok"
    return SEVERITY.get(state, "critical")


class ConnectionHealth(NamedTuple):
    """The verdict on one connection; times in seconds, None where not known."""

    name: str
    peer: str
    family: str
    stage: str
    state: str  # one of STATES
    severity: str  # one of SEVERITIES
    reason: str  # in words, also where all is well
    initiator: Optional[bool] = None  # whether this host starts it; None where nobody configured it
    since: Optional[int] = None  # since its IKE SA is up
    next_rekey: Optional[int] = None  # until the first of its SAs is due
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    ike_ids: tuple[int, ...] = ()
    child_ids: tuple[int, ...] = ()
    proposal: str = ""  # of the CHILD SA
    ike_proposal: str = ""
    mode: str = ""
    held: bool = False  # by an operator's decision, whatever its state
    cause: str = ""  # WAITS, REFUSED, or nothing of the kind
    last_in: Optional[int] = None  # since its SAs carried a packet
    last_out: Optional[int] = None

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done about it."""
        return self.severity == "ok"


class Report(NamedTuple):
    """The verdict on a host: its connections sorted by name, the unmanaged after the expected."""

    connections: tuple[ConnectionHealth, ...]
    answered: bool  # whether charon did
    held: Optional[str] = None
    version: str = ""
    backend: str = ""
    plane: str = "kernel"  # who does ESP: kernel, or charon itself (plugin kernel-libipsec)
    certificate: Optional[Expiry] = None  # of the one that is in use
    warnings: tuple[str, ...] = ()  # what could not be looked at, and who does not run
    doubtful: bool = False  # something could not be read, or the keeper does not run
    unsure: str = ""  # why it is not known who holds what down; nothing is well then
    others: Mapping[str, str] = {}  # connections of others that the pillar keeps: up, or not up

    def only(self, peer: str = "*", connection: str = "*", stage: str = "*") -> Report:
        """Return the report on those connections whose peer, name and stage match shell patterns."""
        rows = (row for row in self.connections if fnmatchcase(row.peer, peer))
        rows = (row for row in rows if fnmatchcase(row.name, connection) and fnmatchcase(row.stage, stage))
        return self._replace(connections=tuple(rows))

    @property
    def managed(self) -> tuple[ConnectionHealth, ...]:
        """Return the expected connections."""
        return tuple(row for row in self.connections if row.state != "unmanaged")

    @property
    def unmanaged(self) -> tuple[ConnectionHealth, ...]:
        """Return what charon has and nobody configured."""
        return tuple(row for row in self.connections if row.state == "unmanaged")

    @property
    def beside(self) -> str:
        """Say which connections of others go on beside ours, which nobody judges; empty where none do."""
        said = ", ".join(f"{name} {state}" for name, state in sorted(self.others.items()))
        return f"{counted(len(self.others))} of others beside these: {said}" if said else ""

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of connections by state: every state, zeros as well."""
        counts = Counter(row.state for row in self.connections)
        return {state: counts[state] for state in STATES}

    @property
    def sentence(self) -> str:
        """Say how many connections there are, and in which states."""
        number, stray = len(self.managed), self.counts["unmanaged"]
        parts = [
            f"{count:,} {state}" for state, count in self.counts.items() if count and state != "unmanaged"
        ]
        said = counted(number) + (f": {', '.join(parts)}" if parts else "")
        return f"{said}; {stray} unmanaged" if stray else said

    @property
    def ok(self) -> bool:
        """Whether every connection and the certificate are as they should be, and all could be looked at."""
        return self.severity == "ok"

    @property
    def severity(self) -> str:
        """Return the worst severity."""
        certificate = [self.certificate.severity] if self.certificate else []
        unsure = ["critical"] if self.unsure else ["warning"] if self.doubtful and self.connections else []
        return worst(*(row.severity for row in self.connections), *certificate, *unsure)

    @property
    def trouble(self) -> tuple[ConnectionHealth, ...]:
        """Return the connections that are not ok, the worst first."""
        rows = (row for row in self.connections if not row.ok)
        return tuple(sorted(rows, key=lambda row: (-SEVERITIES.index(row.severity), row.name)))
