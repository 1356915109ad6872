"""Debian's AppArmor, installed nowhere: its parser, and what profiles include."""

from __future__ import annotations

from pathlib import Path

from strongswan import tree


def unpacked() -> Path:
    """Return the tree with it."""
    return tree("apparmor", ("apparmor",))


def parser() -> Path:
    """Return the program that gives profiles to the kernel."""
    return next(path for path in unpacked().rglob("sbin/apparmor_parser"))
