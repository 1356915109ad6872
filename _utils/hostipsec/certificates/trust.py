"""What peers need to know of a host to say whether it could authenticate anew with them, and they with it.

A host looks at its own files only: one whose certificate and CA file come from another CA finds them well.
So it tells the CAs that vouch for its certificate, and the CAs whose certificates it takes. A CA is told by
the SHA-256 of its public key and by its name: charon looks for an issuer by name and verifies by key, so that
a CA that was renewed with its key is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from cryptography import x509

from ..errors import HostIPsecError
from ..store import present
from ..system import backend, files
from . import chains, names, pem, x509facts
from .facts import CertificateFacts, Facts, when
from .source import Credentials


def planned(credentials: Credentials, now: datetime) -> dict[str, Any]:
    """Return what a host tells of the files that it is to use, see :func:`told`."""
    cas = [x509.load_pem_x509_certificate(ca.pem) for ca in credentials.authorities]
    bound = credentials.binding.get("rightca2", "")
    return told(x509.load_pem_x509_certificates(credentials.certificate_pem)[0], cas, bound, now)


def in_use(now: datetime) -> Optional[dict[str, Any]]:
    """Return the same of the files that this host's configuration names; None where that is not known."""
    try:
        here, name = backend.places(), present.certificate()
        own = pem.read_certificates(str(here.certs / name)).first if name else None
        if own is None:
            return None
        return told(own, _authorities(here.cacerts), present.option("rightca2"), now)
    except (HostIPsecError, OSError, *x509facts.UNPARSED):
        return None


def told(own: x509.Certificate, cas: Sequence[x509.Certificate], bound: str, now: datetime) -> dict[str, Any]:
    """Return ``chain`` (the CAs that vouch for a certificate), ``trusts`` and ``fault`` as plain values.

    ``cas``    all CAs that charon has
    ``bound``  the begin of the fingerprint of the one that peers are bound to; empty for any

    ``fault`` says why nobody takes the certificate now; empty for nothing.
    """
    known = [x509facts.certificate_facts(one, cas) for one in cas]
    certificate = x509facts.certificate_facts(own, cas)
    return {
        "chain": _plain(_chain(certificate, [ca for ca in known if ca.self_signed], known, now)),
        "trusts": _plain(_trusted(known, bound, now)),
        "fault": _fault(certificate, now),
    }


def _chain(
    certificate: CertificateFacts,
    roots: Collection[CertificateFacts],
    cas: Iterable[CertificateFacts],
    now: datetime,
) -> tuple[CertificateFacts, ...]:
    """Return the CAs from the issuer of a certificate up to one of some roots; empty for no way."""
    between = tuple(ca for ca in cas if not ca.self_signed)
    return chains.chain(Facts("", "", "", certificate, cas=tuple(roots), intermediates=between), now)


def _trusted(cas: Sequence[CertificateFacts], bound: str, now: datetime) -> list[CertificateFacts]:
    """Return the CAs whose certificates are taken: the roots, and those below one."""
    valid = [ca for ca in cas if ca.is_ca and ca.not_before <= now <= ca.not_after]
    roots = [ca for ca in valid if ca.self_signed]
    named = [ca for ca in roots if bound and ca.fingerprint.startswith(bound)]
    anchors = named or roots  # charon drops a CA that it does not have from a connection
    return [ca for ca in valid if ca in anchors or (not ca.self_signed and _chain(ca, anchors, valid, now))]


def _fault(certificate: CertificateFacts, now: datetime) -> str:
    if now > certificate.not_after:
        return f"its certificate expired on {when(certificate.not_after)}"
    if now < certificate.not_before:
        return f"its certificate is not valid before {when(certificate.not_before)}"
    return "" if certificate.signs else "its certificate may not be used to sign (its keyUsage)"


def _plain(cas: Iterable[CertificateFacts]) -> list[dict[str, str]]:
    return [{"key": ca.key_fingerprint, "name": names.render(ca.subject)} for ca in cas if ca.key_fingerprint]


def _authorities(cacerts: Path) -> list[x509.Certificate]:
    """Return the CAs in a directory as charon reads them: the first of a file, in PEM or DER."""
    found = [_certificate(path) for path in sorted(cacerts.iterdir()) if path.is_file()]
    return [*x509facts.distinct(one for one in found if one).values()]


def _certificate(path: Path) -> Optional[x509.Certificate]:
    found = pem.read_certificates(str(path)).first
    if found is not None:
        return found
    try:
        return x509.load_der_x509_certificate(files.read(path) or b"")
    except (HostIPsecError, *x509facts.UNPARSED):
        return None
