"""What certificates, CRLs and keys are, as values: from objects of the library cryptography."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Optional

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from ..charon import credentials
from . import der, names, version
from .constraints import Constraints, GeneralName, Policies
from .facts import CertificateFacts, CrlFacts, Scheme

UNPARSED = (  # what the library raises for what it cannot read
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    NotImplementedError,
    UnsupportedAlgorithm,
    InternalError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_UNVERIFIED = (InvalidSignature, *UNPARSED)
# algorithms of signatures for which strongSwan has no scheme (public_key.c, signature_scheme_from_oid)
_STRANGE = {
    "1.2.840.10040.4.3": "DSA",
    "1.2.840.10045.4.3.1": "ECDSA over SHA-224",
    **{f"2.16.840.1.101.3.4.3.{number}": "DSA" for number in range(1, 9)},
    **{f"2.16.840.1.101.3.4.3.{number}": "ECDSA over SHA-3" for number in range(9, 13)},
}
_SCHEMES = {  # by object identifier, or what that begins with
    "1.2.840.113549.1.1": "RSA",
    "1.2.840.113549.1.1.10": "RSA/PSS",
    "1.2.840.10045.4.3": "ECDSA",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
_MAPPINGS = "2.5.29.33"  # of policies
_OF_OLD = (hashes.SHA1, hashes.MD5)  # the library no longer takes a signature over them; charon does


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate in lower case hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def distinct(certificates: Iterable[x509.Certificate]) -> dict[str, x509.Certificate]:
    """Return certificates by fingerprint, each once, in their order."""
    return {fingerprint(certificate): certificate for certificate in certificates}


def public_key(holder: Any) -> bytes:
    """Return the public key of a certificate or private key, encoded so that two can be compared."""
    der, spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = holder.public_key().public_bytes(der, spki)
    return encoded


def is_for(certificate: x509.Certificate, key: Any) -> bool:
    """Say whether a certificate is for a private key; not where the certificate's own cannot be read."""
    mine = public_key(key)
    try:
        return public_key(certificate) == mine
    except UNPARSED:
        return False


def subject_bytes(certificate: x509.Certificate) -> bytes:
    """Return the subject of a certificate, encoded."""
    return certificate.subject.public_bytes()


def moment(holder: object, attribute: str) -> datetime:
    """Return a time of a certificate or CRL with its zone: cryptography has ``..._utc`` from version 42."""
    found: Optional[datetime] = getattr(holder, f"{attribute}_utc", None)
    if found is not None:
        return found
    naive: datetime = getattr(holder, attribute)
    return naive.replace(tzinfo=timezone.utc)


# Certificates --------------------------------------------------------------------------------


def certificate_facts(
    certificate: x509.Certificate, issuers: Iterable[x509.Certificate] = ()
) -> CertificateFacts:
    """Return what a certificate is, and which of ``issuers`` signed it."""
    read = _read(certificate)
    alike = [ca for ca in issuers if names.alike(read.issuer, _read(ca).subject)]
    by_key = (
        any(_names_another(certificate, ca) for ca in alike) and version.looks_by_key()
    )  # a program, once
    possible = (ca for ca in alike if not (by_key and _names_another(certificate, ca)))
    is_ca, path_length = _basic_constraints(certificate)
    key, key_fault = _key_fingerprint(certificate)
    return CertificateFacts(
        fingerprint=fingerprint(certificate),
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        not_before=moment(certificate, "not_valid_before"),
        not_after=moment(certificate, "not_valid_after"),
        is_ca=is_ca,
        path_length=path_length,
        signed_by=frozenset(fingerprint(ca) for ca in possible if _verifies(certificate, ca)),
        key_fingerprint=key,
        key_fault=key_fault,
        listed=frozenset(
            credentials.name(read.serial, one) for one in _key_ids(certificate, read.public_key)
        ),
        parts=read.subject,
        issuer_parts=read.issuer,
        critical=_critical(certificate),
        alternatives=_alternatives(certificate),
        constraints=_name_constraints(certificate),
        policies=_policies(certificate),
        weak_hash=_weak_hash(certificate),
        strange=_strange(certificate),
        key=_public_key_type(certificate),
        scheme=_scheme(certificate),
        online=_is_online(certificate),
        signs=_may_sign(certificate),
    )


@lru_cache(maxsize=1024)
def _read(certificate: x509.Certificate) -> der.Certificate:
    return der.certificate(certificate.tbs_certificate_bytes)


