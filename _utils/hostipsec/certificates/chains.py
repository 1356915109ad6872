"""Which CAs vouch for a host's certificate, and where a chain of them breaks. Pure.

strongSwan's own rules, from its source: a chain ends at a *self-signed* CA of cacerts (credential_manager.c,
``verify_trust_chain``), and a CA needs the basic constraint (stroke_cred.c, ``load_ca_cert``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from . import names
from .facts import CertificateFacts, CrlFacts, Facts, when

LONGEST = 7  # credential_manager.c, MAX_TRUST_PATH_LEN


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


def usable_crls(facts: Facts, now: datetime) -> tuple[CrlFacts, ...]:
    """Return the CRLs that charon shall have: those that are signed by a CA that it shall have."""
    ours = {ca.fingerprint for ca in installable(facts, now)}
    return tuple(crl for crl in facts.crls if crl.signed_by & ours)


def where_broken(facts: Facts, certificate: CertificateFacts, now: datetime) -> str:
    """Follow the chain of a certificate upwards, and say what ends it."""
    current, depth, seen = certificate, 0, set[str]()
    while current.fingerprint not in seen:
        seen.add(current.fingerprint)
        issuers = _issuers(facts, current)
        if not issuers:
            return _no_issuer(facts, current)
        faults = [(ca, _unusable(ca, depth, now)) for ca in issuers]
        usable = [ca for ca, fault in faults if not fault]
        if not usable:
            ca, fault = faults[0]
            return f"its CA '{names.render(ca.subject)}' {fault}"
        current, depth = usable[0], depth + 1
    return f"the chain ends at '{names.render(current.subject)}', which is not in the CA file"


def _climb(
    facts: Facts, subject: CertificateFacts, below: tuple[CertificateFacts, ...], now: datetime
) -> Iterator[tuple[CertificateFacts, ...]]:
    """Yield each way from a certificate up to a self-signed CA of the CA file; ``below`` is gone already."""
    for issuer in _issuers(facts, subject):
        if issuer in below or len(below) > LONGEST or _unusable(issuer, len(below), now):
            continue
        if issuer.self_signed and issuer in facts.cas:
            yield (*below, issuer)
        elif not issuer.self_signed:
            yield from _climb(facts, issuer, (*below, issuer), now)


def _issuers(facts: Facts, subject: CertificateFacts) -> list[CertificateFacts]:
    """Return those whose key verifies the signature of a certificate."""
    return [ca for ca in (*facts.cas, *facts.intermediates) if ca.fingerprint in subject.signed_by]


def _unusable(ca: CertificateFacts, depth: int, now: datetime) -> str:
    """Say why a CA cannot vouch for what is below it; empty if it can."""
    if not ca.is_ca:
        return "is not a CA (no basic constraint CA:TRUE)"
    if now > ca.not_after:
        return f"expired on {when(ca.not_after)}"
    if now < ca.not_before:
        return f"is not valid before {when(ca.not_before)}"
    if ca.path_length is not None and depth > ca.path_length:
        return f"allows {ca.path_length} CA(s) below it where there are {depth}"
    return ""


def _no_issuer(facts: Facts, current: CertificateFacts) -> str:
    """Say why nothing verifies the signature of a certificate."""
    issuer, subject = names.render(current.issuer), names.render(current.subject)
    if any(ca.subject == current.issuer for ca in (*facts.cas, *facts.intermediates)):
        return f"'{subject}' names '{issuer}' as its issuer, but that CA's key does not verify its signature"
    held = "; ".join(names.render(ca.subject) for ca in facts.cas if ca.is_ca)
    return f"'{subject}' was issued by '{issuer}', and the file has: {held}"
