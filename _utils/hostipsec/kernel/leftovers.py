"""What the kernel still has of connections that should be down, and how ``ip`` is told to delete it.

Only states and policies between the two addresses of a connection are ours; those of others stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..model import Charon, Connection, IkeSA, Kernel, KernelPolicy, KernelState

Pairs = frozenset[tuple[str, str]]  # this host's address and a peer's


class Leftovers(NamedTuple):
    """States and policies of our peers."""

    states: tuple[KernelState, ...] = ()
    policies: tuple[KernelPolicy, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are some."""
        return bool(self.states or self.policies)

    def __str__(self) -> str:
        """Say how many there are of what."""
        return f"{len(self.states)} SA(s) and {len(self.policies)} policies in the kernel"

    def of(self, connection: Connection) -> Leftovers:
        """Return those of one connection."""
        return leftovers(Kernel(self.states, self.policies), pairs([connection]))

    def batch(self) -> str:
        """Return the commands for ``ip -batch`` that delete them; what is gone by then is no error."""
        states = (
            f"xfrm state deleteall src {one.src} dst {one.dst} proto {one.proto} spi 0x{one.spi}\n"
            for one in self.states
        )
        policies = (
            f"xfrm policy deleteall src {one.src} dst {one.dst} dir {one.direction} index {one.number}\n"
            for one in self.policies
        )
        return "".join([*policies, *states])  # policies first: without a state they would drop packets


def pairs(connections: Iterable[Connection]) -> Pairs:
    """Return the address pairs of connections."""
    return frozenset((str(one.left), str(one.right)) for one in connections)


def owns(sa: IkeSA, between: Pairs, names: frozenset[str]) -> bool:
    """Whether an IKE SA is of one of the connections: between its addresses, or by its name."""
    return (sa.local_host, sa.remote_host) in between or sa.name in names


def leftovers(kernel: Kernel, between: Pairs) -> Leftovers:
    """Return what the kernel has between the addresses, in either direction."""
    both = between | {(right, left) for left, right in between}
    return Leftovers(
        states=tuple(one for one in kernel.states if (one.src, one.dst) in both),
        policies=tuple(one for one in kernel.policies if _ends(one) in both),
    )


def _ends(policy: KernelPolicy) -> tuple[str, str]:
    """Return the addresses that a policy protects; those of its template where it is not for two hosts."""
    src, dst = (_host(selector) for selector in (policy.src, policy.dst))
    return (src, dst) if src and dst else (policy.template_src, policy.template_dst)


def _host(selector: str) -> str:
    address, _, length = selector.partition("/")
    return address if length in ("", "128" if ":" in address else "32") else ""


def besides(found: Leftovers, observed: Charon, connections: Iterable[Connection]) -> Leftovers:
    """Return what charon itself knows nothing of: neither as an SA nor as a trap.

    A policy belongs to every SA of its addresses.
    """
    children = [child for sa in observed.ike_sas for child in sa.children]
    spis = {spi for child in children for spi in (child.spi_in, child.spi_out)}
    routed = {pair for one in connections if one.name in observed.routed for pair in pairs([one])}
    used = {(sa.local_host, sa.remote_host) for sa in observed.ike_sas if sa.children} | routed
    both = used | {(right, left) for left, right in used}
    return Leftovers(
        states=tuple(one for one in found.states if one.spi not in spis),
        policies=tuple(one for one in found.policies if _ends(one) not in both),
    )
