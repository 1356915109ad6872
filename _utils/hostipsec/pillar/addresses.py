"""Addresses of hosts that have none in the pillar: from the Salt mine or DNS, where the pillar names these.

A minion writes its part of the mine itself, and whoever may write a zone says what is in DNS. So nothing of
it goes further than into a value (:mod:`hostipsec.unicast`), and what is wrong with it is told of that host.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from .. import paths, unicast
from ..errors import HostIPsecError
from ..model import Address
from .found import DNS, MINE, Found

MINED = ("network.ip_addrs", "network.ip_addrs6")  # functions of the mine, each a list of addresses by host
AT_ONCE = 64  # look-ups of DNS side by side
MOST = 1024  # addresses of a host
SHOWN = 8  # of them, in a sentence
_NAMES = {MINE: "the Salt mine", DNS: "DNS"}
_ALLOWED = "one unicast address of a family; or 'ipv4', 'ipv6' of the host in the pillar"

Said = Sequence[object]  # what a source says of a host, which may be anything
Wanted = Mapping[str, Sequence[str]]  # host -> sources, in their order
Lookup = Callable[[str], Said]


def mined(get: Callable[..., object], hosts: Sequence[str]) -> dict[str, list[object]]:
    """Return what the mine has of hosts: one question for all.

    ``get`` is Salt's ``mine.get``, of a minion or of the master. Hosts that it does not know are absent.
    Raises HostIPsecError where it cannot be asked.
    """
    try:
        answer = get(",".join(hosts), [*MINED], "list")
    except HostIPsecError as error:  # in words already, and what to type
        raise HostIPsecError(f"the Salt mine cannot be asked for addresses: {error}") from None
    except Exception as error:  # whatever Salt raises, as where its master does not answer
        said = unicast.said(" ".join(str(error).split()))
        raise HostIPsecError(f"the Salt mine cannot be asked for addresses: {said}") from None
    found: dict[str, list[object]] = {}
    for function in MINED:
        by_host = answer.get(function) if isinstance(answer, Mapping) else None
        for host in hosts if isinstance(by_host, Mapping) else ():
            told = by_host.get(host) if isinstance(by_host, Mapping) else None
            if told is not None:
                found.setdefault(host, []).extend(told if isinstance(told, (list, tuple)) else [told])
    return found


def resolve(
    wanted: Wanted,
    mine: Callable[[Sequence[str]], Mapping[str, Said]],
    taken: Collection[str] = (),
    deadline: float = paths.DNS_DEADLINE,
) -> dict[str, Found]:
    """Return what was found of each host: one address a family, or why there is none.

    ``wanted`` gives the sources of each host; the first that says anything of it counts. The mine is asked
    once, for all hosts; DNS for the rest of them, side by side, within ``deadline`` seconds.
    ``taken`` are the addresses of the master, which nobody but the pillar can give to a host.
    """
    asked = [host for host, sources in wanted.items() if MINE in sources]
    of_mine = {host: said for host, said in (mine(asked) if asked else {}).items() if said}
    first = {host for host in of_mine if wanted[host][0] == MINE}
    of_dns = _asked(
        [host for host, one in wanted.items() if DNS in one and host not in first], deadline, _dns
    )
    said = {MINE: of_mine, DNS: of_dns}
    masters = {str(one) for one in _known(taken)}
    return {host: _found(host, sources, said, masters) for host, sources in wanted.items()}


def _found(
    host: str, sources: Sequence[str], said: Mapping[str, Mapping[str, Said]], masters: Collection[str]
) -> Found:
    for source in sources:
        if said[source].get(host):
            return _read(_NAMES[source], said[source][host], masters)
    late = DNS in sources and host not in said[DNS]
    return Found(wrong=((_nowhere(sources, late), f"'ipv4' or 'ipv6' of host {host}"),))


def _nowhere(sources: Sequence[str], late: bool) -> str:
    *places, last = ["the pillar", *(_NAMES[one] for one in sources if not (late and one == DNS))]
    where = f"{', '.join(places)} or {last}" if places else last
    return f"no address in {where}" + (", and DNS did not answer in time" if late else "")


def _read(source: str, said: Said, masters: Collection[str]) -> Found:
    """Return the addresses that are said, if they are one a family and could be a host's."""
    if len(said) > MOST:
        return _wrong(source, f"found {len(said)} addresses")
    found: dict[Address, None] = {}
    for text in said:
        try:
            address = unicast.parse(text)
        except ValueError as error:
            return _wrong(source, str(error))
        if unicast.everybody_has(address):
            continue
        if why := unicast.misfit(address):
            return _wrong(source, f"found {address}, {why}")
        if str(address) in masters:
            return _wrong(source, f"found {address}, which the Salt master has")
        found[address] = None
    for version in (4, 6):
        several = [str(one) for one in found if one.version == version]
        if len(several) > 1:
            return _wrong(
                source, f"found {len(several)} of IPv{version}: {', '.join(sorted(several)[:SHOWN])}"
            )
    if not found:
        return _wrong(source, "found none that peers could use")
    return Found(addresses=tuple(sorted(found, key=lambda one: one.version)))


def _wrong(source: str, what: str) -> Found:
    return Found(wrong=((f"{source}: {what}", _ALLOWED),))


def _known(texts: Iterable[str]) -> Iterable[Address]:
    for text in texts:
        try:
            yield unicast.parse(text)
        except ValueError:
            continue


# DNS -----------------------------------------------------------------------------------------


def _asked(hosts: Sequence[str], deadline: float, lookup: Lookup) -> dict[str, Said]:
    """Return what was found of hosts within the deadline; a look-up that hangs is left to itself."""
    end = time.monotonic() + deadline
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Said]] = queue.SimpleQueue()
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
    found: dict[str, Said] = {}
    while len(found) < len(hosts):
        try:
            host, texts = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[host] = texts
    return found


def _dns(host: str) -> list[object]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter of a name that cannot be one
        return []
    return [entry[4][0] for entry in found]
