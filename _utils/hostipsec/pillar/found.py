"""What a source outside the pillar knows of a host."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Address

SOURCES = MINE, DNS = ("mine", "dns")


class Found(NamedTuple):
    """The addresses of a host, one a family; or what is wrong, each as what was found and what is allowed."""

    addresses: tuple[Address, ...] = ()
    wrong: tuple[tuple[str, str], ...] = ()
