"""What there is of each connection, in charon and in the kernel. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from .. import owner
from ..model import Charon, ChildSA, Connection, IkeSA, Kernel

# As charon says. A REKEYED CHILD still carries packets until its successor does.
IKE_UP = ("ESTABLISHED", "REKEYING", "REKEYED")
CHILD_UP = ("INSTALLED", "UPDATING", "REKEYING", "REKEYED")


class Tables(NamedTuple):
    """What charon and the kernel show, in tables: a host has thousands of SAs, each asked for once."""

    charon: Optional[Charon]
    by_remote: Mapping[str, Sequence[IkeSA]]
    loaded: frozenset[str]
    kernel_read: bool
    kernel_pairs: Mapping[tuple[str, str], int]  # SAs by source and destination
    kernel_spis: frozenset[tuple[str, Optional[str]]]  # destination, SPI
    kernel_policies: frozenset[tuple[str, Optional[int]]]  # direction, reqid
    before: Mapping[Optional[int], ChildSA]  # CHILD SAs of the look before, by id


class Found(NamedTuple):
    """What there is of one expected connection."""

    connection: Connection
    ike_sas: tuple[IkeSA, ...]
    loaded: bool
    routed: bool
    kernel_sas: int  # in the kernel, between the two addresses

    @property
    def up(self) -> tuple[IkeSA, ...]:
        """The IKE SAs that are established, also while they are rekeyed."""
        return tuple(sa for sa in self.ike_sas if sa.state in IKE_UP)

    @property
    def children(self) -> tuple[ChildSA, ...]:
        """The CHILD SAs that carry packets."""
        every = (child for sa in self.up for child in sa.children)
        return tuple(
            child for child in every if child.state in CHILD_UP and child.name == self.connection.name
        )


def tabled(charon: Optional[Charon], kernel: Optional[Kernel], previous: Optional[Charon]) -> Tables:
    """Return the tables of one look; ``previous`` is an earlier one at the same charon."""
    by_remote: dict[str, list[IkeSA]] = {}
    for sa in charon.ike_sas if charon else ():
        by_remote.setdefault(sa.remote_host, []).append(sa)
    # one that the kernel waits for has the SPI of the policy's template: that of the SA that is lost
    every = kernel.states if kernel else ()
    states = [state for state in every if not state.larval and not owner.foreign(state)]
    policies = kernel.policies if kernel else ()
    return Tables(
        charon=charon,
        by_remote=by_remote,
        loaded=frozenset(
            name for one in (charon.connections if charon else ()) for name in (one.name, *one.children)
        ),
        kernel_read=kernel is not None,
        kernel_pairs=Counter((state.src, state.dst) for state in states),
        kernel_spis=frozenset((state.dst, state.spi) for state in states),
        kernel_policies=frozenset((policy.direction, policy.reqid) for policy in policies),
        before={
            child.uniqueid: child for sa in (previous.ike_sas if previous else ()) for child in sa.children
        },
    )


def find(connection: Connection, tables: Tables) -> Found:
    """Return what there is of a connection."""
    left, right = str(connection.left), str(connection.right)
    return Found(
        connection,
        ike_sas=tuple(sa for sa in tables.by_remote.get(right, ()) if owner.belongs(sa, connection)),
        loaded=connection.name in tables.loaded,
        routed=tables.charon is not None and connection.name in tables.charon.routed,
        kernel_sas=tables.kernel_pairs.get((left, right), 0) + tables.kernel_pairs.get((right, left), 0),
    )
