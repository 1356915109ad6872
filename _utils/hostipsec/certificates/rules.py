"""What a host's certificate, key and CA must be before charon gets them. Pure: facts in, findings out.

strongSwan's own rules, from its source: a chain ends at a *self-signed* CA of cacerts
(credential_manager.c, ``verify_trust_chain``); a CA needs the basic constraint (stroke_cred.c,
``load_ca_cert``); names are compared part by part in the order of the certificate
(identification.c, ``compare_dn``); an identity that its certificate does not confirm is
silently replaced by the certificate's subject (stroke_config.c), and then peers refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from ..strongswan import defaults

Name = tuple[tuple[str, str], ...]  # (attribute, value) in the order of the DER encoding

LONGEST_CHAIN = 7  # credential_manager.c, MAX_TRUST_PATH_LEN
WEAK_RSA_BITS = 2048

# What ipsec.secrets calls a key. All three load PKCS#8 ("BEGIN PRIVATE KEY") files: the pkcs8 plugin
# registers for each type. RSA also takes PKCS#1, ECDSA SEC1 ("BEGIN EC PRIVATE KEY").
SECRETS_KEYWORDS: Mapping[str, str] = {"RSA": "RSA", "ECDSA": "ECDSA", "Ed25519": "PKCS8", "Ed448": "PKCS8"}

# identification.c, x501rdns: every name that strongSwan reads, and one name for each object identifier
_ATTRIBUTES = (
    "ND UID DC CN SN serialNumber C L ST STREET O OU organizationIdentifier T D "  # codespell:ignore
    "postalAddress postalCode N G I dnQualifier dmdName pseudonym ID EN E UN UA TCGID"
)
_ALIASES = {
    "employeenumber": "EN",
    "email": "E",
    "emailaddress": "E",
    "unstructuredname": "UN",
    "unstructuredaddress": "UA",
}
_KNOWN = {**{name.lower(): name for name in _ATTRIBUTES.split()}, **_ALIASES}
# the same attributes by object identifier, as certificates carry them
ATTRIBUTE_OIDS: Mapping[str, str] = {
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.13": "D",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "N",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "2.5.4.45": "ID",
    "2.5.4.46": "dnQualifier",
    "2.5.4.54": "dmdName",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "2.16.840.1.113730.3.1.3": "EN",
    "1.2.840.113549.1.9.1": "E",
    "1.2.840.113549.1.9.2": "UN",
    "1.2.840.113549.1.9.8": "UA",
}


# Values --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing wrong: what was found (with its path), what was expected, what to do."""

    severity: str  # error or warning
    code: str
    found: str
    expected: str
    action: str

    def __str__(self) -> str:
        return f"{self.found}; expected {self.expected}; {self.action}"


@dataclass(frozen=True)
class CertificateFacts:
    """A certificate. ``signed_by`` holds the fingerprints of those whose key verifies its signature."""

    fingerprint: str  # SHA-256 in lower case hexadecimal digits
    subject: Name
    issuer: Name
    not_before: datetime
    not_after: datetime
    is_ca: bool = False
    path_length: Optional[int] = None
    signed_by: frozenset[str] = frozenset()

    @property
    def self_signed(self) -> bool:
        """Say whether the certificate is verified by its own key."""
        return self.fingerprint in self.signed_by


@dataclass(frozen=True)
class KeyFacts:
    """A private key, without anything of the key itself."""

    type: str = ""  # RSA, ECDSA, Ed25519, Ed448 or another name; empty where encrypted
    bits: int = 0
    mode: int = 0o600
    encrypted: bool = False
    fits: bool = False


@dataclass(frozen=True)
class RevocationList:
    """A CRL. ``signed_by`` holds the fingerprints of CAs whose key verifies its signature."""

    issuer: Name
    next_update: Optional[datetime]
    signed_by: frozenset[str] = frozenset()
    revokes: bool = False  # the host's own certificate
    found: bool = True  # charon finds it: by key identifiers in the list and in its CA


