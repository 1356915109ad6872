"""A host's certificate, key and CAs: read at their source, checked, copied to where charon reads.

charon's AppArmor profile lets it read below /etc/ipsec.d only, so files are copied and never linked.
Of each PEM file strongSwan reads the first block and no more (pem_builder.c, ``pem_to_bin``): a
bundle of CAs becomes one file a CA, and what stands before a key or certificate is left out.

Nothing of a private key is ever part of a text: keys travel as ``Secret``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from ..errors import CertificateError, HostIPsecError
from ..model import Certificates
from ..pillar import topology
from ..strongswan import defaults
from ..system import files
from . import chains, facts, names, rules

PUPPET_SSLDIRS = ("/etc/puppetlabs/puppet/ssl", "/var/lib/puppet/ssl", "/etc/puppet/ssl")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----[^\n]*\n?", re.DOTALL)
_OURS = re.compile(r"hostipsec-[0-9a-f]{8}\.pem\Z")  # a CA or a CRL
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
    crl: str = ""
    crl_required: bool = False  # the pillar names it: a file that is missing is warned of
    warn_days: int = defaults.WARN_DAYS


@dataclass(frozen=True)
class Destination:
    """Where charon reads them, below ``/etc/ipsec.d`` or its like, and who owns them."""

    root: str
    host_id: str
    uid: int = 0
    gid: int = 0

    @property
    def certs(self) -> str:
        """Return the directory of certificates."""
        return f"{self.root}/certs"

    @property
    def private(self) -> str:
        """Return the directory of keys."""
        return f"{self.root}/private"

    @property
    def cacerts(self) -> str:
        """Return the directory of CAs."""
        return f"{self.root}/cacerts"

    @property
    def crls(self) -> str:
        """Return the directory of revocation lists."""
        return f"{self.root}/crls"

    def own(self, directory: str) -> tuple[str, ...]:
        """Return the certificates, or keys, of this host that are there, the newest last."""
        pattern = re.compile(rf"{re.escape(self.host_id)}(-[0-9a-f]{{12}})?\.pem\Z")
        paths = [Path(directory, name) for name in _names(directory) if pattern.match(name)]
        return tuple(str(path) for path in sorted(paths, key=lambda path: (path.lstat().st_mtime_ns, path)))


@dataclass(frozen=True)
class RevocationList:
    """A CRL that charon shall have, in a file of its own."""

    signer: str  # fingerprint of its CA
    issuer: str
    next_update: Optional[datetime]
    pem: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """Return the name of its file in crls: a new list of the same CA takes its place."""
        return f"hostipsec-{self.signer[:8]}.pem"


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
    key_fingerprint: str = ""  # of the public key
    certificate_pem: bytes = field(default=b"", repr=False)
    key_pem: Optional[Secret] = field(default=None, repr=False)
    authorities: tuple[Authority, ...] = ()
    crls: tuple[RevocationList, ...] = ()

    def certificate_name(self, host_id: str) -> str:
        """Return the name of the certificate's file below certs."""
        return file_name(host_id, self.fingerprint)

    def key_name(self, host_id: str) -> str:
        """Return the name of the key's file below private."""
        return file_name(host_id, self.key_fingerprint)

    @property
    def secrets_keyword(self) -> str:
        """Return how ipsec.secrets calls the key: RSA, ECDSA or PKCS8; empty where not known."""
        return facts.SECRETS_KEYWORDS.get(self.key_type, "")

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
    templates = (certificates.certificate, certificates.key, certificates.ca, certificates.crl)
    needed = any("{ssldir}" in template for template in templates)
    fields = {"ssldir": ssldir(minion_id)} if needed else {}
    pem, key, ca, crl = (topology.fill(template, minion_id, **fields) for template in templates)
    named = certificates.source == "files" and bool(crl)
    return SourcePaths(pem, key, ca, crl, named, certificates.warn_days)


def file_name(host_id: str, digest: str) -> str:
    """Return the file name of a certificate or key.

    It differs with the content: charon keeps the certificate that it loaded with a connection, and the
    starter loads a connection anew only where ipsec.conf differs.
    """
    return f"{host_id}-{digest[:12]}.pem"


# Inspecting ----------------------------------------------------------------------------------