def _may_sign(certificate: x509.Certificate) -> bool:
    """Say whether a key may sign (RFC 4945, 5.1.3.2): where a use is told, one of two bits has to be set."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return found.digital_signature or found.content_commitment


def _critical(holder: Any) -> frozenset[str]:
    return frozenset(one.oid.dotted_string for one in holder.extensions if one.critical)


def _key_fingerprint(certificate: x509.Certificate) -> tuple[str, str]:
    """Return the SHA-256 of the public key; or nothing of it, and why the library cannot read it."""
    try:
        return hashlib.sha256(public_key(certificate)).hexdigest(), ""
    except UNPARSED as error:
        return "", " ".join(str(error).split()) or type(error).__name__


def _key_ids(certificate: x509.Certificate, encoded: bytes) -> Iterator[str]:
    """Yield the SHA-1 of the public key, as it is encoded, and as it would be anew: charon may do either."""
    yield hashlib.sha1(encoded, usedforsecurity=False).hexdigest()
    with contextlib.suppress(*UNPARSED):
        yield hashlib.sha1(public_key(certificate), usedforsecurity=False).hexdigest()


def _strange(holder: Any) -> str:
    return _STRANGE.get(holder.signature_algorithm_oid.dotted_string, "")


def _public_key_type(certificate: x509.Certificate) -> tuple[str, int]:
    try:
        return key_type(certificate.public_key())
    except UNPARSED:
        return "", 0


def _is_online(certificate: x509.Certificate) -> bool:
    points = _extension(certificate, x509.CRLDistributionPoints) or ()
    access = _extension(certificate, x509.AuthorityInformationAccess) or ()
    ocsp = AuthorityInformationAccessOID.OCSP
    return any(one.full_name for one in points) or any(one.access_method == ocsp for one in access)


def _scheme(certificate: x509.Certificate) -> Scheme:
    """Return by what a certificate is signed, where strongSwan has a word for that."""
    oid = certificate.signature_algorithm_oid.dotted_string
    kind = _SCHEMES.get(oid, _SCHEMES.get(oid.rpartition(".")[0], ""))
    try:
        used = certificate.signature_hash_algorithm
    except UNPARSED:
        return Scheme()
    return Scheme(kind, used.name if used else "identity") if kind else Scheme()


def _weak_hash(holder: Any) -> str:
    """Return the name of the hash that a signature is over, where that is one of old."""
    try:
        used = holder.signature_hash_algorithm
    except UNPARSED:
        return ""
    return used.name.upper() if isinstance(used, _OF_OLD) else ""


def _verifies(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        if _weak_hash(certificate) or certificate.issuer.public_bytes() != ca.subject.public_bytes():
            _verify(certificate, certificate.tbs_certificate_bytes, ca)
        else:
            certificate.verify_directly_issued_by(ca)
    except _UNVERIFIED:
        return False
    return True


def _names_another(holder: Any, ca: x509.Certificate) -> bool:
    """Say whether a certificate names another key of its issuer, by which charon goes first."""
    named = _of_extension(holder, x509.AuthorityKeyIdentifier, "key_identifier")
    theirs = _of_extension(ca, x509.SubjectKeyIdentifier, "digest")
    return bool(named and theirs and named != theirs)


def _verify(holder: Any, signed: bytes, ca: x509.Certificate) -> None:
    """Verify a signature that the library does not: over a hash of old, or where names are encoded otherwise.

    Raises what is in _UNVERIFIED.
    """
    key, used = ca.public_key(), holder.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey):
        told = getattr(holder, "signature_algorithm_parameters", None)
        scheme = told if isinstance(told, padding.PSS) else padding.PKCS1v15()
        key.verify(holder.signature, signed, scheme, used)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(holder.signature, signed, ec.ECDSA(used))
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        key.verify(holder.signature, signed)
    else:
        raise UnsupportedAlgorithm(type(key).__name__)


def _basic_constraints(certificate: x509.Certificate) -> tuple[bool, Optional[int]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False, None
    return found.ca, found.path_length


# Names that are confirmed, and constrained


def _alternatives(certificate: x509.Certificate) -> tuple[GeneralName, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(map(_general_name, found))


def _name_constraints(certificate: x509.Certificate) -> Optional[Constraints]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    permitted, excluded = found.permitted_subtrees or (), found.excluded_subtrees or ()
    return Constraints(tuple(map(_general_name, permitted)), tuple(map(_general_name, excluded)))


def _policies(certificate: x509.Certificate) -> Policies:
    own = _extension(certificate, x509.CertificatePolicies) or ()
    return Policies(
        own=tuple(one.policy_identifier.dotted_string for one in own),
        no_any=_of_extension(certificate, x509.InhibitAnyPolicy, "skip_certs"),
        maps=any(one.oid.dotted_string == _MAPPINGS for one in certificate.extensions),
    )


def _general_name(one: x509.GeneralName) -> GeneralName:
    if isinstance(one, x509.DirectoryName):
        return GeneralName("dn", der.name(one.value.public_bytes()))
    kinds = {x509.DNSName: "dns", x509.RFC822Name: "email", x509.IPAddress: "ip"}
    return GeneralName(kinds.get(type(one), "other"), str(one.value))


def _name(name: x509.Name) -> names.Name:
    return tuple(_part(sorted(rdn, key=lambda part: part.oid.dotted_string)) for rdn in name.rdns)


def _part(attributes: list[Any]) -> tuple[str, str]:
    """Return one part of a name; several attributes in one part are joined by '+'."""
    oids = [attribute.oid.dotted_string for attribute in attributes]
    values = [attribute.value for attribute in attributes]
    texts = [value.hex() if isinstance(value, bytes) else str(value) for value in values]
    return "+".join(names.ATTRIBUTE_OIDS.get(oid, oid) for oid in oids), "+".join(texts)


# CRLs ----------------------------------------------------------------------------------------


def crl_facts(
    crl: x509.CertificateRevocationList,
    cas: Iterable[x509.Certificate],
    own: Optional[x509.Certificate],
) -> CrlFacts:
    """Return what a CRL is, which of ``cas`` signed it, and whether it revokes the host's ``own``."""
    issuer = der.name(crl.issuer.public_bytes())
    signers = [ca for ca in cas if names.alike(issuer, _read(ca).subject) and _signs(ca, crl)]
    return CrlFacts(
        issuer=_name(crl.issuer),
        next_update=_next_update(crl),
        signed_by=frozenset(fingerprint(ca) for ca in signers),
        revokes=own is not None and _revokes(crl, own),
        found=_is_found(crl, signers),
        weak_hash=_weak_hash(crl),
        strange=_strange(crl),
        critical=_critical(crl),
        barred=bool(signers) and not any(map(_may_sign_lists, signers)) and version.wants_crl_sign(),
        delta=_of_extension(crl, x509.DeltaCRLIndicator, "crl_number") is not None,
    )