@dataclass(frozen=True)
class Facts:
    """All that is known about the files of a host; a fault says why a part is None or empty."""

    certificate_path: str
    key_path: str
    ca_path: str
    certificate: Optional[CertificateFacts] = None
    certificate_fault: str = "is missing"
    key: Optional[KeyFacts] = None
    key_fault: str = "is missing"
    cas: tuple[CertificateFacts, ...] = ()
    ca_fault: str = "is missing"
    intermediates: tuple[CertificateFacts, ...] = ()  # appended to the certificate's file
    crl_path: str = ""
    crls: tuple[RevocationList, ...] = ()
    crl_fault: str = ""
    warn_days: int = defaults.WARN_DAYS

    @property
    def warning(self) -> timedelta:
        """Return how long before the end of something it is warned of."""
        return timedelta(days=self.warn_days)


# Names ---------------------------------------------------------------------------------------


def parse_name(text: str) -> Name:
    """Read a distinguished name as strongSwan does: ``CN=a, O=b`` or ``/CN=a/O=b``.

    Returns ``(("CN", "a"), ("O", "b"))``. Raises ValueError for what strongSwan would not take as
    a name. There is no escape for the separator: use the form with slashes for a value with a comma.
    """
    separator = "/" if text.lstrip().startswith("/") else ","
    parts = [part.strip(" ") for part in text.split(separator)]
    name = tuple(_parse_part(part) for part in parts if part)
    if not name:
        raise ValueError("it is empty")
    return name


def _parse_part(part: str) -> tuple[str, str]:
    attribute, equals, value = part.partition("=")
    known = _KNOWN.get(attribute.strip(" ").lower())
    if not equals:
        raise ValueError(f"{part!r} has no '='")
    if known is None:
        raise ValueError(f"strongSwan knows no attribute {attribute.strip()!r}")
    return known, value.lstrip(" =")


def render_name(name: Name) -> str:
    """Return a name as strongSwan prints it, in the order of the certificate."""
    separator = "/" if any("," in value for _, value in name) else ", "
    text = separator.join(f"{attribute}={value}" for attribute, value in name)
    return f"/{text}" if separator == "/" else text or "(empty)"


# Judging -------------------------------------------------------------------------------------


def judge(facts: Facts, expected: str, now: datetime) -> tuple[Finding, ...]:
    """Return all that is wrong with a host's files, errors first. ``expected`` is its identity."""
    findings = [
        *_judge_certificate(facts, now),
        *_judge_subject(facts, expected),
        *_judge_key(facts),
        *_judge_cas(facts, now),
        *_judge_chain(facts, now),
        *_judge_crls(facts, now),
    ]
    return tuple(sorted(findings, key=lambda finding: finding.severity))


def chain(facts: Facts, now: datetime) -> tuple[CertificateFacts, ...]:
    """Return the CAs from the certificate's issuer up to a self-signed CA of the CA file; empty if none."""
    if facts.certificate is None:
        return ()
    return next(_climb(facts, facts.certificate, (), now), ())


def installable(facts: Facts, now: datetime) -> tuple[CertificateFacts, ...]:
    """Return the CAs that charon shall have: those of the CA file, and intermediates of the chain.

    Expired ones are left out: charon takes the first issuer that verifies and does not try another.
    """
    bundle = [ca for ca in facts.cas if ca.is_ca and ca.not_after >= now]
    known = {ca.fingerprint for ca in bundle}
    return (*bundle, *(ca for ca in chain(facts, now) if ca.fingerprint not in known))


def _climb(
    facts: Facts, subject: CertificateFacts, below: tuple[CertificateFacts, ...], now: datetime
) -> Iterator[tuple[CertificateFacts, ...]]:
    for issuer in _issuers(facts, subject):
        if issuer in below or len(below) > LONGEST_CHAIN or _unusable(issuer, len(below), now):
            continue
        if issuer.self_signed and issuer in facts.cas:
            yield (*below, issuer)
        elif not issuer.self_signed:
            yield from _climb(facts, issuer, (*below, issuer), now)


