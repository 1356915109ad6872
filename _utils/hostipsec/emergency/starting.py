"""Connections started, by one process of this host at a time.

Of two that look, find a connection missing and start it in the same moment, neither sees what the other does,
and the pair gets two IKE SAs: so did the keeper and a command of the fleet. Whoever starts something holds a
lock from his look until charon shows what he started.

Of the two ends of a pair, neither hears of the other's attempt for as long as the line takes. What this host
began in the stead of its peer it ends again where a call of the peer comes before an answer does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Callable, Iterable, NamedTuple

from .. import owner
from ..health import repair
from ..model import Charon, Connection
from .host import CALL, Host

SEEN = (
    0.5  # seconds that charon has to show what it was told to start; one that a peer refuses is gone sooner
)
ANSWER = 0.1  # seconds; a peer that is near has answered by then, and may be about to have an SA
FAR = 1.2  # seconds in which one that is far away has
_POLL = 0.02

Due = Callable[[Charon], Iterable[str]]


class Started(NamedTuple):
    """What was seen, and what was started."""

    look: Charon
    names: tuple[str, ...]  # that charon was asked for
    refused: Mapping[str, str]  # by charon, and why
    at: float  # by the host's clock


def start(due: Due, connections: Collection[Connection], host: Host, timeout: float = CALL) -> Started:
    """Start what is ``due`` in a look of this moment. Raises CharonError where charon does not answer."""
    with host.starting():
        look = host.observe(timeout)
        names, at = tuple(due(look)), host.clock()
        refused = host.initiate(names, timeout) if names else {}
        begun = [one for one in connections if one.name in {*names} - {*refused}]
        if begun:
            _until_seen(begun, host, timeout)
            _give_way([one for one in begun if not one.initiator], look, host, timeout)
    return Started(look, names, refused, at)


def _until_seen(connections: Collection[Connection], host: Host, timeout: float) -> None:
    end = host.clock() + SEEN
    while host.clock() < end:
        if len(owner.present(connections, host.glance(timeout).ike_sas)) == len(connections):
            return
        host.sleep(_POLL)


def _give_way(connections: Sequence[Connection], before: Charon, host: Host, timeout: float) -> None:
    """End attempts that are not answered yet where the peer calls, and did not at the look before.

    Its call left before it heard of the attempt, so it comes before its answer. Anybody can send a call, but
    one that was there before is no sign.
    """
    begin, known = host.clock(), {sa.uniqueid for sa in before.ike_sas}
    while connections and host.clock() - begin < FAR:
        host.sleep(_POLL if host.clock() - begin >= ANSWER else ANSWER)
        look = host.glance(timeout)
        waiting = repair.unanswered(connections, look)
        calls = (sa for sa in look.ike_sas if not sa.initiator and sa.uniqueid not in known)
        called = owner.present(connections, calls)
        if vain := [number for name, ids in waiting.items() if name in called for number in ids]:
            host.terminate(vain)
        connections = [one for one in connections if one.name in waiting.keys() - called]
