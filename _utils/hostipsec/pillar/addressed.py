"""The pillar with the addresses that it does not have itself: what every front end starts from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from ..errors import HostIPsecError
from ..model import Connection, Fleet
from . import addresses, membership, parts, pillar, topology

# Salt's: the master that a minion is at, and those that it may go to
_MASTERS = ("master", "master_ip", "master_uri", "master_list", "master_uri_list", "local_masters")


def fleet(data: object, mine: Callable[..., object], masters: Collection[str] = ()) -> Fleet:
    """Return the fleet of the pillar below ``ipsec``; of the part of a host, as much as that has.

    ``mine``     Salt's ``mine.get``
    ``masters``  addresses of the Salt master, as far as they are known here

    Raises :class:`~hostipsec.errors.PillarError` with every problem found.
    """
    if isinstance(data, Mapping) and parts.KEY in data:
        return parts.read(data)
    wanted = pillar.unaddressed(data)
    found = addresses.resolve(wanted, lambda hosts: addresses.mined(mine, hosts), masters)
    return pillar.read(data, found)


def masters(opts: Mapping[str, object]) -> tuple[str, ...]:
    """Return what a minion knows of addresses of its masters, by its configuration as it runs; also names."""
    told = (opts.get(key) for key in _MASTERS)
    every = (each for one in told for each in (one if isinstance(one, (list, tuple)) else [one]))
    return tuple(_host(str(one)) for one in every)


def _host(text: str) -> str:
    """Return the host of ``tcp://10.0.0.1:4506``, ``[fd00::1]:4506``, ``10.0.0.1`` or ``fd00::1``."""
    text = text.rpartition("://")[2]
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def of_host(
    fleet: Fleet, before: Callable[[], Sequence[Connection]], data: object = None, minion_id: str = ""
) -> Fleet:
    """Return the fleet as one host is to see it: a peer of which no address is known keeps the one it had.

    ``before`` gives the connections that the host was given last; it is asked only where addresses were
    looked up, which ``data``, the pillar, says. Where nobody knows them any more, that stops a host only
    where a peer is lost: the next run brings back the record.
    """
    looked_up = fleet.part.looked_up if fleet.part else (*pillar.unaddressed(data),)
    lost = any(host.lost for host in fleet.hosts)
    if not (looked_up or lost):
        return fleet
    try:
        return topology.remembering(fleet, before(), looked_up, minion_id)
    except HostIPsecError:
        if lost:
            raise
        return fleet


def member(
    data: object,
    minion_id: str,
    mine: Callable[..., object],
    masters: Collection[str] = (),
    before: Callable[[], Sequence[Connection]] = tuple,
) -> membership.Membership:
    """Return what that means for one host, see :func:`of_host` and :func:`membership.of`."""
    return membership.of(of_host(fleet(data, mine, masters), before, data, minion_id), minion_id)
