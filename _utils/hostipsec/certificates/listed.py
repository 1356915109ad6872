"""What charon has of certificates and revocation lists, by what it lists over vici."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509

from ..charon.credentials import Loaded
from . import x509facts

_X509, _CRL = b"X509", b"X509_CRL"


def of(rows: Iterable[Mapping[str, Any]]) -> Loaded:
    """Return it; each row is one of ``list-certs``. What cannot be read counts as not there."""
    certificates: set[str] = set()
    with_key: set[str] = set()
    authorities: set[str] = set()
    crls = set()
    for row in rows:
        try:
            kind, der = bytes(row.get("type", b"")), bytes(row.get("data", b""))
            if kind == _X509:
                facts = x509facts.certificate_facts(x509.load_der_x509_certificate(der))
                (authorities if bytes(row.get("flag", b"")) == b"CA" else certificates).update(facts.listed)
                with_key.update(facts.listed if "has_privkey" in row else ())
            elif kind == _CRL:
                crls.add(x509facts.crl_listed(x509.load_der_x509_crl(der)))
        except x509facts.UNPARSED:
            continue
    known = frozenset(one for one in crls if one)
    return Loaded(frozenset(certificates), frozenset(with_key), frozenset(authorities), known)
