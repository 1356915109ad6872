"""What a host may bring back, or end, by itself: which connections, judged from looks at it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Optional

from .. import owner
from ..model import REQUIRE, START, Charon, Connection, IkeSA
from .look import Look
from .report import ConnectionHealth, Report

INITIATORS_TURN = 9  # seconds of charon's life, or after a change on this host, before a responder acts
WINDOW = 40  # of these seconds, after which a responder no longer acts
STARTED = (START, REQUIRE)  # a trap starts nothing while the other end sends into an SA of before
LASTS = 12.0  # seconds, after which an attempt that still waits was not refused
KNOCKS = 15.0  # seconds for which somebody who calls by a peer's address, and may not be it, is waited for
BUDGET = 0.1  # of a host's connections, ended at one look because the kernel has lost them
ASKS = "IKE_DPD"  # the task of an IKE SA that has asked whether its peer is there, until the answer comes
MOMENT = 5  # seconds between two IKE SAs of a pair that both ends began before they heard of each other
_NO_SPI = "0" * 16  # of a responder that has not answered
SOON, SELDOM = 5.0, 300.0  # seconds between two attempts to start what is refused, at first and at most


def held_yet_there(look: Look) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return what charon has of what is held: the connections that it has loaded, and the ids of IKE SAs."""
    if look.charon is None:
        return (), ()
    held = look.held
    loaded = {one.name for one in look.charon.connections}
    sas = (sa for sa in look.charon.ike_sas if owner.named(sa, held))
    return tuple(sorted(loaded & held.keys())), tuple(sa.uniqueid for sa in sas)


def verdicts(look: Look, report: Report) -> tuple[ConnectionHealth, ...]:
    """Return the verdicts on the connections that are not held."""
    held = look.held
    return tuple(row for row in report.managed if row.name not in held)


def due(look: Look, changed: Optional[float] = None, vain: Collection[str] = ()) -> tuple[str, ...]:
    """Return the connections that this host should start now; none where charon does not answer.

    ``changed`` is for how many seconds configuration, holds and certificates are what they are; None where
    nobody saw them change. ``vain`` are connections by whose peer's address somebody calls, in vain.
    """
    return absent(look.connections, look.charon, look.held, changed, vain) if look.charon else ()


