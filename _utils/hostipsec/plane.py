"""Who does ESP on a host: the kernel, or charon itself (plugin kernel-libipsec)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from .model import Charon, Settings

KERNEL, CHARON = "kernel", "charon"
_NO = ("no", "false", "disabled", "0", "")  # as strongSwan reads a boolean; a number is a priority


def chosen(settings: Settings) -> str:
    """Return ``charon`` where strongswan.conf loads plugin kernel-libipsec, else ``kernel``."""
    return CHARON if loads(settings.charon, "kernel-libipsec") else KERNEL


def loads(charon: Mapping[str, object], plugin: str) -> str:
    """Return the key below ``charon`` in strongswan.conf that loads a plugin; empty where none does."""
    named = str(charon.get("load", "")).replace("!", " ").split()  # a mark after a name: fail without it
    if plugin in named:
        return "load"
    found = value(charon, "plugins", plugin, "load")
    return "" if found is None or str(found).lower() in _NO else f"plugins:{plugin}:load"


def value(charon: Mapping[str, object], *keys: str) -> object:
    """Return what is said below ``charon`` at nested keys; None where nothing is."""
    found: object = charon
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def observed(charon: Optional[Charon]) -> str:
    """Return who does ESP for a charon that runs; ``kernel`` where none answers."""
    return CHARON if charon and "kernel-libipsec" in charon.plugins else KERNEL
