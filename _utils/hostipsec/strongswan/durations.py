"""Times as ipsec.conf and strongswan.conf write them (a number of s, m, h, d), and as charon spells them."""

from __future__ import annotations

import re
from typing import Optional

ALLOWED = "a time: whole seconds, or a whole number with s, m, h or d"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
PATTERN = "([0-9]{1,9})([smhd]?)"
_TIME = re.compile(rf"{PATTERN}\Z")

_SPELT = re.compile("([0-9]{1,9}) ([smhd])(?:econd|inute|our|ay)s?", re.ASCII)


def parse(text: str) -> Optional[int]:
    """Return ``780`` for ``13m``; None for what starter calls a bad duration value."""
    found = _TIME.match(text)
    return int(found.group(1)) * _UNITS[found.group(2)] if found else None


def spelt(span: str) -> int:
    """Return the seconds of a span as charon prints it: 120 for ``2 minutes``; else raises ValueError."""
    found = _SPELT.fullmatch(span)
    if found is None:
        raise ValueError(f"no span of time: {span[:40]!r}")
    return int(found.group(1)) * _UNITS[found.group(2)]
