"""The proof, carried out: probes, counters before and after, a capture, a rekeying; judged by ``verify``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Optional

from .. import plane
from ..answer import Answer, counted
from ..charon import charon
from ..errors import CharonError, HostIPsecError
from ..health import look, observation, report
from ..health.found import meant_of
from ..health.look import Look
from ..health.report import ConnectionHealth
from ..kernel import routing
from ..model import Charon, Connection, Kernel
from ..pillar import selection, unmanaged
from ..pillar.membership import Membership
from ..strongswan import sections
from . import probe, verdict
from .verdict import Captured, Counters, Rekeying, Replies, Verdict

AT_ONCE = 64  # connections: fits the filter of a capture, and is no burst that a peer would limit
COUNT_MAXIMUM, TIMEOUT_MAXIMUM = 100, 300
REKEY_GAP = 0.1  # seconds between two probes, and between two looks at charon, while CHILD SAs are rekeyed
REKEY_AFTER = 3  # rounds of probes after the new SAs are there: the old ones go only then


@dataclass(frozen=True)
class Asked:
    """What the operator asked for."""

    count: int = 3  # echo requests to each peer
    timeout: float = 5.0  # seconds to wait for replies, and for a rekeying
    capture: bool = False
    rekey: bool = False
    esp: str = ""  # option esp of connections without one of their own, to compare a rekeyed SA with


def asked(count: object, timeout: object, capture: bool, rekey: bool, esp: str) -> Asked:
    """Return what was asked for, checked. Raises HostIPsecError."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= COUNT_MAXIMUM:
        raise HostIPsecError(f"count={count}: allowed: a whole number from 1 to {COUNT_MAXIMUM}")
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        or not 0 < timeout <= TIMEOUT_MAXIMUM
    ):
        raise HostIPsecError(f"timeout={timeout}: allowed: more than 0, and up to {TIMEOUT_MAXIMUM} seconds")
    return Asked(count, float(timeout), capture, rekey, esp)


@dataclass(frozen=True)
class Proof:
    """What was found of one connection."""

    connection: Connection
    verdict: Verdict
    tunnel: ConnectionHealth  # as the one judge sees it, before the probes
    round_trip: Optional[float] = None  # seconds, the shortest
    captured: Optional[Captured] = None
    rekeying: Optional[Rekeying] = None
    refused: bool = False  # the kernel did not let in packets in the clear meanwhile, of whichever peer
    disturbed: bool = False  # an SA came or went meanwhile, and its counter with it

    @property
    def reasons(self) -> tuple[str, ...]:
        """Say why it is not proven; nothing where it is."""
        found = list(self.verdict.reasons)
        if (found and not self.tunnel.ok) or self._leaks:
            found.insert(0, f"{self.tunnel.state}: {self.tunnel.reason}")
        if self.verdict.into == verdict.NO_REPLY and self.refused:
            found.append("meanwhile the kernel refused packets that came in the clear")
        return (*found, *(self.rekeying.reasons if self.rekeying else ()))

    @property
    def ok(self) -> bool:
        """Say whether it is proven to be encrypted both ways."""
        return self.verdict.ok and not self._leaks and (self.rekeying is None or self.rekeying.ok)

    @property
    def _leaks(self) -> bool:
        """Whether not all between the two hosts is encrypted, whatever became of the echo requests."""
        return self.tunnel.state == report.LEAKS

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        seen = self.verdict
        return {
            "peer": self.connection.peer,
            "family": self.connection.family,
            "tunnel": self.tunnel.state,
            "out": seen.out,
            "in": seen.into,
            "ok": self.ok,
            "reason": "; ".join(self.reasons),
            "sent": seen.sent,
            "replies": seen.replies,
            "round_trip_ms": None if self.round_trip is None else round(self.round_trip * 1000, 3),
            "packets_out": seen.packets_out,
            "packets_in": seen.packets_in,
            "captured": None if self.captured is None else asdict(self.captured),
            "rekeyed": None if self.rekeying is None else self.rekeying.as_dict(),
        }


@dataclass(frozen=True)
class Result:
    """The proofs of a host, in the order of the connections."""

    proofs: tuple[Proof, ...] = ()
    plane: str = plane.KERNEL  # whose counters were read
    problems: tuple[str, ...] = ()  # what could not be done for any of them

    def answer(self, skipped: Mapping[str, str], lonely: str, whole: bool) -> Answer:
        """Return it in the shape that all verbs answer in.

        ``skipped`` are hosts that were asked for and not probed: why; ``lonely`` says why the host has no
        peers, ``whole`` that it was to probe all of none.
        """
        good = sum(proof.ok for proof in self.proofs)
        number = len(self.proofs)
        proven = f"{good} of {counted(number)} {'is' if number == 1 else 'are'} encrypted both ways"
        partly = sum(bool(proof.connection.only) for proof in self.proofs)
        proven += f", of {partly} only what their rule says" if partly else ""
        sentence = proven if self.proofs else lonely or "nothing was probed"
        return Answer(
            ok=bool(whole or self.proofs) and good == len(self.proofs) and not self.problems,
            sentence=sentence,
            connections={proof.connection.name: proof.as_dict() for proof in self.proofs},
            problems=self.problems,
            own={"skipped": dict(skipped), "plane": self.plane, "summary": sentence},
        )


