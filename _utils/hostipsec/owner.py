"""Whose is it: the one module that says whether an SA, a state or a policy belongs to connections of ours.

Each question that is asked has one rule; where two rules would differ, the one that does least harm there:

=============================================  =====================  =====================================
question                                       function               rule
=============================================  =====================  =====================================
Is this IKE SA a connection's, as it is        :func:`belongs`,       by name **and** addresses; one that
configured now? (judge, start, pin)            :func:`present`        has no name yet by its addresses
Which CHILD SAs are a connection's?            :func:`children`       of such an IKE SA, by name
Is this IKE SA one of a name that is held?     :func:`named`          by name, whatever its addresses
(keep it down)
Is it left from before an address changed?     :func:`moved`          by name, with another address
(end it when the change is applied)
Is it one that an emergency stop ends?         :func:`claimed`,       by name **or** addresses
                                               :func:`shares`
Does it carry packets between the two hosts?   :func:`between`,       by addresses, whatever its name
(count them)                                   :func:`carries`
Did charon make it for one of them?            :func:`owns_state`,    by addresses, and what charon alone
(clear it in the kernel)                       :func:`owns_policy`    makes: reqid, priority
Did somebody else than charon make it?         :func:`foreign`        by marks, and one reqid
=============================================  =====================  =====================================

To judge by less than name and addresses would call a host encrypted whose packets go in the clear. To stop by
more than one of them would leave a tunnel up: an SA of our name to another address is left from before a
change, and one between our addresses with a name that we do not know may have been ours under another name,
or be one that a peer is just bringing up, before charon knows who calls. What runs unattended (a change that
is applied, the keeper) goes by name: it must not end, again and again, what somebody else has configured.

The kernel knows no names, and after charon was killed nobody can be asked. What it has between two of our
addresses may as well be of Docker Swarm, Cilium, weave, submariner's libreswan, or of an operator's own keys.
What charon makes shows it: reqids and priorities from ranges of its own, policies from one host to the
other, no marks. Anything else is left alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Tuple, Union

from .model import ChildSA, Connection, IkeSA, KernelPolicy, KernelState

UNNAMED = "(unnamed)"  # a responder's IKE SA before it knows which peer is calling
_NOT_CHOSEN = ("%any", "%any6", "0.0.0.0", "::")  # noqa: S104  charon's, before it has chosen
# Docker Swarm's, for its encrypted networks (libnetwork, drivers/overlay/encryption.go): it takes every state
# with this reqid for its own. charon counts from 1, and gives again what is free (kernel_interface.c,
# alloc_reqid). Others cannot be told so: Cilium's states have reqid 1, as the first ones of charon.
SWARM = 0xD0C4E3
REQIDS = range(1, 0x4000)  # charon's, and what option reqid may say; libreswan's begin above (ipsec_doi)
_TOLD = 0x20000000  # ours, the first of as many: above charon's own numbers, libreswan's and Swarm's
# kernel_netlink_ipsec.c, get_priority, from a shunt's to a fallback's; Swarm's have 0, libreswan's more than
# a million
PRIORITIES = range(100_000, 1_000_000)
PIN = 74  # ours (emergency/pins), before charon's

# The guard's policies that block (kernel/guard): below charon's, whose priorities go up to 600,000
# (kernel_netlink_ipsec.c, get_priority); the lower one counts
GUARD = 2_000_073

Pair = Tuple[str, str]


def reqid(name: str) -> int:
    """Return the number of a connection's SAs where policies of ours ask for them, not only charon's.

    It follows from the name alone. Of hundreds of connections hardly two have the same; then a packet that
    waits for the SA of the one may have charon begin the other's.
    """
    return _TOLD + zlib.crc32(name.encode()) % _TOLD


class Ours:
    """Connections as tables, for hosts with thousands of SAs, each asked for once."""

    def __init__(self, connections: Iterable[Connection]) -> None:
        every = tuple(connections)
        self.names = frozenset(one.name for one in every)
        self.pairs = frozenset(_ends(one) for one in every)  # this host's address and a peer's
        self.both_ways = self.pairs | {(right, left) for left, right in self.pairs}
        self.reqids = frozenset(map(reqid, self.names))  # of those that encrypt some ports alone


def _ends(connection: Connection) -> Pair:
    return str(connection.left), str(connection.right)


# SAs of charon -------------------------------------------------------------------------------


def belongs(sa: IkeSA, connection: Connection) -> bool:
    """Say whether an IKE SA is a connection's as it is configured now: by its name and its addresses.

    An SA of that name with another address, of the peer or of this host, is left from before a change. One
    whose name charon does not know yet is told by its addresses. strongSwan gives connections of equal IKE
    options one IKE SA, under the name of the first: the name of a CHILD SA counts as well.
    """
    if sa.name == UNNAMED:
        return between(sa, connection)
    if sa.remote_host != str(connection.right) or sa.local_host not in (str(connection.left), *_NOT_CHOSEN):
        return False
    return named(sa, (connection.name,))


def present(connections: Iterable[Connection], sas: Iterable[IkeSA]) -> frozenset[str]:
    """Return the names of the connections that have an IKE SA which belongs to them, in whatever state."""
    by_remote: dict[str, list[IkeSA]] = {}
    for sa in sas:
        by_remote.setdefault(sa.remote_host, []).append(sa)
    return frozenset(
        one.name for one in connections if any(belongs(sa, one) for sa in by_remote.get(str(one.right), ()))
    )


def children(connection: Connection, sas: Iterable[IkeSA]) -> Sequence[ChildSA]:
    """Return a connection's CHILD SAs: those of its name, in IKE SAs that belong to it."""
    mine = (sa for sa in sas if belongs(sa, connection))
    return [child for sa in mine for child in sa.children if child.name == connection.name]


