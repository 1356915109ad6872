"""The CAs of peers that Salt does not manage: each may vouch for those peers alone that name it.

charon takes any CA that it has for a connection that is bound to none. So a CA of others is taken only where
the fleet's own connections are bound to the fleet's CA, and theirs are bound to theirs (``binding``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ..model import Host
from . import binding, chains, names, pem, version, x509facts
from .facts import Authority, CertificateFacts, Facts, when
from .findings import ERROR, Finding

Lists = tuple[Facts, tuple[x509.CertificateRevocationList, ...]]
Found = tuple[Mapping[str, Authority], tuple[Finding, ...]]  # by path; and what is wrong


def read(
    peers: Iterable[Host], own: Sequence[Authority], now: datetime, enforce_critical: bool = True
) -> Found:
    """Return the CAs that peers name, by the path that they name; ``own`` are those of the fleet.

    Where ``enforce_critical`` is false charon takes what has a critical extension that it does not know.
    """
    found: dict[str, Authority] = {}
    wrong: list[Finding] = []
    for path in sorted({peer.ca for peer in peers if peer.ca}):
        certificates = pem.read_certificates(path)
        why = certificates.fault or _misfit(certificates.certificates, now, enforce_critical)
        if why:
            wrong.append(
                _error("partner-ca", f"CA file {path} {why}", "one self-signed CA that is valid now")
            )
        else:
            found[path] = _authority(certificates.certificates[0])
    return found, (*wrong, *_judge(found, own))


def lists(path: str, enforce_critical: bool) -> Lists:
    """Return the revocation lists that stand beside a CA in its file, and all that is known of both."""
    cas, found = pem.read_certificates(path).certificates, pem.read_crls(path)
    facts = Facts(
        certificate_path="",
        key_path="",
        ca_path=path,
        cas=tuple(_facts(ca) for ca in cas),
        skipped=tuple(f"{path}: {one}" for one in found.skipped),
        crl_path=path,
        crls=tuple(x509facts.crl_facts(crl, cas, None) for crl in found.crls),
        crl_fault="" if found.fault == pem.NO_LIST else found.fault,
        enforce_critical=enforce_critical,
    )
    return facts, found.crls


def options(authority: Authority) -> dict[str, str]:
    """Return the options of a connection that bind its peer to a CA."""
    return binding.options([authority])


def _misfit(certificates: Sequence[x509.Certificate], now: datetime, enforce_critical: bool = True) -> str:
    if len(certificates) != 1:
        return f"holds {len(certificates)} certificates"
    facts = _facts(certificates[0])
    if not (facts.is_ca and facts.self_signed):
        return f"holds {names.render(facts.subject)}, which is no self-signed CA"
    if names.is_pattern(facts.subject):
        return f"holds {names.render(facts.subject)}, in which charon takes '*' for whatever stands there"
    if not facts.not_before <= now <= facts.not_after:
        return f"holds a CA that is valid from {when(facts.not_before)} to {when(facts.not_after)}"
    why = chains.unreadable(_alone(facts, enforce_critical), facts)
    return f"holds {names.render(facts.subject)}, which {why}" if why else ""


def _alone(ca: CertificateFacts, enforce_critical: bool) -> Facts:
    by_rfc = ca.constraints is None or version.has_rfc_constraints()
    return Facts("", "", "", cas=(ca,), by_rfc=by_rfc, enforce_critical=enforce_critical)


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    return x509facts.certificate_facts(certificate, [certificate])


def _authority(certificate: x509.Certificate) -> Authority:
    facts = _facts(certificate)
    encoded, name = certificate.public_bytes(serialization.Encoding.PEM), binding.identity(certificate, facts)
    told = (facts.fingerprint, names.render(facts.subject), facts.not_after, encoded, name, True)
    return Authority(*told, facts.listed)


def _judge(found: Mapping[str, Authority], own: Sequence[Authority]) -> Iterator[Finding]:
    if found and binding.bound(own) is None:
        there = f"{', '.join(found)} could vouch for hosts of the fleet"
        yield _error(
            "partner-unbound", there, "one self-signed CA in the fleet's CA file, to which they are bound"
        )
    known = {ca.subject.casefold(): ca.fingerprint for ca in own}
    for path, ca in found.items():
        if known.setdefault(ca.subject.casefold(), ca.fingerprint) != ca.fingerprint:
            alike = f"CA file {path}: {ca.subject} is the name of another CA as well, and charon goes by it"
            yield _error("partner-alike", alike, "a name of its own")


def _error(code: str, found: str, expected: str) -> Finding:
    return Finding(ERROR, code, found, expected, "correct the file, or 'ca' of the host in the pillar")
