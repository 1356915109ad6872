"""A host's certificate, key and CAs: read at their source, checked, copied to where charon reads.

charon's AppArmor profile lets it read below /etc/ipsec.d only, so files are copied and never linked.
Of each PEM file strongSwan reads the first block and no more (pem_builder.c, ``pem_to_bin``): a
bundle of CAs becomes one file a CA, and what stands before a key or certificate is left out.

Nothing of a private key is ever part of a text: keys travel as ``Secret``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from . import certificate_rules as rules
from . import files, topology
from .errors import CertificateError, HostIPsecError
from .model import Certificates

PUPPET_SSLDIRS = ("/etc/puppetlabs/puppet/ssl", "/var/lib/puppet/ssl", "/etc/puppet/ssl")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----[^\n]*\n?", re.DOTALL)
_OUR_CA = re.compile(r"hostipsec-[0-9a-f]{8}\.pem\Z")
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE")
_UNVERIFIED = (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError)


# Values --------------------------------------------------------------------------------------


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
class SourcePaths:
    """Where the host's files are found."""

    certificate: str
    key: str
    ca: str


@dataclass(frozen=True)
class DestinationPaths:
    """Where charon reads them, and who owns them."""

    certificate: str
    key: str
    ca_directory: str
    uid: int = 0
    gid: int = 0

    @classmethod
    def below(cls, root: str, host_id: str) -> DestinationPaths:
        """Return the paths of a host below ``/etc/ipsec.d`` or its like."""
        return cls(f"{root}/certs/{host_id}.pem", f"{root}/private/{host_id}.pem", f"{root}/cacerts")


@dataclass(frozen=True)
class Authority:
    """A CA certificate that charon shall have, in a file of its own."""

    fingerprint: str
    subject: str
    not_after: datetime
    pem: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """Return the name of its file in cacerts."""
        return f"hostipsec-{self.fingerprint[:8]}.pem"


@dataclass(frozen=True)
class Inspection:
    """What the files of a host are. ``key_pem`` hides its content; empty or None where unknown."""

    findings: tuple[rules.Finding, ...]
    key_type: str = ""  # RSA, ECDSA, Ed25519, Ed448
    key_bits: int = 0
    subject: str = ""
    not_after: Optional[datetime] = None
    days_left: Optional[int] = None
    fingerprint: str = ""
    certificate_pem: bytes = field(default=b"", repr=False)
    key_pem: Optional[Secret] = field(default=None, repr=False)
    authorities: tuple[Authority, ...] = ()

    @property
    def secrets_keyword(self) -> str:
        """Return how ipsec.secrets calls the key: RSA, ECDSA or PKCS8; empty where not known."""
        return rules.SECRETS_KEYWORDS.get(self.key_type, "")

    def messages(self, severity: str) -> tuple[str, ...]:
        """Return the sentences of the findings that are an ``error`` or a ``warning``."""
        return tuple(str(finding) for finding in self.findings if finding.severity == severity)


@dataclass(frozen=True)
class Outcome:
    """What ``reuse`` changed or would change: path -> words. Holds no key material."""

    changes: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    key_type: str = ""
    secrets_keyword: str = ""
    fingerprint: str = ""
    not_after: Optional[datetime] = None
    days_left: Optional[int] = None
    undo: Optional[files.Undo] = field(default=None, repr=False, compare=False)


# Where they are ------------------------------------------------------------------------------


def puppet_ssldir(host_id: str, exists: Callable[[str], bool] = os.path.exists) -> str:
    """Return the first of Puppet's ssl directories that has the host's certificate."""
    for directory in PUPPET_SSLDIRS:
        if exists(f"{directory}/certs/{host_id}.pem"):
            return directory
    looked = ", ".join(f"{directory}/certs" for directory in PUPPET_SSLDIRS)
    raise CertificateError(
        f"no certificate {host_id}.pem of the Puppet agent in {looked}; expected one; run the agent, "
        "or set ipsec:certificates:ssldir, or ipsec:certificates:source to files, in the pillar"
    )


