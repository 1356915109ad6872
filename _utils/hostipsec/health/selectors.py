"""Whether the selectors of SAs, as charon shows them, cover all packets between two hosts. Pure.

A selector is ``10.9.0.1/32``, with a protocol and ports behind it where it is for some packets only:
``10.9.0.1/32[tcp/6379]``, ``10.9.0.1/32[gre]``, ``10.9.0.1/32[udp/1024-65535]``; a range of addresses is
``10.9.0.1..10.9.0.9`` (traffic_selector.c).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

from ..model import Address, ChildSA, Connection

_SELECTOR = re.compile(r"(?P<addresses>[^\s\[\]]+)(?:\[(?P<what>[^\[\]]*)\])?")
_ANY = "any"
_PORTS = (0, 65535)


class _Part(NamedTuple):
    """Packets between the two hosts: of one protocol or any, with ports of this and of the other host."""

    protocol: str
    local: tuple[int, int]
    remote: tuple[int, int]


def uncovered(connection: Connection, children: Sequence[ChildSA]) -> str:
    """Say that the CHILD SAs of a connection are not for all packets; empty where together they are.

    One that shows no selectors has none to be compared.
    """
    shown = [child for child in children if child.local_ts or child.remote_ts]
    if not shown or len(shown) < len(children) or whole(connection, shown):
        return ""
    parts = [part for child in shown for part in _parts(connection, child)]
    if all(_covered([one for one in parts if one.protocol in (_ANY, kind)]) for kind in _kinds(parts)):
        return ""
    said = sorted({f"{' '.join(one.local_ts)} === {' '.join(one.remote_ts)}" for one in shown})
    return f"the SA is for {', '.join(said)} alone: what else there is between the two hosts is not encrypted"


def whole(connection: Connection, children: Iterable[ChildSA]) -> bool:
    """Whether one of the SAs is for all packets in the words in which charon mostly says so."""
    length = connection.left.max_prefixlen
    hosts = (f"{connection.left}/{length}",), (f"{connection.right}/{length}",)
    return any((child.local_ts, child.remote_ts) == hosts for child in children)


def _kinds(parts: Iterable[_Part]) -> Iterator[str]:
    """Yield the protocols that have parts of their own, and one that has none."""
    yield from {"", *(one.protocol for one in parts)} - {_ANY}


def _parts(connection: Connection, child: ChildSA) -> Iterator[_Part]:
    ours = [one for text in child.local_ts if (one := _side(text, connection.left))]
    theirs = [one for text in child.remote_ts if (one := _side(text, connection.right))]
    for (first, local), (second, remote) in ((mine, other) for mine in ours for other in theirs):
        if _ANY in (first, second) or first == second:
            yield _Part(second if first == _ANY else first, local, remote)


def _side(text: str, address: Address) -> Optional[tuple[str, tuple[int, int]]]:
    """Return protocol and ports of a selector; None where the address is not in it, or it tells neither."""
    found = _SELECTOR.fullmatch(text)
    if found is None or not _contains(found["addresses"], address):
        return None
    return _protocol(found["what"])


def _contains(addresses: str, address: Address) -> bool:
    first, _, last = addresses.partition("..")
    try:
        if not last:
            return address in ipaddress.ip_network(first, strict=False)
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    except ValueError:
        return False
    return low.version == high.version == address.version and int(low) <= int(address) <= int(high)


def _protocol(what: Optional[str]) -> Optional[tuple[str, tuple[int, int]]]:
    """Read ``tcp/6379``, ``gre``, ``1024-65535``; a port that has a name is as good as none."""
    if what is None:
        return _ANY, _PORTS
    protocol, slash, ports = what.partition("/")
    if not slash and protocol[:1].isdigit() and "-" in protocol:
        protocol, ports = _ANY, protocol
    if not ports:
        return protocol, _PORTS
    found = re.fullmatch("([0-9]{1,5})(?:-([0-9]{1,5}))?", ports)
    return (protocol, (int(found[1]), int(found[2] or found[1]))) if found else None


def _covered(parts: Sequence[_Part]) -> bool:
    """Whether the rectangles of ports fill the whole: each corner at which a gap could begin is in one."""
    lows = {0, *(one.local[1] + 1 for one in parts if one.local[1] < _PORTS[1])}
    highs = {0, *(one.remote[1] + 1 for one in parts if one.remote[1] < _PORTS[1])}
    return all(
        any(one.local[0] <= mine <= one.local[1] and one.remote[0] <= other <= one.remote[1] for one in parts)
        for mine in lows
        for other in highs
    )
