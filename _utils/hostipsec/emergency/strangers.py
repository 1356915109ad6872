"""What a host of which no connection is known has all the same: nothing of it is ended, all of it is said."""

from __future__ import annotations

from ..errors import HostIPsecError
from .host import Host

ENDED_BY = "none was ended, as they are not known to be ours; to end them: ipsec stop; ip xfrm state flush"


def said(host: Host) -> tuple[str, ...]:
    """Say what charon and the kernel have on a host without connections on record; nothing for none."""
    sas, states = _sas(host), _states(host)
    if not sas and not states:
        return ()
    names = f" ({', '.join(sorted({*sas})[:5])})" if sas else ""
    return (f"there are {len(sas)} IKE SAs{names} and {states} SAs in the kernel: {ENDED_BY}",)


def _sas(host: Host) -> list[str]:
    try:
        return [sa.name for sa in host.glance().ike_sas]
    except HostIPsecError:
        return []


def _states(host: Host) -> int:
    try:
        return len(host.kernel().states)
    except HostIPsecError:
        return 0
