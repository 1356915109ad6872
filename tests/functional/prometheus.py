"""Prometheus and promtool from Debian's package, unpacked below .build; nothing is installed."""

from __future__ import annotations

import fcntl
from pathlib import Path

from strongswan import BUILD, fetch

from hostipsec.system import processes

PACKAGES = ("prometheus", "prometheus-node-exporter")


def unpacked() -> Path:
    """Return the tree with Prometheus and its node exporter; fetched once."""
    root = BUILD / "prometheus-root"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "prometheus-root.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".ready").exists():
            fetch(PACKAGES, BUILD / "prometheus-debs", root)
            (root / ".ready").touch()
    return root


def program(name: str) -> str:
    """Return where one of its programs is."""
    return str(unpacked() / "usr/bin" / name)


def promtool(*arguments: str) -> processes.Result:
    """Run promtool; its status and what it printed."""
    return processes.run([program("promtool"), *arguments], 120)
