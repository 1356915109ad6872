"""Which of a host's addresses it does not have, as ``ip`` shows them (iproute2 5.9 to 6.15).

An address is there where an interface has it, in whichever state and routing table that is, also one that is
still being looked for at others (tentative) or no longer preferred; and where a route of type local takes
packets to it in. One that another host on the link has as well (``dadfailed``) is of no use.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .. import paths, unicast
from ..model import Address
from ..system import processes
from .kernel import KernelError

_SHOW = ("ip", "-j", "address", "show")


def absent(
    wanted: Iterable[Address], timeout: float = paths.CALL_DEADLINE, run: processes.Run = processes.run
) -> dict[Address, str]:
    """Return those that this network namespace does not have, or cannot use, and why: a sentence's begin.

    Raises KernelError where that cannot be read.
    """
    asked = sorted({*wanted}, key=lambda one: (one.version, int(one)))
    there = parse(_ip(_SHOW, timeout, run)) if asked else {}
    found = {one: there[one] for one in asked if there.get(one)}
    lacking = [one for one in asked if one not in there and not _taken_in(one, timeout, run)]
    return {**found, **{one: f"no interface here has {one}" for one in lacking}}


def interfaces(
    wanted: Iterable[Address], timeout: float = paths.CALL_DEADLINE, run: processes.Run = processes.run
) -> dict[Address, tuple[str, ...]]:
    """Return the names of the interfaces that have each of these addresses.

    Raises KernelError where that cannot be read.
    """
    text = _ip(_SHOW, timeout, run)
    with _told(text):
        every = [*_at(json.loads(text or "[]"))]
    return {one: tuple(sorted({name for name, there in every if there == one})) for one in {*wanted}}


def _at(shown: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Address]]:
    for interface in shown:
        for one in _listed([interface]):
            yield str(interface["ifname"]), unicast.parse(one["local"])


def parse(text: str) -> dict[Address, str]:
    """Return the addresses that interfaces have, each with what makes it unusable, empty for nothing.

    ``{IPv4Address("10.0.0.1"): "", IPv6Address("2001:db8::1"): "another host on its link has ... as well"}``
    """
    found: dict[Address, str] = {}
    with _told(text):
        for one in _listed(json.loads(text or "[]")):
            address = unicast.parse(one["local"])
            doubled = one.get("dadfailed") is True
            wrong = f"another host on its link has {address} as well (dadfailed)" if doubled else ""
            found[address] = wrong and found.get(address, wrong)  # one that is well at some interface is well
    return found


@contextlib.contextmanager
def _told(text: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise KernelError(f"{' '.join(_SHOW)} printed what cannot be read: {text[:80]!r}") from None


def _listed(interfaces: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for interface in interfaces:
        for one in interface.get("addr_info", ()):
            if one.get("family") in ("inet", "inet6") and "local" in one:
                yield one


def _taken_in(address: Address, timeout: float, run: processes.Run) -> bool:
    """Whether packets to an address that no interface has are for this host all the same."""
    result = run(["ip", "-j", "route", "get", str(address)], timeout)
    try:
        return result.status == 0 and json.loads(result.stdout)[0]["type"] == "local"
    except (ValueError, TypeError, LookupError):
        return False


def _ip(argv: Iterable[str], timeout: float, run: processes.Run) -> str:
    result = run([*argv], timeout)
    if result.status != 0:
        said = " ".join(result.text.split()) or "no output"
        raise KernelError(f"{' '.join(argv)}: status {result.status}, {said}; needs iproute2")
    return result.stdout
