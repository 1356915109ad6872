"""Stage ``require``: nothing goes or is accepted in the clear between the pair, whatever becomes of charon.

A trap does that only while charon runs: it takes its policies along when it ends. So the kernel gets policies
of our own that block, below all of charon's: where charon has a policy, that one counts; where it has
none, the packet is dropped (XfrmOutPolBlock, XfrmInPolBlock). charon's sockets bypass policies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..model import REQUIRE, Connection, KernelPolicy
from . import kernel

# charon's policies have priorities up to 600,000 (kernel_netlink_ipsec.c, get_priority); the lower one counts
BLOCK, PASS = 2_000_073, 73
# On a link that both share, a host finds its peer's link address before there can be ESP (RFC 4861)
NEIGHBOUR_DISCOVERY = (135, 136)
DEADLINE = 10.0  # seconds, for each call of ip
ICMPV6 = 58  # a number, since a host without the package netbase has no names of protocols


class Policy(NamedTuple):
    """One policy of the guard, as ``ip xfrm policy`` names it; ``kind`` is the type of ICMPv6 that passes."""

    src: str
    dst: str
    direction: str
    kind: str = ""

    @property
    def selector(self) -> str:
        """Return what identifies the policy, in the words of ``ip xfrm policy``."""
        passes = f" proto {ICMPV6} type {self.kind}" if self.kind else ""
        return f"src {self.src} dst {self.dst}{passes} dir {self.direction}"

    @property
    def line(self) -> str:
        """Return the line for ``ip -batch`` that adds the policy."""
        rest = f"action allow priority {PASS}" if self.kind else f"action block priority {BLOCK}"
        return f"xfrm policy update {self.selector} {rest}"


def wanted(connections: Iterable[Connection]) -> frozenset[Policy]:
    """Return the policies for the connections of stage ``require``."""
    return frozenset(policy for one in connections if one.stage == REQUIRE for policy in _policies(one))


def _policies(connection: Connection) -> Iterable[Policy]:
    # The own side is one bit wider than charon's selector: the kernel keeps one policy a selector. The other
    # address in it is not of this host, so the policy means the same.
    left = ipaddress.ip_network(f"{connection.left}/{connection.left.max_prefixlen - 1}", strict=False)
    right = ipaddress.ip_network(connection.right)
    kinds = [""]
    if connection.family == "v6":
        kinds += [str(kind) for kind in NEIGHBOUR_DISCOVERY]
    for kind in kinds:
        yield Policy(str(left), str(right), "out", kind)
        yield Policy(str(right), str(left), "in", kind)


def present(there: Iterable[KernelPolicy]) -> frozenset[Policy]:
    """Return the guard's policies among those of the kernel."""
    return frozenset(Policy(one.src, one.dst, one.direction, one.icmp_type) for one in there if _is_ours(one))


def _is_ours(policy: KernelPolicy) -> bool:
    passes = bool(policy.icmp_type)
    return (
        policy.direction in ("in", "out")
        and policy.priority == (PASS if passes else BLOCK)
        and (policy.action == "block") != passes
    )


def batch(add: Iterable[Policy], remove: Iterable[Policy]) -> str:
    """Return the lines for ``ip -batch``; what is added comes first."""
    lines = [policy.line for policy in sorted(add)]
    lines += [f"xfrm policy delete {policy.selector}" for policy in sorted(remove)]
    return "".join(f"{line}\n" for line in lines)


def difference(
    free: Sequence[Connection], there: Iterable[KernelPolicy]
) -> tuple[frozenset[Policy], frozenset[Policy]]:
    """Return what is to be added and removed; ``free`` are all connections that are not held down."""
    ours, meant = present(there), wanted(free)
    return meant - ours, ours - meant


def changes(free: Sequence[Connection]) -> dict[str, list[str]]:
    """Return the selectors to be ``added`` and ``removed``, as a state reports them."""
    parts = dict(zip(("added", "removed"), difference(free, kernel.policies(DEADLINE))))
    return {key: [one.selector for one in sorted(found)] for key, found in parts.items() if found}


def apply(free: Sequence[Connection]) -> int:
    """Make the kernel's policies of the guard what the connections mean; return how many were changed."""
    return amend(free, kernel.policies(DEADLINE))


def amend(free: Sequence[Connection], there: Iterable[KernelPolicy]) -> int:
    """Do it from a look at the kernel that was taken already."""
    add, remove = difference(free, there)
    if add or remove:
        kernel.set_policies(batch(add, remove), DEADLINE)
    return len(add) + len(remove)
