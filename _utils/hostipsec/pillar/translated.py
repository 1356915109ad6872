"""Hosts behind a NAT that gives each of them a public address of its own (1:1), as clouds do. Pure.

``ipv4`` is the public address, by which peers know the host; ``local_ipv4`` the one that it has itself.
``nat`` is a word for the network behind that NAT: there hosts reach each other by their local addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, NamedTuple, Optional

from .. import unicast
from ..errors import Problem
from ..model import Address, Host
from .reader import Reader

Pairs = Callable[[tuple[Host, ...]], Collection[tuple[str, str]]]
LOCAL, NAT = KEYS = ("local_ipv4", "nat")
EACH = (
    "a public address of its own: several hosts behind one cannot be told apart by peers (1:1 NAT, or IPv6)"
)


class Translated(NamedTuple):
    """What the pillar says of a host's NAT; nothing where there is none."""

    local: Optional[IPv4Address] = None
    nat: str = ""


def of_host(
    reader: Reader, entry: Mapping[str, object], path: str, ipv4: Optional[Address], local: Optional[Address]
) -> Translated:
    """Return what a host's entry says, of whose addresses is known what they are."""
    if LOCAL in entry and "ipv4" not in entry:
        reader.wrong(f"{path}:{LOCAL}", "found it without 'ipv4'", "'ipv4' beside it: the public address")
    if local is not None and local == ipv4:
        reader.wrong(
            f"{path}:{LOCAL}", f"found {local}, as 'ipv4' is", "the address that the host has itself"
        )
    if NAT in entry and LOCAL not in entry:
        reader.wrong(
            f"{path}:{NAT}", f"found it without {LOCAL!r}", f"{LOCAL!r}, the address behind that NAT"
        )
    nat = reader.label(entry[NAT], f"{path}:{NAT}") if NAT in entry else ""
    return Translated(local if isinstance(local, IPv4Address) else None, nat)


def ends(host: Host, peer: Host, family: str) -> tuple[Optional[Address], Optional[Address]]:
    """Return the addresses of both ends of a connection, as the host has them."""
    return local(host, family), (local if beside(host, peer) else Host.address)(peer, family)


def local(host: Host, family: str) -> Optional[Address]:
    """Return the address that a host has itself."""
    return host.local_ipv4 or host.ipv4 if family == "v4" else host.ipv6


def beside(host: Host, peer: Host) -> bool:
    """Say whether both are behind one NAT."""
    return bool(host.nat) and host.nat == peer.nat


def every(host: Host) -> Iterator[Address]:
    """Yield all addresses of a host, whoever reaches it by them."""
    yield from (one for one in (host.ipv4, host.ipv6, host.local_ipv4) if one is not None)


# Over all hosts ------------------------------------------------------------------------------


class Seen:
    """The connections of hosts with the addresses that their peers have for them."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._behind = {host.id: host for host in hosts if host.local_ipv4}

    def __call__(self, host: str, connection: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a connection, as plain data, whose ``left`` is what the peer has for ``right``."""
        mine, peer = self._behind.get(host), self._behind.get(connection["peer"])
        if mine is None or (peer and beside(mine, peer)) or connection.get("left") != str(mine.local_ipv4):
            return connection
        return {**connection, "left": str(mine.ipv4)}


def problems(hosts: Sequence[Host], pairs: Pairs) -> Iterator[Problem]:
    """Yield what does not fit; ``pairs`` gives those that rules make of some hosts."""
    behind = {host.id: host for host in hosts if host.local_ipv4}
    yield from _same(hosts, behind.values())
    for pair in sorted(pairs(tuple(behind.values()))) if len(behind) > 1 else ():
        for one in (name for name in pair if not behind[name].nat):
            found = f"{' and '.join(pair)} are both behind a NAT, and nothing says whether behind the same"
            yield Problem(f"ipsec:hosts:{one}:{NAT}", found, "a word for the network, as 'nat: vpc-1'")


def doubtful(hosts: Iterable[Host]) -> Iterator[Problem]:
    """Yield hosts of which ``ipv4`` and ``local_ipv4`` look as if they stood in each other's place."""
    for host in hosts:
        if host.ipv4 and host.local_ipv4 and _swapped(host.ipv4, host.local_ipv4):
            found = f"found {host.ipv4}, a private address, beside {LOCAL} {host.local_ipv4}, which is none"
            yield Problem(
                f"ipsec:hosts:{host.id}:ipv4", found, f"the public address; {LOCAL!r} is the host's own"
            )


def _swapped(ipv4: IPv4Address, local: IPv4Address) -> bool:
    return unicast.is_private(ipv4) and not unicast.is_private(local)


def _same(hosts: Sequence[Host], behind: Collection[Host]) -> Iterator[Problem]:
    """Refuse an address that peers could take for another host's; networks of their own may have the same."""
    public = {host.ipv4: host.id for host in hosts}
    inside: dict[tuple[str, Optional[IPv4Address]], str] = {}
    for host in behind:
        other = public.get(host.local_ipv4) or inside.setdefault((host.nat, host.local_ipv4), host.id)
        if other != host.id and (host.nat or host.local_ipv4 in public):
            found = f"found {host.local_ipv4}, which {other} has too"
            yield Problem(f"ipsec:hosts:{host.id}:{LOCAL}", found, "an address of its own")
