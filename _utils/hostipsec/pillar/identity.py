"""By which identity peers know each host: the template of all hosts, and the word of one over it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ..errors import Problem
from ..model import Fleet
from ..strongswan import identity
from ..strongswan.kinds import is_safe, shown
from . import topology
from .reader import Reader

FILES = ("id", "short")  # what a template of a path may name
SUBJECTS = (*FILES, "ipv4", "ipv6")
_ALLOWED = "a distinguished name as 'CN=host.example', a name as '@host.example', or 'ip:192.0.2.1'"
_FIELD = re.compile(r"\{([^{}]*)\}")
_SAMPLE = {"id": "host.example", "short": "host", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}


def template(reader: Reader, value: object, path: str, fields: tuple[str, ...] = FILES) -> str:
    """Return a text with fields that are filled in for each host; empty where it is none."""
    known = " and ".join(f"{{{name}}}" for name in fields) or "nothing"
    if not isinstance(value, str) or not is_safe(_FIELD.sub("x", value)):
        reader.wrong(
            path,
            f"found {shown(value)}",
            f"a text of one line without quotes, '#' and '\\'; {known} are filled in",
        )
        return ""
    for name in _FIELD.findall(value):
        if name not in fields:
            reader.wrong(path, f"found {{{name}}}", known)
    return value


def of_fleet(reader: Reader, value: object, path: str) -> str:
    """Return the subject of all hosts that have none of their own: a template that differs by host."""
    subject = template(reader, value, path, SUBJECTS)
    wrong = identity.wrong(subject if "=" in subject else _sample(subject)) if _FIELD.search(subject) else ""
    if subject and wrong is not None:
        reader.wrong(path, f"found {shown(subject)}{wrong}", f"{_ALLOWED}, that differs by host")
    return subject


def _sample(subject: str) -> str:
    return _FIELD.sub(lambda field: _SAMPLE.get(field[1], ""), subject)


def of_host(reader: Reader, value: object, path: str) -> str:
    """Return the subject of one host, in which nothing is filled in; empty where it has none of its own."""
    if value is None:
        return ""
    subject = template(reader, value, path, ())
    if subject and (wrong := identity.wrong(subject)) is not None:
        reader.wrong(path, f"found {shown(subject)}{wrong}", _ALLOWED)
    return subject


# Over all hosts ------------------------------------------------------------------------------


def problems(fleet: Fleet) -> Iterator[Problem]:
    """Yield what is wrong with the identities that hosts are given; no two of them may have one."""
    return (problem for _, problem in faults(fleet))


def faults(fleet: Fleet, last: Collection[str] = ()) -> Iterator[tuple[str, Problem]]:
    """Yield the same by the id of the host whose it is; of two hosts that of one in ``last``."""
    owners: dict[str, str] = {}
    for host in sorted(fleet.hosts, key=lambda one: one.id in last):
        if host.lost:  # its addresses are not known
            continue
        path = f"ipsec:hosts:{host.id}:subject" if host.subject else "ipsec:certificates:subject"
        wrong = identity.wrong(topology.filled(fleet, host))
        subject = "" if wrong is not None else topology.subject(fleet, host)
        if wrong is not None:
            found = f"gives {shown(topology.filled(fleet, host))} to {host.id}"
            allowed = f"{_ALLOWED}; 'subject' at a host counts before it"
            yield host.id, Problem(path, f"{found}{wrong}", allowed)
            continue
        other = owners.setdefault(identity.plain(subject), host.id)
        if other == host.id:
            continue
        if other.casefold() == host.id.casefold():
            yield host.id, alike(host.id, other)
        else:
            found, allowed = (
                f"gives {subject!r} to {other} and {host.id}",
                "a subject of its own for each host",
            )
            yield host.id, Problem(path, found, f"{allowed}, as 'CN={{id}}'")


def alike(one: str, other: str) -> Problem:
    """Say that two ids are one but for upper and lower case."""
    found = f"differs from {other} by upper and lower case alone"
    return Problem(f"ipsec:hosts:{one}", found, "one entry a host, with the id that the minion has")