def _may_sign_lists(ca: x509.Certificate) -> bool:
    return _of_extension(ca, x509.KeyUsage, "crl_sign") is not False


def crl_listed(crl: x509.CertificateRevocationList) -> Optional[credentials.RevocationList]:
    """Return how charon names a CRL in its lists; None for one that does not name the key of its CA."""
    key = _of_extension(crl, x509.AuthorityKeyIdentifier, "key_identifier")
    if key is None:
        return None
    number = _of_extension(crl, x509.CRLNumber, "crl_number")
    return credentials.RevocationList(key.hex(), moment(crl, "last_update"), number)


def _signs(ca: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    try:
        if _weak_hash(crl):
            _verify(crl, crl.tbs_certlist_bytes, ca)
            return True
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except _UNVERIFIED:
        return False


def _next_update(crl: x509.CertificateRevocationList) -> Optional[datetime]:
    attribute = "next_update_utc" if hasattr(crl, "next_update_utc") else "next_update"
    return None if getattr(crl, attribute) is None else moment(crl, "next_update")


def _revokes(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    if certificate.issuer != crl.issuer or certificate.serial_number < 0:  # which the library cannot look up
        return False
    return crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None


def _is_found(crl: x509.CertificateRevocationList, signers: Collection[x509.Certificate]) -> bool:
    """Say whether charon finds a list, which it looks for by the key identifier of its CA."""
    named = _of_extension(crl, x509.AuthorityKeyIdentifier, "key_identifier")
    theirs = (_of_extension(ca, x509.SubjectKeyIdentifier, "digest") for ca in signers)
    return named is not None and named in theirs


def _of_extension(holder: Any, kind: Any, attribute: str) -> Any:
    """Return a value of an extension; None where there is no such extension."""
    found = _extension(holder, kind)
    return None if found is None else getattr(found, attribute)


def _extension(holder: Any, kind: Any) -> Any:
    try:
        return holder.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


# Keys ----------------------------------------------------------------------------------------


def key_type(key: object) -> tuple[str, int]:
    """Return the type of a key as KeyFacts names it, and its bits (0 for an unknown type)."""
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return "RSA", key.key_size
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        return "ECDSA", key.curve.key_size
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return "Ed25519", 256
    if isinstance(key, (ed448.Ed448PrivateKey, ed448.Ed448PublicKey)):
        return "Ed448", 456
    return type(key).__name__.replace("PrivateKey", "").strip("_"), 0
