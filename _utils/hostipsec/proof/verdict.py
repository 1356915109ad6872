"""The judge of a proof that what left for a peer, and what came back, went in ESP.

What is known: the packet counters of this host's SAs before and after some echo requests, the replies, and
what a capture of outgoing packets saw. A counter that grew by as many packets as were sent says that
they went in ESP. It cannot say so of each packet where a pair has other traffic; a capture can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from .. import owner
from ..kernel import ciphers
from ..model import Charon, Connection, KernelState
from ..strongswan import strength
from ..strongswan.proposals import rendered_esp

ENCRYPTED, CLEAR, NO_REPLY = "encrypted", "clear", "no reply"

# /proc/net/xfrm_stat: what a packet adds to that came in the clear where a policy asks for ESP
REFUSED = ("XfrmInTmplMismatch", "XfrmInNoPols", "XfrmInPolBlock")


@dataclass(frozen=True)
class Counters:
    """Packets of the SAs of one connection, by SPI."""

    out: Mapping[str, int] = field(default_factory=dict)
    into: Mapping[str, int] = field(default_factory=dict)

    @property
    def spis(self) -> frozenset[str]:
        """Return all SPIs."""
        return frozenset(self.out) | frozenset(self.into)


@dataclass(frozen=True)
class Replies:
    """Echo requests sent to a peer, and the round trip in seconds of each that was answered."""

    sent: int
    times: tuple[float, ...] = ()
    error: str = ""  # why the last that failed could not be sent
    what: str = "echo requests"

    @property
    def received(self) -> int:
        """Return the number of replies."""
        return len(self.times)

    @property
    def lost(self) -> int:
        """Return the number of requests without a reply."""
        return self.sent - self.received


@dataclass(frozen=True)
class Captured:
    """Packets that left for a peer on one interface; IKE and neighbour discovery are not among them."""

    interface: str
    esp: Mapping[str, int] = field(default_factory=dict)  # by SPI
    clear: int = 0
    probes: int = 0  # of the clear ones, those that were our echo requests
    dropped: int = 0  # went by unseen, whatever they were


def together(parts: Sequence[Captured]) -> Optional[Captured]:
    """Return the captures on several interfaces as one; None where there was none."""
    if not parts:
        return None
    esp: Counter[str] = Counter()
    for part in parts:
        esp.update(part.esp)
    return Captured(
        interface=", ".join(part.interface for part in parts),
        esp=dict(esp),
        clear=sum(part.clear for part in parts),
        probes=sum(part.probes for part in parts),
        dropped=sum(part.dropped for part in parts),
    )


@dataclass(frozen=True)
class Verdict:
    """What is proven of one connection, in each direction: ``encrypted``, ``clear`` or ``no reply``."""

    out: str
    into: str
    sent: int
    replies: int
    packets_out: int  # that the SAs carried meanwhile, probes and other traffic
    packets_in: int
    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether both directions are encrypted, and nothing stands against it."""
        return self.out == self.into == ENCRYPTED and not self.reasons


def judge(
    before: Counters, after: Counters, replies: Replies, captured: Optional[Captured] = None
) -> Verdict:
    """Return the verdict on one connection."""
    packets_out, packets_in = _grown(before.out, after.out), _grown(before.into, after.into)
    seen = sum(captured.esp.get(spi, 0) for spi in {*before.out, *after.out}) if captured else 0
    out, out_reasons = _out(packets_out, seen, replies, captured, has_sas=bool(after.out))
    into, in_reasons = _into(packets_in, replies)
    reasons = (*in_reasons, *out_reasons)
    return Verdict(out, into, replies.sent, replies.received, packets_out, packets_in, reasons)


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """Return how many packets were added; an SA that has gone meanwhile takes its last ones with it."""
    return sum(count - before.get(spi, 0) for spi, count in after.items())


