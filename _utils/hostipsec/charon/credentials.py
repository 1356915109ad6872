"""Which certificates and revocation lists charon has loaded, and for which it has the private key. Pure.

Reads ``ipsec listcerts``, ``listcacerts`` and ``listcrls``, each with ``--utc``, of strongSwan 5.9.1, 5.9.8
and 6.0.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from email.utils import parsedate
from typing import FrozenSet, NamedTuple, Optional

from ..errors import CharonError

Names = FrozenSet[str]  # of one certificate: by how charon may spell its key
_ENTRY = re.compile(r'^  subject:  "', re.MULTILINE)
_SERIAL = re.compile(r"^  serial:    ([0-9a-f:]+)$", re.MULTILINE)
_KEY = re.compile(r"^  keyid:     ([0-9a-f:]+)$", re.MULTILINE)
_PRIVATE = re.compile(r"^  pubkey:    .*, has private key$", re.MULTILINE)
_CAS = "List of X.509 CA Certificates"
_CRLS = "List of X.509 CRLs"
_CRL = re.compile(r'^  issuer:   "', re.MULTILINE)
_MADE = re.compile(r"^  update:    this on (\w+ \d+ [\d:]+) UTC (\d+),", re.MULTILINE)
_NUMBER = re.compile(r"^  serial:    ([0-9a-f:]+)$", re.MULTILINE)
_CA_KEY = re.compile(r"^  authKeyId: ([0-9a-f:]+)$", re.MULTILINE)


class RevocationList(NamedTuple):
    """A CRL: of which CA, by the key identifier of that, and which of its lists."""

    key: str  # hexadecimal digits
    made: datetime
    number: Optional[int] = None

    def serves_for(self, other: RevocationList) -> bool:
        """Say whether it is that list or a newer one of its CA: charon keeps the newest."""
        later = None not in (self.number, other.number) and (self.number or 0) >= (other.number or 0)
        return self.key == other.key and (self.made >= other.made or later)


class Expected(NamedTuple):
    """What charon shall have: a host's certificate with its key; CAs and CRLs, each with the words for it."""

    certificate: Names
    authorities: tuple[tuple[str, Names], ...]
    crls: tuple[tuple[str, RevocationList], ...] = ()


class Loaded(NamedTuple):
    """What charon has."""

    certificates: Names = frozenset()
    with_key: Names = frozenset()
    authorities: Names = frozenset()
    crls: frozenset[RevocationList] = frozenset()


def name(serial: int, key: str) -> str:
    """Return a name of a certificate: its number, and the SHA-1 of its public key in hexadecimal digits."""
    return f"{serial:x}/{key}"


def parse(text: str) -> Loaded:
    """Read the lists, one after the other. Raises CharonError for what charon does not print."""
    try:
        return _loaded(text)
    except ValueError as error:  # a day, an hour or a number that is none
        raise CharonError(f"ipsec listcerts, listcacerts or listcrls cannot be read: {error}") from None


def _loaded(text: str) -> Loaded:
    rest, _, crls = text.partition(_CRLS)  # of what there is none there is no heading
    certificates, _, cas = rest.partition(_CAS)
    known = [*_entries(certificates)]
    return Loaded(
        frozenset(one for one, _ in known),
        frozenset(one for one, private in known if private),
        frozenset(one for one, _ in _entries(cas)),
        frozenset(_crls(crls)),
    )


def _entries(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each certificate, and whether charon has its private key."""
    for entry in _ENTRY.split(text)[1:]:
        serial, key = _SERIAL.search(entry), _KEY.search(entry)
        if serial and key:
            number = int(serial[1].replace(":", ""), 16)
            yield name(number, key[1].replace(":", "")), _PRIVATE.search(entry) is not None


def _crls(text: str) -> Iterator[RevocationList]:
    """Yield each CRL that names the key of its CA."""
    for entry in _CRL.split(text)[1:]:
        key, made, number = _CA_KEY.search(entry), _MADE.search(entry), _NUMBER.search(entry)
        then = parsedate(f"{made[1]} {made[2]}") if made else None
        if key and then:
            counted = int(number[1].replace(":", ""), 16) if number else None
            yield RevocationList(key[1].replace(":", ""), datetime(*then[:6], tzinfo=timezone.utc), counted)


def lacking(expected: Expected, loaded: Loaded, in_use: bool) -> tuple[str, ...]:
    """Say what charon has not loaded; the host's certificate only comes with a connection ``in_use``.

    Of a certificate whose key can be spelt in two ways charon does not list that it has the private key, and
    uses that all the same.
    """
    found: list[str] = []
    spelt_once = len(expected.certificate) == 1
    if in_use and not expected.certificate & loaded.certificates:
        found.append("this host's certificate")
    elif in_use and spelt_once and not expected.certificate & loaded.with_key:
        found.append("the private key of this host's certificate")
    return (*found, *_absent(expected.authorities, loaded.authorities))


def unserved(expected: Expected, loaded: Loaded) -> tuple[str, ...]:
    """Say of which CAs charon has not the revocation list that it shall have."""
    known = loaded.crls
    return tuple(words for words, crl in expected.crls if not any(one.serves_for(crl) for one in known))


def _absent(authorities: Iterable[tuple[str, Names]], there: Names) -> Iterator[str]:
    return (f"the CA {words}" for words, names in authorities if not names & there)
