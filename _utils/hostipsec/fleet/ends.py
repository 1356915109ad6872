"""One end of a connection: the verdict that its host gave, and how the fleet repeats it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional, cast

from ..charon import reasons
from ..health import report
from ..strongswan import abilities

Row = Mapping[str, object]  # a connection of a host's ipsec.status or ipsec.up
Rows = Mapping[str, Row]  # by name


class End(NamedTuple):
    """What one host says of its end; nothing where it did not answer, or does not have the connection."""

    host: str
    severity: str  # one of health's
    answered: bool = True
    known: bool = True  # whether the host has the connection
    state: str = ""
    reason: str = ""
    held: bool = False  # by an operator's decision, whatever its state
    stage: str = ""  # empty where the host does not say
    initiator: Optional[bool] = None  # None where the host does not say
    since: Optional[int] = None  # seconds that its IKE SA was up when the host looked
    post_quantum: Optional[bool] = None  # whether the keys of its IKE SA are; None where it has none
    last_in: Optional[int] = None  # seconds since its SAs carried a packet
    last_out: Optional[int] = None
    ends: tuple[str, ...] = ()  # its own address and the peer's, as it has them; empty where it does not say

    @property
    def ok(self) -> bool:
        """Whether the host sees nothing to be done about it."""
        return self.severity == "ok"

    @property
    def up(self) -> bool:
        """Whether the host has an SA that is used."""
        return self.state in report.CARRYING

    def __str__(self) -> str:
        """Say what follows the host's name."""
        if not self.answered:
            return "does not answer"
        if not self.known:
            return "does not know it"
        if self.state == "established" and self.ok:
            return "has it"
        return f"says {self.state}: {self.reason}" if self.reason else f"says {self.state}"


def end(host: str, rows: Optional[Rows], name: str, stage: str) -> End:
    """Return the end of a connection at a host.

    ``rows``   all that its ``ipsec.status`` said; None where it did not answer
    ``name``   of the connection there
    ``stage``  of the pair, for hosts whose modules are too old to give a severity
    """
    if rows is None:
        return End(host, "warning", answered=False, known=False)
    row = rows.get(name)
    if row is None or "state" not in row:
        return End(host, "critical", known=False)
    state, initiator = str(row["state"]), row.get("initiator")
    return End(
        host,
        _severity(row.get("severity"), state, stage),
        state=state,
        reason=str(row.get("reason", "")),
        held=state == "held" or row.get("held") is True,
        stage=str(row.get("stage", "")),
        initiator=initiator if isinstance(initiator, bool) else None,
        since=_seconds(row.get("since")),
        post_quantum=abilities.post_quantum(str(row.get("ike_proposal") or "")),
        last_in=_seconds(row.get("last_in")),
        last_out=_seconds(row.get("last_out")),
        ends=tuple(map(str, cast("Sequence[object]", row.get("ends", ())))),
    )


def well(row: Row) -> bool:
    """Whether a host sees nothing to be done about a connection of its status."""
    return _severity(row.get("severity"), str(row.get("state")), str(row.get("stage", ""))) == "ok"


def _seconds(told: object) -> Optional[int]:
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def _severity(told: object, state: str, stage: str) -> str:
    if told is None:
        return report.severity(state, stage)
    return str(told) if told in report.SEVERITIES else report.SEVERITIES[-1]


def because(host: str, row: Row, rows: Optional[Rows]) -> str:
    """Say why a connection of ``host`` did not come up, from what its peer says where charon can but guess.

    ``row``   the connection, as ``ipsec.up`` of the host tells it
    ``rows``  connections of the peer, as its ``ipsec.up`` or ``ipsec.status`` tells them; None where it did
              not answer
    """
    peer, reason, cause = str(row["peer"]), str(row["reason"]), row.get("cause")
    if rows is None:
        return f"{reason}; {peer} does not answer Salt either"
    there = [one for one in rows.values() if (one["peer"], one["family"]) == (host, row["family"])]
    if not there:
        return f"{peer} does not have it"
    state, said = str(there[0]["state"]), str(there[0]["reason"])
    if state == "held":
        return f"held at {peer}: {said}"
    if said.startswith(reasons.IGNORES):
        return f"{peer} says: {said}"
    if cause == report.WAITS and said:
        return f"{peer} starts it, and says: {said}"
    if cause == report.REFUSED:
        return (
            f"the peer refused (NO_PROPOSAL_CHOSEN): {peer} has it and does not hold it, so the two share no "
            "IKE proposal, or it was lifted just then"
        )
    return reason
