"""The certificate that this host runs with, as ipsec.conf names it, and until when it is valid.

Read without a library: ``ipsec-global`` runs with the system's Python, which may have none, and has no time
to load one.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Optional

from ..errors import HostIPsecError
from ..model import CertificateInUse
from ..system import backend, files
from . import present

_BLOCK = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----(.*?)-----END ", re.DOTALL)
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION = 0xA0  # of a certificate that tells its version: all of today do
_PIVOT = 50  # years of two digits from here on are of the last century (RFC 5280)


def in_use() -> Optional[CertificateInUse]:
    """Return the certificate that files of ours name; None where they name none.

    Raises HostIPsecError where there is one that cannot be read.
    """
    name = present.certificate()
    if not name:
        return None
    path = backend.places().certs / name
    content = files.read(path)
    if content is None:
        raise HostIPsecError(f"{path}: is named in {present.conf().name}, and is not there")
    ends = end(content)
    if ends is None:
        raise HostIPsecError(f"{path}: holds no certificate that can be read")
    return CertificateInUse(name, ends)


def on_disk(name: str) -> bytes:
    """Return the certificate of that file as DER; empty where it cannot be read."""
    try:
        block = _BLOCK.search(files.read(backend.places().certs / name) or b"")
        return binascii.a2b_base64(block[1]) if block else b""
    except (HostIPsecError, ValueError):
        return b""


def end(pem: bytes) -> Optional[datetime]:
    """Return when the first certificate of a PEM file expires; None where there is none that can be read."""
    block = _BLOCK.search(pem)
    try:
        return _not_after(binascii.a2b_base64(block[1])) if block else None
    except (ValueError, LookupError):
        return None


def _not_after(der: bytes) -> datetime:
    """Return the end of a certificate (RFC 5280, 4.1): the sixth of what is signed, or the fifth, has it."""
    ((_, certificate),) = _elements(der)
    (_, signed), *_ = _elements(certificate)
    found = [element for element in _elements(signed) if element[0] != _VERSION]
    _, validity = found[3]  # after serial number, algorithm and issuer
    _, (tag, text) = _elements(validity)
    return _time(tag, text.decode("ascii"))


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of DER, one after the other."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length >= 0x80:
            size = length - 0x80
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise ValueError("an element is longer than what it is in")
        yield tag, der[at : at + length]
        at += length


def _time(tag: int, text: str) -> datetime:
    """Return a time of DER: always UTC, with seconds, and ``Z`` at its end."""
    if tag == _UTC_TIME:
        text = f"{19 if int(text[:2]) >= _PIVOT else 20}{text}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"no time has tag {tag:#x}")
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=timezone.utc)
