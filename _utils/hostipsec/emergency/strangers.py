"""What a host of which no connection is known has all the same: nothing of it is ended, all of it is said."""

from __future__ import annotations

from ..answer import Answer, counted
from ..errors import HostIPsecError
from ..store import record
from . import orders
from .host import Host

ENDED_BY = "none was ended, as they are not known to be ours; to end them: ipsec stop; ip xfrm state flush"


def said(host: Host) -> tuple[str, ...]:
    """Say what charon and the kernel have on a host without connections on record; nothing for none."""
    sas, states = _sas(host), _states(host)
    if not sas and not states:
        return ()
    names = f" ({', '.join(sorted({*sas})[:5])})" if sas else ""
    return (
        f"found {counted(len(sas), 'IKE SA')}{names} and {counted(states, 'SA in the kernel')}: {ENDED_BY}",
    )


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


def recorded() -> bool:
    """Say whether connections are on record here; of a damaged record that is not known, so they are."""
    try:
        return bool(record.read().connections)
    except HostIPsecError:
        return True


def outside() -> Answer:
    """Return the answer of a host that is asked only for what it has on record, where that is nothing."""
    text = f"{orders.UNRECORDED}; nothing was done"
    of_status = {"unmanaged": {}, "summary": {"sentence": text}}
    return Answer(True, text, own={"unrecorded": True, "overruled": "", **of_status})