def _issuers(facts: Facts, subject: CertificateFacts) -> list[CertificateFacts]:
    return [ca for ca in (*facts.cas, *facts.intermediates) if ca.fingerprint in subject.signed_by]


def _unusable(ca: CertificateFacts, depth: int, now: datetime) -> str:
    """Say why a CA cannot vouch for what is below it; empty if it can."""
    if not ca.is_ca:
        return "is not a CA (no basic constraint CA:TRUE)"
    if now > ca.not_after:
        return f"expired on {_day(ca.not_after)}"
    if now < ca.not_before:
        return f"is not valid before {_day(ca.not_before)}"
    if ca.path_length is not None and depth > ca.path_length:
        return f"allows {ca.path_length} CA(s) below it where there are {depth}"
    return ""


def _judge_certificate(facts: Facts, now: datetime) -> Iterator[Finding]:
    path, certificate = facts.certificate_path, facts.certificate
    if certificate is None:
        yield Finding(
            "error",
            "certificate-missing",
            f"certificate {path} {facts.certificate_fault}",
            "the host's certificate in PEM",
            "let the host's CA issue one, or correct ipsec:certificates in the pillar",
        )
        return
    subject, left = render_name(certificate.subject), certificate.not_after - now
    if left < timedelta(0):
        yield Finding(
            "error",
            "expired",
            f"certificate {path} ({subject}) expired on {_day(certificate.not_after)}",
            f"one that is valid on {_day(now)}",
            "renew it, and check the host's clock",
        )
    elif now < certificate.not_before:
        yield Finding(
            "error",
            "not-yet-valid",
            f"certificate {path} ({subject}) is not valid before {_day(certificate.not_before)}",
            f"one that is valid on {_day(now)}",
            "check the clocks of this host and of its CA, or wait",
        )
    elif left < facts.warning:
        yield Finding(
            "warning",
            "expires-soon",
            f"certificate {path} ({subject}) expires in {left.days} day(s), on {_day(certificate.not_after)}",
            f"at least {facts.warn_days} days",
            "renew it: when it expires, every tunnel of this host fails at its next authentication",
        )


def _judge_subject(facts: Facts, expected: str) -> Iterator[Finding]:
    try:
        wanted = parse_name(expected)
    except ValueError as error:
        yield Finding(
            "error",
            "bad-identity",
            f"identity {expected!r} is no distinguished name: {error}",
            "a name as 'CN=host.example, O=Fleet'",
            "correct ipsec:certificates:subject in the pillar",
        )
        return
    if facts.certificate is None or facts.certificate.subject == wanted:
        return
    found = facts.certificate.subject
    yield Finding(
        "error",
        "wrong-subject",
        f"certificate {facts.certificate_path} has the subject '{render_name(found)}'",
        f"'{render_name(wanted)}', by which peers know this host{_how_names_differ(found, wanted)}",
        "issue a certificate with that subject, or set ipsec:certificates:subject for the fleet",
    )


def _how_names_differ(found: Name, wanted: Name) -> str:
    if sorted(found) == sorted(wanted):
        return " (the same parts in another order, which strongSwan tells apart)"
    if render_name(found).lower() == render_name(wanted).lower():
        return " (upper and lower case differ)"
    return ""


