"""A host's certificate, key, CAs and CRLs where they come from: found, read once, and judged.

One inspection serves a whole run: what it found is a value, from which copies and configuration are made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Optional

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from .. import paths
from ..charon import credentials
from ..errors import CertificateError
from ..model import Certificates, Settings
from ..pillar import topology
from ..pillar.membership import Membership
from ..strongswan import defaults, sections
from ..system import backend
from . import binding, chains, names, partners, pem, revocation, rules, version, x509facts
from .facts import MISSING, Asked, Authority, CertificateFacts, CrlFacts, Facts, KeyFacts
from .findings import ERROR, WARNING, Finding

# Values --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourcePaths:
    """Where a host's files are found."""

    certificate: str
    key: str
    ca: str
    crl: str = ""  # empty: none is looked for
    crl_required: bool = False  # the pillar names it: a file that is missing is warned of
    warn_days: int = defaults.WARN_DAYS
    enforce_critical: bool = True  # charon refuses what has a critical extension that it does not know
    asked: Asked = field(default_factory=Asked)  # what else peers demand of it


@dataclass(frozen=True)
class RevocationList:
    """A CRL that charon shall have."""

    signer: str  # fingerprint of its CA
    issuer: str
    next_update: Optional[datetime]
    pem: bytes = field(repr=False)
    listed: Optional[credentials.RevocationList] = None  # in charon's lists; None without its CA's key there


@dataclass(frozen=True)
class Credentials:
    """What charon shall have of a host's files."""

    certificate: CertificateFacts
    days_left: int  # until the certificate expires
    key: KeyFacts
    authorities: tuple[Authority, ...]
    crls: tuple[RevocationList, ...]
    ca_path: str  # the file that the authorities are from
    certificate_pem: bytes = field(repr=False)
    key_pem: pem.Secret = field(repr=False)
    partners: Mapping[str, Authority] = field(default_factory=dict)  # CAs of peers not managed, by path

    @property
    def binding(self) -> Mapping[str, str]:
        """Return the options that bind peers to the CA; none while there are several."""
        return binding.options(self.authorities)

    @property
    def every_authority(self) -> tuple[Authority, ...]:
        """Return the CAs of the fleet, and of peers that are not managed."""
        return (*self.authorities, *self.partners.values())

    @property
    def expected(self) -> credentials.Expected:
        """Return what charon is asked for once it has loaded all."""
        authorities = tuple((ca.subject, ca.listed) for ca in self.every_authority)
        crls = tuple((crl.issuer, crl.listed) for crl in self.crls if crl.listed)
        return credentials.Expected(self.certificate.listed, authorities, crls)


