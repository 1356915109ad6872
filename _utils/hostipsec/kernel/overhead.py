"""What ESP costs on a line, and the largest packet that still fits.

A packet with ESP is: outer IP header, UDP header where ESP goes in UDP (RFC 3948), SPI and sequence
number, IV, payload, padding, padding's length and next header, check value. The payload is what the
IP header carried in transport mode, and the whole packet in tunnel mode. From the payload to next header the
length is a multiple of the cipher's block, of 4 at least (RFC 4303, 2.4); sequence numbers of 64 bits
are sent as 32 (2.2.1). Linux computes the same in xfrm_state_mtu.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Optional

from .. import plane
from ..errors import HostIPsecError
from ..model import FAMILIES, Settings
from ..strongswan import proposals, sections

MODES = ("transport", "tunnel")
MTU_DEFAULT = 1500  # Ethernet's
MTU_CHARON = 1400  # of the device of charon's own ESP (kernel_libipsec_plugin.c TUN_DEFAULT_MTU)
MTU_MAXIMUM = 65535  # what the length field of an IP header can say
MTU_MINIMUM: Mapping[str, int] = {"v4": 576, "v6": 1280}  # RFC 791 and RFC 8200: what every host takes

IP_HEADER: Mapping[str, int] = {"v4": 20, "v6": 40}
UDP_HEADER = 8
ICMP_HEADER = 8
TCP_HEADER = 20
ESP_HEADER = 8  # SPI and sequence number
ESP_TRAILER = 2  # padding's length and next header


@dataclass(frozen=True)
class Encapsulation:
    """How ESP wraps a packet: mode, families of both headers, in UDP or not, and what the cipher adds."""

    mode: str  # transport or tunnel
    inner: str  # v4 or v6
    outer: str
    udp: bool
    geometry: proposals.Geometry

    @property
    def fixed(self) -> int:
        """Return the bytes on the wire that do not depend on the packet, without trailer and padding."""
        udp = UDP_HEADER if self.udp else 0
        return IP_HEADER[self.outer] + udp + ESP_HEADER + self.geometry.iv + self.geometry.icv

    @property
    def kept(self) -> int:
        """Return the bytes of the inner packet that are sent as its own header, ahead of ESP."""
        return IP_HEADER[self.inner] if self.mode == "transport" else 0

    def wire(self, packet: int) -> int:
        """Return the length on the wire of an IP packet of that length."""
        filled = packet - self.kept + ESP_TRAILER
        return self.fixed + _up(filled, self.geometry.block)

    def largest(self, mtu: int) -> int:
        """Return the length of the longest IP packet that fits a link without being fragmented."""
        room = (mtu - self.fixed) // self.geometry.block * self.geometry.block
        return room - ESP_TRAILER + self.kept


@dataclass(frozen=True)
class Overhead:
    """What fits a link of ``mtu`` bytes, each as a number of bytes; see :func:`on`."""

    mtu: int
    packet: int  # IP packet before ESP, all headers included
    icmp_payload: int  # ping -M do -s N
    tcp_mss: int  # as a SYN announces it: TCP's options count as data
    udp_payload: int
    wire: int  # what the longest packet has on the wire; padding may leave some bytes of the link free
    overhead: int  # what the longest packet grows by
    overhead_most: int  # what any packet can grow by: with all the padding there may be


def encapsulation(
    esp: str, mode: str = "transport", family: str = "v4", udp: bool = False, inner: Optional[str] = None
) -> Encapsulation:
    """Return how ESP wraps packets, with the first proposal of option ``esp``.

    ``family`` is that of the addresses on the line; ``inner`` another one is for tunnel mode only.
    Raises :class:`~hostipsec.errors.HostIPsecError` where that is no encapsulation.
    """
    within = inner or family
    _one_of("mode", mode, MODES)
    _one_of("family", family, FAMILIES)
    _one_of("inner", within, FAMILIES)
    if mode == "transport" and within != family:
        raise HostIPsecError(
            f"inner={within}: transport mode keeps the packet's own header, that of {family}"
        )
    faults = proposals.faults(esp, "esp")
    if faults:
        raise HostIPsecError("; ".join(f"esp: {fault.found}; allowed: {fault.allowed}" for fault in faults))
    return Encapsulation(mode, within, family, udp, proposals.esp_geometry(esp))


def on(link: Encapsulation, mtu: int, device: int = MTU_MAXIMUM) -> Overhead:
    """Return what fits a link of ``mtu`` bytes; ``device`` is the MTU of what packets pass before ESP.

    Raises :class:`~hostipsec.errors.HostIPsecError` for an MTU that no link of that family has.
    """
    least = MTU_MINIMUM[link.outer]
    if not least <= mtu <= MTU_MAXIMUM:
        raise HostIPsecError(f"mtu={mtu}: a link with IP{link.outer} has {least} to {MTU_MAXIMUM} bytes")
    packet, header = min(link.largest(mtu), device), IP_HEADER[link.inner]
    added = link.fixed - link.kept + ESP_TRAILER
    return Overhead(
        mtu=mtu,
        packet=packet,
        icmp_payload=packet - header - ICMP_HEADER,
        tcp_mss=packet - header - TCP_HEADER,
        udp_payload=packet - header - UDP_HEADER,
        wire=link.wire(packet),
        overhead=link.wire(packet) - packet,
        overhead_most=added + link.geometry.block - 1,
    )


@dataclass(frozen=True)
class Planned:
    """What the settings of a fleet, or an operator, give a pair of one family."""

    mode: str
    esp: str
    family: str
    udp: bool  # ESP goes in UDP
    sizes: Overhead

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values, all on one level."""
        plain = asdict(self)
        return {**plain.pop("sizes"), **plain}


def planned(
    settings: Settings,
    family: str,
    mtu: Optional[object] = None,
    mode: Optional[object] = None,
    esp: Optional[object] = None,
) -> Planned:
    """Return what fits; what is not given comes from the settings: their MTU, or 1500, and their options.

    Raises :class:`~hostipsec.errors.HostIPsecError` for what makes no sense.
    """
    options = sections.common_options(settings)
    by_charon = plane.chosen(settings) == plane.CHARON  # always in UDP, and by way of its own device
    udp = by_charon or options.get("forceencaps") == "yes"
    proposal = options["esp"] if esp is None else str(esp)
    how = options["type"] if mode is None else str(mode)
    link = encapsulation(proposal, how, family, udp)
    size = (settings.mtu or MTU_DEFAULT) if mtu is None else mtu
    if isinstance(size, bool) or not isinstance(size, int):
        raise HostIPsecError(f"mtu={size}: a whole number of bytes is needed")
    sizes = on(link, size, MTU_CHARON if by_charon else MTU_MAXIMUM)
    return Planned(how, proposal, family, udp, sizes)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise HostIPsecError(f"{name}={value}: allowed: {', '.join(allowed)}")


def _up(number: int, step: int) -> int:
    """Return the first multiple of ``step`` at or above a number."""
    return -(-number // step) * step
