"""What is wrong with revocation lists, and what of any file cannot be read. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Optional

from . import chains, names
from .facts import CertificateFacts, CrlFacts, Facts, when
from .findings import Finding, a_warning, an_error


def judge(facts: Facts, now: datetime) -> Iterator[Finding]:
    """Yield what is wrong with revocation lists, and what of any file cannot be read."""
    yield from _judge_crls(facts, now)
    yield from _judge_strict(facts, now)
    yield from _judge_skipped(facts)


def _judge_crls(facts: Facts, now: datetime) -> Iterator[Finding]:
    if facts.crl_fault:
        yield a_warning(
            "crl-missing",
            found=f"CRL file {facts.crl_path} {facts.crl_fault}",
            expected="revocation lists of the CAs in PEM",
            action="restore it, or remove ipsec:certificates:crl from the pillar: no revoked host is refused",
        )
    usable = chains.usable_crls(facts, now)
    found = (_judge_crl(facts, crl, crl in usable, now) for crl in facts.crls)
    yield from (finding for finding in found if finding)


def _judge_crl(facts: Facts, crl: CrlFacts, usable: bool, now: datetime) -> Optional[Finding]:
    issuer = names.render(crl.issuer)
    name = f"CRL file {facts.crl_path}: the list of {issuer}"
    useless = chains.useless(facts, crl) if crl.signed_by else ""
    if useless:
        return a_warning(
            "crl-ignored",
            found=f"{name} {useless} and is left out: nobody is refused by it",
            expected="full lists that charon can load",
            action="have the CA make such a list, or remove it from the file",
        )
    if not usable:
        return a_warning(
            "crl-ignored",
            found=f"{name} is signed by no CA of {facts.ca_path} and is left out",
            expected="lists of those CAs only",
            action="remove it from the file",
        )
    if crl.revokes:
        return an_error(
            "revoked",
            found=f"certificate {facts.certificate_path} is revoked by the list of {issuer}",
            expected="one that is not",
            action="have a new certificate issued: every peer with this list refuses the host",
        )
    if not crl.found:
        return a_warning(
            "crl-not-found",
            found=f"{name} and its CA do not carry the same key identifier, by which charon looks for it",
            expected="the extensions authority key identifier (list) and subject key identifier (CA)",
            action="have the CA make such lists: charon takes this one for missing, and refuses no "
            "revoked host",
        )
    if crl.next_update is not None and crl.next_update < now:
        return a_warning(
            "crl-outdated",
            found=f"{name} was to be renewed by {when(crl.next_update)}",
            expected="a list that is up to date",
            action="fetch it again: with strictcrlpolicy=yes every peer is refused",
        )
    return None


def _judge_strict(facts: Facts, now: datetime) -> Iterator[Finding]:
    """See that there is a list of each CA for which one is asked: peers are of those that this host is of.

    revocation_validator.c: without a list a peer is refused, with ``ifuri`` where its certificate says where
    one is to be had.
    """
    strict, own, above = facts.asked.strict, facts.certificate, chains.chain(facts, now)
    if own is None or strict == "no":
        return
    usable = [crl for crl in chains.usable_crls(facts, now) if crl.found]
    for one, issuer in zip((own, *above), above):
        has_list = any(issuer.fingerprint in crl.signed_by for crl in usable)
        if not has_list and (strict == "yes" or one.online):
            yield _missing(facts, issuer, maybe=one.online or facts.asked.elsewhere)


def _missing(facts: Facts, issuer: CertificateFacts, maybe: bool) -> Finding:
    where = f"in {facts.crl_path}" if facts.crl_path else "named in the pillar"
    found = f"ipsec:setup:strictcrlpolicy: found {facts.asked.strict!r}, and no list of "
    found += f"'{names.render(issuer.subject)}' that charon finds is {where}"
    unless = " unless charon fetches one, or has it from elsewhere" if maybe else ""
    return (a_warning if maybe else an_error)(
        "crl-demanded",
        found=f"{found}: every peer with a certificate of that CA is refused{unless}",
        expected="a list of each CA of hosts",
        action="name a file with it as ipsec:certificates:crl, or let strictcrlpolicy be 'no'",
    )


def _judge_skipped(facts: Facts) -> Iterator[Finding]:
    for one in facts.skipped:
        yield a_warning(
            "skipped",
            found=f"{one}; it is left out",
            expected="only what can be read there",
            action="remove it from the file, or restore it",
        )
