"""Which of a host's connections an operator means by a peer and a family, and why some are none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Optional

from ..errors import HostIPsecError, nearest
from ..model import FAMILIES, Connection, Host, Settings
from ..strongswan import sections
from .membership import Membership

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Selection:
    """Connections that are meant, and hosts that are meant but have none: why."""

    connections: tuple[Connection, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def select(
    member: Membership,
    resting: Sequence[Connection] = (),
    peer: Optional[object] = None,
    family: Optional[object] = None,
) -> Selection:
    """Return what is meant by a shell pattern for minion ids (or short names, or `name`) and a family.

    ``resting`` are the connections that there would be if no host were in maintenance. Raises
    :class:`~hostipsec.errors.HostIPsecError` where the pattern fits no host, or the family is none.
    """
    _known(family)
    pattern = "*" if peer is None else str(peer)
    meant = [host for host in member.fleet.hosts if _fits(host, pattern)]
    if not meant:
        known = nearest(pattern, (host.id for host in member.fleet.hosts))
        raise HostIPsecError(f"no host of the pillar is called {peer}; {known}")
    names = {host.id for host in meant}
    found = tuple(one for one in member.connections if one.peer in names)
    expected = {one.peer for one in resting}
    lacking = [host for host in meant if host.id not in {one.peer for one in found}]
    by_name = peer is not None and not _WILDCARD.search(pattern)
    skipped = {host.id: _why(member, host) for host in lacking if by_name or host.id in expected}
    kept = tuple(one for one in found if family in (None, one.family))
    missing = {one.peer for one in found} - {one.peer for one in kept}
    if peer is not None and not (found or skipped):
        raise HostIPsecError(f"no peer of {member.host.id} is called {peer}; {', '.join(member.peers)}")
    return Selection(kept, {**skipped, **dict.fromkeys(sorted(missing), f"has no connection in {family}")})


def families(
    member: Membership, peer: Optional[object], family: Optional[str]
) -> dict[str, tuple[Settings, str]]:
    """Return settings and family of each connection that is meant, by name.

    Without a peer they are those of all connections, each family by itself.
    Raises HostIPsecError where none is meant.
    """
    _known(family)
    settings = member.fleet.settings
    if peer is None:
        return {one: (settings, one) for one in FAMILIES if family in (None, one)}
    chosen = select(member, (), peer, family)
    if not chosen.connections:
        raise HostIPsecError("; ".join(f"{name} {why}" for name, why in chosen.skipped.items()))
    return {one.name: (sections.settings_of(one, settings), one.family) for one in chosen.connections}


def _known(family: Optional[object]) -> None:
    if family is not None and family not in FAMILIES:
        raise HostIPsecError(f"family={family}: allowed: {', '.join(FAMILIES)}")


def _fits(host: Host, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (host.id, host.short, host.called))


def _why(member: Membership, host: Host) -> str:
    if host.id == member.host.id:
        return "is this host itself"
    if host.maintenance:
        return "is in maintenance, which takes it out of every peer"
    if member.host.maintenance:
        return f"is no peer while {member.host.id} is in maintenance"
    return f"is no peer of {member.host.id}: no rule pairs the two"
