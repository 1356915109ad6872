"""Connections started, by one process of this host at a time.

Of two that look, find a connection missing and start it in the same moment, neither sees what the other does,
and the pair gets two IKE SAs: so did the keeper and a command of the fleet. Whoever starts something holds a
lock from his look until charon shows what he started.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Callable, Iterable, NamedTuple

from .. import owner
from ..model import Charon, Connection
from .host import CALL, Host

SEEN = (
    0.5  # seconds that charon has to show what it was told to start; one that a peer refuses is gone sooner
)
_POLL = 0.02

Due = Callable[[Charon], Iterable[str]]


class Started(NamedTuple):
    """What was seen, and what was started."""

    look: Charon
    names: tuple[str, ...]  # that charon was asked for
    refused: Mapping[str, str]  # by charon, and why


def start(due: Due, connections: Collection[Connection], host: Host, timeout: float = CALL) -> Started:
    """Start what is ``due`` in a look of this moment. Raises CharonError where charon does not answer."""
    with host.starting():
        look = host.observe(timeout)
        names = tuple(due(look))
        refused = host.initiate(names, timeout) if names else {}
        begun = {*names} - {*refused}
        if begun:
            _until_seen([one for one in connections if one.name in begun], host, timeout)
    return Started(look, names, refused)


def _until_seen(connections: Collection[Connection], host: Host, timeout: float) -> None:
    end = host.clock() + SEEN
    while host.clock() < end:
        if len(owner.present(connections, host.glance(timeout).ike_sas)) == len(connections):
            return
        host.sleep(_POLL)
