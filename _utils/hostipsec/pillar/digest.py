"""A pillar told from another: what was rolled out to one host must be what the next one gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def of(data: object) -> str:
    """Return what tells the data of a pillar, below ``ipsec``, from others."""
    text = json.dumps(plain(data), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def plain(data: object) -> object:
    """Return the data in Python's own containers: those of Salt 3008 show stars for what they hold."""
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    return [plain(one) for one in data] if isinstance(data, (list, tuple)) else data
