"""The policies of the guard (:mod:`hostipsec.kernel.guard`) as values, among all of the kernel. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from .. import owner
from ..answer import counted
from ..model import REQUIRE, Address, Connection, KernelPolicy
from ..strongswan import exceptions

BLOCK, PASS = owner.GUARD, 73
# Where a rule says what alone is encrypted: that, by charon's SA; the same to and from any other address; and
# all the rest, which must come after both. Before charon's policies, which are for all packets.
ESP, BAR, REST = 75, 76, 77
# On a link that both share, a host finds its peer's link address before there can be ESP (RFC 4861)
NEIGHBOUR_DISCOVERY = (135, 136)
ANY = {4: "0.0.0.0/0", 6: "::/0"}
GROUPS = {4: "224.0.0.0/4", 6: "ff00::/8"}  # of many hosts: no SA has what a peer sends there (VRRP, OSPF)
ICMPV4, ICMPV6 = (
    exceptions.ICMPS[4],
    exceptions.ICMPS[6],
)  # numbers, since a host without the package netbase has no names of protocols
_DIRECTIONS = ("in", "out", "fwd")
_SAID = {ESP: " in ESP", BAR: " blocked", REST: " passes"}


class Policy(NamedTuple):
    """One policy of the guard, as ``ip xfrm policy`` names it; ``kind`` is the type of ICMPv6 that passes.

    ``ports`` is what an exception is for: ``proto 6 sport 22``. With ``only``, ``place`` is :data:`ESP`,
    :data:`BAR` or :data:`REST`, and ``template`` the one of what goes in ESP.
    """

    src: str
    dst: str
    direction: str
    kind: str = ""
    ports: str = ""
    place: int = 0
    template: str = ""

    @property
    def passes(self) -> bool:
        """Whether it lets packets by: neighbour discovery, exceptions, what goes to a group, the rest."""
        if self.place:
            return self.place != BAR
        return bool(self.kind or self.ports) or self.dst in GROUPS.values()

    @property
    def priority(self) -> int:
        """Return the kernel's number for its place among all policies; the lowest that fits is taken."""
        return self.place or (PASS if self.passes else BLOCK)

    @property
    def selector(self) -> str:
        """Return what identifies the policy, in the words of ``ip xfrm policy``."""
        kind = f" proto {ICMPV6} type {self.kind}" if self.kind else ""
        ports = f" {self.ports}" if self.ports else ""
        return f"src {self.src} dst {self.dst}{kind}{ports} dir {self.direction}"

    @property
    def said(self) -> str:
        """Return the policy for people: its selector, and what it does beside the usual."""
        return f"{self.selector}{_SAID.get(self.place, '')}"

    @property
    def line(self) -> str:
        """Return the line for ``ip -batch`` that adds the policy."""
        does = f"action {'allow' if self.passes else 'block'} priority {self.priority}"
        template = f" tmpl {self.template}" if self.template else ""
        return f"xfrm policy update {self.selector} {does}{template}"


def wanted(connections: Iterable[Connection]) -> frozenset[Policy]:
    """Return the policies for the connections of stage ``require``, and for the exceptions of all."""
    every = tuple(connections)
    blocking = frozenset(policy for one in every if one.stage == REQUIRE for policy in _blocking(one))
    taken = {policy.selector for policy in blocking}  # the kernel keeps one policy a selector
    rest = frozenset().union(*map(excepted, every))
    return blocking | {policy for policy in rest if policy.selector not in taken}


def excepted(one: Connection) -> frozenset[Policy]:
    """Return the policies for what stays in the clear of a connection."""
    sent, taken = (_with_only(end) if end.only else _with_clear(end) for end in (one, one.taking))
    found = {policy for policy in sent if policy.direction != "in"}
    return frozenset(found | {policy for policy in taken if policy.direction == "in"})


def _blocking(one: Connection) -> Iterable[Policy]:
    """Yield what blocks all of a connection, but for directions of which not all is encrypted."""
    partly = {"out": one.only, "fwd": one.only, "in": one.taking.only}
    return (policy for policy in _policies(one.right) if not partly[policy.direction])


def _with_clear(one: Connection) -> frozenset[Policy]:
    if not one.clear:
        return frozenset()
    here = ANY[one.left.version] if one.left.is_unspecified else str(ipaddress.ip_network(one.left))
    there = str(ipaddress.ip_network(one.right))
    found = (what for text in one.clear if (what := exceptions.parse(text)))
    return frozenset(
        Policy(*ends, ports=f"proto {what.protocol} {side} {what.port}")
        for what in found
        for side in ("sport", "dport")
        for ends in ((here, there, "out"), (there, here, "in"))
    )


def _with_only(one: Connection) -> frozenset[Policy]:
    """Return the policies where a rule says what alone is encrypted.

    In stage ``require`` that is blocked without an SA, and taken by ESP alone; at others it goes in the clear
    while there is none. SAs and charon's policies are for all packets, so no end depends on what the other
    sends in ESP.
    """
    there, every = str(ipaddress.ip_network(one.right)), ANY[one.right.version]
    required, out, into = one.stage == REQUIRE, (every, there, "out"), (there, every, "in")
    found = {Policy(*ends, place=REST) for ends in (out, into)}
    if required:
        narrow = [Policy(*ends, place=BAR) for ends in (out, into, (there, every, "fwd"))]
        found |= {policy._replace(ports=ports) for policy in narrow for ports in _selected(one)}
        found |= {Policy(*into)._replace(dst=GROUPS[one.right.version])}
    if one.right.version == 6 and (required or exceptions.ICMP in one.only):
        found |= {Policy(*ends, str(kind)) for kind in NEIGHBOUR_DISCOVERY for ends in (out, into)}
    return frozenset(found | _in_esp(one, required))


