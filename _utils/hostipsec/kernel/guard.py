"""Stage ``require``: nothing goes or is accepted in the clear between the pair, whatever becomes of charon.

A trap does that only while charon runs, and for one address of this host: it takes its policies along when
it ends. So the kernel gets policies of our own that block, below all of charon's: where charon has a policy,
that one counts; where it has none, the packet is dropped (XfrmOutPolBlock, XfrmInPolBlock). They are by the
peer alone: for every address that this host has or will have, for what it sends, takes and forwards (to a
container, by a translated port). charon's sockets bypass policies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .. import owner, paths
from ..model import REQUIRE, Address, Connection, KernelPolicy
from . import kernel

BLOCK, PASS = owner.GUARD, 73
# On a link that both share, a host finds its peer's link address before there can be ESP (RFC 4861)
NEIGHBOUR_DISCOVERY = (135, 136)
ANY = {4: "0.0.0.0/0", 6: "::/0"}
GROUPS = {4: "224.0.0.0/4", 6: "ff00::/8"}  # of many hosts: no SA has what a peer sends there (VRRP, OSPF)
ICMPV6 = 58  # a number, since a host without the package netbase has no names of protocols
_DIRECTIONS = ("in", "out", "fwd")


class Policy(NamedTuple):
    """One policy of the guard, as ``ip xfrm policy`` names it; ``kind`` is the type of ICMPv6 that passes."""

    src: str
    dst: str
    direction: str
    kind: str = ""

    @property
    def passes(self) -> bool:
        """Whether it lets packets by: neighbour discovery, and what goes to a group."""
        return bool(self.kind) or self.dst in GROUPS.values()

    @property
    def selector(self) -> str:
        """Return what identifies the policy, in the words of ``ip xfrm policy``."""
        kind = f" proto {ICMPV6} type {self.kind}" if self.kind else ""
        return f"src {self.src} dst {self.dst}{kind} dir {self.direction}"

    @property
    def line(self) -> str:
        """Return the line for ``ip -batch`` that adds the policy."""
        rest = f"action allow priority {PASS}" if self.passes else f"action block priority {BLOCK}"
        return f"xfrm policy update {self.selector} {rest}"


def wanted(connections: Iterable[Connection]) -> frozenset[Policy]:
    """Return the policies for the connections of stage ``require``."""
    peers = {one.right for one in connections if one.stage == REQUIRE}
    return frozenset(policy for peer in peers for policy in _policies(peer))


def _policies(peer: Address) -> Iterable[Policy]:
    right, every, groups = str(ipaddress.ip_network(peer)), ANY[peer.version], GROUPS[peer.version]
    yield Policy(every, right, "out")  # meets what is forwarded, too, before its source is translated
    yield Policy(right, every, "in")
    yield Policy(right, every, "fwd")
    yield Policy(right, groups, "in")
    for kind in NEIGHBOUR_DISCOVERY if peer.version == 6 else ():
        yield Policy(every, right, "out", str(kind))
        yield Policy(right, every, "in", str(kind))


def present(there: Iterable[KernelPolicy]) -> frozenset[Policy]:
    """Return the guard's policies among those of the kernel; also those of the release before.

    That blocked in and out for the one address of a connection.
    """
    return frozenset(Policy(one.src, one.dst, one.direction, one.icmp_type) for one in there if _is_ours(one))


def _is_ours(policy: KernelPolicy) -> bool:
    passes = Policy(policy.src, policy.dst, policy.direction, policy.icmp_type).passes
    return (
        policy.direction in _DIRECTIONS
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
    parts = dict(zip(("added", "removed"), difference(free, kernel.policies(paths.IP_DEADLINE))))
    return {key: [one.selector for one in sorted(found)] for key, found in parts.items() if found}


def apply(free: Sequence[Connection]) -> int:
    """Make the kernel's policies of the guard what the connections mean; return how many were changed."""
    return amend(free, kernel.policies(paths.IP_DEADLINE))


def add(free: Sequence[Connection]) -> int:
    """Add what is missing, and remove nothing: for who is not sure to know all connections."""
    there = kernel.policies(paths.IP_DEADLINE)
    return _set(wanted(free) - present(there), frozenset())


def amend(free: Sequence[Connection], there: Iterable[KernelPolicy]) -> int:
    """Do it from a look at the kernel that was taken already."""
    return _set(*difference(free, there))


def _set(added: frozenset[Policy], removed: frozenset[Policy]) -> int:
    """Remove only once all is there that is to be added; ``ip`` ends at the first line that fails."""
    wrong = []
    for family in (".", ":"):  # what the kernel refuses of one opens nothing of the other
        try:
            _run(batch((one for one in added if family in one.src), ()))
        except kernel.KernelError as error:
            wrong.append(error)
    if wrong:
        raise wrong[0]
    _run(batch((), removed))
    return len(added) + len(removed)


def _run(lines: str) -> None:
    if lines:
        kernel.set_policies(lines, paths.IP_DEADLINE)
