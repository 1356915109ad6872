"""PEM files of certificates, CRLs and keys: what is in them, what is wrong with them, what to copy.

What is copied is written anew from what was parsed. strongSwan reads the first block of a file and no more
(pem_builder.c, ``pem_to_bin``), and is stricter than others: it loads nothing of a file with a byte order
mark, with a block on one line or with an indented one.

Nothing of a private key is ever part of a text: keys travel as ``Secret``.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ..errors import HostIPsecError
from ..system import files
from . import x509facts
from .facts import MISSING, KeyFacts

MOST_CERTIFICATES = 256  # in a file; the bundle of a system has some 150
MOST_ALIKE = 8  # of one name: each is looked at as the issuer of all that name it
LARGEST, LARGEST_CRL = 1 << 20, 1 << 26  # bytes of a file
NO_LIST = "holds no list in PEM ('-----BEGIN X509 CRL-----')"
_SAID = 200  # characters of what the library says
_MARK = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----")
_SHARED = re.compile(r"hostipsec-[0-9a-f]{8}\.pem\Z")
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE")
_TRADITIONAL = (b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_Parsed = TypeVar("_Parsed")


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
    """The certificates of a file, in their order. ``fault`` says why there are none.

    ``skipped`` says which of the others cannot be used, and why.
    """

    certificates: tuple[x509.Certificate, ...] = ()
    fault: str = ""
    pem: bytes = field(default=b"", repr=False)  # to copy
    skipped: tuple[str, ...] = ()

    @property
    def first(self) -> Optional[x509.Certificate]:
        """Return the first one: in the file of a host's certificate, its own."""
        return self.certificates[0] if self.certificates else None


@dataclass(frozen=True)
class CrlFile:
    """The CRLs of a file, in their order. ``fault`` says why there are none; ``skipped`` what is no list."""

    crls: tuple[x509.CertificateRevocationList, ...] = ()
    fault: str = ""
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyFile:
    """The private key of a file. ``fault`` says why nothing is known of it."""

    key: Optional[KeyFacts] = None
    fault: str = ""
    pem: Optional[Secret] = field(default=None, repr=False)  # to copy; None for an encrypted key


# Certificates and CRLs -----------------------------------------------------------------------


def read_certificates(path: str, own: bool = False) -> CertificateFile:
    """Return the certificates of a file; in that of a host's ``own`` the first one has to be right."""
    content, fault = _read(path, LARGEST)
    if fault:
        return CertificateFile(fault=fault)
    blocks = [block for block in _blocks(content) if block.label in _CERTIFICATE_LABELS]
    if not blocks:
        return CertificateFile(fault="holds no certificate in PEM ('-----BEGIN CERTIFICATE-----')")
    if len(blocks) > MOST_CERTIFICATES:
        return CertificateFile(fault=f"holds {len(blocks)} certificates, more than {MOST_CERTIFICATES}")
    found, wrong = _parsed(blocks, _certificate)
    if not found or (own and 0 in wrong):
        return CertificateFile(fault=f"holds a certificate that cannot be parsed: {wrong[0]}")
    certificates = tuple(found.values())
    alike = max(Counter(one.subject for one in certificates).values())
    if alike > MOST_ALIKE:
        return CertificateFile(fault=f"holds {alike} certificates of one name, more than {MOST_ALIKE}")
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    return CertificateFile(certificates, pem=pem, skipped=_skipped("certificate", wrong))


def read_crls(path: str) -> CrlFile:
    """Return the CRLs of a file."""
    content, fault = _read(path, LARGEST_CRL)
    if fault:
        return CrlFile(fault=fault)
    blocks = [block for block in _blocks(content) if block.label == b"X509 CRL"]
    if not blocks:
        return CrlFile(fault=NO_LIST)
    found, wrong = _parsed(blocks, _crl)
    if not found:
        return CrlFile(fault=f"holds a list that cannot be parsed: {wrong[0]}")
    return CrlFile(tuple(found.values()), skipped=_skipped("list", wrong))


