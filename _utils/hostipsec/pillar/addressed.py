"""The pillar with the addresses that it does not have itself: what every front end starts from."""

from __future__ import annotations

from collections.abc import Callable

from ..model import Fleet
from . import addresses, membership, pillar


def fleet(data: object, mine: Callable[..., object]) -> Fleet:
    """Return the fleet of the pillar below ``ipsec``; ``mine`` is Salt's ``mine.get``.

    Raises :class:`~hostipsec.errors.PillarError` with every problem found.
    """
    bare = pillar.unaddressed(data)
    return pillar.read(data, addresses.resolve(bare, lambda hosts: addresses.mined(mine, hosts)))


def member(data: object, minion_id: str, mine: Callable[..., object]) -> membership.Membership:
    """Return what that means for one host, see :func:`membership.of`."""
    return membership.of(fleet(data, mine), minion_id)
