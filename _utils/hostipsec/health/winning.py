"""Which policy of the kernel wins for packets between two hosts, worked out from all there are. Pure.

Of the policies that fit a packet the kernel takes the one with the lowest priority. charon's have some
180,000 to 400,000; plugin bypass-lan, a shunt, an operator, or whatever else uses IPsec on a host, may come
before them. Then packets go in the clear while charon and its SAs are well.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Callable, NamedTuple, Optional, Union

from .. import owner
from ..model import Connection, KernelPolicy

WAYS = ("out", "in")
GUARDED = (*WAYS, "fwd")  # by the guard; charon has policies for what is forwarded in tunnel mode alone
_NOWHERE = ("", "0.0.0.0", "::")  # noqa: S104  of a template in transport mode: the packet's own addresses
_DISCOVERY = range(133, 138)  # RFC 4861: a host finds its peer's link address before there can be ESP
_IKE = re.compile(r"proto (udp|17) (sport (500|4500) ?)?(dport (500|4500))?")  # kernel-netlink's port_bypass

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Mine = Callable[[KernelPolicy], bool]


class Policies:
    """All policies, to be asked for those of a pair: a host has thousands."""

    def __init__(self, every: Iterable[KernelPolicy]) -> None:
        self._of_host: dict[tuple[str, str], list[KernelPolicy]] = {}  # direction, address of the other host
        self._wide: dict[str, list[KernelPolicy]] = {}  # those for more than one of them, by direction
        for one in every:
            there = owner.host_of(_remote(one))
            if there:
                self._of_host.setdefault((one.direction, there), []).append(one)
            else:
                self._wide.setdefault(one.direction, []).append(one)

    def of(self, connection: Connection, way: str) -> Sequence[KernelPolicy]:
        """Return the policies that packets of a connection can meet, the first to be taken first.

        Of two with one priority the kernel takes the older; which it is, is not seen: what passes is first.
        """
        return [one for one in self.about(connection, way) if _within(connection.left, _local(one))]

    def about(self, connection: Connection, way: str) -> Sequence[KernelPolicy]:
        """Return those of its peer, whatever address of this host they are for, in the same order."""
        near = self._of_host.get((way, str(connection.right)), ())
        wide = [one for one in self._wide.get(way, ()) if _within(connection.right, _remote(one))]
        return sorted((*near, *wide), key=lambda one: (one.priority, one.protects, one.action == "block"))


def _remote(policy: KernelPolicy) -> str:
    return policy.dst if policy.direction == "out" else policy.src


def _local(policy: KernelPolicy) -> str:
    return policy.src if policy.direction == "out" else policy.dst


def _within(address: Union[ipaddress.IPv4Address, ipaddress.IPv6Address], selector: str) -> bool:
    network = _network(selector)
    return network is not None and address in network


@lru_cache(maxsize=4096)
def _network(selector: str) -> Optional[Network]:
    try:
        return ipaddress.ip_network(selector, strict=False)
    except ValueError:
        return None


# Whose they are --------------------------------------------------------------------------------


def of_connection(connection: Connection, reqids: Collection[Optional[int]]) -> Mine:
    """Return what tells charon's policies of a connection, and our pin on it; no reqids: whatever theirs."""

    def mine(policy: KernelPolicy) -> bool:
        known = policy.reqid in reqids if reqids else bool(policy.reqid)
        return policy.protects and known and between(policy, connection) and not owner.foreign(policy)

    return mine


def between(policy: KernelPolicy, connection: Connection) -> bool:
    """Say whether what goes by a policy goes from the one host to the other, and to nobody else."""
    ends = (*_NOWHERE, str(connection.left), str(connection.right))
    return policy.template_src in ends and policy.template_dst in ends


def missing(there: Sequence[KernelPolicy], mine: Mine) -> bool:
    """Say whether no policy of the connection is among those of one direction."""
    return not any(map(mine, there))


def wrong(there: Sequence[KernelPolicy], connection: Connection, mine: Mine, way: str) -> str:
    """Say what else than the connection's policy decides for packets of one direction; empty for nothing.

    What passes without IPsec counts, also where it is for some packets only; what blocks counts for all only.
    """
    for one in there:
        if mine(one) and not one.narrow:
            return ""
        if one.action == "block" and not one.narrow:
            return f"a policy that blocks comes before charon's: {said(one)}"
        elsewhere = one.protects and not (between(one, connection) or owner.foreign(one))
        if one.action != "block" and (elsewhere or not _harmless(one, mine)):
            how = "by an SA that is none of this connection" if one.protects else "in the clear"
            return f"{_DOES[way]} {how}, since a policy comes before charon's: {said(one)}"
    return ""


def limits(there: Sequence[KernelPolicy], mine: Mine) -> str:
    """Return what packets must have for the connection's policy, where it has none for all of them."""
    found = [one.narrow for one in there if mine(one)]
    return "" if "" in found else " and ".join(dict.fromkeys(found))


_DOES = {"out": "packets leave", "in": "packets are taken"}


def _harmless(policy: KernelPolicy, mine: Mine) -> bool:
    """Say whether nothing of the hosts' own goes in the clear by a policy that passes some packets."""
    if mine(policy) or (policy.narrow and policy.protects):  # by somebody else's SA
        return True
    discovery = policy.icmp_type.isdecimal() and int(policy.icmp_type) in _DISCOVERY and ":" in policy.src
    return discovery or (bool(policy.narrow) and bool(_IKE.fullmatch(policy.narrow)))


def said(policy: KernelPolicy) -> str:
    """Return a policy in the words of ``ip xfrm policy``."""
    what = f" {policy.narrow}" if policy.narrow else ""
    reqid = f" reqid {policy.reqid}" if policy.reqid else ""
    return f"src {policy.src} dst {policy.dst}{what} dir {policy.direction} priority {policy.priority}{reqid}"


# The guard -------------------------------------------------------------------------------------


class Guard(NamedTuple):
    """What becomes of packets of one direction once charon has no policy for them."""

    blocks: bool  # all of them, whatever address of this host they are for
    before: Optional[KernelPolicy] = None  # what passes some of them first


def guard(there: Sequence[KernelPolicy]) -> Guard:
    """Return whether the guard blocks what is between this host and a peer.

    ``there`` are all policies of the peer, whatever address of this host they are for, without those that the
    guard itself passes packets by.
    """
    for one in there:
        if one.action != "block" and not one.protects and not _harmless(one, lambda _: False):
            return Guard(blocks=False, before=one)
        if one.action == "block" and one.priority == owner.GUARD and not one.narrow and _any(_local(one)):
            return Guard(blocks=True)
    return Guard(blocks=False)


def _any(selector: str) -> bool:
    network = _network(selector)
    return network is not None and network.prefixlen == 0