def of(
    member: Membership,
    peer: Optional[object],
    family: Optional[object],
    count: object,
    timeout: object,
    capture: bool,
    rekey: bool,
) -> Answer:
    """Prove it of a host's connections, or those that are meant. Raises HostIPsecError as its parts do."""
    esp = sections.common_options(member.fleet.settings)["esp"]
    wanted = asked(count, timeout, capture, rekey, esp)
    chosen = selection.select(member, member.resting, peer, family)
    whole = peer is None and not member.connections
    found = run(chosen.connections, wanted).answer(chosen.skipped, member.lonely, whole)
    alone = {one.peer for one in chosen.connections} & unmanaged.strangers(member.fleet.hosts)
    return found._replace(notes=unmanaged.proven_alone(len(alone)))


def run(connections: Sequence[Connection], asked: Asked) -> Result:
    """Prove it of each connection; peers are asked together, :data:`AT_ONCE` at a time.

    Raises HostIPsecError where nothing can be proven: no right to send, no way to read the kernel's SAs.
    """
    result = Result()
    for start in range(0, len(connections), AT_ONCE):
        part = _twice(connections[start : start + AT_ONCE], asked)
        problems = tuple(dict.fromkeys((*result.problems, *part.problems)))
        result = Result((*result.proofs, *part.proofs), part.plane, problems)
    return result


def _twice(connections: Sequence[Connection], asked: Asked) -> Result:
    """Prove it, and once more where an SA was rekeyed in the midst of it."""
    first = _proven(connections, asked)
    again = [one.connection for one in first.proofs if one.disturbed and not one.verdict.ok]
    if not again:
        return first
    second = {one.connection: one for one in _proven(again, replace(asked, rekey=False)).proofs}
    proofs = (replace(second.get(one.connection, one), rekeying=one.rekeying) for one in first.proofs)
    return replace(first, proofs=tuple(proofs))


def _proven(connections: Sequence[Connection], asked: Asked) -> Result:
    with contextlib.ExitStack() as stack:
        prober = stack.enter_context(contextlib.closing(probe.Prober(connections)))
        devices, problems = _devices(connections) if asked.capture else ({}, ())
        captures, refused = _captures(stack, devices, prober.mark)
        rekeyings = _rekeyed(connections, asked, prober, tuple(captures.values())) if asked.rekey else {}
        before = _look(connections)
        prober.restart()
        knocks = stack.enter_context(contextlib.closing(probe.Knocks(connections)))
        knocks.send()
        probe.send(prober, tuple(captures.values()), lambda sent: sent >= asked.count)
        knocks.wait(asked.timeout)
        probe.collect(prober, tuple(captures.values()), asked.timeout)
        after = _look(connections)
        rows = {row.name: row for row in look.judged(before).managed}
        proofs = tuple(
            _proof(
                one,
                (knocks if one in knocks else prober).replies(one.right),
                *(before, after, rows[one.name], _captured(one, devices, captures)),
            )
            for one in connections
        )
    proofs = tuple(replace(one, rekeying=rekeyings.get(one.connection)) for one in proofs)
    return Result(proofs, after.plane, (*problems, *refused))


def _proof(
    connection: Connection,
    replies: Replies,
    before: Look,
    after: Look,
    tunnel: ConnectionHealth,
    captured: Optional[Captured],
) -> Proof:
    first, second = _counters(connection, before), _counters(connection, after)
    return Proof(
        connection,
        verdict.judge(first, second, replies, captured),
        tunnel,
        round_trip=min(filter(None, replies.times), default=None),
        captured=captured,
        refused=_refused(after) > _refused(before),
        disturbed=first.spis != second.spis,
    )


# Looking -------------------------------------------------------------------------------------


def _look(connections: Sequence[Connection]) -> Look:
    """Look at this host. Raises HostIPsecError where those who do ESP cannot be asked for their counters."""
    seen = observation.observe(connections)
    if seen.plane == plane.KERNEL and seen.kernel is None:
        raise HostIPsecError(seen.unread["kernel"])
    return seen


def _kernel(seen: Look) -> Optional[Kernel]:
    """Return what the kernel shows where it does ESP."""
    return seen.kernel if seen.plane == plane.KERNEL else None


def _counters(connection: Connection, seen: Look) -> Counters:
    kernel, weak = _kernel(seen), meant_of(connection, seen.meant).weak
    if kernel:
        return verdict.kernel_counters(connection, kernel.states, weak)
    return verdict.charon_counters(connection, seen.charon, weak) if seen.charon else Counters()


