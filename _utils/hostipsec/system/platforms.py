"""What differs from one release to another: packages, units, paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import HostIPsecError
from ..model import IPSEC_CONF, SWANCTL

# strongswan-swanctl carries the vici plugin; libstrongswan-standard-plugins carries gcm and openssl,
# without which charon does neither AES-GCM in IKE nor ECP groups, and is only recommended by Debian.
PACKAGES = ("libstrongswan-standard-plugins", "strongswan-charon", "strongswan-starter", "strongswan-swanctl")

UNIT = "strongswan-starter"  # so called since strongSwan 5.8.0, which all of these have
SCRIPT = "ipsec"  # of /etc/init.d: the service where systemd does not run
KNOWN: Mapping[str, Sequence[int]] = {"Debian": (11, 12, 13), "Ubuntu": (20, 22, 24, 26)}
SWANCTL_PACKAGES = ("charon-systemd", "libstrongswan-standard-plugins", "strongswan-swanctl")
PACKAGES_OF: Mapping[str, tuple[str, ...]] = {IPSEC_CONF: PACKAGES, SWANCTL: SWANCTL_PACKAGES}
# releases on which hosts were run by swanctl, and those of which the metapackage brings it
SWANCTL_ON: Mapping[str, tuple[int, ...]] = {"Debian": (12, 13)}
_USUAL = (("debian", "13"),)  # ID and VERSION_ID of os-release
# release -> its Python, by which ipsec-global, keeper and guard cannot run
TOO_OLD: Mapping[str, Mapping[int, str]] = {
    "Debian": {8: "3.4", 9: "3.5", 10: "3.7"},
    "Ubuntu": {12: "3.2", 14: "3.4", 16: "3.5", 18: "3.6"},
}
PYTHON = "3.8"  # the oldest by which they run


@dataclass(frozen=True)
class Platform:
    """What a host of one release needs: packages, service, and whether a script is to be diverted."""

    packages: tuple[str, ...]
    service: str
    systemd: bool


def usual(os_release: str) -> str:
    """Return by what a release has strongSwan run, by the text of its os-release."""
    told = dict(line.partition("=")[::2] for line in os_release.replace('"', "").splitlines())
    return SWANCTL if (told.get("ID"), told.get("VERSION_ID")) in _USUAL else IPSEC_CONF


def of(grains: Mapping[str, Any], backend: str = IPSEC_CONF) -> Platform:
    """Return the platform of a host by its grains, for a back end."""
    return platform(grains["os"], int(grains["osmajorrelease"]), grains.get("init") == "systemd", backend)


def platform(os: str, release: int, systemd: bool, backend: str = IPSEC_CONF) -> Platform:
    """Return the platform of grains ``os`` and ``osmajorrelease``; without systemd the service is the script.

    Raises :class:`~hostipsec.errors.HostIPsecError` for a release that is not known.
    """
    if release not in KNOWN.get(os, ()):
        python = TOO_OLD.get(os, {}).get(release)
        why = f"; its Python is {python}, and ipsec-global, keeper and guard need {PYTHON}" if python else ""
        known = ", ".join(f"{name} {number}" for name, numbers in sorted(KNOWN.items()) for number in numbers)
        raise HostIPsecError(f"{os} {release} is not a release this package knows{why}; known: {known}")
    if backend == SWANCTL:
        return _by_swanctl(os, release, systemd)
    return Platform(PACKAGES, UNIT if systemd else SCRIPT, systemd)


def _by_swanctl(os: str, release: int, systemd: bool) -> Platform:
    if not systemd or release not in SWANCTL_ON.get(os, ()):
        on = ", ".join(f"{name} {number}" for name, numbers in SWANCTL_ON.items() for number in numbers)
        init = "" if systemd else ", without systemd"
        raise HostIPsecError(f"backend: found swanctl on {os} {release}{init}; it is for {on}, with systemd")
    return Platform(SWANCTL_PACKAGES, "strongswan", systemd)
