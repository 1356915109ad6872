"""A pillar told from another: what was rolled out to one host must be what the next one gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

from ..strongswan.kinds import is_huge

_DEEPEST = 50


def of(data: object) -> str:
    """Return what tells the data of a pillar, below ``ipsec``, from others."""
    text = json.dumps(plain(data), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def each(data: object, read: Callable[[], object]) -> Iterator[str]:
    """Yield that of the data, then that of what ``read`` returns each time."""
    while True:
        yield of(data)
        data = read()


def plain(data: object, levels: int = _DEEPEST) -> object:
    """Return the data in Python's own containers: those of Salt 3008 show stars for what they hold.

    No pillar that is right goes deeper than ``levels``, or has numbers that Python does not print: of the
    first the rest is left out, of the second this gives another form.
    """
    if isinstance(data, Mapping):
        return {_word(key): plain(value, levels - 1) for key, value in data.items()} if levels else "..."
    if isinstance(data, (list, tuple)):
        return [plain(one, levels - 1) for one in data] if levels else "..."
    return hex(data) if isinstance(data, int) and is_huge(data) else data


def _word(key: object) -> str:
    return hex(key) if isinstance(key, int) and is_huge(key) else str(key)
