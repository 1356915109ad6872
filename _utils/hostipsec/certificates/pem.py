"""PEM files of certificates, CRLs and keys: what is in them, what is wrong with them, what to copy.

Of each PEM file strongSwan reads the first block and no more (pem_builder.c, ``pem_to_bin``): what stands
before a key or certificate is left out of the copy.

Nothing of a private key is ever part of a text: keys travel as ``Secret``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ..errors import HostIPsecError
from ..system import files
from . import x509facts
from .facts import MISSING, KeyFacts

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----[^\n]*\n?", re.DOTALL)
_SHARED = re.compile(r"hostipsec-[0-9a-f]{8}\.pem\Z")
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE")


def is_shared(name: str) -> bool:
    """Say whether a file of that name is our copy of a CA or a CRL."""
    return _SHARED.match(name) is not None


class Secret:
    """Bytes that no representation, copy of fields or pickle shows."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def reveal(self) -> bytes:
        """Return the bytes, to write them to a file."""
        return self._content

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not serialized")


@dataclass(frozen=True)
class CertificateFile:
    """The certificates of a file, in their order. ``fault`` says why there are none."""

    certificates: tuple[x509.Certificate, ...] = ()
    fault: str = ""
    pem: bytes = field(default=b"", repr=False)  # to copy

    @property
    def first(self) -> Optional[x509.Certificate]:
        """Return the first one: in the file of a host's certificate, its own."""
        return self.certificates[0] if self.certificates else None


@dataclass(frozen=True)
class CrlFile:
    """The CRLs of a file, in their order. ``fault`` says why there are none."""

    crls: tuple[x509.CertificateRevocationList, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class KeyFile:
    """The private key of a file. ``fault`` says why nothing is known of it."""

    key: Optional[KeyFacts] = None
    fault: str = ""
    pem: Optional[Secret] = field(default=None, repr=False)  # to copy; None for an encrypted key


def read_certificates(path: str) -> CertificateFile:
    """Return the certificates of a file."""
    content, fault = _read(path)
    if fault:
        return CertificateFile(fault=fault)
    blocks = [match for match in _BLOCK.finditer(content) if match[1] in _CERTIFICATE_LABELS]
    if not blocks:
        return CertificateFile(fault="holds no certificate in PEM ('-----BEGIN CERTIFICATE-----')")
    pem = b"".join(match[0].rstrip() + b"\n" for match in blocks)
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
        for certificate in certificates:
            x509facts.certificate_facts(certificate)
    except x509facts.UNPARSED:
        return CertificateFile(fault="holds a certificate that cannot be parsed")
    # the copy can be read by every user: no key that may stand in the same file
    alone = content.count(b"-----BEGIN ") == len(blocks)
    return CertificateFile(certificates, pem=content if alone else pem)


def read_crls(path: str) -> CrlFile:
    """Return the CRLs of a file."""
    content, fault = _read(path)
    if fault:
        return CrlFile(fault=fault)
    blocks = [match[0] for match in _BLOCK.finditer(content) if match[1] == b"X509 CRL"]
    if not blocks:
        return CrlFile(fault="holds no list in PEM ('-----BEGIN X509 CRL-----')")
    try:
        return CrlFile(tuple(x509.load_pem_x509_crl(block) for block in blocks))
    except x509facts.UNPARSED:
        return CrlFile(fault="holds a list that cannot be parsed")


def read_key(path: str, certificate: Optional[x509.Certificate]) -> KeyFile:
    """Return the private key of a file, and whether a certificate is for it."""
    content, fault = _read(path)
    if fault:
        return KeyFile(fault=fault)
    blocks = list(_BLOCK.finditer(content))
    block = next((match for match in blocks if match[1].endswith(b"PRIVATE KEY")), None)
    if block is None:
        return KeyFile(fault="holds no private key in PEM ('-----BEGIN PRIVATE KEY-----' or the like)")
    mode = Path(path).stat().st_mode & 0o7777
    if block[1].startswith(b"ENCRYPTED") or b"ENCRYPTED" in block[0].partition(b"\n\n")[0]:
        return KeyFile(KeyFacts(mode=mode, encrypted=True))
    try:
        key: Any = serialization.load_pem_private_key(block[0], password=None)
        fits = certificate is not None and x509facts.public_key(key) == x509facts.public_key(certificate)
    except x509facts.UNPARSED:
        # the library's own words are not repeated: they could quote what it read
        return KeyFile(fault="holds a private key that cannot be parsed")
    name, bits = x509facts.key_type(key)
    pem = content if block is blocks[0] else block[0]
    return KeyFile(KeyFacts(name, bits, mode, fits=fits), pem=Secret(pem))


def _read(path: str) -> tuple[bytes, str]:
    """Return the content of a file, and what is wrong with it."""
    try:
        content = files.read(path)
    except HostIPsecError as error:
        return b"", str(error).partition(": ")[2]
    return (b"", MISSING) if content is None else (content, "")
