"""Which CAs vouch for a host's certificate, and where a chain of them breaks. Pure.

strongSwan's own rules, from its source: a chain ends at a *self-signed* CA of cacerts (credential_manager.c,
``verify_trust_chain``), and a CA needs the basic constraint (stroke_cred.c, ``load_ca_cert``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from . import constraints, names
from .constraints import Constraints, GeneralName, Named, Policies
from .facts import CertificateFacts, CrlFacts, Facts, when

LONGEST = 7  # credential_manager.c, MAX_TRUST_PATH_LEN


def chain(facts: Facts, now: datetime) -> tuple[CertificateFacts, ...]:
    """Return the CAs from the certificate's issuer up to a self-signed CA of the CA file; empty if none."""
    if facts.certificate is None:
        return ()
    return next(_climb(facts, facts.certificate, (), now, set()), ())


def installable(facts: Facts, now: datetime) -> tuple[CertificateFacts, ...]:
    """Return the CAs that charon shall have: those of the CA file, and intermediates of the chain.

    Expired ones are left out, and those to come: charon takes the first issuer that verifies and does not
    try another.
    """
    bundle = [ca for ca in facts.cas if ca.is_ca and ca.not_after >= now and not unreadable(facts, ca)]
    bundle = [ca for ca in bundle if not to_come(facts, ca, now)]
    known = {ca.fingerprint for ca in bundle}
    return (*bundle, *(ca for ca in chain(facts, now) if ca.fingerprint not in known))


def to_come(facts: Facts, ca: CertificateFacts, now: datetime) -> bool:
    """Say whether a CA is not valid yet, and would stand beside itself of now: of the same name and key."""
    alike = (
        one for one in facts.cas if (one.subject, one.key_fingerprint) == (ca.subject, ca.key_fingerprint)
    )
    return now < ca.not_before and any(one.is_ca and one.not_before <= now <= one.not_after for one in alike)


def usable_crls(facts: Facts, now: datetime) -> tuple[CrlFacts, ...]:
    """Return the CRLs that charon shall have: those that are signed by a CA that it shall have."""
    ours = {ca.fingerprint for ca in installable(facts, now)}
    return tuple(crl for crl in facts.crls if crl.signed_by & ours and not useless(facts, crl))


def useless(facts: Facts, crl: CrlFacts) -> str:
    """Say why charon does not load a list, or what it is of no use for; empty for a list to be used.

    Of the lists of a CA one is copied: a delta list would take the place of the one that it is a part of.
    """
    if crl.strange:
        return f"has a signature by {crl.strange}, which strongSwan does not know,"
    unknown = crl.critical - constraints.CRL
    if unknown and facts.enforce_critical:
        return f"has a critical extension that strongSwan does not know ({', '.join(sorted(unknown))})"
    if crl.barred:
        return "is of a CA that may not sign lists (its keyUsage lacks cRLSign)"
    return "is a delta list, which tells only what changed since another one," if crl.delta else ""


def unreadable(facts: Facts, certificate: CertificateFacts) -> str:
    """Say why charon does not load a certificate; empty if it does."""
    if certificate.key_fault:
        return f"has a public key that cannot be read ({certificate.key_fault})"
    if certificate.strange:
        return f"has a signature by {certificate.strange}, which strongSwan does not know"
    unknown = constraints.unknown(
        certificate.critical, certificate.constraints or Constraints(), facts.by_rfc
    )
    if not unknown or not facts.enforce_critical:
        return ""
    before = "" if constraints.NAME_CONSTRAINTS not in unknown else " (name constraints for addresses)"
    return f"has a critical extension that strongSwan does not know: {', '.join(sorted(unknown))}{before}"


def violated(facts: Facts, now: datetime) -> str:
    """Say which constraint of a CA the chain does not keep to, as charon judges it; empty if it does."""
    above = chain(facts, now)
    if facts.certificate is None:
        return ""
    every, by_name = (facts.certificate, *above), any(ca.constraints for ca in above)
    names_ = constraints.violated([_named(one, facts) for one in every], facts.by_rfc) if by_name else ""
    return names_ or constraints.breached([policies(one, facts) for one in every])


