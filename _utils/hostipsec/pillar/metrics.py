"""Where a host's metrics go, as the pillar says: each value also stands on the command line of a unit. Pure.

So nothing in it has a meaning to systemd (``%``, ``$``, blanks), and :mod:`programs.metrics` reads it by the
same rules.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..errors import Problem
from ..model import Metrics
from ..strongswan.kinds import shown
from . import schema
from .reader import Reader

DIRECTORY = (
    "an absolute path of letters, digits and ._-, not below /home, /root, /tmp, /dev, /proc, /run, /sys"
)
LISTEN = "ADDRESS:PORT as 0.0.0.0:9815 or [::]:9815, the port from 1024 to 65535"
SEND = "HOST:PORT as graphite.example:2003 or [2001:db8::1]:2003, the port from 1 to 65535"
_DIRECTORY = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}){1,20}\Z")
_UNSEEN = re.compile(r"/(home|root|tmp|var/tmp|dev|proc|run|sys)(/|\Z)")  # isolated, or no place for a file
_PORT = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):([1-9][0-9]{0,4})\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?\Z")


class Endpoint(NamedTuple):
    """Where to listen, or to connect to."""

    host: str  # an address, or where it is only connected to a name
    port: int


def directory(text: str) -> str:
    """Return a directory for files. Raises ValueError."""
    if not _DIRECTORY.match(text) or _UNSEEN.match(text):
        raise ValueError
    return text


def listen(text: str) -> Endpoint:
    """Return an address and port to listen at. Raises ValueError.

    >>> listen("[::]:9815")
    Endpoint(host='::', port=9815)
    """
    found = _endpoint(text, 1024)
    ipaddress.ip_address(found.host)
    return found


def send(text: str) -> Endpoint:
    """Return a host and port to connect to. Raises ValueError."""
    found = _endpoint(text, 1)
    if not text.startswith("[") and not _NAME.match(found.host):
        raise ValueError
    if text.startswith("[") or found.host.rpartition(".")[2].isdigit():
        ipaddress.ip_address(found.host)
    return found


def _endpoint(text: str, lowest: int) -> Endpoint:
    found = _PORT.match(text)
    if found is None or not lowest <= int(found[2]) <= 65535:
        raise ValueError
    host = found[1].strip("[]")
    if (":" in host) != found[1].startswith("["):
        raise ValueError
    return Endpoint(host, int(found[2]))


def read(reader: Reader, value: object) -> Metrics:
    """Return what stands below ``ipsec:metrics``."""
    path = "ipsec:metrics"
    entry = {} if value is None else reader.mapping(value, path, schema.below("metrics"))

    def text(key: str, parse: Callable[[str], object], allowed: str) -> str:
        found = entry.get(key)
        if found is None:
            return ""
        try:
            if isinstance(found, str):
                parse(found)
                return found
        except ValueError:
            pass
        reader.wrong(f"{path}:{key}", f"found {shown(found)}", allowed)
        return ""

    return Metrics(
        textfile=text("textfile", directory, DIRECTORY),
        http=text("http", listen, LISTEN),
        graphite=text("graphite", send, SEND),
        clear_text=reader.boolean(entry.get("clear_text", False), f"{path}:clear_text"),
    )


# Graphite's names ----------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)  # each peer stands in a dozen names
def in_graphite(text: str) -> str:
    """Return a text as a part of a name: dots and whatever else has a meaning there are ``_``."""
    return _UNSAFE.sub("_", text) or "_"


def clashing(ids: Iterable[str]) -> Iterator[Problem]:
    """Refuse hosts whose series Graphite would have under one name."""
    owners: dict[str, str] = {}
    for host in ids:
        other = owners.setdefault(in_graphite(host), host)
        if other != host:
            found = f"found hosts {other} and {host}, which are both {in_graphite(host)} there"
            allowed = "ids that differ by more than '.' and '_', or textfile or http in its place"
            yield Problem("ipsec:metrics:graphite", found, allowed)
