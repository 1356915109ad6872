"""What a host's certificate, key, CAs and CRLs are, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Optional

from ..strongswan import defaults
from . import der, names
from .constraints import Constraints, GeneralName, Policies
from .names import Name

MISSING = "is missing"  # the fault of a file that is not there

# What ipsec.secrets calls a key. All three load PKCS#8 ("BEGIN PRIVATE KEY") files: the pkcs8 plugin
# registers for each type. RSA also takes PKCS#1, ECDSA SEC1 ("BEGIN EC PRIVATE KEY").
SECRETS_KEYWORDS: Mapping[str, str] = {"RSA": "RSA", "ECDSA": "ECDSA", "Ed25519": "PKCS8", "Ed448": "PKCS8"}


class Scheme(NamedTuple):
    """How a signature is made: of a kind of key (RSA/PSS is one of its own), over a hash."""

    kind: str = ""
    hash: str = ""

    def __str__(self) -> str:
        """Return it as sentences have it."""
        return self.kind if self.hash in ("", "identity") else f"{self.kind} over {self.hash.upper()}"


class Asked(NamedTuple):
    """What the pillar's options, the same at both ends, say of how ends prove themselves."""

    leftauth: str = ""
    rightauth: str = ""
    rightcertpolicy: str = ""
    rsa_pss: bool = False  # of strongswan.conf, as the next
    signing: bool = True  # signature_authentication_constraints: hashes count for what an end signs, too
    strict: str = "no"  # strictcrlpolicy of config setup
    elsewhere: bool = False  # charon may have lists that are not of the file of lists


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
    key_fingerprint: str = ""  # SHA-256 of its public key; empty with a key_fault
    key_fault: str = ""
    listed: frozenset[str] = frozenset()  # its names in charon's lists, see charon.credentials
    parts: tuple[der.Part, ...] = ()  # of the subject, as encoded
    issuer_parts: tuple[der.Part, ...] = ()
    critical: frozenset[str] = frozenset()  # the extensions that who does not know them has to refuse
    alternatives: tuple[GeneralName, ...] = ()
    constraints: Optional[Constraints] = None
    policies: Policies = field(default_factory=Policies)
    weak_hash: str = ""  # MD5 or SHA1, where its signature is over that
    strange: str = ""  # its signature's algorithm, where strongSwan does not know that
    key: tuple[str, int] = ("", 0)  # type, as of KeyFacts, and bits
    scheme: Scheme = field(default_factory=Scheme)  # of its signature; empty where that is another
    online: bool = False  # it says where a list, or who knows whether it is revoked, can be asked for
    signs: bool = True  # its key may sign, by its keyUsage: charon takes no peer for whom that is not so

    def confirms(self, identity: Name) -> bool:
        """Say whether charon takes the certificate for one of this identity."""
        return names.confirms(self.parts, identity) if self.parts else self.subject == identity

    def names(self, identity: str) -> bool:
        """Say the same of an identity that is a name (``@host.example``) or an address.

        charon compares it with the alternative names (x509_cert.c, has_subject); what stands for many names
        there, as ``*.example``, is one of its own to it.
        """
        kind = "dns" if identity.startswith("@") else "ip"
        wanted = GeneralName(kind, identity.lstrip("@").lower())
        return any(wanted == one._replace(value=str(one).lower()) for one in self.alternatives)

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
    fits: bool = False  # the certificate is for this key

    @property
    def secrets_keyword(self) -> str:
        """Return how ipsec.secrets calls the key: RSA, ECDSA or PKCS8; empty where not known."""
        return SECRETS_KEYWORDS.get(self.type, "")


@dataclass(frozen=True)
class CrlFacts:
    """A revocation list. ``signed_by`` holds the fingerprints of CAs whose key verifies its signature."""

    issuer: Name
    next_update: Optional[datetime]
    signed_by: frozenset[str] = frozenset()
    revokes: bool = False  # the host's own certificate
    found: bool = True  # charon finds it: by key identifiers in the list and in its CA
    weak_hash: str = ""
    strange: str = ""
    critical: frozenset[str] = frozenset()
    delta: bool = False  # what changed since another list
    barred: bool = False  # none of its CAs may sign lists (their keyUsage), and this strongSwan looks at that


@dataclass(frozen=True)
class Authority:
    """A CA certificate that charon shall have."""

    fingerprint: str
    subject: str
    not_after: datetime
    pem: bytes = field(repr=False)
    identity: str = ""  # its name as charon takes it
    self_signed: bool = False
    listed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Facts:
    """All that is known about the files of a host; a fault says why a part is None or empty."""

    certificate_path: str
    key_path: str
    ca_path: str
    certificate: Optional[CertificateFacts] = None
    certificate_fault: str = MISSING
    key: Optional[KeyFacts] = None
    key_fault: str = MISSING
    cas: tuple[CertificateFacts, ...] = ()
    ca_fault: str = MISSING
    intermediates: tuple[CertificateFacts, ...] = ()  # appended to the certificate's file
    skipped: tuple[str, ...] = ()  # what of a file cannot be used, each with its path
    by_rfc: bool = True  # charon takes name constraints as RFC 5280 has them
    crl_path: str = ""
    crls: tuple[CrlFacts, ...] = ()
    crl_fault: str = ""
    warn_days: int = defaults.WARN_DAYS
    enforce_critical: bool = True
    asked: Asked = field(default_factory=Asked)

    @property
    def warning(self) -> timedelta:
        """Return how long before something expires a warning is due."""
        return timedelta(days=self.warn_days)


def when(moment: datetime) -> str:
    """Return a moment in UTC as sentences for the operator have it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
