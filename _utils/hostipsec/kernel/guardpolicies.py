"""The policies of the guard (:mod:`hostipsec.kernel.guard`) as values, among all of the kernel. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from .. import owner
from ..answer import counted
from ..model import REQUIRE, Address, Connection, KernelPolicy
from ..strongswan import exceptions

BLOCK, PASS = owner.GUARD, 73
# On a link that both share, a host finds its peer's link address before there can be ESP (RFC 4861)
NEIGHBOUR_DISCOVERY = (135, 136)
ANY = {4: "0.0.0.0/0", 6: "::/0"}
GROUPS = {4: "224.0.0.0/4", 6: "ff00::/8"}  # of many hosts: no SA has what a peer sends there (VRRP, OSPF)
ICMPV6 = 58  # a number, since a host without the package netbase has no names of protocols
_DIRECTIONS = ("in", "out", "fwd")


class Policy(NamedTuple):
    """One policy of the guard, as ``ip xfrm policy`` names it; ``kind`` is the type of ICMPv6 that passes.

    ``ports`` is what an exception is for: ``proto 6 sport 22``.
    """

    src: str
    dst: str
    direction: str
    kind: str = ""
    ports: str = ""

    @property
    def passes(self) -> bool:
        """Whether it lets packets by: neighbour discovery, exceptions, and what goes to a group."""
        return bool(self.kind or self.ports) or self.dst in GROUPS.values()

    @property
    def selector(self) -> str:
        """Return what identifies the policy, in the words of ``ip xfrm policy``."""
        kind = f" proto {ICMPV6} type {self.kind}" if self.kind else ""
        ports = f" {self.ports}" if self.ports else ""
        return f"src {self.src} dst {self.dst}{kind}{ports} dir {self.direction}"

    @property
    def line(self) -> str:
        """Return the line for ``ip -batch`` that adds the policy."""
        rest = f"action allow priority {PASS}" if self.passes else f"action block priority {BLOCK}"
        return f"xfrm policy update {self.selector} {rest}"


def wanted(connections: Iterable[Connection]) -> frozenset[Policy]:
    """Return the policies for the connections of stage ``require``, and for the exceptions of all."""
    every = tuple(connections)
    peers = {one.right for one in every if one.stage == REQUIRE}
    blocking = frozenset(policy for peer in peers for policy in _policies(peer))
    return blocking.union(*map(excepted, every))


def excepted(one: Connection) -> frozenset[Policy]:
    """Return the policies for what stays in the clear of a connection."""
    here = ANY[one.left.version] if one.left.is_unspecified else str(ipaddress.ip_network(one.left))
    there = str(ipaddress.ip_network(one.right))
    found = (what for text in one.clear if (what := exceptions.parse(text)))
    return frozenset(
        Policy(*ends, ports=f"proto {what.protocol} {side} {what.port}")
        for what in found
        for side in ("sport", "dport")
        for ends in ((here, there, "out"), (there, here, "in"))
    )


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
    return frozenset(named(one) for one in there if _is_ours(one))


def named(policy: KernelPolicy) -> Policy:
    """Return what identifies a policy of the kernel, if it is the guard's."""
    found = _PORTS.fullmatch(policy.narrow)
    ports = f"proto {exceptions.PROTOCOLS.get(found[1], found[1])} {found[2]} {found[3]}" if found else ""
    return Policy(policy.src, policy.dst, policy.direction, policy.icmp_type, ports)


_PORTS = re.compile("proto (tcp|udp|6|17) (sport|dport) ([0-9]{1,5})")


def _is_ours(policy: KernelPolicy) -> bool:
    passes = named(policy).passes
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


def said(guarded: Collection[Connection], free: Collection[Connection]) -> str:
    """Say with how many peers nothing goes in the clear; ``free`` are the connections that are not held."""
    required = {one.peer for one in guarded if one.stage == REQUIRE}
    held = {one.peer for one in guarded if one.stage == REQUIRE and one not in free}
    parts = [f"nothing in the clear with {counted(len(required - held), 'peer')}"] if required else []
    parts += [f"held, and in the clear: {counted(len(held), 'peer')}"] if held else []
    if clear := sorted({text for one in free for text in one.clear}):
        parts.append(f"{', '.join(clear)} passes where a rule says so")
    return "; ".join(parts if required else ["no peer has stage 'require'", *parts])


def difference(
    free: Sequence[Connection], there: Iterable[KernelPolicy]
) -> tuple[frozenset[Policy], frozenset[Policy]]:
    """Return what is to be added and removed; ``free`` are all connections that are not held down."""
    ours, meant = present(there), wanted(free)
    return meant - ours, ours - meant