def policies(one: CertificateFacts, facts: Facts) -> Policies:
    """Return what charon reads of a certificate's policies."""
    known = facts.by_rfc or constraints.is_read_before(one.constraints or Constraints())
    return one.policies if known else Policies()


def _named(one: CertificateFacts, facts: Facts) -> Named:
    found = one.constraints or Constraints()
    if not facts.by_rfc and not constraints.is_read_before(found):  # another parser loads it, without them
        found = Constraints()
    return Named((GeneralName("dn", one.parts), *one.alternatives), one.is_ca, found)


def where_broken(facts: Facts, certificate: CertificateFacts, now: datetime) -> str:
    """Follow the chain of a certificate upwards, and say what ends it."""
    current, depth, seen = certificate, 0, set[str]()
    while current.fingerprint not in seen:
        seen.add(current.fingerprint)
        issuers = _issuers(facts, current)
        if not issuers:
            return _no_issuer(facts, current)
        faults = [(ca, _unusable(facts, ca, depth, now)) for ca in issuers]
        usable = [ca for ca, fault in faults if not fault]
        if not usable:
            ca, fault = faults[0]
            return f"its CA '{names.render(ca.subject)}' {fault}"
        current, depth = usable[0], depth + 1
    return f"the chain ends at '{names.render(current.subject)}', which is not in the CA file"


def _climb(
    facts: Facts,
    subject: CertificateFacts,
    below: tuple[CertificateFacts, ...],
    now: datetime,
    vain: set[tuple[str, int]],
) -> Iterator[tuple[CertificateFacts, ...]]:
    """Yield ways from a certificate up to a self-signed CA of the CA file; ``below`` is gone already.

    ``vain`` are CAs, each with its height, from which there is none: CAs that sign each other make many ways.
    """
    for issuer in _issuers(facts, subject):
        here = (issuer.fingerprint, len(below))
        if here in vain or issuer in below or len(below) > LONGEST or _unusable(facts, issuer, here[1], now):
            continue
        if issuer.self_signed and issuer in facts.cas:
            yield (*below, issuer)
        elif not issuer.self_signed:
            yield from _climb(facts, issuer, (*below, issuer), now, vain)
        vain.add(here)


def _issuers(facts: Facts, subject: CertificateFacts) -> list[CertificateFacts]:
    """Return those whose key verifies the signature of a certificate."""
    return [ca for ca in (*facts.cas, *facts.intermediates) if ca.fingerprint in subject.signed_by]


def _unusable(facts: Facts, ca: CertificateFacts, depth: int, now: datetime) -> str:
    """Say why a CA cannot vouch for what is below it; empty if it can."""
    if not ca.is_ca:
        return "is not a CA (no basic constraint CA:TRUE)"
    if now > ca.not_after:
        return f"expired on {when(ca.not_after)}"
    if now < ca.not_before:
        return f"is not valid before {when(ca.not_before)}"
    if ca.path_length is not None and depth > ca.path_length:
        return f"allows {ca.path_length} CA(s) below it where there are {depth}"
    return unreadable(facts, ca)


def _no_issuer(facts: Facts, current: CertificateFacts) -> str:
    """Say why nothing verifies the signature of a certificate."""
    issuer, subject = names.render(current.issuer), names.render(current.subject)
    named = [ca for ca in (*facts.cas, *facts.intermediates) if ca.subject == current.issuer]
    if named and not any(names.alike(current.issuer_parts, ca.parts) for ca in named):
        return (
            f"'{subject}' names '{issuer}' as its issuer, a name that is encoded otherwise in that CA's own "
            "certificate"
        )
    if named:
        return f"'{subject}' names '{issuer}' as its issuer, but that CA's key does not verify its signature"
    held = "; ".join(names.render(ca.subject) for ca in facts.cas if ca.is_ca)
    return f"'{subject}' was issued by '{issuer}', and the file has: {held}"
