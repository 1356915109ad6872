"""What is not as asked in a fleet, for a small terminal: what is the same is told once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..answer import counted
from .hostnames import ranges
from .joined import ALL, NUMBERS, capped, culprits

DETAILS = "each by itself: --out=json"


class Trouble(NamedTuple):
    """A sentence about a host, or about a connection of it."""

    one: str  # the host that says so
    why: str
    name: str = ""  # of the connection; empty where it is about the host
    other: str = ""  # its peer

    def __str__(self) -> str:
        """Say it on a line."""
        return f"{self.one}: {self.name}: {self.why}" if self.name else f"{self.one}: {self.why}"

    @property
    def same(self) -> str:
        """Return what it says, without what differs between two of which the same is so."""
        said = NUMBERS.sub("", self.why).replace(self.one, "host")
        return said.replace(self.other, "host") if self.other else said


def lines(found: Sequence[Trouble]) -> list[str]:
    """Return a line each, or, of more than a few, a line for all that say the same."""
    if len(found) <= ALL:
        return [str(one) for one in found]
    groups: dict[tuple[bool, str], list[Trouble]] = {}
    for one in found:
        groups.setdefault((bool(one.name), one.same), []).append(one)
    ordered = sorted(groups.values(), key=lambda rows: (-len(rows), rows))
    more = [DETAILS] if len(ordered) < len(found) else []
    return [*capped([str(rows[0]) if len(rows) == 1 else _together(rows) for rows in ordered]), *more]


def _together(rows: Sequence[Trouble]) -> str:
    if not rows[0].name:
        return f"{counted(len(rows), 'host')}: {rows[0].same}: {ranges(one.one for one in rows)}"
    at = ranges(host for host, _ in culprits(rows))
    return f"{counted(len(rows))}: {rows[0].same}; at {at}"