def _in_esp(one: Connection, required: bool) -> set[Policy]:
    """Return the policies for what alone is encrypted; none where this host has no address for it.

    What comes in may be by any SA with this peer: its selector and the packet's addresses tell whose it is.
    """
    if one.left.is_unspecified:
        return set()
    here, there = (str(ipaddress.ip_network(end)) for end in (one.left, one.right))
    reqid, level = owner.reqid(one.name), "required" if required else "use"
    found = {Policy(here, there, "out", place=ESP, template=_template(reqid, level))}
    found |= {Policy(there, here, "in", place=ESP, template=_template(0, level))} if required else set()
    return {policy._replace(ports=ports) for policy in found for ports in _selected(one)}


def _template(reqid: int, level: str) -> str:
    return f"proto esp reqid {reqid} mode transport level {level}"


def _selected(one: Connection) -> Iterable[str]:
    """Yield what alone is encrypted as selectors have it: the port of either end, or a protocol."""
    for text in one.only:
        if what := exceptions.parse(text):
            yield from (f"proto {what.protocol} {side} {what.port}" for side in ("sport", "dport"))
        else:
            yield f"proto {exceptions.ICMPS[one.right.version]}"


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
    ports = f"proto {_NUMBERS.get(found[1], found[1])}{found[2]}" if found else ""
    place = policy.priority if policy.priority in _SAID else 0
    template = _template(policy.reqid, policy.level) if place == ESP else ""
    return Policy(policy.src, policy.dst, policy.direction, policy.icmp_type, ports, place, template)


_NUMBERS = {**exceptions.PROTOCOLS, "icmp": ICMPV4, "ipv6-icmp": ICMPV6}
_PORTS = re.compile("proto (tcp|udp|icmp|ipv6-icmp|6|17|1|58)((?: [sd]port [0-9]{1,5})?)")


def _is_ours(policy: KernelPolicy) -> bool:
    one = named(policy)
    templates = policy.proto == "esp" and policy.mode == "transport" if one.template else not policy.mode
    return (
        policy.direction in _DIRECTIONS
        and policy.priority == one.priority
        and (policy.action == "block") != one.passes
        and templates
    )


def batch(add: Iterable[Policy], remove: Iterable[Policy]) -> str:
    """Return the lines for ``ip -batch``; what is added comes first."""
    lines = [policy.line for policy in sorted(add, key=_in_order)]
    lines += [f"xfrm policy delete {policy.selector}" for policy in sorted(remove, key=_in_order)[::-1]]
    return "".join(f"{line}\n" for line in lines)


def said(guarded: Collection[Connection], free: Collection[Connection]) -> str:
    """Say with how many peers nothing goes in the clear; ``free`` are the connections that are not held."""
    required = {one.peer for one in guarded if one.stage == REQUIRE}
    held = {one.peer for one in guarded if one.stage == REQUIRE and one not in free}
    wholly = required - held - {one.peer for one in guarded if one.only}
    parts = [f"nothing in the clear with {counted(len(wholly), 'peer')}"] if required else []
    parts += [f"held, and in the clear: {counted(len(held), 'peer')}"] if held else []
    if clear := sorted({text for one in free for text in one.clear}):
        parts.append(f"{', '.join(clear)} passes where a rule says so")
    if only := sorted({text for one in free for text in one.only}):
        parts.append(f"nothing but {', '.join(only)} is encrypted where a rule says so")
    return "; ".join(parts if required else ["no peer has stage 'require'", *parts])


def _in_order(policy: Policy) -> tuple[int, Policy]:
    """What passes the rest comes after what keeps packets from it, and goes before that."""
    return policy.priority, policy


def difference(
    free: Sequence[Connection], there: Iterable[KernelPolicy]
) -> tuple[frozenset[Policy], frozenset[Policy]]:
    """Return what is to be added and removed; ``free`` are all connections that are not held down."""
    every = tuple(there)
    ours, meant = present(every), wanted(possible(free, every))
    return meant - ours, ours - meant


def possible(connections: Iterable[Connection], there: Iterable[KernelPolicy]) -> tuple[Connection, ...]:
    """Return connections as policies can be for them now: they name the number of SAs.

    SAs that charon made before it knew that number go on: until they are made anew all goes by them.
    """
    every = tuple(connections)
    if not any(one.only for one in every):
        return every
    made = (one for one in there if one.direction == "out" and one.priority in owner.PRIORITIES)
    reqids = {(one.src, one.dst): one.reqid for one in made if one.protects and not owner.foreign(one)}
    return tuple(_waiting(one) if _is_other(one, reqids) else one for one in every)


def _is_other(one: Connection, reqids: Mapping[tuple[str, str], int]) -> bool:
    ends = (str(ipaddress.ip_network(one.left)), str(ipaddress.ip_network(one.right)))
    number = owner.reqid(one.name)
    return bool(one.only) and reqids.get(ends, number) != number


def _waiting(one: Connection) -> Connection:
    """Return a connection that takes what its rule says, and sends all in ESP."""
    taking = one.taking
    return one._replace(clear=(), only=(), taken=(taking.clear, taking.only))
