"""What a host's certificate, key and CA must be before charon gets them. Pure: facts in, findings out.

From strongSwan's source: an identity that its certificate does not confirm is silently replaced by the
certificate's subject (stroke_config.c), and then peers refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ..strongswan import identity
from . import chains, demands, names, revocation
from .facts import SECRETS_KEYWORDS, CertificateFacts, Facts, KeyFacts, when
from .findings import Finding, a_warning, an_error

WEAK_RSA_BITS = 2048
MOST_CAS = 5  # in a file: an old and a new CA, and what is between them and the hosts


def judge(facts: Facts, expected: str, now: datetime) -> tuple[Finding, ...]:
    """Return all that is wrong with a host's files, errors first. ``expected`` is its identity."""
    findings = [
        *_judge_certificate(facts, now),
        *_judge_subject(facts, expected),
        *_judge_key(facts),
        *_judge_cas(facts, now),
        *_judge_chain(facts, now),
        *demands.judge(facts, now),
        *revocation.judge(facts, now),
    ]
    return tuple(sorted(findings, key=lambda finding: finding.severity))


# Certificate ---------------------------------------------------------------------------------


def _judge_certificate(facts: Facts, now: datetime) -> Iterator[Finding]:
    if facts.certificate is None:
        yield an_error(
            "certificate-missing",
            found=f"certificate {facts.certificate_path} {facts.certificate_fault}",
            expected="the host's certificate in PEM",
            action="let the host's CA issue one, or correct ipsec:certificates in the pillar",
        )
    else:
        yield from _judge_validity(facts, facts.certificate, now)
        yield from _judge_readable(facts, facts.certificate)


def _judge_readable(facts: Facts, certificate: CertificateFacts) -> Iterator[Finding]:
    name, why = f"certificate {facts.certificate_path}", chains.unreadable(facts, certificate)
    if why:
        yield an_error(
            "certificate-unreadable",
            found=f"{name} {why}",
            expected="one that charon can load",
            action="have it issued without that",
        )
    if not certificate.signs:
        yield an_error(
            "certificate-usage",
            found=f"{name} may not be used to sign (its keyUsage), and every peer refuses it",
            expected="digitalSignature or nonRepudiation in its keyUsage, or no such extension",
            action="have it issued with that",
        )
    if certificate.weak_hash:
        yield _weak(f"{name} is signed with {certificate.weak_hash}")


def _weak(found: str) -> Finding:
    return a_warning(
        "signature-weak",
        found=found,
        expected="SHA-256 or better: another can be made that has the same signature",
        action="have it issued anew; charon takes it all the same",
    )


def _judge_validity(facts: Facts, certificate: CertificateFacts, now: datetime) -> Iterator[Finding]:
    name = f"certificate {facts.certificate_path} ({names.render(certificate.subject)})"
    left = certificate.not_after - now
    if left < timedelta(0):
        yield an_error(
            "expired",
            found=f"{name} expired on {when(certificate.not_after)}",
            expected=f"one that is valid on {when(now)}",
            action="renew it, and check the host's clock",
        )
    elif now < certificate.not_before:
        yield an_error(
            "not-yet-valid",
            found=f"{name} is not valid before {when(certificate.not_before)}",
            expected=f"one that is valid on {when(now)}",
            action="check the clocks of this host and of its CA, or wait",
        )
    elif left < facts.warning:
        yield a_warning(
            "expires-soon",
            found=f"{name} expires in {left.days} day(s), on {when(certificate.not_after)}",
            expected=f"at least {facts.warn_days} days",
            action="renew it: when it expires, every tunnel of this host fails at its next authentication",
        )


def _judge_subject(facts: Facts, expected: str) -> Iterator[Finding]:
    if identity.kind(expected) in (identity.NAME, identity.ADDRESS):
        yield from _judge_alternatives(facts, expected)
    else:
        yield from _judge_name(facts, expected)


def _judge_alternatives(facts: Facts, expected: str) -> Iterator[Finding]:
    if facts.certificate is None or facts.certificate.names(expected):
        return
    names_there = ", ".join(map(str, facts.certificate.alternatives))
    there = f"the names {names_there}" if names_there else "no alternative name"
    yield an_error(
        "wrong-subject",
        found=f"certificate {facts.certificate_path} has {there}",
        expected=f"'{expected}' among its alternative names, by which peers know this host",
        action="issue a certificate with that name (subjectAltName), or set 'subject' in the pillar",
    )


