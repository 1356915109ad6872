"""Addresses of hosts that have none in the pillar: from the Salt mine, else from DNS."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Optional, Union

from .. import paths
from ..model import FAMILIES, Address

MINED = ("network.ip_addrs", "network.ip_addrs6")  # functions of the mine, each a list of addresses by host
AT_ONCE = 64  # look-ups of DNS side by side

Known = Mapping[str, Sequence[str]]  # host -> addresses as text, of both families
Lookup = Callable[[str], Sequence[str]]
Resolved = dict[str, Optional[dict[str, Address]]]


def mined(get: Callable[..., object], hosts: Sequence[str]) -> dict[str, list[str]]:
    """Return the addresses that the mine has of hosts: one question for all.

    ``get`` is Salt's ``mine.get``, of a minion or of the master. Hosts that it does not know are absent.
    """
    answer = get(",".join(hosts), [*MINED], "list")
    found: dict[str, list[str]] = {}
    for function in MINED:
        by_host = answer.get(function) if isinstance(answer, Mapping) else None
        for host, texts in (by_host or {}).items():
            found.setdefault(host, []).extend(texts if isinstance(texts, list) else [])
    return found


def resolve(
    hosts: Sequence[str], mine: Callable[[Sequence[str]], Known], deadline: float = paths.DNS_DEADLINE
) -> Resolved:
    """Return ``{host: {"v4": ..., "v6": ...}}`` for those hosts that have one address a family.

    ``mine`` is asked once, for all hosts; DNS for the rest of them, side by side. A host of which DNS says
    nothing within ``deadline`` seconds has None: that is not known, and no host without an address. One with
    several addresses of a family gets none: which of them the peers shall use, only the pillar can say.
    """
    if not hosts:
        return {}
    known = {host: texts for host, texts in mine(hosts).items() if texts}
    answers = {**_asked([host for host in hosts if host not in known], deadline, _dns), **known}
    return {host: _single(answers[host]) if host in answers else None for host in hosts}


def _asked(hosts: Sequence[str], deadline: float, lookup: Lookup) -> dict[str, Sequence[str]]:
    """Return what was found of hosts within the deadline; a look-up that hangs is left to itself."""
    end = time.monotonic() + deadline
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Sequence[str]]] = queue.SimpleQueue()
    for host in hosts:
        waiting.put(host)

    def work() -> None:
        while time.monotonic() < end:
            try:
                host = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((host, lookup(host)))

    for _ in range(min(AT_ONCE, len(hosts))):
        threading.Thread(target=work, daemon=True).start()
    found: dict[str, Sequence[str]] = {}
    while len(found) < len(hosts):
        try:
            host, texts = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[host] = texts
    return found


def _single(texts: Iterable[str]) -> dict[str, Address]:
    usable = {address for text in texts if (address := _usable(text))}
    found = {family: [one for one in usable if one.version == int(family[1])] for family in FAMILIES}
    return {family: ones[0] for family, ones in found.items() if len(ones) == 1}


def _usable(text: str) -> Union[Address, None]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if address.is_loopback or address.is_link_local or address.is_multicast else address


def _dns(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter of a name that cannot be one
        return []
    return [str(entry[4][0]) for entry in found]
