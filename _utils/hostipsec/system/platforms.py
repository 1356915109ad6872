"""What differs from one release to another: packages, units, paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import HostIPsecError

# strongswan-swanctl carries the vici plugin; libstrongswan-standard-plugins carries gcm and openssl,
# without which charon does neither AES-GCM in IKE nor ECP groups, and is only recommended by Debian.
PACKAGES = ("libstrongswan-standard-plugins", "strongswan-charon", "strongswan-starter", "strongswan-swanctl")

# release -> unit. It is called so since strongSwan 5.8.0
UNITS: Mapping[str, Mapping[int, str]] = {
    "Debian": {11: "strongswan-starter", 12: "strongswan-starter", 13: "strongswan-starter"},
    "Ubuntu": {22: "strongswan-starter", 24: "strongswan-starter", 26: "strongswan-starter"},
}
# release -> its Python, by which ipsec-global, keeper and guard cannot run
TOO_OLD: Mapping[str, Mapping[int, str]] = {
    "Debian": {9: "3.5", 10: "3.7"},
    "Ubuntu": {16: "3.5", 18: "3.6", 20: "3.8"},
}
PYTHON = "3.9"


@dataclass(frozen=True)
class Platform:
    """What a host of one release needs: packages, service, and whether a script is to be diverted."""

    packages: tuple[str, ...]
    service: str
    systemd: bool


def of(grains: Mapping[str, Any]) -> Platform:
    """Return the platform of a host by its grains."""
    return platform(grains["os"], int(grains["osmajorrelease"]), grains.get("init") == "systemd")


def platform(os: str, release: int, systemd: bool) -> Platform:
    """Return the platform of grains ``os`` and ``osmajorrelease``; on SysV the service is ipsec.

    Raises :class:`~hostipsec.errors.HostIPsecError` for a release that is not known.
    """
    units = UNITS.get(os, {})
    if release not in units:
        python = TOO_OLD.get(os, {}).get(release)
        why = f"; its Python is {python}, and ipsec-global, keeper and guard need {PYTHON}" if python else ""
        known = ", ".join(f"{name} {number}" for name in sorted(UNITS) for number in sorted(UNITS[name]))
        raise HostIPsecError(f"{os} {release} is not a release this package knows{why}; known: {known}")
    return Platform(PACKAGES, units[release] if systemd else "ipsec", systemd)