def source_paths(
    certificates: Certificates, minion_id: str, ssldir: Callable[[str], str] = puppet_ssldir
) -> SourcePaths:
    """Return where a host's files are; ``ssldir`` finds Puppet's directory where the pillar names none.

    Raises :class:`~hostipsec.errors.CertificateError` where it is needed and not found.
    """
    templates = (certificates.certificate, certificates.key, certificates.ca)
    needed = any("{ssldir}" in template for template in templates)
    fields = {"ssldir": ssldir(minion_id)} if needed else {}
    return SourcePaths(*(topology.fill(template, minion_id, **fields) for template in templates))


# Inspecting ----------------------------------------------------------------------------------


def inspect(paths: SourcePaths, subject: str, now: datetime) -> Inspection:
    """Read a host's files and judge them. ``subject`` is its identity; ``now`` has a time zone."""
    own, certificate_fault, certificate_pem = _read_certificates(paths.certificate)
    bundle, ca_fault, _ = _read_certificates(paths.ca)
    key, key_fault, key_pem = _read_key(paths.key, own[:1])
    everyone = {_fingerprint(certificate): certificate for certificate in (*own, *bundle)}
    facts = {name: _facts(certificate, (*own[1:], *bundle)) for name, certificate in everyone.items()}
    cas = _distinct(bundle)
    known = rules.Facts(
        paths.certificate,
        paths.key,
        paths.ca,
        certificate=facts[_fingerprint(own[0])] if own else None,
        certificate_fault=certificate_fault,
        key=key,
        key_fault=key_fault,
        cas=tuple(facts[name] for name in cas),
        ca_fault=ca_fault,
        intermediates=tuple(facts[name] for name in _distinct(own[1:]) if name not in cas),
    )
    leaf = known.certificate
    return Inspection(
        findings=rules.judge(known, subject, now),
        key_type=key.type if key else "",
        key_bits=key.bits if key else 0,
        subject=rules.render_name(leaf.subject) if leaf else "",
        not_after=leaf.not_after if leaf else None,
        days_left=(leaf.not_after - now).days if leaf else None,
        fingerprint=leaf.fingerprint if leaf else "",
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        authorities=tuple(_authority(ca, everyone) for ca in rules.installable(known, now)),
    )


def _read(path: str) -> tuple[bytes, str]:
    """Return the content of a source file, and what is wrong with it."""
    try:
        content = files.read(path)
    except HostIPsecError as error:
        return b"", str(error).partition(": ")[2]
    return (b"", "is missing") if content is None else (content, "")


def _read_certificates(path: str) -> tuple[list[x509.Certificate], str, bytes]:
    """Return the certificates of a PEM file, or what is wrong with it; and the PEM to copy."""
    content, fault = _read(path)
    if fault:
        return [], fault, b""
    blocks = [match for match in _BLOCK.finditer(content) if match[1] in _CERTIFICATE_LABELS]
    if not blocks:
        return [], "holds no certificate in PEM ('-----BEGIN CERTIFICATE-----')", b""
    pem = b"".join(match[0].rstrip() + b"\n" for match in blocks)
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            _facts(certificate, ())
    except (ValueError, UnsupportedAlgorithm):
        return [], "holds a certificate that cannot be parsed", b""
    # the copy can be read by every user: no key that may stand in the same file
    return certificates, "", content if content.count(b"-----BEGIN ") == len(blocks) else pem


