"""Where the one look at this host is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Optional

from .. import paths
from ..charon import charon
from ..errors import HostIPsecError
from ..kernel import addresses, kernel, reach
from ..model import Connection, Meant
from ..store import certificate, holdfile, present, record
from ..strongswan import defaults
from ..system import heartbeat, service
from . import look as looks
from . import repair
from .look import Look


def watched(look: Look) -> Look:
    """Return a look that tells of the keeper as well, which brings connections back, and of charon's unit.

    It is for whoever shows the host.
    """
    if not look.connections:
        return look
    keeper = service.lacking(paths.KEEPER_UNIT, paths.CALL_DEADLINE) or heartbeat.missing()
    stopped = "" if look.charon else service.stopped(paths.CALL_DEADLINE)
    return look._replace(dead=tuple(filter(None, (keeper, stopped or service.astray()))))


def of_unit(look: Look) -> Look:
    """Return a look that tells of a charon outside of its unit, which costs no process: for the keeper."""
    astray = service.astray()
    return look._replace(dead=(*look.dead, astray)) if look.connections and astray else look


def by_record(known: record.Found, meant: Optional[Meant] = None) -> Look:
    """Return a look at this host where what shall run here is what is on record."""
    told = known.record
    seen = observe(told.connections, told.mtu, told.warn_days, told.barred, told.resting, meant)
    placed = seen._replace(host=told.host, site=told.site, sites=told.sites, clear_text=told.clear_text)
    return placed.without("record", known.wrong)


def observe(
    connections: Optional[Sequence[Connection]] = None,
    mtu: Optional[int] = None,
    warn_days: int = defaults.WARN_DAYS,
    barred: Sequence[Connection] = (),
    resting: Sequence[Connection] = (),
    meant: Optional[Meant] = None,
) -> Look:
    """Look at this host once: at charon, after it at the kernel, last at the holds, which count at once.

    ``connections`` are those that shall run here; without, the first five arguments are those on record.
    What cannot be read is said in the look, and stops nothing. ``meant`` is by default what ipsec.conf says.
    Raises HostIPsecError where the record is needed and damaged.
    """
    if connections is None:
        return by_record(record.needed(), meant)
    lefts = [one.left for one in connections]
    found: dict[str, Any] = {}
    unread: dict[str, str] = {}
    parts: Mapping[str, Callable[[], object]] = {
        "charon": charon.observe,
        "kernel": kernel.observe,
        "certificate": certificate.in_use,
        "absent": lambda: addresses.absent(lefts),
    }
    for part, read in parts.items():
        try:
            found[part] = read()
        except HostIPsecError as error:
            unread[part] = str(error)
    holds, wrong = holdfile.found()
    now = datetime.now(timezone.utc)
    unread.update({looks.HOLD: wrong} if wrong else {})
    seen = Look(tuple(connections), now, **found, holds=holds, unread=unread, mtu=mtu, warn_days=warn_days)
    seen = seen._replace(barred=tuple(barred), resting=tuple(resting), unrouted=reach.unrouted(_idle(seen)))
    meant = present.meant() if meant is None else meant
    return seen._replace(meant=meant._replace(kept=present.kept()))


def _idle(seen: Look) -> tuple[Connection, ...]:
    """Return what carries nothing and could: for the others nobody has to ask the kernel for a way."""
    if seen.charon is None:
        return ()
    up = {sa.name for sa in seen.charon.ike_sas if sa.children}
    waits = {*seen.charon.routed} - {sa.name for sa in seen.charon.ike_sas}  # traps that no packet has met
    return tuple(one for one in seen.free if one.name not in up | waits and one.stage in repair.STARTED)