@dataclass(frozen=True)
class Inspection:
    """What a host's files are, and what is wrong with them."""

    findings: tuple[Finding, ...]
    credentials: Optional[Credentials]  # None where certificate or key cannot be read; see usable()

    @property
    def errors(self) -> tuple[str, ...]:
        """Return a sentence for each thing that forbids using the files."""
        return self._sentences(ERROR)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each thing that deserves a look and forbids nothing."""
        return self._sentences(WARNING)

    def usable(self) -> Credentials:
        """Return what charon shall have. If there are errors, raises CertificateError with all of them."""
        if self.errors or self.credentials is None:
            raise CertificateError("\n".join(self.errors))
        return self.credentials

    def _sentences(self, severity: str) -> tuple[str, ...]:
        return tuple(str(finding) for finding in self.findings if finding.severity == severity)


# Where they are ------------------------------------------------------------------------------


def puppet_ssldir(host_id: str) -> str:
    """Return the first of Puppet's ssl directories that has the host's certificate."""
    for directory in paths.here.puppet_ssl:
        if os.path.exists(f"{directory}/certs/{host_id}.pem"):  # noqa: PTH110 - Path.exists raises for some
            return str(directory)
    looked = ", ".join(f"{directory}/certs" for directory in paths.here.puppet_ssl)
    raise CertificateError(
        f"no certificate {host_id}.pem of the Puppet agent in {looked}; expected one; run the agent, "
        "or set ipsec:certificates:ssldir, or ipsec:certificates:source to files, in the pillar"
    )


def locate(
    certificates: Certificates, minion_id: str, ssldir: Callable[[str], str] = puppet_ssldir
) -> SourcePaths:
    """Return where a host's files are; ``ssldir`` finds Puppet's directory where the pillar names none.

    Raises :class:`~hostipsec.errors.CertificateError` where it is needed and not found.
    """
    templates = (certificates.certificate, certificates.key, certificates.ca, certificates.crl)
    needed = any("{ssldir}" in template for template in templates)
    fields = {"ssldir": ssldir(minion_id)} if needed else {}
    certificate, key, ca, crl = (topology.fill(template, minion_id, **fields) for template in templates)
    named = certificates.source == "files" and bool(crl)
    return SourcePaths(certificate, key, ca, crl, named, certificates.warn_days)


# Inspecting ----------------------------------------------------------------------------------


def inspect_member(member: Membership, now: datetime) -> Inspection:
    """Read and judge the files of a member of the fleet, and what else charon has of their kind.

    Raises CertificateError as :func:`locate` does.
    """
    settings = member.fleet.settings
    where = locate(settings.certificates, member.host.id)
    there = backend.places(backend.top(backend.chosen(member.backend)))
    asked = _asked(settings)._replace(elsewhere=_lists_elsewhere(settings, there.crls))
    where = replace(where, enforce_critical=_enforces_critical(settings.charon), asked=asked)
    found = inspect(where, member.subject, now)
    if found.credentials is None:
        return found
    beside = binding.judge(found.credentials.authorities, there.cacerts)
    return with_partners(replace(found, findings=(*found.findings, *beside)), member, now)


def with_partners(found: Inspection, member: Membership, now: datetime) -> Inspection:
    """Return an inspection with the CAs that peers of a member have which Salt does not manage."""
    if found.credentials is None:
        return found
    peers = (host for host in member.fleet.hosts if host.id in member.peers)
    enforced = _enforces_critical(member.fleet.settings.charon)
    others, wrong = partners.read(peers, found.credentials.authorities, now, enforced)
    lists = [partners.lists(path, enforced) for path in others]
    crls = (one for facts, crls in lists for one in _newest(facts, crls, now))
    odd = (one for facts, _ in lists for one in revocation.judge(facts, now))
    complete = replace(found.credentials, partners=others, crls=(*found.credentials.crls, *crls))
    return replace(found, findings=(*found.findings, *wrong, *odd), credentials=complete)


def _enforces_critical(charon: Mapping[str, object]) -> bool:
    """Say whether strongswan.conf leaves it at that (x509.enforce_critical)."""
    section = charon.get("x509")
    value = section.get("enforce_critical", True) if isinstance(section, Mapping) else True
    return str(value).lower() not in ("0", "no", "false", "disabled")


def _asked(settings: Settings) -> Asked:
    """Return what the pillar says of how ends prove themselves: each peer demands it of this host."""
    given = sections.common_options(settings)
    return Asked(
        leftauth=given.get("leftauth", ""),
        rightauth=given.get("rightauth", ""),
        rightcertpolicy=given.get("rightcertpolicy", ""),
        rsa_pss=settings.charon.get("rsa_pss") == "yes",
        signing=settings.charon.get("signature_authentication_constraints") != "no",
        strict=settings.setup.get("strictcrlpolicy", "no"),
    )


def _lists_elsewhere(settings: Settings, crls: Path) -> bool:
    """Say whether charon may have lists that are none of ours, or be told by others where they are."""
    try:
        others = [one for one in crls.iterdir() if not pem.is_shared(one.name)] if crls.is_dir() else []
    except OSError:
        return True  # nobody can tell
    return bool(others or settings.existing == "keep")


def inspect(where: SourcePaths, subject: str, now: datetime) -> Inspection:
    """Read a host's files and judge them. ``subject`` is its identity; ``now`` has a time zone."""
    read = _read(where)
    facts = _facts(where, read)
    return Inspection(rules.judge(facts, _shown(subject), now), _credentials(facts, read, now))


def certificate_at(path: str) -> Optional[CertificateFacts]:
    """Return the certificate in a file, without a look at who signed it; None where none can be read."""
    found = pem.read_certificates(path).first
    return x509facts.certificate_facts(found) if found else None


