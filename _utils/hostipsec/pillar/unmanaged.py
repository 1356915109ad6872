"""Peers that Salt does not manage: a partner's gateway, an appliance. Nobody asks what they run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..answer import counted
from ..model import Host
from ..strongswan.kinds import is_safe, shown
from . import translated
from .reader import Reader

MANAGED, CA = KEYS = ("managed", "ca")
_NEEDED = ("subject",)
_NOT_THERE = {  # of hosts that we configure, each with what is there instead
    **dict.fromkeys(("addresses", *translated.KEYS), "'ipv4' and 'ipv6'"),
    "backend": "no such key: what it runs is its own",
}


class Management(NamedTuple):
    """Whether Salt manages a host, and where members have the CA of one that it does not manage."""

    managed: bool = True
    ca: str = ""


def of_host(reader: Reader, entry: Mapping[str, object], path: str) -> Management:
    """Return what a host's entry says."""
    managed = reader.boolean(entry.get(MANAGED, True), f"{path}:{MANAGED}")
    if managed and CA in entry and entry.get(MANAGED, True) is True:
        reader.wrong(f"{path}:{CA}", "found it at a host that Salt manages", f"'{MANAGED}: false' beside it")
    if managed:
        return Management()
    for key in _NEEDED:
        if not entry.get(key):
            reader.wrong(f"{path}:{key}", "found none", f"{key!r} of a host that Salt does not manage")
    for key, instead in _NOT_THERE.items():
        if key in entry:
            reader.wrong(f"{path}:{key}", "found it at a host that Salt does not manage", instead)
    return Management(False, _file(reader, entry[CA], f"{path}:{CA}") if CA in entry else "")


def _file(reader: Reader, value: object, path: str) -> str:
    if not isinstance(value, str) or not is_safe(value) or not value.startswith("/"):
        reader.wrong(path, f"found {shown(value)}", "an absolute path, where its peers have the file")
        return ""
    return value


# Pairs ---------------------------------------------------------------------------------------


def strangers(hosts: Sequence[Host]) -> frozenset[str]:
    """Return the ids of the hosts that Salt does not manage."""
    return frozenset(host.id for host in hosts if not host.managed)


def proven_alone(pairs: int) -> tuple[str, ...]:
    """Say of how many pairs a proof is one of one end; nothing where of none."""
    said = f"at one end alone, since Salt does not manage the other: {counted(pairs, 'pair')}"
    return (said,) if pairs else ()


def joinable(one: Host, other: Host) -> bool:
    """Say whether two hosts can be a pair at all: Salt has to manage one of them."""
    return one.id != other.id and (one.managed or other.managed)


def starts(host: Host, peer: Host) -> bool:
    """Say whether a host starts what it has with a peer; one that Salt does not manage may, and need not."""
    return not peer.managed or (host.managed and is_initiator(host.id, peer.id))


def is_initiator(local: str, peer: str) -> bool:
    """Say whether the local host starts the pair's connections: the id that sorts first does."""
    return local < peer