def _out(
    packets: int, seen: int, replies: Replies, captured: Optional[Captured], has_sas: bool
) -> tuple[str, tuple[str, ...]]:
    if captured and captured.clear:
        probes = f", {captured.probes} of them our echo requests" if captured.probes else ""
        return CLEAR, (f"{captured.clear} packets left in the clear on {captured.interface}{probes}",)
    if not replies.sent:
        return NO_REPLY, (f"nothing could be sent: {replies.error or 'no route'}",)
    if packets >= replies.sent:
        return ENCRYPTED, _unseen(seen, replies, captured) if captured else ()
    if not replies.received:
        return NO_REPLY, (f"{packets} packets went out by the SAs",) if has_sas else ()
    return CLEAR, (f"{replies.sent} {replies.what} left, {packets} packets went out by the SAs",)


def _unseen(seen: int, replies: Replies, captured: Captured) -> tuple[str, ...]:
    """Say what a capture owes where the counters say that all was encrypted."""
    found = []
    if captured.dropped:
        found.append(f"{captured.dropped} packets passed the capture on {captured.interface} unseen")
    if seen < replies.sent:
        found.append(f"{seen} packets of the SAs, of {replies.sent}, were seen on {captured.interface}")
    return tuple(found)


def _into(packets: int, replies: Replies) -> tuple[str, tuple[str, ...]]:
    if not replies.received:
        said = f"no reply to {replies.sent} {replies.what}"
        return NO_REPLY, (said,) if replies.sent else ()
    if packets < replies.received:
        return CLEAR, (f"{replies.received} replies came, {packets} packets came in by the SAs",)
    return ENCRYPTED, ()


# Counters ------------------------------------------------------------------------------------


def kernel_counters(
    connection: Connection, states: Iterable[KernelState], weak: Collection[str] = ()
) -> Counters:
    """Return a connection's counters from the kernel's SAs: of those that encrypt, as ``weak`` allows."""
    left, right, ours = str(connection.left), str(connection.right), owner.Ours([connection])
    esp = (state for state in states if state.proto == "esp" and owner.carries(state, ours))
    found = [state for state in esp if not ciphers.wrong(state.algorithm, weak)]
    return Counters(
        {state.spi: state.packets for state in found if state.src == left},
        {state.spi: state.packets for state in found if state.src == right},
    )


def charon_counters(connection: Connection, charon: Charon, weak: Collection[str] = ()) -> Counters:
    """Return a connection's counters from charon's SAs, where charon itself does ESP: of the same."""
    mine = (sa for sa in charon.ike_sas if owner.between(sa, connection))
    every = (child for sa in mine for child in sa.children)
    children = [child for child in every if not strength.wrong(child.proposal, weak)]
    return Counters(
        {child.spi_out: child.packets_out for child in children if child.spi_out},
        {child.spi_in: child.packets_in for child in children if child.spi_in},
    )


# Rekeying ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rekeying:
    """How a forced rekeying of a CHILD SA went."""

    done: bool
    reason: str = ""  # why not, or what is wrong with it
    proposal: str = ""  # of the new SA, with its key exchange
    seconds: float = 0.0
    sent: int = 0  # echo requests sent meanwhile
    lost: int = 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """Say why it did not go well; nothing where there is a new SA as proposed, and no packet was lost."""
        lost = f"{self.lost} of {self.sent} echo requests were lost while it was rekeyed" if self.lost else ""
        return tuple(reason for reason in (self.reason, lost) if reason)

    @property
    def ok(self) -> bool:
        """Say whether it went well."""
        return self.done and not self.reasons

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        counts = {"sent": self.sent, "lost": self.lost}
        return {"done": self.done, "proposal": self.proposal, "seconds": round(self.seconds, 3), **counts}


def installed(connection: Connection, charon: Charon) -> dict[int, str]:
    """Return a connection's CHILD SAs that carry packets: unique id and proposal."""
    return {
        child.uniqueid: child.proposal
        for child in owner.children(connection, charon.ike_sas)
        if child.state == "INSTALLED" and child.uniqueid is not None
    }


def wrong_exchange(proposal: str, esp: str) -> str:
    """Say that a rekeyed SA is not what option ``esp`` asks for; empty where it is."""
    expected = rendered_esp(esp)
    if not esp.strip().endswith("!") or proposal in expected:
        return ""
    return f"the new SA has {proposal}, not {' or '.join(expected)}"
