"""Certificate authorities and host certificates for tests, made when they are needed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.name import _ASN1Type

from hostipsec.certificates.source import SourcePaths

KEYS = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ECDSA": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
ATTRIBUTES = {
    "CN": x509.NameOID.COMMON_NAME,
    "O": x509.NameOID.ORGANIZATION_NAME,
    "OU": x509.NameOID.ORGANIZATIONAL_UNIT_NAME,
}
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL  # RSA and ECDSA only


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key: of a CA or of a host."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(PEM)

    def key_pem(self, passphrase: bytes = b"", form: serialization.PrivateFormat = PKCS8) -> bytes:
        """The private key, encrypted where there is a passphrase."""
        encryption: Any = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(PEM, form, encryption)


def name(text: str) -> x509.Name:
    """Return the name of ``CN=cp1.example, O=Fleet``, its parts in this order; an empty one of no text."""
    parts = (part.strip().partition("=") for part in text.split(",") if part)
    return x509.Name([x509.NameAttribute(ATTRIBUTES[attribute], value) for attribute, _, value in parts])


def odd(text: str) -> x509.Name:
    """Return a name of which a value may be anything: ``CN=a/b=c O=d``; only ``, O=`` begins another part."""
    first, _, second = text.partition(", O=")
    more = [x509.NameAttribute(ATTRIBUTES["O"], second)] if second else []
    return x509.Name([x509.NameAttribute(ATTRIBUTES["CN"], first.partition("=")[2]), *more])


def authority(
    subject: str, now: datetime, kind: str = "ECDSA", issuer: Issued | None = None, **dates
) -> Issued:
    """Return a CA, self-signed where it has no issuer."""
    return _certificate(subject, now, kind, issuer, is_ca=True, **dates)


def host(subject: str, now: datetime, issuer: Issued, kind: str = "ECDSA", **dates) -> Issued:
    """Return a host's certificate; valid from ten days ago for 365 more, or ``since`` and ``until``."""
    return _certificate(subject, now, kind, issuer, is_ca=False, **dates)


def _certificate(
    subject: str,
    now: datetime,
    kind: str,
    issuer: Issued | None,
    is_ca: bool,
    since: timedelta = timedelta(days=-10),
    until: timedelta = timedelta(days=365),
    key: Any = None,
    named: x509.Name | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    digest: hashes.HashAlgorithm | None = None,
    **signing: Any,
) -> Issued:
    subject_name = name(subject) if named is None else named
    key = key or KEYS[kind]()
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer.certificate.subject if issuer else subject_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    plain = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signer, digest or plain, **signing), key)


def of_old(signed: bytes, signer: rsa.RSAPrivateKey, used: Any = None) -> bytes:
    """Return the DER of a certificate or CRL with a signature that the library makes no more."""
    used = used or hashes.SHA1()
    new = {"sha1": b"\x05", "md5": b"\x04"}[used.name]
    prefix = bytes.fromhex("2a864886f70d0101")  # PKCS #1; 11 is SHA-256 with RSA
    changed = signed.replace(prefix + b"\x0b", prefix + new)
    length = signer.key_size // 8
    start, size = first_item(changed)
    signature = signer.sign(changed[start : start + size], padding.PKCS1v15(), used)
    return changed[:-length] + signature


def first_item(der: bytes) -> tuple[int, int]:
    """Return start and length of the first item of a sequence: what is signed."""
    start = _header(der)
    return start, _header(der[start:]) + _length(der[start:])


def _header(der: bytes) -> int:
    return 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)


def _length(der: bytes) -> int:
    return int.from_bytes(der[2 : _header(der)], "big") if der[1] & 0x80 else der[1]


# the curve secp256r1 by its parameters (SEC 2, 2.4.2), where its name would stand
_NAMED = bytes.fromhex("06082a8648ce3d030107")
_PRIME = bytes.fromhex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff")
_B = bytes.fromhex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b")
_BASE = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_ORDER = bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04


def item(tag: int, *parts: bytes) -> bytes:
    """Return an item of DER."""
    content = b"".join(parts)
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (size if len(content) < 128 else bytes([0x80 | len(size)]) + size) + content


def spelt_out_curve() -> bytes:
    """Return the parameters of secp256r1."""
    field = item(_SEQUENCE, bytes.fromhex("06072a8648ce3d0101"), item(_INTEGER, b"\0" + _PRIME))
    a = (int.from_bytes(_PRIME, "big") - 3).to_bytes(32, "big")
    curve = item(_SEQUENCE, item(_OCTETS, a), item(_OCTETS, _B))
    numbers = item(_INTEGER, b"\0" + _ORDER), item(_INTEGER, b"\1")
    return item(_SEQUENCE, item(_INTEGER, b"\1"), field, curve, item(_OCTETS, _BASE), *numbers)


def spelt_out_key(issued: Issued, curve: bytes = b"") -> bytes:
    """Return the key of a host on secp256r1 with the parameters of the curve, or others, in its old form."""
    der = issued.key.private_bytes(serialization.Encoding.DER, TRADITIONAL, serialization.NoEncryption())
    content = der[_header(der) :].replace(item(0xA0, _NAMED), item(0xA0, curve or spelt_out_curve()))
    return armour(b"EC PRIVATE KEY", item(_SEQUENCE, content))


def spelt_out(issued: Issued, signer: rsa.RSAPrivateKey) -> bytes:
    """Return the certificate of such a host with the parameters of the curve, signed anew."""
    der, public = issued.certificate.public_bytes(serialization.Encoding.DER), issued.key.public_key()
    plain = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    algorithm = item(_SEQUENCE, bytes.fromhex("06072a8648ce3d0201"), spelt_out_curve())
    point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    changed = item(_SEQUENCE, algorithm, item(0x03, b"\0", point))
    start, size = first_item(der)
    body = der[start : start + size]
    body = item(_SEQUENCE, body[_header(body) :].replace(plain, changed))
    signature = signer.sign(body, padding.PKCS1v15(), hashes.SHA256())
    rest = der[start + size : -len(signature)]
    return armour(b"CERTIFICATE", item(_SEQUENCE, body, rest, signature))


def armour(label: bytes, der: bytes) -> bytes:
    """Return a PEM block."""
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, base64.encodebytes(der), label)


def typed(text: str, **types: Any) -> x509.Name:
    """Return a name of ``CN=a, O=b`` whose parts are strings of these types: ``CN=_ASN1Type.BMPString``."""
    parts = [part.strip().partition("=") for part in text.split(",")]
    attributes = [
        x509.NameAttribute(ATTRIBUTES[key], value, _type=types.get(key, _ASN1Type.UTF8String))
        for key, _, value in parts
    ]
    return x509.Name(attributes)


def crl(
    issuer: Issued,
    now: datetime,
    *revoked: x509.Certificate,
    days: int = 7,
    key_id: bool = True,
    number: int | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """Return a CA's list, made now and due again some days later, in PEM."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(now + timedelta(days=days))
    )
    if key_id:
        mine = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())
        builder = builder.add_extension(mine, critical=False)
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    plain = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer.key, digest or plain).public_bytes(PEM)


def write(directory: Path, certificate: bytes, key: bytes, ca: bytes, key_mode: int = 0o600) -> SourcePaths:
    """Write a host's files as its CA's tool would leave them; returns where they are."""
    paths = {"host.pem": certificate, "host.key": key, "ca.pem": ca}
    directory.mkdir(parents=True, exist_ok=True)
    for file_name, content in paths.items():
        (directory / file_name).write_bytes(content)
    (directory / "host.key").chmod(key_mode)
    return SourcePaths(*(str(directory / file_name) for file_name in paths))
