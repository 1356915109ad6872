"""Packets between two hosts, by the port of either end: what alone is encrypted, or what is not. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

PROTOCOLS = {"tcp": 6, "udp": 17}  # numbers, since a host without the package netbase has no names
NAMES = {number: name for name, number in PROTOCOLS.items()}
ICMP, ICMPS = "icmp", {4: 1, 6: 58}  # by version of IP
ALLOWED = "a protocol and a port, as tcp/22: tcp or udp, and 1 to 65535"
IKE = ("udp/500", "udp/4500")  # charon's own packets, which no policy of ours encrypts
ALLOWED_ONLY = f"{ALLOWED}; or icmp; and no port of IKE (udp/500, udp/4500), whose packets are never in ESP"
_TEXT = re.compile("(tcp|udp)/([1-9][0-9]{0,4})", re.ASCII)


class Packets(NamedTuple):
    """What one text is for."""

    protocol: int
    port: int


def parse(text: object) -> Optional[Packets]:
    """Return what a text says of a port; None where it says no such thing."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2]) > 65535:
        return None
    return Packets(PROTOCOLS[found[1]], int(found[2]))


def may_be_only(text: object) -> bool:
    """Say whether a text names packets that may be the only ones that are encrypted."""
    return text == ICMP or parse(text) is not None
