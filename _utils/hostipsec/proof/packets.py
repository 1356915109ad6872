"""Packets as bytes: echo requests and replies, what a captured packet is, and the filter for a capture."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import NamedTuple, Optional

from ..model import Address

ICMP, TCP, UDP, ESP, ICMP6 = 1, 6, 17, 50, 58
ECHO_REQUEST = {4: 8, 6: 128}  # by IP version: RFC 792 and RFC 4443
ECHO_REPLY = {4: 0, 6: 129}
IKE_PORT, IKE_NATT_PORT = 500, 4500
_NEIGHBOUR_DISCOVERY = range(133, 138)  # RFC 4861; never leaves the link
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options: next header, length in 8 bytes less 1
_FRAGMENT = 44


# Echo ----------------------------------------------------------------------------------------


class Echo(NamedTuple):
    """An echo reply."""

    identifier: int
    sequence: int
    payload: bytes


def echo_request(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """Return an ICMP echo request; the kernel fills in the checksum of ICMPv6."""
    head = struct.pack("!BBHHH", ECHO_REQUEST[version], 0, 0, identifier, sequence)
    if version == 6:
        return head + payload
    return head[:2] + struct.pack("!H", checksum(head + payload)) + head[4:] + payload


def echo_reply(version: int, data: bytes) -> Optional[Echo]:
    """Return the echo reply that a raw socket gave; None for what is none.

    A raw socket of IPv4 gives the IP header as well, one of IPv6 does not.
    """
    message = data[(data[0] & 15) * 4 :] if version == 4 and data else data
    if len(message) < 8 or message[0] != ECHO_REPLY[version]:
        return None
    identifier, sequence = struct.unpack_from("!HH", message, 4)
    return Echo(identifier, sequence, message[8:])


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# What a captured packet is ---------------------------------------------------------------------


class Packet(NamedTuple):
    """A packet that left. Kinds: ``esp``, ``ike``, ``discovery`` (of neighbours), ``fragment``, ``clear``."""

    kind: str
    destination: Address
    spi: str = ""  # eight hexadecimal digits, of ESP where the packet has it
    echo: bytes = b""  # identifier and payload of an echo request in the clear
    ports: tuple[str, ...] = ()  # of both ends, of TCP and UDP in the clear: tcp/22; or icmp


def parse(data: bytes) -> Optional[Packet]:
    """Return what a packet is, from its IP header on; None for what is neither IPv4 nor IPv6.

    A later fragment says nothing of what it carries, unless it is ESP by its protocol number.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        later = struct.unpack_from("!H", data, 6)[0] & 0x1FFF
        return _packet(data[9], data[(data[0] & 15) * 4 :], bool(later), ipaddress.IPv4Address(data[16:20]))
    if version == 6 and len(data) >= 40:
        protocol, start, later = _past_extensions(data)
        return _packet(protocol, data[start:], later, ipaddress.IPv6Address(data[24:40]))
    return None


def _past_extensions(data: bytes) -> tuple[int, int, bool]:
    """Return protocol and start of what IPv6 carries, and whether it is a later fragment (RFC 8200)."""
    protocol, start, later = data[6], 40, False
    while protocol in (*_EXTENSIONS, _FRAGMENT) and len(data) >= start + 8:
        length = 8 if protocol == _FRAGMENT else (data[start + 1] + 1) * 8
        later = later or (protocol == _FRAGMENT and struct.unpack_from("!H", data, start + 2)[0] >= 8)
        protocol, start = data[start], start + length
    return protocol, start, later


def _packet(protocol: int, body: bytes, later: bool, destination: Address) -> Packet:
    if later:
        return Packet("esp" if protocol == ESP else "fragment", destination)
    if protocol == ESP:
        return Packet("esp", destination, body[:4].hex())
    if protocol == UDP and len(body) >= 8:
        return _udp(body, destination)
    if protocol == ICMP6 and body and body[0] in _NEIGHBOUR_DISCOVERY:
        return Packet("discovery", destination)
    requests = (ICMP, ECHO_REQUEST[4]), (ICMP6, ECHO_REQUEST[6])
    if len(body) >= 8 and (protocol, body[0]) in requests:
        return Packet("clear", destination, echo=body[4:6] + body[8:], ports=("icmp",))
    if protocol in (ICMP, ICMP6):
        return Packet("clear", destination, ports=("icmp",))
    return Packet("clear", destination, ports=_ports("tcp", body) if protocol == TCP else ())


def _ports(protocol: str, body: bytes) -> tuple[str, ...]:
    ports = struct.unpack_from("!HH", body) if len(body) >= 4 else ()
    return tuple(f"{protocol}/{port}" for port in ports)


def _udp(body: bytes, destination: Address) -> Packet:
    """Tell IKE and ESP in UDP (RFC 3948: no SPI is zero; a single 0xff keeps a NAT alive) from the rest."""
    ports, data = struct.unpack_from("!HH", body), body[8:]
    if IKE_PORT in ports:
        return Packet("ike", destination)
    if IKE_NATT_PORT in ports:
        marked = data[:4] == b"\0\0\0\0" or data == b"\xff"
        return Packet("ike", destination) if marked else Packet("esp", destination, data[:4].hex())
    return Packet("clear", destination, ports=_ports("udp", body))


# Filter --------------------------------------------------------------------------------------

# linux/filter.h and linux/bpf_common.h: the classic filter of sockets
_LOAD_WORD, _JUMP, _EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x06
_AD = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows of a packet beside its bytes
_AD_PROTOCOL, _AD_KIND = _AD + 0, _AD + 4
_OUTGOING = 4  # PACKET_OUTGOING
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_DESTINATION = {4: 16, 6: 24}  # offset in the IP header
SNAPLEN = 256  # bytes kept: headers, SPI, and the token of our own echo requests

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def outgoing_filter(destinations: Sequence[Address], keep: int = SNAPLEN) -> tuple[Instruction, ...]:
    """Return a filter for packets that leave, to one of these addresses; ``keep`` bytes of each.

    For a socket that gives packets from their IP header on (``SOCK_DGRAM``).
    """
    program: list[Instruction] = [
        (_LOAD_WORD, 0, 0, _AD_KIND),
        (_EQUAL, 1, 0, _OUTGOING),
        (_RETURN, 0, 0, 0),
    ]
    for version in (4, 6):
        program += _of_version(version, [one for one in destinations if one.version == version], keep)
    return (*program, (_RETURN, 0, 0, 0))


def _of_version(version: int, destinations: Sequence[Address], keep: int) -> list[Instruction]:
    """Return the part for one IP version; jumps over it are long, so they end in a return of their own."""
    found = [one for address in destinations for one in _match(version, address, keep)]
    if not found:
        return []
    skip: list[Instruction] = [(_LOAD_WORD, 0, 0, _AD_PROTOCOL), (_EQUAL, 1, 0, _ETHERTYPE[version])]
    return [*skip, (_JUMP, 0, 0, len(found)), *found]


def _match(version: int, address: Address, keep: int) -> list[Instruction]:
    """Compare the destination word by word; where one differs, go on behind the return."""
    words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
    program: list[Instruction] = []
    for index, word in enumerate(words):
        behind = 2 * (len(words) - index - 1) + 1
        program += [
            (_LOAD_WORD, 0, 0, _DESTINATION[version] + 4 * index),
            (_EQUAL, 0, behind, word),
        ]
    return [*program, (_RETURN, 0, 0, keep)]


def assembled(program: Sequence[Instruction]) -> bytes:
    """Return a filter as the kernel takes it: an array of ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", *one) for one in program)
