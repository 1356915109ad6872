"""The pillar of the whole fleet, as its master has it: in files of an ext_pillar, or the same for all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..calls import Calls
from ..errors import HostIPsecError
from ..model import Fleet
from ..pillar import addressed, fleetfiles
from ..system import quiet
from . import rendering


def pillar(
    opts: Mapping[str, object],
    runners: Calls,
    minions: Callable[[], Sequence[str]],
    load: fleetfiles.Load,
    own: Callable[[], Collection[str]],
) -> tuple[Mapping[str, Any], Fleet]:
    """Return what stands below ``ipsec`` for the whole fleet, and what that means.

    ``opts``     the master's configuration
    ``minions``  returns the ids of the accepted minions
    ``load``     reads YAML as Salt does
    ``own``      returns the master's addresses

    Raises HostIPsecError where there is none, or it is wrong.
    """
    mine, files = runners["mine.get"], fleetfiles.configured(opts.get("ext_pillar"))
    if files is not None:
        whole = fleetfiles.whole(files, load, mine, own)
        return whole.data, whole.fleet
    data = _first(runners, minions())
    fleet = addressed.fleet(data, mine, own())
    if fleet.part:
        raise HostIPsecError(
            f"the pillar of {fleet.part.of} is its part alone, and ext_pillar in the configuration of this "
            "master does not name the files of the fleet (ext_pillar: [{ipsec: FILE}])"
        )
    return data, fleet


def _first(runners: Calls, minions: Sequence[str]) -> Any:
    """Return the pillar of the first minion that has one: all have the same."""
    for minion in minions:
        data = _of(runners, minion).get("ipsec")
        if data is not None:
            return data
    raise HostIPsecError(f"none of the {len(minions)} accepted minions has a pillar ipsec")


def members(runners: Calls, hosts: Sequence[str]) -> Sequence[str]:
    """Return which of some minions are members by their own pillar; none whose pillar does not tell."""
    return [host for host in hosts if host in _members(runners, host)]


def _members(runners: Calls, minion: str) -> Collection[str]:
    try:
        data = _of(runners, minion).get("ipsec")
    except HostIPsecError:
        return ()
    hosts = data.get("hosts") if isinstance(data, dict) else None
    return hosts if isinstance(hosts, (dict, list)) else ()


def _of(runners: Calls, minion: str) -> Mapping[str, Any]:
    """Return the pillar of a minion; of one that does not render, say in which line, without a traceback."""
    with quiet.errors("salt.pillar") as raised:
        found: Mapping[str, Any] = runners["pillar.show_pillar"](minion)
    if found.get("_errors"):
        raise HostIPsecError(f"the pillar of {minion}: {rendering.said(found['_errors'], raised)}")
    return found