def _judge_name(facts: Facts, expected: str) -> Iterator[Finding]:
    try:
        wanted = names.parse(expected)
    except ValueError as error:
        yield an_error(
            "bad-identity",
            found=f"identity {expected!r} is no distinguished name: {error}",
            expected="a name as 'CN=host.example, O=Fleet'",
            action="correct ipsec:certificates:subject in the pillar",
        )
        return
    if facts.certificate is None or facts.certificate.confirms(wanted):
        return
    found = facts.certificate.subject
    differ = names.differing(found, wanted, facts.certificate.parts)
    yield an_error(
        "wrong-subject",
        found=f"certificate {facts.certificate_path} has the subject '{names.render(found)}'",
        expected=f"'{names.render(wanted)}', by which peers know this host{differ}",
        action="issue a certificate with that subject, or set ipsec:certificates:subject for the fleet, "
        "'subject' for a host",
    )


# Key -----------------------------------------------------------------------------------------


def _judge_key(facts: Facts) -> Iterator[Finding]:
    if facts.key is None:
        yield an_error(
            "key-missing",
            found=f"private key {facts.key_path} {facts.key_fault}",
            expected="the host's private key in PEM",
            action="restore it, or have a new key and certificate issued",
        )
        return
    yield from _judge_key_use(facts, facts.key)
    yield from _judge_key_strength(facts.key_path, facts.key)


def _judge_key_use(facts: Facts, key: KeyFacts) -> Iterator[Finding]:
    path = facts.key_path
    if key.encrypted:
        yield an_error(
            "key-encrypted",
            found=f"private key {path} is encrypted with a passphrase",
            expected="a key without one, as charon starts with nobody there to type it",
            action=f"decrypt it: openssl pkey -in {path} -out NEW (umask 077)",
        )
    elif key.type not in SECRETS_KEYWORDS:
        yield an_error(
            "key-type",
            found=f"private key {path} is of the type {key.type}",
            expected="one of " + ", ".join(SECRETS_KEYWORDS),
            action="issue a key and certificate of such a type",
        )
    elif facts.certificate is not None and not key.fits:
        yield an_error(
            "key-mismatch",
            found=f"certificate {facts.certificate_path} is not for the private key {path}",
            expected="that the certificate's public key is the one of the private key",
            action="restore the key the certificate was issued for, or have a new certificate issued",
        )


def _judge_key_strength(path: str, key: KeyFacts) -> Iterator[Finding]:
    if key.mode & 0o007:
        yield a_warning(
            "key-readable",
            found=f"private key {path} has mode {key.mode:04o}, open to every user",
            expected="no access for others; the copy for charon gets 0600",
            action=f"chmod o= {path}, and consider the key as known to every user of this host",
        )
    if key.type == "RSA" and key.bits < WEAK_RSA_BITS:
        yield a_warning(
            "key-weak",
            found=f"private key {path} is RSA of {key.bits} bits",
            expected=f"at least {WEAK_RSA_BITS} bits",
            action="issue a longer key",
        )


# CAs -----------------------------------------------------------------------------------------


def _judge_cas(facts: Facts, now: datetime) -> Iterator[Finding]:
    path = facts.ca_path
    if not facts.cas:
        yield an_error(
            "ca-missing",
            found=f"CA file {path} {facts.ca_fault}",
            expected="the CA certificates of the fleet in PEM",
            action="restore it, or correct ipsec:certificates in the pillar",
        )
    elif not any(ca.is_ca for ca in facts.cas):
        subjects = "; ".join(names.render(ca.subject) for ca in facts.cas)
        yield an_error(
            "not-a-ca",
            found=f"CA file {path} holds no CA: {subjects} lacks the basic constraint CA:TRUE",
            expected="certificates of CAs, as strongSwan discards others",
            action="put the CA's own certificate there",
        )
    elif len(facts.cas) > MOST_CAS:
        yield an_error(
            "ca-bundle",
            found=f"CA file {path} holds {len(facts.cas)} certificates: each could vouch for any peer",
            expected=f"the CA of the fleet's hosts, and at most {MOST_CAS} certificates in all",
            action="name a file with that CA alone in ipsec:certificates, and not the system's bundle",
        )
    else:
        yield from _judge_roots(facts, now)
        used = chains.chain(facts, now)
        yield from (found for ca in facts.cas for found in _judge_ca(facts, ca, ca in used, now))


