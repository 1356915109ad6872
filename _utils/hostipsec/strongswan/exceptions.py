"""What stays in the clear between two hosts: ``tcp/22``, the port of either end. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

PROTOCOLS = {"tcp": 6, "udp": 17}  # numbers, since a host without the package netbase has no names
NAMES = {number: name for name, number in PROTOCOLS.items()}
ALLOWED = "a protocol and a port, as tcp/22: tcp or udp, and 1 to 65535"
_TEXT = re.compile("(tcp|udp)/([1-9][0-9]{0,4})", re.ASCII)


class Packets(NamedTuple):
    """One exception."""

    protocol: int
    port: int


def parse(text: object) -> Optional[Packets]:
    """Return what a text says; None where it is no exception."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2]) > 65535:
        return None
    return Packets(PROTOCOLS[found[1]], int(found[2]))
