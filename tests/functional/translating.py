"""Translated ports, as a container's host has them: ``iptables`` of Debian's packages, installed nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from strongswan import BUILD, tree

PACKAGES = ("iptables", "libip4tc2", "libip6tc2", "libxtables12", "libmnl0", "libnfnetlink0", "libnftnl11")
ROOT = BUILD / "iptables-root"


def unpacked() -> Path:
    """Return the tree with iptables."""
    return tree("iptables", PACKAGES)


def commands(rules: Iterable[str], tree: str) -> list[str]:
    """Return a command that adds rules to table ``nat`` where it runs, with the tree at that path."""
    (libraries,) = (ROOT / "usr/lib").glob("*-linux-gnu")
    inside = f"{tree}/{libraries.relative_to(ROOT)}"
    setting = f"LD_LIBRARY_PATH={inside} XTABLES_LIBDIR={inside}/xtables"
    lines = [f"{setting} {tree}/usr/sbin/xtables-legacy-multi iptables -t nat {rule}" for rule in rules]
    return ["sh", "-ec", "\n".join(lines)]