def _certificate(der: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(der)
    x509facts.certificate_facts(certificate)  # the library parses what it is asked for
    return certificate


def _crl(der: bytes) -> x509.CertificateRevocationList:
    crl = x509.load_der_x509_crl(der)
    x509facts.crl_facts(crl, (), None)
    return crl


def _parsed(
    blocks: list[_Block], parse: Callable[[bytes], _Parsed]
) -> tuple[dict[int, _Parsed], dict[int, str]]:
    """Return what each block holds, and of those that cannot be parsed the reason; both by position."""
    found, wrong = {}, {}
    for number, block in enumerate(blocks):
        try:
            found[number] = parse(block.der())
        except x509facts.UNPARSED as error:
            wrong[number] = _said(error)
    return found, wrong


def _skipped(what: str, wrong: dict[int, str]) -> tuple[str, ...]:
    return tuple(f"{what} number {number + 1} of it cannot be parsed: {why}" for number, why in wrong.items())


def _said(error: Exception) -> str:
    """Return on one line what the library says."""
    return " ".join(str(error).split())[:_SAID] or type(error).__name__


# Keys ----------------------------------------------------------------------------------------


def read_key(path: str, certificate: Optional[x509.Certificate]) -> KeyFile:
    """Return the private key of a file, and whether a certificate is for it."""
    content, fault = _read(path, LARGEST)
    if fault:
        return KeyFile(fault=fault)
    block = next((block for block in _blocks(content) if block.label.endswith(b"PRIVATE KEY")), None)
    if block is None:
        return KeyFile(fault="holds no private key in PEM ('-----BEGIN PRIVATE KEY-----' or the like)")
    mode = os.stat(path).st_mode & 0o7777  # noqa: PTH116 - a path of any bytes
    if block.encrypted:
        return KeyFile(KeyFacts(mode=mode, encrypted=True))
    try:
        key: Any = serialization.load_der_private_key(block.der(), password=None)
        pem = _encoded(key, block.label)
        name, bits = x509facts.key_type(key)
        fits = certificate is not None and x509facts.is_for(certificate, key)
    except x509facts.UNPARSED as error:
        return KeyFile(fault=f"holds a private key that cannot be parsed{_hinted(error)}")
    return KeyFile(KeyFacts(name, bits, mode, fits=fits), pem=Secret(pem))


def _encoded(key: Any, label: bytes) -> bytes:
    """Return a key in PEM: in the form that it was in, so that a copy of before stays as it is."""
    form = serialization.PrivateFormat.PKCS8
    if label in _TRADITIONAL and x509facts.key_type(key)[0] in ("RSA", "ECDSA"):
        form = serialization.PrivateFormat.TraditionalOpenSSL
    encoded: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return encoded


def _hinted(error: Exception) -> str:
    """Say why a key cannot be read, not in the library's own words: they could quote what it read."""
    if isinstance(error, binascii.Error):
        return ": it is no base64"
    if "explicit parameters" in str(error):
        return ": its curve is spelt out (explicit parameters) where a name is needed"
    if isinstance(error, UnsupportedAlgorithm):
        return ": it is of a kind, or on a curve, that is not supported"
    return ": it is cut off or damaged, or of a kind that is not supported"


# Blocks --------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """What stands between ``BEGIN`` and ``END``."""

    label: bytes
    content: bytes

    @property
    def encrypted(self) -> bool:
        return self.label.startswith(b"ENCRYPTED") or b"ENCRYPTED" in self._parts[0]

    @property
    def _parts(self) -> tuple[bytes, bytes]:
        """Return the lines of headers ("Proc-Type: ..."), and those of base64."""
        lines = self.content.strip().splitlines()
        last = max((number for number, line in enumerate(lines, 1) if b":" in line), default=0)
        return b"\n".join(lines[:last]), b"".join(b"".join(lines[last:]).split())

    def der(self) -> bytes:
        """Return what is encoded. Raises ValueError for what is no base64."""
        return base64.b64decode(self._parts[1], validate=True)


def _blocks(content: bytes) -> Iterator[_Block]:
    """Yield the blocks of a file, in one pass, whatever stands around them and however lines are laid out."""
    if content.startswith(_WIDE):
        content = content.decode("utf-16", "replace").encode("ascii", "replace")
    label, start = None, 0
    for mark in _MARK.finditer(content):
        if mark[1] == b"BEGIN":
            label, start = mark[2], mark.end()
        elif mark[2] == label:
            yield _Block(label, content[start : mark.start()])
            label = None


def _read(path: str, largest: int) -> tuple[bytes, str]:
    """Return the content of a file, and what is wrong with it."""
    try:
        content = files.read(path, largest)
    except HostIPsecError as error:
        return b"", str(error).removeprefix(f"{path}: ")
    return (b"", MISSING) if content is None else (content, "")