def inspect(paths: SourcePaths, subject: str, now: datetime) -> Inspection:
    """Read a host's files and judge them. ``subject`` is its identity; ``now`` has a time zone."""
    own, certificate_fault, certificate_pem = _read_certificates(paths.certificate)
    bundle, ca_fault, _ = _read_certificates(paths.ca)
    key, key_fault, key_pem = _read_key(paths.key, own[:1])
    everyone = {_fingerprint(certificate): certificate for certificate in (*own, *bundle)}
    described = {name: _facts(certificate, (*own[1:], *bundle)) for name, certificate in everyone.items()}
    cas = _distinct(bundle)
    lists, crl_fault = _read_crls(paths)
    known = facts.Facts(
        paths.certificate,
        paths.key,
        paths.ca,
        certificate=described[_fingerprint(own[0])] if own else None,
        certificate_fault=certificate_fault,
        key=key,
        key_fault=key_fault,
        cas=tuple(described[name] for name in cas),
        ca_fault=ca_fault,
        intermediates=tuple(described[name] for name in _distinct(own[1:]) if name not in cas),
        crl_path=paths.crl,
        crls=tuple(_crl_facts(crl, everyone.values(), own[:1]) for crl in lists),
        crl_fault=crl_fault,
        warn_days=paths.warn_days,
    )
    leaf = known.certificate
    return Inspection(
        findings=rules.judge(known, subject, now),
        key_type=key.type if key else "",
        key_bits=key.bits if key else 0,
        subject=names.render(leaf.subject) if leaf else "",
        not_after=leaf.not_after if leaf else None,
        days_left=(leaf.not_after - now).days if leaf else None,
        fingerprint=leaf.fingerprint if leaf else "",
        key_fingerprint=hashlib.sha256(_public(own[0].public_key())).hexdigest() if own else "",
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        authorities=tuple(_authority(ca, everyone) for ca in chains.installable(known, now)),
        crls=_newest(known, lists, now),
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


def _read_crls(paths: SourcePaths) -> tuple[list[x509.CertificateRevocationList], str]:
    """Return the lists of the CRL file, or what is wrong with it."""
    if not paths.crl:
        return [], ""
    content, fault = _read(paths.crl)
    if fault:
        return [], fault if paths.crl_required or fault != "is missing" else ""
    blocks = [match[0] for match in _BLOCK.finditer(content) if match[1] == b"X509 CRL"]
    if not blocks:
        return [], "holds no list in PEM ('-----BEGIN X509 CRL-----')"
    try:
        return [x509.load_pem_x509_crl(block) for block in blocks], ""
    except (ValueError, UnsupportedAlgorithm):
        return [], "holds a list that cannot be parsed"


def _crl_facts(
    crl: x509.CertificateRevocationList, cas: Iterable[x509.Certificate], own: list[x509.Certificate]
) -> facts.CrlFacts:
    signed = [ca for ca in cas if crl.issuer == ca.subject and _signed(crl, ca)]
    signers = frozenset(_fingerprint(ca) for ca in signed)
    named = _key_identifier(crl, x509.AuthorityKeyIdentifier, "key_identifier")
    found = named is not None and named in (
        _key_identifier(ca, x509.SubjectKeyIdentifier, "digest") for ca in signed
    )
    revokes = any(
        one.issuer == crl.issuer and crl.get_revoked_certificate_by_serial_number(one.serial_number)
        for one in own
    )
    return facts.CrlFacts(_name(crl.issuer), _next_update(crl), signers, revokes, found)


def _key_identifier(holder: Any, kind: Any, attribute: str) -> Optional[bytes]:
    try:
        identifier: Optional[bytes] = getattr(
            holder.extensions.get_extension_for_class(kind).value, attribute
        )
    except x509.ExtensionNotFound:
        return None
    return identifier


def _signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except _UNVERIFIED:
        return False


def _next_update(crl: x509.CertificateRevocationList) -> Optional[datetime]:
    attribute = "next_update_utc" if hasattr(crl, "next_update_utc") else "next_update"
    return None if getattr(crl, attribute) is None else _moment(crl, "next_update")


def _newest(
    known: facts.Facts, lists: list[x509.CertificateRevocationList], now: datetime
) -> tuple[RevocationList, ...]:
    """Return one list a CA, the one that was made last."""
    usable = chains.usable_crls(known, now)
    found: dict[str, tuple[datetime, RevocationList]] = {}
    for crl, described in zip(lists, known.crls):
        if described not in usable:
            continue
        made, signer = _moment(crl, "last_update"), min(described.signed_by)
        if signer not in found or found[signer][0] < made:
            pem = crl.public_bytes(serialization.Encoding.PEM)
            issuer = names.render(described.issuer)
            found[signer] = made, RevocationList(signer, issuer, described.next_update, pem)
    return tuple(one for _, (_, one) in sorted(found.items()))


def _read_key(
    path: str, certificate: list[x509.Certificate]
) -> tuple[Optional[facts.KeyFacts], str, Optional[Secret]]:
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
        return facts.KeyFacts(mode=mode, encrypted=True), "", None
    try:
        key: Any = serialization.load_pem_private_key(block[0], password=None)
        fits = any(_public(key.public_key()) == _public(one.public_key()) for one in certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # the library's own words are not repeated: they could quote what it read
        return None, "holds a private key that cannot be parsed", None
    name, bits = _key_type(key)
    pem = content if block is blocks[0] else block[0]
    return facts.KeyFacts(name, bits, mode, fits=fits), "", Secret(pem)


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


def _facts(certificate: x509.Certificate, issuers: Iterable[x509.Certificate]) -> facts.CertificateFacts:
    is_ca, path_length = _basic_constraints(certificate)
    return facts.CertificateFacts(
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


def _name(name: x509.Name) -> names.Name:
    return tuple(_part(sorted(rdn, key=lambda part: part.oid.dotted_string)) for rdn in name.rdns)


def _part(attributes: list[Any]) -> tuple[str, str]:
    """Return one part of a name; several attributes in one part are joined by '+'."""
    oids = [attribute.oid.dotted_string for attribute in attributes]
    values = [attribute.value for attribute in attributes]
    texts = [value.hex() if isinstance(value, bytes) else str(value) for value in values]
    return "+".join(names.ATTRIBUTE_OIDS.get(oid, oid) for oid in oids), "+".join(texts)


def _moment(certificate: object, attribute: str) -> datetime:
    """Return a time of a certificate or CRL with its zone: cryptography has ``..._utc`` from version 42."""
    found: Optional[datetime] = getattr(certificate, f"{attribute}_utc", None)
    if found is not None:
        return found
    naive: datetime = getattr(certificate, attribute)
    return naive.replace(tzinfo=timezone.utc)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _distinct(certificates: Iterable[x509.Certificate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_fingerprint(certificate) for certificate in certificates))


def _authority(ca: facts.CertificateFacts, everyone: Mapping[str, x509.Certificate]) -> Authority:
    pem = everyone[ca.fingerprint].public_bytes(serialization.Encoding.PEM)
    return Authority(ca.fingerprint, names.render(ca.subject), ca.not_after, pem)


# Copying -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Copy:
    """A file to write (or to remove: no content), and how its change is told."""

    content: Optional[Secret]
    mode: int
    new: str
    renewed: str


def reuse(
    source: SourcePaths,
    destination: Destination,
    subject: str,
    now: datetime,
    apply: bool,
    in_use: Collection[str] = (),
) -> Outcome:
    """Copy a host's checked certificate, key, CAs and CRLs to where charon reads them.

    A renewed certificate goes beside the one before, which stays while a configuration names it: ``in_use``.

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
        copies.update(_unused(destination, {*map(os.path.basename, copies), *in_use}))
        changes = {path: text for path, copy in copies.items() if (text := _change(path, copy, destination))}
        directories = _directories(destination, copies)
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


def prune(destination: Destination, in_use: Collection[str]) -> tuple[str, ...]:
    """Remove certificates and keys of this host that no configuration names; returns their paths."""
    unused = _unused(destination, in_use)
    for path in unused:
        files.remove(path)
    return tuple(unused)


def end_of(path: str) -> Optional[datetime]:
    """Return when a certificate expires; None where there is none that can be read."""
    found, _, _ = _read_certificates(path)
    return _moment(found[0], "not_valid_after") if found else None


def name_at(paths: SourcePaths, host_id: str) -> str:
    """Return the name that the copy of the certificate at its source has; empty where none can be read."""
    found, _, _ = _read_certificates(paths.certificate)
    return file_name(host_id, _fingerprint(found[0])) if found else ""


def _copies(inspection: Inspection, key: Secret, destination: Destination) -> dict[str, _Copy]:
    until = f"valid until {inspection.not_after:%Y-%m-%d}"
    described = f"{inspection.key_type} key of {inspection.key_bits} bits"
    certificate = f"{destination.certs}/{inspection.certificate_name(destination.host_id)}"
    private = f"{destination.private}/{inspection.key_name(destination.host_id)}"
    before = [path for path in destination.own(destination.certs) if path != certificate]
    kept = [path for path in destination.own(destination.private) if path != private]
    first = f"renewed: {until}{_formerly(before[-1])}" if before else f"new: {inspection.subject}, {until}"
    copies = {
        certificate: _Copy(Secret(inspection.certificate_pem), 0o644, first, f"rewritten: {until}"),
        private: _Copy(key, 0o600, f"{'renewed' if kept else 'new'}: {described}", f"rewritten: {described}"),
    }
    for crl in inspection.crls:
        due = f", next one by {crl.next_update:%Y-%m-%d %H:%M} UTC" if crl.next_update else ""
        text = f"CRL of {crl.issuer}{due}"
        path = f"{destination.crls}/{crl.file_name}"
        copies[path] = _Copy(Secret(crl.pem), 0o644, f"new: {text}", f"renewed: {text}")
    for ca in inspection.authorities:
        text = f"CA {ca.subject}, valid until {ca.not_after:%Y-%m-%d}"
        path = f"{destination.cacerts}/{ca.file_name}"
        copies[path] = _Copy(Secret(ca.pem), 0o644, f"new: {text}", f"rewritten: {text}")
    return copies


def _surplus(destination: Destination, copies: Mapping[str, _Copy], ca_path: str) -> dict[str, _Copy]:
    """Return the CAs and CRLs of ours that are no longer wanted, to be removed."""
    found = {}
    for directory, what in ((destination.cacerts, "CA"), (destination.crls, "CRL of a CA")):
        text = f"removed: no valid {what} of {ca_path}"
        ours = (f"{directory}/{name}" for name in _names(directory) if _OURS.match(name))
        found.update({path: _Copy(None, 0, text, text) for path in ours if path not in copies})
    return found


def _unused(destination: Destination, in_use: Collection[str]) -> dict[str, _Copy]:
    """Return the certificates and keys of this host that nothing names, to be removed."""
    paths = (*destination.own(destination.certs), *destination.own(destination.private))
    text = "removed: no configuration uses it"
    return {path: _Copy(None, 0, text, text) for path in paths if Path(path).name not in in_use}


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory)) if Path(directory).is_dir() else []  # noqa: PTH208
    except OSError as error:
        raise HostIPsecError(f"{directory}: cannot be read: {error.strerror}") from None


def _change(path: str, copy: _Copy, destination: Destination) -> str:
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
        return copy.renewed
    found = f"mode {before.mode:04o}, owner {before.uid}:{before.gid}"
    return f"{found} -> mode {copy.mode:04o}, owner {destination.uid}:{destination.gid}"


def _formerly(path: str) -> str:
    """Say until when a certificate was valid; empty for what is none."""
    end = end_of(path)
    return f", before until {end:%Y-%m-%d}" if end else ""


def _directories(destination: Destination, copies: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return the directories to make or to close: path -> (mode, words)."""
    found = {}
    for path in sorted({str(Path(copy).parent) for copy in copies} - {destination.private}):
        if not Path(path).is_dir():
            found[path] = (0o755, _directory_difference(path, 0o755, destination))
    if text := _directory_difference(destination.private, 0o700, destination):
        found[destination.private] = (0o700, text)
    return found


def _directory_difference(path: str, mode: int, destination: Destination) -> str:
    return files.directory_difference(path, mode, destination.uid, destination.gid) or ""


def _write(
    changes: Iterable[str],
    copies: Mapping[str, _Copy],
    directories: Mapping[str, tuple[int, str]],
    destination: Destination,
) -> files.Undo:
    owner = (destination.uid, destination.gid)
    for path, (mode, _) in directories.items():
        files.ensure_directory(path, mode, *owner)
    content = {path: copies[path].content for path in changes}
    wanted = {path: (one.reveal() if one else None, copies[path].mode) for path, one in content.items()}
    return files.swap(wanted, *owner)
