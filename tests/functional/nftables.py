"""``nft`` of Debian's package, installed nowhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from strongswan import BUILD, fetch

PACKAGES = (
    *("nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12"),
    *("libedit2", "libbsd0", "libmd0"),
)
ROOT = BUILD / "nftables-root"


def unpacked() -> Path:
    """Return the tree with nft of the machine's release; fetched once."""
    if not (ROOT / ".ready").exists():
        debs = BUILD / "nftables-debs"
        shutil.rmtree(debs, ignore_errors=True)
        fetch(PACKAGES, debs, ROOT)
        (ROOT / ".ready").touch()
    return ROOT


def command() -> list[str]:
    """Return what stands before the arguments of nft."""
    root = unpacked()
    libraries = (
        ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))
        + ":"
        + ":".join(map(str, root.glob("lib/*-linux-gnu")))
    )
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/sbin/nft")]
