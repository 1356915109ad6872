"""While an SA is replaced: packets keep to the old SA until the other end has the new one.

The end that answers IKE sends by a new CHILD SA before the end that asked for it has it, and what arrives
there before its SA is dropped (XfrmInNoStates): the kernel takes the newest SA with a policy's reqid
(``xfrm_state_look_at``). strongSwan waits only where it rekeys an SA: that keeps the configuration of before.
So the end that answers has, for that moment, a policy of ours above charon's whose template names the SPI of
the old SA. It needs an SA, as charon's does: nothing goes in the clear by it. The kernel itself removes it
(``limit time-hard``) where nobody renews it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from .. import owner, plane
from ..model import Charon, ChildSA, Connection

PRIORITY = owner.PIN
LEASE = 5  # seconds that a pin stays without being renewed
RENEW = 1.0  # seconds between two renewals
PATIENCE = 4.0  # seconds after which a new SA counts as taken up at a pair that says nothing
UNCHANGED = 6.0  # seconds after which no new SA comes, since the configuration is that of the old one


@dataclass(frozen=True, order=True)
class Pin:
    """One policy: what this host sends to a peer goes by this SA."""

    name: str
    left: str
    right: str
    spi: str
    reqid: int
    mode: str

    @property
    def selector(self) -> str:
        """Return what identifies the policy, in the words of ``ip xfrm policy``."""
        # The own side is wider than charon's selector by two bits, the guard's by one: the kernel keeps one
        # policy a selector. The other addresses in it are not of this host, so the policy means the same.
        left = ipaddress.ip_address(self.left)
        wide = ipaddress.ip_network(f"{left}/{left.max_prefixlen - 2}", strict=False)
        return f"src {wide} dst {self.right} dir out"

    @property
    def line(self) -> str:
        """Return the line for ``ip -batch`` that adds or renews the policy."""
        template = f"src {self.left} dst {self.right} proto esp spi 0x{self.spi} reqid {self.reqid}"
        return (
            f"xfrm policy update {self.selector} priority {PRIORITY} limit time-hard {LEASE} "
            f"tmpl {template} mode {self.mode}"
        )


def pin(connection: Connection, look: Charon) -> Optional[Pin]:
    """Return the pin to the SA that a connection has now; None where it has none, or more than one."""
    children = _installed(connection, look)
    if plane.observed(look) != plane.KERNEL or len(children) != 1:
        return None
    child = children[0]
    if child.spi_out is None or child.reqid is None or child.protocol != "ESP":
        return None
    ends = (str(connection.left), str(connection.right))
    return Pin(connection.name, *ends, child.spi_out, child.reqid, child.mode.lower())


def _installed(connection: Connection, look: Charon) -> Sequence[ChildSA]:
    """Return the SAs that packets go by; one that is left from another address of the peer carries none."""
    return [child for child in owner.children(connection, look.ike_sas) if child.state == "INSTALLED"]


class Pins:
    """The pins of a host, from the first look to the moment in which each is of no use any more.

    ``set_`` and ``delete`` run lines of ``ip -batch``; what is to be deleted may have gone by itself.
    """

    def __init__(
        self, clock: Callable[[], float], set_: Callable[[str], None], delete: Callable[[str], None]
    ) -> None:
        self.clock, self.set, self.delete = clock, set_, delete
        self.there: dict[str, Pin] = {}  # by connection
        self.connections: dict[str, Connection] = {}
        self.successors: dict[str, float] = {}  # connection -> when it was seen to have a new SA
        self.renewed = 0.0

    def take(self, connections: Iterable[Connection], look: Charon) -> None:
        """Pin what these connections send."""
        self.connections = {one.name: one for one in connections}
        found = (pin(one, look) for one in self.connections.values())
        self.there = {one.name: one for one in found if one is not None}
        self._renew()

    def watch(self, look: Charon, elapsed: float) -> None:
        """Renew the pins, and take away those whose connection goes by a new SA at the other end as well.

        A packet that came in by the new SA shows that. A pin whose own SA is gone, or is being replaced by a
        rekeying, would stop packets: it goes at once. ``elapsed`` are seconds since the other ends began.
        """
        names = [name for name, one in self.there.items() if self._useless(one, look, elapsed)]
        self.release(names)
        if self.clock() - self.renewed >= RENEW:
            self._renew()

    def release(self, names: Iterable[str]) -> None:
        """Take pins away."""
        gone = [self.there.pop(name) for name in list(names)]
        if gone:
            self.delete("".join(f"xfrm policy delete {one.selector}\n" for one in gone))

    def _renew(self) -> None:
        self.renewed = self.clock()
        if self.there:
            self.set("".join(f"{one.line}\n" for one in self.there.values()))

    def _useless(self, one: Pin, look: Charon, elapsed: float) -> bool:
        children = _installed(self.connections[one.name], look)
        newer = [child for child in children if child.spi_out != one.spi]
        if len(newer) == len(children):
            return True
        if not newer:
            return elapsed >= UNCHANGED
        since = self.successors.setdefault(one.name, self.clock())
        return any(child.packets_in for child in newer) or self.clock() - since >= PATIENCE
