"""What there is of each connection, in charon and in the kernel. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from .. import owner
from .. import plane as planes
from ..kernel import guardpolicies
from ..model import (
    REQUIRE,
    Address,
    Charon,
    ChildSA,
    Connection,
    IkeSA,
    Kernel,
    KernelPolicy,
    KernelState,
    Meant,
)
from ..strongswan import strength
from .winning import GUARDED, WAYS, Guard, Policies, guard

# As charon says. A REKEYED CHILD still carries packets until its successor does.
IKE_UP = ("ESTABLISHED", "REKEYING", "REKEYED")
CHILD_UP = ("INSTALLED", "UPDATING", "REKEYING", "REKEYED")
_ALL_THERE: Mapping[Address, str] = {}
_GROUPS = frozenset(guardpolicies.GROUPS.values())


class Tables(NamedTuple):
    """What charon and the kernel show, in tables: a host has thousands of SAs, each asked for once."""

    charon: Optional[Charon]
    by_remote: Mapping[str, Sequence[IkeSA]]
    loaded: frozenset[str]
    modes: Mapping[str, str]  # of CHILD configurations that are loaded, by name
    kernel_read: bool
    states: Mapping[tuple[str, str], Sequence[KernelState]]  # the kernel's SAs, by source and destination
    policies: Policies  # the kernel's
    before: Mapping[Optional[int], ChildSA]  # CHILD SAs of the look before, by id
    meant: Meant
    absent: Mapping[Address, str] = _ALL_THERE  # addresses that this host does not have, and why
    unrouted: Mapping[str, str] = {}  # connections to whose peer the kernel knows no way, and why
    plane: str = planes.KERNEL  # who does ESP


class Found(NamedTuple):
    """What there is of one expected connection."""

    connection: Connection
    ike_sas: tuple[IkeSA, ...]
    loaded: bool
    routed: bool
    states: tuple[tuple[KernelState, ...], tuple[KernelState, ...]]  # the kernel's SAs, out and in
    policies: Mapping[str, Sequence[KernelPolicy]]  # the kernel's that packets can meet, by direction
    meant: Meant = Meant()  # what its SAs are to be like
    lacking: frozenset[guardpolicies.Policy] = frozenset()  # of those for what stays in the clear
    guards: Mapping[str, Guard] = {}  # what blocks all from and to the peer, by direction; stage require
    possible: Optional[Connection] = None  # the connection as those can be for it by now
    mode: str = ""  # in which charon has loaded it
    up: tuple[IkeSA, ...] = ()  # that are established, also while they are rekeyed
    children: tuple[ChildSA, ...] = ()  # of these, that carry packets

    @property
    def kernel_sas(self) -> int:
        """The number of SAs of charon in the kernel, between the two addresses."""
        return sum(owner.owns_state(one, self.ours) for way in self.states for one in way)

    @property
    def ours(self) -> owner.Ours:
        """The two addresses, as the owner of what is between them knows them."""
        return owner.Ours([self.connection])

    @property
    def every_policy(self) -> tuple[KernelPolicy, ...]:
        """The policies that packets can meet, of both directions."""
        return tuple(one for way in WAYS for one in self.policies[way])


def tabled(
    charon: Optional[Charon], kernel: Optional[Kernel], previous: Optional[Charon], meant: Meant
) -> Tables:
    """Return the tables of one look; ``previous`` is an earlier one at the same charon."""
    by_remote: dict[str, list[IkeSA]] = {}
    for sa in charon.ike_sas if charon else ():
        by_remote.setdefault(sa.remote_host, []).append(sa)
    states: dict[tuple[str, str], list[KernelState]] = {}
    for state in kernel.states if kernel else ():
        # one that the kernel waits for has the SPI of the policy's template: that of the SA that is lost
        if not state.larval and not owner.foreign(state):
            states.setdefault((state.src, state.dst), []).append(state)
    loaded = charon.connections if charon else ()
    return Tables(
        charon=charon,
        by_remote=by_remote,
        loaded=frozenset(name for one in loaded for name in (one.name, *one.children)),
        modes={name: mode for one in loaded for name, mode in zip(one.children, one.modes)},
        kernel_read=kernel is not None,
        states=states,
        policies=Policies(kernel.policies if kernel else ()),
        before={
            child.uniqueid: child for sa in (previous.ike_sas if previous else ()) for child in sa.children
        },
        meant=meant,
    )


def find(connection: Connection, tables: Tables) -> Found:
    """Return what there is of a connection."""
    left, right = str(connection.left), str(connection.right)
    ike_sas = tuple(sa for sa in tables.by_remote.get(right, ()) if owner.belongs(sa, connection))
    up = tuple(sa for sa in ike_sas if sa.state in IKE_UP)
    meant = meant_of(connection, tables.meant)
    every = {way: tables.policies.of(connection, way) for way in WAYS}
    (possible,) = guardpolicies.possible([connection], every["out"])
    policies, lacking = _policies(possible, every)
    carry = (child for sa in up for child in sa.children if child.state in CHILD_UP)
    return Found(
        connection,
        ike_sas=ike_sas,
        loaded=connection.name in tables.loaded,
        routed=tables.charon is not None and connection.name in tables.charon.routed,
        states=(tuple(tables.states.get((left, right), ())), tuple(tables.states.get((right, left), ()))),
        policies=policies,
        lacking=lacking,
        guards=_guards(connection, tables.policies),
        possible=possible,
        # charon's own ESP has no transport mode
        meant=meant if tables.plane == planes.KERNEL else meant._replace(mode="tunnel"),
        mode=tables.modes.get(connection.name, ""),
        up=up,
        children=tuple(child for child in carry if child.name == connection.name),
    )


def _guards(connection: Connection, policies: Policies) -> Mapping[str, Guard]:
    if connection.stage != REQUIRE:
        return {}
    about = {way: policies.about(connection, way) for way in GUARDED}
    return {way: guard([one for one in there if not _passes(one)]) for way, there in about.items()}


def _passes(policy: KernelPolicy) -> bool:
    """Say whether the guard itself passes packets by a policy."""
    return any(one.passes for one in guardpolicies.present([policy]))


def meant_of(connection: Connection, every: Meant) -> Meant:
    """Return what the SAs of one connection are to be like.

    What its own options have that is broken by its age is there by a word of the pillar only.
    """
    if not connection.options:
        return every
    own = dict(connection.options)
    esp, ike = own.get("esp", ""), own.get("ike", "")
    weak = (*every.weak, *strength.words(esp, ike))
    mode = own.get("type", every.mode)
    return every._replace(mode=mode, esp=esp or every.esp, ike=ike or every.ike, weak=weak)


def _policies(
    connection: Connection, every: Mapping[str, Sequence[KernelPolicy]]
) -> tuple[Mapping[str, Sequence[KernelPolicy]], frozenset[guardpolicies.Policy]]:
    """Return the policies but those for what stays in the clear of a connection, and which of those lack."""
    if not (connection.clear or connection.only or connection.taken):
        return every, frozenset()
    every_meant = guardpolicies.excepted(connection)
    meant = frozenset(one for one in every_meant if one.direction in WAYS and one.dst not in _GROUPS)
    there = guardpolicies.present(one for some in every.values() for one in some)
    rest = {
        way: [one for one in some if not guardpolicies.present([one]) & meant] for way, some in every.items()
    }
    return rest, meant - there
