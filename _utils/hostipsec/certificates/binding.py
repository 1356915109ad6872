"""Whom charon is to believe about peers: the CA of the pillar, whatever other CAs it has.

charon takes every CA below ``/etc/ipsec.d/cacerts``, and a certificate of any of them for a peer's subject
would do. ``rightca`` makes one CA a part of each connection (stroke_config.c, ``build_auth_cfg``): it is
looked for by its name among the CAs that charon has, the first of that name is taken, and the chain of the
peer's certificate has to have it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Optional

from cryptography import x509

from ..errors import HostIPsecError
from ..strongswan.kinds import is_safe
from ..system import files
from . import names, pem, x509facts
from .facts import Authority, CertificateFacts
from .findings import ERROR, WARNING, Finding

_ACTION = "remove it, and run: ipsec rereadcacerts, or move what needs it to another host"


def identity(ca: x509.Certificate, facts: CertificateFacts) -> str:
    """Return the name of a CA for charon: as people read it, or its very bytes where that is not the same."""
    encoded, text = x509facts.subject_bytes(ca), names.render(facts.subject)
    plain = all(value.isascii() and value.encode() in encoded for _, value in facts.subject)
    return text if plain and is_safe(text) and _reads(text) == facts.subject else f"asn1dn:#{encoded.hex()}"


def _reads(text: str) -> Optional[names.Name]:
    try:
        return names.parse(text)
    except ValueError:
        return None


def bound(authorities: Collection[Authority]) -> Optional[Authority]:
    """Return the CA that peers are bound to; None where there is not exactly one."""
    roots = [ca for ca in authorities if ca.self_signed]
    alike = [ca for ca in authorities if roots and ca.subject.casefold() == roots[0].subject.casefold()]
    return roots[0] if len(roots) == len(alike) == 1 else None


def options(authorities: Collection[Authority]) -> dict[str, str]:
    """Return the options of all connections that bind peers to the CA, where there is one.

    charon goes on with the CA that it found when a connection was loaded, and would refuse every peer once
    that CA was renewed under its name: nothing in ipsec.conf would differ, so that the starter would not load
    the connection anew. So its fingerprint stands there, too. strongSwan reads ``rightca2`` only for a second
    round of authentication, and there is none.
    """
    ca = bound(authorities)
    return {"rightca": ca.identity, "rightca2": ca.fingerprint[:16]} if ca else {}


def judge(authorities: Collection[Authority], cacerts: Path) -> tuple[Finding, ...]:
    """Return what is wrong with other CAs in the directory that charon reads."""
    ours, ca_of_all = {ca.fingerprint for ca in authorities}, bound(authorities)
    name = ca_of_all.identity if ca_of_all else ""
    subjects = {
        ca.subject.casefold() for ca in authorities
    }  # charon does not tell upper and lower case apart
    found = ((path, ca) for path, ca in _cas(cacerts) if ca.fingerprint not in ours)
    return tuple(_finding(path, names.render(ca.subject), name, subjects) for path, ca in found)


def _finding(path: Path, subject: str, name: str, subjects: Collection[str]) -> Finding:
    found = f"{path} is a CA that the pillar does not name, {subject}"
    if subject.casefold() in subjects:
        alike = f"{found}, with the same name as one that it does: charon cannot tell them apart"
        return Finding(ERROR, "ca-alike", alike, "one CA of a name", _ACTION)
    if not name:
        several = "one self-signed CA in the pillar's CA file where there are others: peers are bound to one"
        return Finding(ERROR, "ca-unbound", found, several, f"{_ACTION}, or take the old CA out of that file")
    only = f"only CAs of the pillar there; peers are bound to '{name}', and none of it is taken for one"
    return Finding(WARNING, "ca-foreign", found, only, _ACTION)


def _cas(cacerts: Path) -> Iterator[tuple[Path, CertificateFacts]]:
    """Yield the CAs in a directory, of files that are not copies of ours."""
    try:
        paths = sorted(cacerts.iterdir()) if cacerts.is_dir() else []
    except OSError as error:
        raise HostIPsecError(f"{cacerts}: cannot be read: {error.strerror}") from None
    for path in paths:
        facts = None if pem.is_shared(path.name) else _certificate(path)
        if facts and facts.is_ca:
            yield path, facts


def _certificate(path: Path) -> Optional[CertificateFacts]:
    """Return the certificate that charon reads of a file, the first; None of one that is none."""
    try:
        found = pem.read_certificates(str(path)).first
        if found is None:
            found = x509.load_der_x509_certificate(files.read(path) or b"")
        return x509facts.certificate_facts(found)
    except (HostIPsecError, *x509facts.UNPARSED):
        return None
