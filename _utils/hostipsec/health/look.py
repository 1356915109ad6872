"""One look at a host, and the verdict on it: what every face shows and every program acts on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Optional

from .. import plane as planes
from ..kernel.cleartext import Packets
from ..model import Address, CertificateInUse, Charon, Connection, Kernel, Meant
from ..store import hold
from ..store.hold import Decisions
from ..strongswan import defaults
from . import expiry, judge
from .report import Report

_NOTHING: Mapping[str, str] = MappingProxyType({})
_ALL_THERE: Mapping[Address, str] = MappingProxyType({})
_NONE_CLEAR: Mapping[str, Packets] = MappingProxyType({})
HOLD = (
    "hold"  # key of `unread`: the holds are not known, and those in the look are what ipsec.conf keeps down
)


class Look(NamedTuple):
    """What is to be known of a host, at one moment. None is what is not there, or cannot be read."""

    connections: tuple[Connection, ...]  # what shall run here
    time: datetime
    charon: Optional[Charon] = None
    kernel: Optional[Kernel] = None
    certificate: Optional[CertificateInUse] = None
    holds: Decisions = ()
    dead: tuple[str, ...] = ()  # who is to run here beside charon, and does not: sentences
    unread: Mapping[str, str] = (
        _NOTHING  # "record", "charon", "kernel", "certificate", "absent", HOLD -> why it is not
    )
    mtu: Optional[int] = None  # that routes to peers shall lock
    warn_days: int = defaults.WARN_DAYS  # before the certificate's end
    meant: Meant = Meant()  # what SAs are to be like
    barred: tuple[Connection, ...] = ()  # what is blocked beside the connections
    resting: tuple[
        Connection, ...
    ] = ()  # left out since an end is in maintenance: what is left is no trouble
    absent: Mapping[Address, str] = _ALL_THERE  # addresses of connections that are not here, and why
    host: str = ""  # its name, as its peers call it; this and its place where the record tells
    site: str = ""
    sites: Mapping[str, str] = _NOTHING  # of its peers
    clear_text: bool = False  # whether what goes in the clear with them is to be counted
    clear: Mapping[str, Packets] = _NONE_CLEAR  # what was, by connection; of those that could be read
    unrouted: Mapping[str, str] = _NOTHING  # connections to whose peer the kernel knows no way, and why

    @property
    def plane(self) -> str:
        """Return who does ESP, see :mod:`hostipsec.plane`."""
        return planes.observed(self.charon)

    @property
    def held(self) -> dict[str, str]:
        """Return ``{name: "since ... by ... because ..."}`` of the connections that are held."""
        return hold.reasons(self.holds, self.connections, self.time)

    @property
    def free(self) -> tuple[Connection, ...]:
        """Return the connections that are not held."""
        held = self.held
        return tuple(one for one in self.connections if one.name not in held)

    def without(self, part: str, why: str) -> Look:
        """Return the look where something else could not be read either."""
        return self._replace(unread={part: why, **self.unread}) if why else self

    @property
    def damaged(self) -> bool:
        """Whether the record cannot be read: what is known may not be all."""
        return "record" in self.unread

    @property
    def guarded(self) -> tuple[Connection, ...]:
        """Return what the guard has to do with, without what is held."""
        held = hold.reasons(self.holds, self.barred, self.time)
        return (*self.free, *(one for one in self.barred if one.name not in held))


def judged(look: Look, previous: Optional[Charon] = None) -> Report:
    """Return the verdict; ``previous`` is that of :func:`judge.evaluate`."""
    shown = (look.connections, look.charon, look.kernel, look.held)
    report = judge.evaluate(*shown, look.resting, previous, look.meant, look.absent, look.unrouted)
    certificate = look.certificate and expiry.judge(look.certificate, look.warn_days, look.time)
    warnings = (*look.unread.values(), *look.dead)
    unread = bool({*look.unread} - {"charon"})  # a charon that does not answer is more than a doubt
    doubtful = bool(look.dead) or unread or (look.plane == planes.KERNEL and look.kernel is None)
    told = report._replace(certificate=certificate, warnings=warnings, doubtful=doubtful)
    return told._replace(unsure=look.unread.get(HOLD, ""))
