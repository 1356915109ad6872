"""Roots of other releases of Debian, with strongSwan and what our programs need; made once each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from strongswan import run, tree

from fleetlab import cache

PACKAGES = (
    *("strongswan-starter", "strongswan-charon", "strongswan-swanctl", "libcharon-extra-plugins"),
    *("libstrongswan-standard-plugins", "iproute2", "procps", "kmod", "python3"),
)


def fetched(suite: str) -> Path:
    """Return the root of a release, made by whoever asks first."""
    return tree(suite, PACKAGES, how=lambda packages, _, root: _bootstrap(suite, packages, root))


def _bootstrap(suite: str, packages: Sequence[str], root: Path) -> None:
    # its signature is checked all the same; only how old the release's index may be is not
    shutil.rmtree(root, ignore_errors=True)
    old = '--aptopt=Acquire::Check-Valid-Until "false"'
    made = ["mmdebstrap", "--variant=minbase", old, f"--include={','.join(packages)}", suite, str(root)]
    with tempfile.TemporaryDirectory() as place:
        run([*made, *cache.sources_of(cache.Root(suite), Path(place))], 600)
