"""``nft`` of Debian's package, installed nowhere."""

from __future__ import annotations

from pathlib import Path

from strongswan import tree

PACKAGES = (
    *("nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12"),
    *("libedit2", "libbsd0", "libmd0"),
)


def unpacked() -> Path:
    """Return the tree with nft."""
    return tree("nftables", PACKAGES)


def command() -> list[str]:
    """Return what stands before the arguments of nft."""
    root = unpacked()
    libraries = (
        ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))
        + ":"
        + ":".join(map(str, root.glob("lib/*-linux-gnu")))
    )
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/sbin/nft")]
