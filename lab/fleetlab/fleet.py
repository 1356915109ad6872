"""The fleet file: which hosts there are, and where. It is the same file that Salt gets as pillar."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import yaml

from .cache import SUITE, SUITES
from .errors import LabError

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
NO_SITE = "nosite"


@dataclass(frozen=True)
class FleetHost:
    """A host of the fleet file. An address that the file does not give is absent in the lab, too."""

    name: str
    site: str
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    debian: str = SUITE

    @property
    def short(self) -> str:
        """The first label of the name."""
        return self.name.split(".")[0]


def read_fleet(path: Path) -> tuple[FleetHost, ...]:
    """Read the hosts of a fleet file; raise `LabError` with every mistake that the lab cannot live with."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"fleet file {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        where = f" (line {mark.line + 1})" if (mark := getattr(error, "problem_mark", None)) else ""
        raise LabError(f"fleet file {path} is not YAML{where}: {getattr(error, 'problem', error)}") from error
    return parse_fleet(content, str(path))


def parse_fleet(content: Any, source: str) -> tuple[FleetHost, ...]:
    """Turn the content of a fleet file into hosts, sorted by name."""
    ipsec = content.get("ipsec") if isinstance(content, Mapping) else None
    hosts = ipsec.get("hosts") if isinstance(ipsec, Mapping) else None
    if not isinstance(hosts, Mapping) or not hosts:
        raise LabError(f"fleet file {source}: no hosts at ipsec:hosts")
    errors: list[str] = []
    releases = _parse_releases(content.get("lab", {}), hosts, errors)
    parsed = [
        replace(_parse_host(str(name), labels, errors), debian=releases.get(name, SUITE))
        for name, labels in hosts.items()
    ]
    if errors:
        raise LabError(f"fleet file {source}: " + "; ".join(errors))
    return tuple(sorted(parsed, key=lambda host: host.name))


def _parse_releases(section: Any, hosts: Mapping[str, Any], errors: list[str]) -> dict[str, str]:
    """Read the lab's own section, which Salt does not look at: ``{host: {debian: suite}}``."""
    found = {}
    for name, says in section.items() if isinstance(section, Mapping) else [("", section)]:
        if name not in hosts:
            errors.append(f"lab: {name!r} is no host of ipsec:hosts")
        elif not isinstance(says, Mapping) or {*says} != {"debian"} or says["debian"] not in SUITES:
            errors.append(f"lab:{name}: {says!r}; expected debian: {' or '.join(SUITES)}")
        else:
            found[name] = says["debian"]
    return found


def _parse_host(name: str, labels: Any, errors: list[str]) -> FleetHost:
    if not HOST_NAME.fullmatch(name) or len(name) > 50 or name == "master":
        errors.append(f"{name!r} is no name for a host of the lab")
    if not isinstance(labels, Mapping):
        labels = {}
    ipv4 = _parse_address(name, labels.get("ipv4"), errors)
    ipv6 = _parse_address(name, labels.get("ipv6"), errors)
    return FleetHost(
        name=name,
        site=str(labels.get("site", NO_SITE)),
        ipv4=ipv4 if isinstance(ipv4, IPv4Address) else None,
        ipv6=ipv6 if isinstance(ipv6, IPv6Address) else None,
    )


def _parse_address(name: str, value: Any, errors: list[str]) -> IPv4Address | IPv6Address | None:
    if value is None:
        return None
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        errors.append(f"{name}: {value!r} is no address")
        return None
