"""By what a host runs: by ipsec.conf and the starter, or by swanctl's files and charon-systemd."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Union

from .. import paths
from ..model import AUTO, IPSEC_CONF, SWANCTL


class Places(NamedTuple):
    """Where charon's certificates and their like are."""

    certs: Path
    private: Path
    cacerts: Path
    crls: Path


def here() -> str:
    """Return by what this host runs, as its files say, for programs that have no pillar."""
    return SWANCTL if paths.here.swanctl.exists() else IPSEC_CONF


def chosen(asked: str) -> str:
    """Return by what a host shall run; for ``auto`` it stays as it is, and is what its release has if new."""
    if asked != AUTO:
        return asked
    if here() == SWANCTL or paths.here.starter.exists():
        return here()
    if not paths.here.systemd.is_dir():
        return IPSEC_CONF  # charon-systemd has no script
    from . import files, platforms  # here: who ends SAs does without them

    return platforms.usual((files.read(paths.here.os_release) or b"").decode("utf-8", "replace"))


def top(by: str = "") -> Path:
    """Return the directory below which certificates and their like are; by default as this host runs."""
    return paths.here.swanctl_d if (by or here()) == SWANCTL else paths.here.ipsec_d


def places(above: Union[str, Path, None] = None) -> Places:
    """Return the directories below one, which are called as swanctl or as the starter calls them."""
    there = Path(above or top())
    names = _SWANCTL if there.name == paths.here.swanctl_d.name else Places._fields
    return Places(*(there / name for name in names))


_SWANCTL = ("x509", "private", "x509ca", "x509crl")


def started() -> Path:
    """Return the file that charon makes anew at each start: charon-systemd writes no pid file."""
    return paths.here.charon_vici if here() == SWANCTL else paths.here.charon_pid