def _judge_key(facts: Facts) -> Iterator[Finding]:
    path, key = facts.key_path, facts.key
    if key is None:
        yield Finding(
            "error",
            "key-missing",
            f"private key {path} {facts.key_fault}",
            "the host's private key in PEM",
            "restore it, or have a new key and certificate issued",
        )
        return
    if key.encrypted:
        yield Finding(
            "error",
            "key-encrypted",
            f"private key {path} is encrypted with a passphrase",
            "a key without one, as charon starts with nobody there to type it",
            f"decrypt it: openssl pkey -in {path} -out NEW (umask 077)",
        )
    elif key.type not in SECRETS_KEYWORDS:
        yield Finding(
            "error",
            "key-type",
            f"private key {path} is of the type {key.type}",
            "one of " + ", ".join(SECRETS_KEYWORDS),
            "issue a key and certificate of such a type",
        )
    elif facts.certificate is not None and not key.fits:
        yield Finding(
            "error",
            "key-mismatch",
            f"certificate {facts.certificate_path} is not for the private key {path}",
            "that the certificate's public key is the one of the private key",
            "restore the key the certificate was issued for, or have a new certificate issued",
        )
    yield from _judge_key_strength(path, key)


def _judge_key_strength(path: str, key: KeyFacts) -> Iterator[Finding]:
    if key.mode & 0o007:
        yield Finding(
            "warning",
            "key-readable",
            f"private key {path} has mode {key.mode:04o}, open to every user",
            "no access for others; the copy for charon gets 0600",
            f"chmod o= {path}, and consider the key as known to every user of this host",
        )
    if key.type == "RSA" and key.bits < WEAK_RSA_BITS:
        yield Finding(
            "warning",
            "key-weak",
            f"private key {path} is RSA of {key.bits} bits",
            f"at least {WEAK_RSA_BITS} bits",
            "issue a longer key",
        )


def _judge_cas(facts: Facts, now: datetime) -> Iterator[Finding]:
    path = facts.ca_path
    if not facts.cas:
        yield Finding(
            "error",
            "ca-missing",
            f"CA file {path} {facts.ca_fault}",
            "the CA certificates of the fleet in PEM",
            "restore it, or correct ipsec:certificates in the pillar",
        )
    elif not any(ca.is_ca for ca in facts.cas):
        subjects = "; ".join(render_name(ca.subject) for ca in facts.cas)
        yield Finding(
            "error",
            "not-a-ca",
            f"CA file {path} holds no CA: {subjects} lacks the basic constraint CA:TRUE",
            "certificates of CAs, as strongSwan discards others",
            "put the CA's own certificate there",
        )
    else:
        used = chain(facts, now)
        yield from (found for ca in facts.cas for found in _judge_ca(facts, ca, ca in used, now))


def _judge_ca(facts: Facts, ca: CertificateFacts, used: bool, now: datetime) -> Iterator[Finding]:
    name = f"CA file {facts.ca_path}: {render_name(ca.subject)}"
    if not ca.is_ca:
        yield Finding(
            "warning",
            "ca-ignored",
            f"{name} is not a CA (no basic constraint CA:TRUE) and is left out",
            "only CAs there",
            "remove it from the file",
        )
    elif now > ca.not_after:
        yield Finding(
            "warning",
            "ca-expired",
            f"{name} expired on {_day(ca.not_after)} and is left out",
            "only valid CAs there",
            "remove it from the file",
        )
    elif used and ca.not_after - now < facts.warning:
        yield Finding(
            "warning",
            "ca-expires-soon",
            f"{name} expires in {(ca.not_after - now).days} day(s), on {_day(ca.not_after)}",
            f"at least {facts.warn_days} days",
            "renew the CA: when it expires, every tunnel of the fleet fails at its next authentication",
        )


def _judge_chain(facts: Facts, now: datetime) -> Iterator[Finding]:
    if facts.certificate is None or not any(ca.is_ca for ca in facts.cas) or chain(facts, now):
        return
    yield Finding(
        "error",
        "chain-broken",
        f"certificate {facts.certificate_path} is not from the CA in {facts.ca_path}: "
        + _where_broken(facts, now),
        "a chain of valid CAs up to a self-signed one in that file",
        "use the CA file that belongs to the certificate, or have the certificate issued anew",
    )