@dataclass(frozen=True)
class _Read:
    """What the files of a host hold."""

    own: pem.CertificateFile
    bundle: pem.CertificateFile  # of CAs
    key: pem.KeyFile
    crls: pem.CrlFile

    @property
    def appended(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates after the host's own in its file."""
        return self.own.certificates[1:]

    @property
    def everyone(self) -> dict[str, x509.Certificate]:
        """Return all certificates by fingerprint."""
        return x509facts.distinct((*self.own.certificates, *self.bundle.certificates))


def _read(where: SourcePaths) -> _Read:
    own, bundle = pem.read_certificates(where.certificate, own=True), pem.read_certificates(where.ca)
    return _Read(own, bundle, pem.read_key(where.key, own.first), _read_crls(where))


def _read_crls(where: SourcePaths) -> pem.CrlFile:
    """Return the CRLs. A missing file is no fault unless the pillar names it: Puppet may have none."""
    found = pem.read_crls(where.crl) if where.crl else pem.CrlFile()
    return pem.CrlFile() if found.fault == MISSING and not where.crl_required else found


def _facts(where: SourcePaths, read: _Read) -> Facts:
    """Return what was read as values; each certificate is compared with all that may have signed it."""
    everyone = read.everyone
    issuers = x509facts.distinct((*read.appended, *read.bundle.certificates)).values()
    known = {name: x509facts.certificate_facts(one, issuers) for name, one in everyone.items()}
    own, cas = read.own.first, x509facts.distinct(read.bundle.certificates)
    return Facts(
        certificate_path=_shown(where.certificate),
        key_path=_shown(where.key),
        ca_path=_shown(where.ca),
        certificate=known[x509facts.fingerprint(own)] if own else None,
        certificate_fault=read.own.fault,
        key=read.key.key,
        key_fault=read.key.fault,
        cas=tuple(known[name] for name in cas),
        ca_fault=read.bundle.fault,
        intermediates=tuple(known[name] for name in x509facts.distinct(read.appended) if name not in cas),
        skipped=_skipped(where, read),
        by_rfc=all(one.constraints is None for one in known.values()) or version.has_rfc_constraints(),
        crl_path=_shown(where.crl),
        crls=tuple(x509facts.crl_facts(crl, everyone.values(), own) for crl in read.crls.crls),
        crl_fault=read.crls.fault,
        warn_days=where.warn_days,
        enforce_critical=where.enforce_critical,
        asked=where.asked,
    )


def _skipped(where: SourcePaths, read: _Read) -> tuple[str, ...]:
    """Return what of the files cannot be used, each with its path."""
    parts = ((where.certificate, read.own), (where.ca, read.bundle), (where.crl, read.crls))
    return tuple(f"{_shown(path)}: {one}" for path, file in parts for one in file.skipped)


def _shown(path: str) -> str:
    """Return a path as it can be told: one of any bytes is no text that can be sent."""
    return path.encode("utf-8", "backslashreplace").decode()


# What charon shall have ----------------------------------------------------------------------


def _credentials(facts: Facts, read: _Read, now: datetime) -> Optional[Credentials]:
    if facts.certificate is None or facts.key is None or read.key.pem is None:
        return None
    everyone = read.everyone
    return Credentials(
        certificate=facts.certificate,
        days_left=(facts.certificate.not_after - now).days,
        key=facts.key,
        authorities=tuple(_authority(ca, everyone) for ca in chains.installable(facts, now)),
        crls=_newest(facts, read.crls.crls, now),
        ca_path=facts.ca_path,
        certificate_pem=read.own.pem,
        key_pem=read.key.pem,
    )


def _authority(ca: CertificateFacts, everyone: Mapping[str, x509.Certificate]) -> Authority:
    certificate = everyone[ca.fingerprint]
    encoded, name = certificate.public_bytes(serialization.Encoding.PEM), binding.identity(certificate, ca)
    told = (ca.fingerprint, names.render(ca.subject), ca.not_after, encoded, name, ca.self_signed)
    return Authority(*told, ca.listed)


def _newest(
    facts: Facts, crls: Iterable[x509.CertificateRevocationList], now: datetime
) -> tuple[RevocationList, ...]:
    """Return one list a CA, the one that was made last."""
    usable = chains.usable_crls(facts, now)
    pairs = [(crl, known) for crl, known in zip(crls, facts.crls) if known in usable]
    pairs.sort(key=lambda pair: x509facts.moment(pair[0], "last_update"), reverse=True)
    newest: dict[str, RevocationList] = {}
    for crl, known in pairs:
        newest.setdefault(min(known.signed_by), _revocation_list(crl, known))
    return tuple(newest[signer] for signer in sorted(newest))


def _revocation_list(crl: x509.CertificateRevocationList, known: CrlFacts) -> RevocationList:
    encoded = crl.public_bytes(serialization.Encoding.PEM)
    told = (min(known.signed_by), names.render(known.issuer), known.next_update, encoded)
    return RevocationList(*told, x509facts.crl_listed(crl))
