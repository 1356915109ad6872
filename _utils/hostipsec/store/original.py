"""What a host was before this package came: kept once, so that removing it can bring that back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..strongswan.render import HEADER
from ..system import files, packages


@dataclass(frozen=True)
class Before:
    """Packages that were installed, live values of sysctls, and whether Salt's Python had vici.

    ``asked`` are the packages that this package asked for since.
    """

    packages: frozenset[str]
    asked: frozenset[str]
    sysctl: Mapping[str, str] = field(default_factory=dict)
    vici: bool = True


def read() -> Optional[Before]:
    """Return what was kept; None where this host was set up by a version that kept nothing."""
    content = files.read(paths.here.before)
    if content is None:
        return None
    try:
        kept = json.loads(content)
        packages_, asked = frozenset(kept["packages"]), frozenset(kept["asked"])
        return Before(packages_, asked, dict(kept["sysctl"]), bool(kept["vici"]))
    except (ValueError, KeyError, TypeError):
        raise HostIPsecError(
            f"{paths.here.before}: is damaged; expected what state ipsec wrote; remove it"
        ) from None


def absent(asked: Collection[str], sysctls: Collection[str]) -> bool:
    """Say whether there is something to keep: nothing yet, or not of one of the packages or sysctls."""
    kept = read()
    if kept is None:
        return not (files.read(paths.here.conf) or b"").startswith(HEADER.encode())
    return not ({*sysctls} <= {*kept.sysctl} and {*asked} <= kept.asked)


def keep(asked: Collection[str], sysctls: Collection[str], vici: bool) -> None:
    """Keep what the host is now; what is kept already stays as it is."""
    kept = read() or Before(packages.installed(), frozenset(), {}, vici)
    values = {key: value for key in sysctls if (value := live(key)) is not None}
    content = {
        "packages": sorted(kept.packages),
        "asked": sorted({*kept.asked, *asked}),
        "sysctl": {**values, **kept.sysctl},
        "vici": kept.vici,
    }
    files.ensure_directory(paths.here.state, 0o755)
    files.replace(paths.here.before, json.dumps(content, indent=1).encode(), 0o644)


def live(key: str) -> Optional[str]:
    """Return the live value of a sysctl; None where the kernel has none of that name."""
    content = files.read(_sysctl(key))
    return None if content is None else " ".join(content.decode().split())


def set_live(key: str, value: str) -> None:
    """Set the live value of a sysctl."""
    try:
        _sysctl(key).write_text(value)
    except OSError as error:
        raise HostIPsecError(f"sysctl {key} cannot be set to {value}: {error.strerror}") from None


def _sysctl(key: str) -> Path:
    return paths.here.sysctls / key.replace(".", "/")
