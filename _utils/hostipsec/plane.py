"""Who does ESP on a host: the kernel, or charon itself (plugin kernel-libipsec)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from .model import Charon, Settings

KERNEL, CHARON = "kernel", "charon"
_NO = ("no", "false", "disabled", "0", "")  # as strongSwan reads a boolean; a number is a priority


def chosen(settings: Settings) -> str:
    """Return ``charon`` where strongswan.conf loads plugin kernel-libipsec, else ``kernel``."""
    found: object = settings.charon
    for key in ("plugins", "kernel-libipsec", "load"):
        found = found.get(key, "no") if isinstance(found, Mapping) else "no"
    return KERNEL if str(found).lower() in _NO else CHARON


def observed(charon: Optional[Charon]) -> str:
    """Return who does ESP for a charon that runs; ``kernel`` where none answers."""
    return CHARON if charon and "kernel-libipsec" in charon.plugins else KERNEL
