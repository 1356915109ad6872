"""Which strongSwan this host has, or will have: releases judge certificates in different ways."""

from __future__ import annotations

import re

from .. import paths
from ..system import files, processes

_VERSION = re.compile(r"strongSwan U?(\d+)\.(\d+)\.(\d+)")
_RFC_CONSTRAINTS = (5, 9, 14)
_FIRST_WITH_THEM = {"debian": 13.0, "ubuntu": 25.04}
_DEADLINE = 10.0


def has_rfc_constraints() -> bool:
    """Say whether strongSwan takes name constraints as RFC 5280 has them.

    Where it is not installed yet, that of this release counts.
    """
    found = _VERSION.search(processes.run([str(paths.here.ipsec), "--version"], _DEADLINE).stdout)
    if found:
        return tuple(map(int, found.groups())) >= _RFC_CONSTRAINTS
    return _will_have_them((files.read(paths.here.os_release) or b"").decode("utf-8", "replace"))


def _will_have_them(os_release: str) -> bool:
    told = dict(line.partition("=")[::2] for line in os_release.splitlines())
    first = _FIRST_WITH_THEM.get(told.get("ID", "").strip('"'))
    number = re.match(r"\d+(\.\d+)?", told.get("VERSION_ID", "").strip('"'))
    return bool(first and number and float(number[0]) >= first)