def _read_key(
    path: str, certificate: list[x509.Certificate]
) -> tuple[Optional[rules.KeyFacts], str, Optional[Secret]]:
    """Return the facts of a private key, or what is wrong with its file; and the PEM to copy."""
    content, fault = _read(path)
    if fault:
        return None, fault, None
    blocks = list(_BLOCK.finditer(content))
    block = next((match for match in blocks if match[1].endswith(b"PRIVATE KEY")), None)
    if block is None:
        return None, "holds no private key in PEM ('-----BEGIN PRIVATE KEY-----' or the like)", None
    mode = Path(path).stat().st_mode & 0o7777
    if block[1].startswith(b"ENCRYPTED") or b"ENCRYPTED" in block[0].partition(b"\n\n")[0]:
        return rules.KeyFacts(mode=mode, encrypted=True), "", None
    try:
        key: Any = serialization.load_pem_private_key(block[0], password=None)
        fits = any(_public(key.public_key()) == _public(one.public_key()) for one in certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # the library's own words are not repeated: they could quote what it read
        return None, "holds a private key that cannot be parsed", None
    name, bits = _key_type(key)
    pem = content if block is blocks[0] else block[0]
    return rules.KeyFacts(name, bits, mode, fits=fits), "", Secret(pem)


def _key_type(key: object) -> tuple[str, int]:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return "ECDSA", key.curve.key_size
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "Ed25519", 256
    if isinstance(key, ed448.Ed448PrivateKey):
        return "Ed448", 456
    return type(key).__name__.replace("PrivateKey", "").strip("_"), 0


def _public(key: Any) -> bytes:
    der, spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_bytes(der, spki)
    return encoded


def _facts(certificate: x509.Certificate, issuers: Iterable[x509.Certificate]) -> rules.CertificateFacts:
    is_ca, path_length = _basic_constraints(certificate)
    return rules.CertificateFacts(
        fingerprint=_fingerprint(certificate),
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        not_before=_moment(certificate, "not_valid_before"),
        not_after=_moment(certificate, "not_valid_after"),
        is_ca=is_ca,
        path_length=path_length,
        signed_by=frozenset(_fingerprint(ca) for ca in issuers if _verifies(certificate, ca)),
    )


def _verifies(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    if certificate.issuer != ca.subject:
        return False
    try:
        certificate.verify_directly_issued_by(ca)
    except _UNVERIFIED:
        return False
    return True


def _basic_constraints(certificate: x509.Certificate) -> tuple[bool, Optional[int]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False, None
    return found.ca, found.path_length


def _name(name: x509.Name) -> rules.Name:
    return tuple(_part(sorted(rdn, key=lambda part: part.oid.dotted_string)) for rdn in name.rdns)


def _part(attributes: list[Any]) -> tuple[str, str]:
    """Return one part of a name; several attributes in one part are joined by '+'."""
    oids = [attribute.oid.dotted_string for attribute in attributes]
    values = [attribute.value for attribute in attributes]
    texts = [value.hex() if isinstance(value, bytes) else str(value) for value in values]
    return "+".join(rules.ATTRIBUTE_OIDS.get(oid, oid) for oid in oids), "+".join(texts)


def _moment(certificate: x509.Certificate, attribute: str) -> datetime:
    """Return a time with its zone: cryptography has ``..._utc`` from version 42."""
    found: Optional[datetime] = getattr(certificate, f"{attribute}_utc", None)
    if found is not None:
        return found
    naive: datetime = getattr(certificate, attribute)
    return naive.replace(tzinfo=timezone.utc)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _distinct(certificates: Iterable[x509.Certificate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_fingerprint(certificate) for certificate in certificates))


def _authority(ca: rules.CertificateFacts, everyone: Mapping[str, x509.Certificate]) -> Authority:
    pem = everyone[ca.fingerprint].public_bytes(serialization.Encoding.PEM)
    return Authority(ca.fingerprint, rules.render_name(ca.subject), ca.not_after, pem)


# Copying -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Copy:
    """A file to write (or to remove: no content), and how its change is told."""

    content: Optional[Secret]
    mode: int
    new: str
    renewed: str


def reuse(
    source: SourcePaths, destination: DestinationPaths, subject: str, now: datetime, apply: bool
) -> Outcome:
    """Copy a host's checked certificate, key and CAs to where charon reads them.

    Reads, judges and compares alike for test mode and for real; with ``apply`` writes the
    difference, all files or none (a directory that had to be made stays). Any error: nothing
    is written. The caller rereads secrets and CAs in charon when there are changes, and may
    call ``outcome.undo.restore()``. Raises nothing of its own.
    """
    inspection = inspect(source, subject, now)
    warnings, errors = inspection.messages("warning"), inspection.messages("error")
    if errors or inspection.key_pem is None:
        return Outcome(warnings=warnings, errors=errors)
    copies = _copies(inspection, inspection.key_pem, destination)
    try:
        copies.update(_surplus(destination, copies, source.ca))
        changes = {path: text for path, copy in copies.items() if (text := _change(path, copy, destination))}
        directories = _directories(destination)
        undo = _write(changes, copies, directories, destination) if apply else None
    except HostIPsecError as error:
        return Outcome(warnings=warnings, errors=(str(error),))
    return Outcome(
        changes=dict(sorted({**changes, **{path: text for path, (_, text) in directories.items()}}.items())),
        warnings=warnings,
        key_type=inspection.key_type,
        secrets_keyword=inspection.secrets_keyword,
        fingerprint=inspection.fingerprint,
        not_after=inspection.not_after,
        days_left=inspection.days_left,
        undo=undo,
    )


def _copies(inspection: Inspection, key: Secret, destination: DestinationPaths) -> dict[str, _Copy]:
    until = f"valid until {inspection.not_after:%Y-%m-%d}"
    described = f"{inspection.key_type} key of {inspection.key_bits} bits"
    copies = {
        destination.certificate: _Copy(
            Secret(inspection.certificate_pem),
            0o644,
            f"new: {inspection.subject}, {until}",
            f"renewed: {until}",
        ),
        destination.key: _Copy(key, 0o600, f"new: {described}", f"renewed: {described}"),
    }
    for ca in inspection.authorities:
        text = f"CA {ca.subject}, valid until {ca.not_after:%Y-%m-%d}"
        path = f"{destination.ca_directory}/{ca.file_name}"
        copies[path] = _Copy(Secret(ca.pem), 0o644, f"new: {text}", f"rewritten: {text}")
    return copies


def _surplus(destination: DestinationPaths, copies: Mapping[str, _Copy], ca_path: str) -> dict[str, _Copy]:
    """Return the CA files of ours that are no longer wanted, to be removed."""
    directory = Path(destination.ca_directory)
    try:
        names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    except OSError as error:
        raise HostIPsecError(f"{directory}: cannot be read: {error.strerror}") from None
    text = f"removed: no valid CA of {ca_path}"
    ours = (f"{directory}/{name}" for name in names if _OUR_CA.match(name))
    return {path: _Copy(None, 0, text, text) for path in ours if path not in copies}


def _change(path: str, copy: _Copy, destination: DestinationPaths) -> str:
    """Say what writing a copy changes; empty for nothing."""
    before = files.look(path)
    if before is None or copy.content is None:
        return copy.new
    content = copy.content.reveal()
    if before.is_file(content, copy.mode, destination.uid, destination.gid):
        return ""
    if before.link is not None:
        return f"{copy.new} (a copy in place of the link to {before.link})"
    if before.content != content:
        return copy.renewed + _formerly(before.content)
    found = f"mode {before.mode:04o}, owner {before.uid}:{before.gid}"
    return f"{found} -> mode {copy.mode:04o}, owner {destination.uid}:{destination.gid}"


def _formerly(content: bytes) -> str:
    """Say until when a certificate was valid; empty for what is none."""
    if b"-----BEGIN CERTIFICATE-----" not in content:
        return ""
    try:
        before = x509.load_pem_x509_certificates(content)[0]
        return f", before until {_moment(before, 'not_valid_after'):%Y-%m-%d}"
    except ValueError:
        return ""


def _directories(destination: DestinationPaths) -> dict[str, tuple[int, str]]:
    """Return the directories to make or to close: path -> (mode, words)."""
    found = {}
    for path in (str(Path(destination.certificate).parent), destination.ca_directory):
        if not Path(path).is_dir():
            found[path] = (0o755, _directory_difference(path, 0o755, destination))
    private = str(Path(destination.key).parent)
    if text := _directory_difference(private, 0o700, destination):
        found[private] = (0o700, text)
    return found


def _directory_difference(path: str, mode: int, destination: DestinationPaths) -> str:
    return files.directory_difference(path, mode, destination.uid, destination.gid) or ""


def _write(
    changes: Iterable[str],
    copies: Mapping[str, _Copy],
    directories: Mapping[str, tuple[int, str]],
    destination: DestinationPaths,
) -> files.Undo:
    owner = (destination.uid, destination.gid)
    for path, (mode, _) in directories.items():
        files.ensure_directory(path, mode, *owner)
    content = {path: copies[path].content for path in changes}
    wanted = {path: (one.reveal() if one else None, copies[path].mode) for path, one in content.items()}
    return files.swap(wanted, *owner)
