"""The one rule for an address of a host, whoever said it: a text is parsed, and the value is what is used.

``ipaddress`` takes numbers and bytes as well, and any text at all behind the ``%`` of an IPv6 address; its
notion of what is reserved differs from one Python to the next. So all of that is told here.
"""

from __future__ import annotations

import ipaddress
import re
import reprlib
from typing import Optional

from .model import Address

_DIGITS = re.compile(r"[0-9A-Fa-f:.]{2,45}\Z")
_NOUGHT = re.compile(r"(^|[:.])0[0-9]+(\.|\Z)")  # a decimal number to the one, an octal one to the other
_NOWHERE = ipaddress.ip_network("0.0.0.0/8")
_LATER = ipaddress.ip_network("240.0.0.0/4")
_GLOBAL = tuple(map(ipaddress.ip_network, ("2000::/3", "fc00::/7", "64:ff9b::/96", "64:ff9b:1::/48")))
# no host has the first address of these, nor the last: they are that of the network, and of all its hosts
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
_NETWORK = "the address of a network"


def parse(text: object) -> Address:
    """Return the address that a text is, of whatever kind. Raises ValueError with what was found instead.

    >>> parse("10.0.0.1")
    IPv4Address('10.0.0.1')
    """
    try:
        if isinstance(text, str) and _DIGITS.match(text) and not ("." in text and _NOUGHT.search(text)):
            return ipaddress.ip_address(text)
    except ValueError:
        pass
    raise ValueError(f"found {said(text)}")


def said(value: object) -> str:
    """Return in a few printable words what somebody said, whoever it was."""
    return ascii(value[:60]) if isinstance(value, str) else ascii(reprlib.repr(value))[1:-1]


def is_private(address: ipaddress.IPv4Address) -> bool:
    """Say whether an address is of a network that anybody may have, as what is behind a NAT."""
    return any(address in network for network in _PRIVATE)


def misfit(address: Address) -> str:
    """Return why no peer can have an address; empty where one can."""
    if isinstance(address, ipaddress.IPv4Address):
        return _misfit_v4(address)
    if address.ipv4_mapped is not None:
        return f"an IPv4 address in IPv6 ({address.ipv4_mapped})"
    kind = _kind(address)
    if kind is None and not any(address in network for network in _GLOBAL):
        return "a reserved address"
    if kind is None and not int(address) % 2**64:
        return _NETWORK  # of its routers, by RFC 4291, 2.6.1
    return kind or ""


def _misfit_v4(address: ipaddress.IPv4Address) -> str:
    if address in _NOWHERE or address in _LATER:
        return "a reserved address"
    if any(address in (network[0], network[-1]) for network in _PRIVATE):
        return _NETWORK
    return _kind(address) or ""


def _kind(address: Address) -> Optional[str]:
    kinds = {
        "loopback": address.is_loopback,
        "link": address.is_link_local,
        "group": address.is_multicast,
    }
    name = next((name for name, found in kinds.items() if found), None)
    return None if name is None else f"an address of {name}"


def everybody_has(address: Address) -> bool:
    """Say whether it is of a kind that each host has beside those that peers use."""
    return address.is_loopback or address.is_link_local