def absent(
    connections: Sequence[Connection],
    observed: Charon,
    held: Collection[str] = (),
    changed: Optional[float] = None,
    vain: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the connections that this host should start now.

    The responder acts only a little after its charon's start, or after a change here, which its initiators do
    not see and to them is the sign that they wait for: where both ends start while neither reaches the
    other, there are two IKE SAs once they do, of which one end may forget one without a word.
    """
    called = owner.present(connections, observed.ike_sas)
    there = owner.present(connections, _named(observed)) | (called - {*vain})
    loaded = {connection.name for connection in observed.connections}
    ages = [age for age in (observed.uptime, changed) if age is not None]
    knocks = any(INITIATORS_TURN <= age <= WINDOW for age in ages)
    return tuple(
        one.name
        for one in connections
        if one.stage in STARTED
        and one.name not in held
        and one.name in loaded
        and one.name not in there
        and (one.initiator or knocks)
    )


class Patience:
    """When to start again what did not come up: soon at first, then ever more seldom, and at once on a sign.

    Whoever is held, or gone from the mesh, refuses each attempt: that is a Diffie-Hellman exchange at both
    ends, and lines in both logs. Signs are an SA that carries or that the peer itself began, and whatever
    changes the mark: a new configuration, a decision of an operator, another charon. An attempt that
    lasts was not refused.
    """

    def __init__(self) -> None:
        self._mark: object = None
        self._changed = 0.0  # when the mark did, or somebody began to look at it
        self._next: dict[str, float] = {}  # connection -> when to start it again
        self._pause: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._called: dict[str, float] = {}  # connection -> since when there is a call by its peer's address

    def watch(self, connections: Sequence[Connection], observed: Charon, mark: object, now: float) -> None:
        """Take in a look at charon."""
        if mark != self._mark:
            self._changed, self._mark, self._next, self._pause = now, mark, {}, {}
        signs = owner.present(connections, filter(_is_sign, observed.ike_sas))
        there = owner.present(connections, observed.ike_sas)
        named = owner.present(connections, _named(observed))
        self._called = {name: self._called.get(name, now) for name in there - named}
        waiting = named - signs
        # nobody answers, which is no refusal: charon itself asks such a peer ever more seldom
        for name in (*signs, *(one for one in waiting if now - self._begun.get(one, now) > LASTS)):
            self._next.pop(name, None)
            self._pause.pop(name, None)

    def vain(self, now: float) -> frozenset[str]:
        """Return the connections of which a call by the peer's address gets no further.

        Anybody can send that, again and again: it keeps nobody from starting them.
        """
        return frozenset(name for name, since in self._called.items() if now - since > KNOCKS)

    def changed(self, now: float) -> float:
        """Return for how many seconds the mark is what it is, as far as anybody looked at it.

        A keeper that starts may be the last thing that a host gets: its initiators were refused meanwhile.
        """
        return now - self._changed

    def ripe(self, names: Iterable[str], now: float) -> tuple[str, ...]:
        """Return those that are to be started again by now."""
        return tuple(name for name in names if now >= self._next.get(name, now))

    def started(self, names: Iterable[str], now: float) -> None:
        """Note an attempt."""
        for name in names:
            self._pause[name] = min(SELDOM, 2 * self._pause.get(name, SOON / 2))
            self._next[name], self._begun[name] = now + self._pause[name], now


def unanswered(connections: Sequence[Connection], observed: Charon) -> Mapping[str, tuple[int, ...]]:
    """Return the attempts of this host that no peer has answered in any way: name -> ids of IKE SAs.

    Of an attempt that was answered the peer may have an SA already, which nobody would own if it were ended.
    """
    waiting = [sa for sa in observed.ike_sas if sa.initiator and sa.state == "CONNECTING"]
    found = owner.shares(connections, [sa for sa in waiting if sa.responder_spi == _NO_SPI])
    return {name: tuple(sa.uniqueid for sa in sas) for name, sas in found.items() if sas}


def overtaken(connections: Sequence[Connection], observed: Charon) -> tuple[int, ...]:
    """Return those of connections that the peer has brought up meanwhile, by an attempt of its own.

    charon goes on with them: the peer, back again, answers the next retransmission, and the pair has two IKE
    SAs.
    """
    up = [sa for sa in observed.ike_sas if not sa.initiator and sa.state == "ESTABLISHED" and _carries(sa)]
    there = owner.present(connections, up)
    waiting = unanswered([one for one in connections if one.name in there], observed)
    return tuple(sorted(number for ids in waiting.values() for number in ids))


def _named(observed: Charon) -> Iterator[IkeSA]:
    return (sa for sa in observed.ike_sas if sa.name != owner.UNNAMED)


def _is_sign(sa: IkeSA) -> bool:
    return (not sa.initiator and sa.name != owner.UNNAMED) or _carries(sa)


def useless(
    earlier: Mapping[str, ConnectionHealth], rows: Sequence[ConnectionHealth]
) -> tuple[ConnectionHealth, ...]:
    """Return the connections whose SAs the kernel has lost, at two looks, with nothing that came in between.

    At most BUDGET of all connections, but one at least: the others are for the looks to come.
    """
    return tuple(lost(earlier, rows)[: max(1, int(len(rows) * BUDGET))])


def lost(earlier: Mapping[str, ConnectionHealth], rows: Sequence[ConnectionHealth]) -> list[ConnectionHealth]:
    """Return all of them."""
    return [
        row
        for row in rows
        if row.state == "no xfrm"
        and row.name in earlier
        and (earlier[row.name].state, earlier[row.name].ike_ids) == (row.state, row.ike_ids)
        and earlier[row.name].packets_in == row.packets_in
    ]


def flushed(look: Look, gone: Sequence[ConnectionHealth], rows: Sequence[ConnectionHealth]) -> bool:
    """Say whether the kernel has lost the SAs of every connection that has any, and nothing contradicts it.

    Somebody flushed the states, then; a look at another network namespace, or one that failed half way, finds
    charon's policies of these connections no more than their states.
    """
    if look.kernel is None or {row.name for row in gone} != {row.name for row in rows if row.ike_ids}:
        return False
    there = [one for one in look.kernel.policies if one.reqid]
    names = {row.name for row in gone}
    ours = (owner.Ours([one]) for one in look.connections if one.name in names)
    return all(any(owner.owns_policy(policy, one) for policy in there) for one in ours)


def surplus(rows: Sequence[ConnectionHealth], observed: Charon) -> Mapping[str, tuple[int, ...]]:
    """Return the IKE SAs beside the one to keep of each connection that this host starts: name -> ids.

    The newest that carries packets is kept: the kernel sends by the SA that it got last. charon sees a
    second IKE SA of a peer only where one was up before the other came; of two that are made at the same
    moment neither end sees the other.
    """
    doubled = {row.name: row.ike_ids for row in rows if row.state == "duplicate" and row.initiator}
    up: dict[str, list[IkeSA]] = {}
    for sa in observed.ike_sas:
        if sa.state == "ESTABLISHED" and sa.uniqueid in doubled.get(sa.name, ()):
            up.setdefault(sa.name, []).append(sa)
    return {name: _beside(sas) for name, sas in up.items() if len(sas) > 1}


def crossed(connections: Iterable[Connection], observed: Charon) -> Mapping[str, tuple[int, ...]]:
    """Return the same of what came up at the same moment, begun by either end: nothing is being replaced.

    There its own is up last at each end: it takes one message more. Where a peer that gets an attempt has its
    own up already it may forget that one without a word, and never the other.
    """
    up: dict[str, list[IkeSA]] = {}
    for sa in observed.ike_sas:
        if sa.state == "ESTABLISHED" and _carries(sa):
            up.setdefault(sa.name, []).append(sa)
    found = {}
    for one in connections:
        sas = [sa for sa in up.get(one.name, ()) if one.initiator and owner.belongs(sa, one)]
        own, theirs = ([sa.established or 0 for sa in sas if sa.initiator is way] for way in (True, False))
        if own and theirs and min(own) <= min(theirs) and max(*own, *theirs) - min(own) <= MOMENT:
            found[one.name] = _beside(sas)
    return found


def forgotten(rows: Sequence[ConnectionHealth], observed: Charon) -> Mapping[str, tuple[int, ...]]:
    """Return the IKE SAs that their peer does not answer for, beside one that it does: name -> ids.

    Either end may be the one that has kept both. One that sends by the SA which its peer has forgotten would
    do so until dead-peer detection gives up, minutes later; so long an end lasts that nobody answers.
    """
    here: dict[str, list[IkeSA]] = {row.name: [] for row in rows}
    for sa in observed.ike_sas:
        if sa.name in here and _carries(sa):
            here[sa.name].append(sa)
    found = {}
    for name, sas in here.items():
        unanswered = [sa.uniqueid for sa in sas if ASKS in sa.tasks or sa.state == "DELETING"]
        if unanswered and any(sa.state == "ESTABLISHED" and sa.uniqueid not in unanswered for sa in sas):
            found[name] = tuple(unanswered)
    return found


def _carries(sa: IkeSA) -> bool:
    return any(child.state == "INSTALLED" for child in sa.children)


def _beside(sas: Collection[IkeSA]) -> tuple[int, ...]:
    """Return the ids of the IKE SAs beside the one by which this host sends.

    By the others the peer may send: that is here before the peer's consent to their end is. Of what this host
    sent by one of them, nothing would arrive once the peer has heard of the end. Of two that came up in the
    same second its own was the last here, see :func:`crossed`.
    """
    both = min(sa.established or 0 for sa in sas)  # for so many seconds all are there

    def worth(sa: IkeSA) -> tuple[bool, int, int, bool, int]:
        sent = min((child.use_out for child in sa.children if child.use_out is not None), default=both)
        return _carries(sa), -sent, -(sa.established or 0), sa.initiator, sa.uniqueid

    kept = max(sas, key=worth)
    return tuple(sorted(sa.uniqueid for sa in sas if sa is not kept))
