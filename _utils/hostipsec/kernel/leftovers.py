"""What the kernel still has of connections that should be down, and how ``ip`` is told to delete it.

What of it is ours says :mod:`hostipsec.owner`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .. import owner
from ..answer import counted
from ..model import Charon, Connection, Kernel, KernelPolicy, KernelState
from ..owner import Ours, Pair


class Leftovers(NamedTuple):
    """States and policies of our peers."""

    states: tuple[KernelState, ...] = ()
    policies: tuple[KernelPolicy, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are some."""
        return bool(self.states or self.policies)

    def __str__(self) -> str:
        """Say how many there are of what."""
        return f"{counted(len(self.states), 'SA')} and {counted(len(self.policies), 'policy')} in the kernel"

    def batch(self) -> str:
        """Return the commands for ``ip -batch`` that delete them; what is gone by then is no error.

        ``deleteall`` ends ``ip`` where it stands, with status 0 (ipxfrm.c): nothing after it would be done.
        """
        states = (
            f"xfrm state delete src {one.src} dst {one.dst} proto {one.proto} spi 0x{one.spi}\n"
            for one in self.states
        )
        policies = (f"xfrm policy delete dir {one.direction} index {one.number}\n" for one in self.policies)
        return "".join([*policies, *states])  # policies first: without a state they would drop packets


def leftovers(kernel: Kernel, ours: Ours) -> Leftovers:
    """Return what the kernel has of connections."""
    return Leftovers(
        states=tuple(one for one in kernel.states if owner.owns_state(one, ours)),
        policies=tuple(one for one in kernel.policies if owner.owns_policy(one, ours)),
    )


def shares(connections: Iterable[Connection], found: Leftovers) -> Mapping[str, Leftovers]:
    """Return what of it is of each connection, by its name."""
    states: dict[Pair, list[KernelState]] = {}
    policies: dict[Pair, list[KernelPolicy]] = {}
    for state in found.states:
        states.setdefault((state.src, state.dst), []).append(state)
    for policy in found.policies:
        policies.setdefault(owner.protected(policy), []).append(policy)
    ways = {one.name: sorted(owner.Ours([one]).both_ways) for one in connections}
    return {
        name: Leftovers(
            states=tuple(state for way in both for state in states.get(way, ())),
            policies=tuple(policy for way in both for policy in policies.get(way, ())),
        )
        for name, both in ways.items()
    }


def besides(found: Leftovers, observed: Charon, connections: Iterable[Connection]) -> Leftovers:
    """Return what charon itself knows nothing of: neither as an SA nor as a trap.

    A policy belongs to every SA of its addresses.
    """
    children = [child for sa in observed.ike_sas for child in sa.children]
    spis = {spi for child in children for spi in (child.spi_in, child.spi_out)}
    routed = owner.Ours(one for one in connections if one.name in observed.routed).both_ways
    used = {(sa.local_host, sa.remote_host) for sa in observed.ike_sas if sa.children}
    known = routed | used | {(right, left) for left, right in used}
    return Leftovers(
        states=tuple(one for one in found.states if one.spi not in spis),
        policies=tuple(one for one in found.policies if owner.protected(one) not in known),
    )
