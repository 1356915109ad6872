"""Which strongSwan this host has, or will have: releases judge certificates in different ways."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .. import paths
from ..system import files, processes

_VERSION = re.compile(r"strongSwan U?(\d+)\.(\d+)\.(\d+)")
_RFC_CONSTRAINTS = (5, 9, 14)
_FIRST_WITH_THEM = {"debian": 13.0, "ubuntu": 25.04}
_BY_KEY = (5, 9, 3)
_FIRST_BY_KEY = {"debian": 12.0, "ubuntu": 22.04}
_BY_CRL_SIGN = (5, 9, 11)
_FIRST_BY_CRL_SIGN = {"debian": 13.0, "ubuntu": 24.04}
_DEADLINE = 10.0


def has_rfc_constraints() -> bool:
    """Say whether strongSwan takes name constraints as RFC 5280 has them.

    Where it is not installed yet, that of this release counts.
    """
    return _is_from(_RFC_CONSTRAINTS, _FIRST_WITH_THEM)


def looks_by_key() -> bool:
    """Say whether an issuer has to have the key that a certificate names, and not only the name."""
    return _is_from(_BY_KEY, _FIRST_BY_KEY)


def wants_crl_sign() -> bool:
    """Say whether a CA with a keyUsage has to have cRLSign there for its lists to be believed."""
    return _is_from(_BY_CRL_SIGN, _FIRST_BY_CRL_SIGN)


def _is_from(strongswan: tuple[int, int, int], releases: Mapping[str, float]) -> bool:
    """Say whether strongSwan is this one or later; where it is not installed yet, by the release."""
    found = _VERSION.search(processes.run([str(paths.here.ipsec), "--version"], _DEADLINE).stdout)
    if found:
        return tuple(map(int, found.groups())) >= strongswan
    return _will_be((files.read(paths.here.os_release) or b"").decode("utf-8", "replace"), releases)


def _will_be(os_release: str, releases: Mapping[str, float]) -> bool:
    told = dict(line.partition("=")[::2] for line in os_release.splitlines())
    first = releases.get(told.get("ID", "").strip('"'))
    number = re.match(r"\d+(\.\d+)?", told.get("VERSION_ID", "").strip('"'))
    return bool(first and number and float(number[0]) >= first)