def _refused(seen: Look) -> int:
    """Return how many packets in the clear the kernel did not let in."""
    kernel = _kernel(seen)
    errors = kernel.errors if kernel else {}
    return sum(errors.get(name, 0) for name in verdict.REFUSED)


# Capturing -----------------------------------------------------------------------------------


def _devices(connections: Sequence[Connection]) -> tuple[dict[Connection, tuple[str, ...]], tuple[str, ...]]:
    """Return the devices by which packets to each peer leave, and which peers have none."""
    seen: Optional[Charon] = None
    with contextlib.suppress(CharonError):
        seen = charon.observe()
    found = routing.devices(connections, plane.observed(seen))
    lost = tuple(f"not captured: no route to {one.right}" for one in connections if not found.get(one))
    return found, lost


def _captures(
    stack: contextlib.ExitStack, devices: Mapping[Connection, Sequence[str]], mark: bytes
) -> tuple[dict[str, probe.Capture], tuple[str, ...]]:
    """Begin to capture on each device; returns also why it cannot be done."""
    captures: dict[str, probe.Capture] = {}
    problems = []
    for device in sorted({name for names in devices.values() for name in names}):
        rights = [one.right for one, names in devices.items() if device in names]
        try:
            made = probe.Capture(device, rights, mark, {one.right: one for one in devices})
        except HostIPsecError as error:
            problems.append(f"not captured: {error}")
        else:
            captures[device] = stack.enter_context(contextlib.closing(made))
    return captures, tuple(dict.fromkeys(problems))


def _captured(
    connection: Connection,
    devices: Mapping[Connection, Sequence[str]],
    captures: Mapping[str, probe.Capture],
) -> Optional[Captured]:
    names = devices.get(connection, ())
    return verdict.together([captures[name].captured(connection.right) for name in names if name in captures])


# Rekeying ------------------------------------------------------------------------------------


def _rekeyed(
    connections: Sequence[Connection],
    asked: Asked,
    prober: probe.Prober,
    captures: Sequence[probe.Capture],
) -> dict[Connection, Rekeying]:
    """Rekey the CHILD SAs while probes are under way; say of each how it went."""
    try:
        return dict(_Rekeyer(connections, asked).run(prober, captures))
    except CharonError as error:
        return {one: Rekeying(False, f"not rekeyed: {error}") for one in connections}


class _Rekeyer:
    """Asks for the rekeying after the first round of probes, and looks for new SAs after each."""

    def __init__(self, connections: Sequence[Connection], asked: Asked) -> None:
        seen = charon.observe()
        self._asked = asked
        self._old = {one: verdict.installed(one, seen) for one in connections}
        self._new: dict[Connection, Rekeying] = {}
        self._refused: Mapping[int, str] = {}
        self._began = 0.0
        self._last = 0  # rounds there shall be

    def run(
        self, prober: probe.Prober, captures: Sequence[probe.Capture]
    ) -> Iterator[tuple[Connection, Rekeying]]:
        probe.send(prober, captures, self._enough, REKEY_GAP)
        probe.collect(prober, captures, self._asked.timeout)
        for connection in self._old:
            replies = prober.replies(connection.right)
            found = self._new.get(connection) or Rekeying(False, self._why_not(connection))
            yield connection, replace(found, sent=replies.sent, lost=replies.lost)

    def _enough(self, sent: int) -> bool:
        if sent == 0:
            return False
        if sent == 1:
            self._began = time.monotonic()
            ids = [number for old in self._old.values() for number in old]
            self._refused = charon.rekey_children(ids)
        self._look()
        waiting = any(old and connection not in self._new for connection, old in self._old.items())
        if waiting and time.monotonic() - self._began < self._asked.timeout:
            self._last = sent + REKEY_AFTER
        return sent >= self._last

    def _look(self) -> None:
        seen, now = charon.observe(), time.monotonic()
        for connection, old in self._old.items():
            new = {
                number: text
                for number, text in verdict.installed(connection, seen).items()
                if number not in old
            }
            if new and connection not in self._new:
                proposal = next(iter(new.values()))
                esp = dict(connection.options).get("esp", self._asked.esp)
                wrong = verdict.wrong_exchange(proposal, esp)
                self._new[connection] = Rekeying(True, wrong, proposal, now - self._began)

    def _why_not(self, connection: Connection) -> str:
        old = self._old[connection]
        if not old:
            return "not rekeyed: there is no CHILD SA"
        refused = next((self._refused[number] for number in old if number in self._refused), "")
        if refused:
            return f"not rekeyed: {refused}"
        return (
            f"no new CHILD SA within {self._asked.timeout:g} s of asking for it; charon's log has the peer's "
            "answer: NO_PROPOSAL_CHOSEN where the groups of option esp differ"
        )