def _where_broken(facts: Facts, now: datetime) -> str:
    """Follow the chain upwards to the first thing that ends it."""
    assert facts.certificate is not None  # noqa: S101 - the caller looked
    current, depth, seen = facts.certificate, 0, set[str]()
    while current.fingerprint not in seen:
        seen.add(current.fingerprint)
        issuers = _issuers(facts, current)
        if not issuers:
            return _no_issuer(facts, current)
        faults = [(ca, _unusable(ca, depth, now)) for ca in issuers]
        usable = [ca for ca, fault in faults if not fault]
        if not usable:
            ca, fault = faults[0]
            return f"its CA '{render_name(ca.subject)}' {fault}"
        current, depth = usable[0], depth + 1
    return f"the chain ends at '{render_name(current.subject)}', which is not in the CA file"


def _no_issuer(facts: Facts, current: CertificateFacts) -> str:
    issuer, subject = render_name(current.issuer), render_name(current.subject)
    if any(ca.subject == current.issuer for ca in (*facts.cas, *facts.intermediates)):
        return f"'{subject}' names '{issuer}' as its issuer, but that CA's key does not verify its signature"
    held = "; ".join(render_name(ca.subject) for ca in facts.cas if ca.is_ca)
    return f"'{subject}' was issued by '{issuer}', and the file has: {held}"


def usable_crls(facts: Facts, now: datetime) -> tuple[RevocationList, ...]:
    """Return the CRLs that charon shall have: those that a CA of its own has signed."""
    ours = {ca.fingerprint for ca in installable(facts, now)}
    return tuple(crl for crl in facts.crls if crl.signed_by & ours)


def _judge_crls(facts: Facts, now: datetime) -> Iterator[Finding]:
    if facts.crl_fault:
        yield Finding(
            "warning",
            "crl-missing",
            f"CRL file {facts.crl_path} {facts.crl_fault}",
            "revocation lists of the CAs in PEM",
            "restore it, or remove ipsec:certificates:crl from the pillar: no revoked host is refused",
        )
    usable = usable_crls(facts, now)
    for crl in facts.crls:
        name = f"CRL file {facts.crl_path}: the list of {render_name(crl.issuer)}"
        if crl not in usable:
            yield Finding(
                "warning",
                "crl-ignored",
                f"{name} is signed by no CA of {facts.ca_path} and is left out",
                "lists of those CAs only",
                "remove it from the file",
            )
        elif crl.revokes:
            yield Finding(
                "error",
                "revoked",
                f"certificate {facts.certificate_path} is revoked by the list of {render_name(crl.issuer)}",
                "one that is not",
                "have a new certificate issued: every peer with this list refuses the host",
            )
        elif not crl.found:
            yield Finding(
                "warning",
                "crl-not-found",
                f"{name} and its CA do not carry the same key identifier, by which charon looks for it",
                "the extensions authority key identifier (list) and subject key identifier (CA)",
                "have the CA make such lists: charon takes this one for missing, and refuses no revoked host",
            )
        elif crl.next_update is not None and crl.next_update < now:
            yield Finding(
                "warning",
                "crl-outdated",
                f"{name} was to be renewed by {_day(crl.next_update)}",
                "a list that is up to date",
                "fetch it again: with strictcrlpolicy=yes every peer is refused",
            )


def file_name(host_id: str, digest: str) -> str:
    """Return the file name of a certificate or key.

    It differs with the content: charon keeps the certificate that it loaded with a connection, and the
    starter loads a connection anew only where ipsec.conf differs.
    """
    return f"{host_id}-{digest[:12]}.pem"


@dataclass(frozen=True)
class Expiry:
    """When a certificate expires, and how bad that is."""

    not_after: datetime
    days_left: int
    severity: str  # ok, warning or critical
    sentence: str


def expiry(not_after: datetime, warn_days: int, now: datetime) -> Expiry:
    """Judge the end of a certificate that is in use."""
    days = (not_after - now).days
    if not_after < now:
        return Expiry(not_after, days, "critical", f"certificate expired on {_day(not_after)}")
    severity = "warning" if not_after - now < timedelta(days=warn_days) else "ok"
    return Expiry(not_after, days, severity, f"certificate expires in {days} days")


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