def named(sa: IkeSA, names: Collection[str]) -> bool:
    """Say whether an IKE SA, or a CHILD SA in it, has one of the names; with whatever addresses."""
    return sa.name in names or any(child.name in names for child in sa.children)


def between(sa: IkeSA, connection: Connection) -> bool:
    """Say whether an IKE SA is between the two addresses of a connection, under whatever name."""
    return (sa.local_host, sa.remote_host) == _ends(connection)


def claimed(sa: IkeSA, ours: Ours) -> bool:
    """Say whether an emergency stop ends an IKE SA: it has a name of ours, or is between our addresses."""
    return (sa.local_host, sa.remote_host) in ours.pairs or named(sa, ours.names)


def shares(connections: Iterable[Connection], sas: Iterable[IkeSA]) -> Mapping[str, Sequence[IkeSA]]:
    """Return the IKE SAs of each connection, by its name and by the same rule; some are of two of them."""
    by_key: dict[object, dict[int, IkeSA]] = {}
    for sa in sas:
        for key in (sa.name, *(child.name for child in sa.children), (sa.local_host, sa.remote_host)):
            by_key.setdefault(key, {})[sa.uniqueid] = sa
    both = {one.name: {**by_key.get(one.name, {}), **by_key.get(_ends(one), {})} for one in connections}
    return {name: [found[number] for number in sorted(found)] for name, found in both.items()}


def moved(sa: IkeSA, connection: Connection) -> bool:
    """Say whether an IKE SA has the name of a connection, and an address that the connection has no more.

    An address that charon has not chosen yet is none. The name is that of the IKE SA itself: one that
    somebody else's connection shares with a CHILD SA of ours is not ended for it.
    """
    if sa.name != connection.name:
        return False
    ends = zip((sa.local_host, sa.remote_host), _ends(connection))
    return any(found not in (end, *_NOT_CHOSEN) for found, end in ends)


# What the kernel has -------------------------------------------------------------------------


def carries(one: KernelState, ours: Ours) -> bool:
    """Say whether a state is between the addresses of one of the connections, and not known as another's."""
    return (one.src, one.dst) in ours.both_ways and not foreign(one)


def owns_state(one: KernelState, ours: Ours) -> bool:
    """Say whether charon made a state for one of the connections.

    Its reqid is one that charon gives; an SPI tells nothing, since those of others are random. One that has
    no key is waited for, or just being negotiated: it carries nothing.
    """
    return carries(one, ours) and (one.larval or _numbered(one, ours))


def owns_policy(one: KernelPolicy, ours: Ours) -> bool:
    """Say the same of a policy; our pins, whose templates name these addresses, are among them.

    charon's are from one host to the other: a policy for networks behind them, whose SA is between the two,
    is another's.
    """
    pin = one.priority == PIN and (one.template_src, one.template_dst) in ours.both_ways
    made = one.priority in PRIORITIES and _hosts(one) in ours.both_ways and _numbered(one, ours)
    return (pin or made) and not foreign(one)


def _numbered(one: Union[KernelState, KernelPolicy], ours: Ours) -> bool:
    """Say whether a reqid is one that charon gives, or that we tell it for a connection of ours."""
    return one.reqid in REQIDS or one.reqid in ours.reqids


def foreign(one: Union[KernelState, KernelPolicy]) -> bool:
    """Say whether somebody else than charon made it, who tells his own by a mark or by his reqid.

    So does Docker Swarm by both, Cilium and weave by a mark, and who has interfaces of IPsec by their number.
    """
    return one.reqid == SWARM or bool(one.mark)


def protected(policy: KernelPolicy) -> Pair:
    """Return the addresses that a policy protects; those of its template where it is not for two hosts."""
    src, dst = _hosts(policy)
    return (src, dst) if src and dst else (policy.template_src, policy.template_dst)


def _hosts(policy: KernelPolicy) -> Pair:
    return host_of(policy.src), host_of(policy.dst)


def host_of(selector: str) -> str:
    """Return the address of a selector that is for one host; empty for others."""
    address, _, length = selector.partition("/")
    return address if length in ("", "128" if ":" in address else "32") else ""
