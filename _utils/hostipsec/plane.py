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
    found: object = charon
    for key in ("plugins", plugin, "load"):
        found = found.get(key, "no") if isinstance(found, Mapping) else "no"
    return "" if str(found).lower() in _NO else f"plugins:{plugin}:load"


def observed(charon: Optional[Charon]) -> str:
    """Return who does ESP for a charon that runs; ``kernel`` where none answers."""
    return CHARON if charon and "kernel-libipsec" in charon.plugins else KERNEL
