"""The few bits of DER that the library does not show: the parts of a name as they are encoded. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SEQUENCE, OID, VERSION = 0x30, 0x06, 0xA0
_FIELDS = 6
_LONG, _MOST_OCTETS = 0x80, 4  # of a length


class Part(NamedTuple):
    """One attribute of a name: its object identifier, the tag of its string, and the bytes of that."""

    oid: str
    tag: int
    value: bytes


class Certificate(NamedTuple):
    """What stands in a certificate: its number, the parts of both names, and its public key."""

    serial: int
    issuer: tuple[Part, ...]
    subject: tuple[Part, ...]
    public_key: bytes


def certificate(tbs_certificate: bytes) -> Certificate:
    """Read the part of a certificate that is signed. Raises ValueError for what is none."""
    ((_, content),) = _items(tbs_certificate)
    fields = [item for item in _items(content) if item[0] != VERSION]
    if len(fields) < _FIELDS:
        raise ValueError("fields are missing")
    (_, serial), _algorithm, (_, issuer), _validity, (_, subject), (tag, key) = fields[:_FIELDS]
    return Certificate(int.from_bytes(serial, "big"), _name(issuer), _name(subject), _item(tag, key))


def name(encoded: bytes) -> tuple[Part, ...]:
    """Return the parts of a name. Raises ValueError for no DER."""
    ((_, content),) = _items(encoded)
    return _name(content)


def _name(content: bytes) -> tuple[Part, ...]:
    return tuple(_part(attribute) for _, rdn in _items(content) for _, attribute in _items(rdn))


def _part(attribute: bytes) -> Part:
    (_, oid), (tag, value) = _items(attribute)
    return Part(_dotted(oid), tag, value)


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each item. Raises ValueError where they do not fill what holds them."""
    at = 0
    while at < len(content):
        start, length = _length(content, at + 1)
        if start + length > len(content):
            raise ValueError("an item is longer than what holds it")
        yield content[at], content[start : start + length]
        at = start + length


def _length(content: bytes, at: int) -> tuple[int, int]:
    """Return where the content of an item begins, and its length."""
    first = content[at] if at < len(content) else _LONG
    if first < _LONG:
        return at + 1, first
    octets = content[at + 1 : at + 1 + first - _LONG]
    if not 0 < len(octets) <= _MOST_OCTETS or len(octets) != first - _LONG:
        raise ValueError("a length cannot be read")
    return at + 1 + len(octets), int.from_bytes(octets, "big")


def _item(tag: int, content: bytes) -> bytes:
    """Return an item of tag and content."""
    length = len(content).to_bytes(_MOST_OCTETS, "big").lstrip(b"\0")
    short = len(content) < _LONG
    return bytes((tag, len(content) if short else _LONG + len(length))) + (b"" if short else length) + content


def _dotted(oid: bytes) -> str:
    numbers, number = [], 0
    for octet in oid:
        number = number << 7 | octet & 0x7F
        if octet < _LONG:
            numbers.append(number)
            number = 0
    if not numbers:
        raise ValueError("an object identifier is empty")
    first = min(numbers[0] // 40, 2)
    return ".".join(str(one) for one in (first, numbers[0] - 40 * first, *numbers[1:]))