def _judge_roots(facts: Facts, now: datetime) -> Iterator[Finding]:
    """Warn of several CAs at the top: only one can be made a part of the connections, by its name."""
    subjects = [ca.subject for ca in chains.installable(facts, now) if ca.self_signed]
    roots = [names.render(subject) for subject in subjects]
    for name in (names.render(subject) for subject in subjects if names.is_pattern(subject)):
        yield an_error(
            "ca-pattern",
            found=f"CA file {facts.ca_path}: {name} has '*', which charon takes for whatever stands there",
            expected="a CA whose name is that of no other, as peers are bound to it by its name",
            action="have the certificates issued by a CA of another name",
        )
    if len(roots) > 1:
        found = f"CA file {facts.ca_path} holds {len(roots)} self-signed CAs ({'; '.join(roots)})"
        yield a_warning(
            "ca-several",
            found=f"{found}: each can vouch for any peer",
            expected="one, but for the time in which hosts change from one to another",
            action="take the old CA out of the file when all hosts have certificates of the new one",
        )


def _judge_ca(facts: Facts, ca: CertificateFacts, used: bool, now: datetime) -> Iterator[Finding]:
    name = f"CA file {facts.ca_path}: {names.render(ca.subject)}"
    if not ca.is_ca:
        yield a_warning(
            "ca-ignored",
            found=f"{name} is not a CA (no basic constraint CA:TRUE) and is left out",
            expected="only CAs there",
            action="remove it from the file",
        )
    elif chains.unreadable(facts, ca):
        yield a_warning(
            "ca-ignored",
            found=f"{name} {chains.unreadable(facts, ca)} and is left out",
            expected="only CAs that charon can load",
            action="remove it from the file, or have it issued without that",
        )
    elif now > ca.not_after:
        yield a_warning(
            "ca-expired",
            found=f"{name} expired on {when(ca.not_after)} and is left out",
            expected="only valid CAs there",
            action="remove it from the file",
        )
    elif chains.to_come(facts, ca, now):
        yield a_warning(
            "ca-to-come",
            found=f"{name} is not valid before {when(ca.not_before)} and is left out until then: charon may "
            "take it for the CA of that name and key that is valid now",
            expected="one certificate of a CA and its key",
            action="apply again once it is valid, before the one of now expires",
        )
    elif used and ca.not_after - now < facts.warning:
        yield a_warning(
            "ca-expires-soon",
            found=f"{name} expires in {(ca.not_after - now).days} day(s), on {when(ca.not_after)}",
            expected=f"at least {facts.warn_days} days",
            action="renew the CA: when it expires, every tunnel of the fleet fails at its next "
            "authentication",
        )
    if used and ca.weak_hash and not ca.self_signed:  # nobody has to believe a root's own signature
        yield _weak(f"{name} is signed with {ca.weak_hash}")


def _judge_chain(facts: Facts, now: datetime) -> Iterator[Finding]:
    certificate = facts.certificate
    if certificate is None or not any(ca.is_ca for ca in facts.cas):
        return
    if chains.chain(facts, now):
        yield from _judge_names(facts, now)
        return
    broken = chains.where_broken(facts, certificate, now)
    yield an_error(
        "chain-broken",
        found=f"certificate {facts.certificate_path} is not from the CA in {facts.ca_path}: {broken}",
        expected="a chain of valid CAs up to a self-signed one in that file",
        action="use the CA file that belongs to the certificate, or have the certificate issued anew",
    )


def _judge_names(facts: Facts, now: datetime) -> Iterator[Finding]:
    violated = chains.violated(facts, now)
    if violated:
        yield an_error(
            "name-constraint",
            found=f"certificate {facts.certificate_path} is not what its CAs may issue: {violated}",
            expected="a chain that keeps to the constraints of its CAs, as strongSwan judges them",
            action="have certificate or CA issued with other names, policies or constraints",
        )
