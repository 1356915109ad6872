"""Debian's headless Chromium, unpacked below ``.build`` with what the machine lacks for it; not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from strongswan import run, tree

from hostipsec.system import processes

PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio")
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{root}/fontcache</cachedir></fontconfig>
"""


def unpacked() -> Path:
    """Return the tree with Chromium."""
    return tree("chromium", PACKAGES, _fonts, fetch)


def _fonts(root: Path) -> None:
    (root / "fonts.conf").write_text(FONTS.format(root=root))


def fetch(packages: Sequence[str], debs: Path, root: Path) -> None:
    """Unpack packages with what this machine lacks for them below a root."""
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-y", "-d", "--no-install-recommends", "--reinstall", "-o", f"Dir::Cache::archives={debs}"]
    # as it installs nothing it needs no lock, which another apt may have
    get = ["apt-get", "install", *options, "-o", "Debug::NoLocking=1", *packages]
    if processes.run(get, 300).status != 0:
        run(["apt-get", "update", "-q"], 300)
        run(get, 300)
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", str(deb), str(root)])


def launching() -> dict:
    """Return how Playwright starts it."""
    root = unpacked()
    return {
        "executable_path": str(root / "usr/lib/chromium/chromium-headless-shell"),
        "args": ["--no-sandbox"],  # root has none
        "env": {
            "LD_LIBRARY_PATH": ":".join(str(root / one) for one in LIBRARIES),
            "FONTCONFIG_FILE": str(root / "fonts.conf"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
        },
    }
