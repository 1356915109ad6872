"""Addresses of hosts that have none in the pillar: from the Salt mine, else from DNS."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Union

from ..model import FAMILIES, Address

Known = Mapping[str, Sequence[str]]  # host -> addresses as text, of both families
Resolved = dict[str, dict[str, Address]]


def resolve(hosts: Sequence[str], mine: Callable[[Sequence[str]], Known]) -> Resolved:
    """Return ``{host: {"v4": ..., "v6": ...}}`` for those hosts that have one address a family.

    ``mine`` is asked once, for all hosts. A host with several addresses of a family
    in the mine gets none: which of them the peers shall use, only the pillar can say.
    """
    if not hosts:
        return {}
    mined = mine(hosts)
    return {host: _single(mined[host] if mined.get(host) else _dns(host)) for host in hosts}


def _single(texts: Iterable[str]) -> dict[str, Address]:
    usable = {address for text in texts if (address := _usable(text))}
    found = {family: [one for one in usable if one.version == int(family[1])] for family in FAMILIES}
    return {family: ones[0] for family, ones in found.items() if len(ones) == 1}


def _usable(text: str) -> Union[Address, None]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if address.is_loopback or address.is_link_local or address.is_multicast else address


def _dns(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]
