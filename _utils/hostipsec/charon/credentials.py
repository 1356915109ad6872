"""Which certificates charon has loaded, and for which it has the private key. Pure.

Reads ``ipsec listcerts`` and ``ipsec listcacerts`` of strongSwan 5.9.1, 5.9.8 and 6.0.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Names = frozenset[str]  # of one certificate: by how charon may spell its key
_ENTRY = re.compile(r'^  subject:  "', re.MULTILINE)
_SERIAL = re.compile(r"^  serial:    ([0-9a-f:]+)$", re.MULTILINE)
_KEY = re.compile(r"^  keyid:     ([0-9a-f:]+)$", re.MULTILINE)
_PRIVATE = re.compile(r"^  pubkey:    .*, has private key$", re.MULTILINE)
_CAS = "List of X.509 CA Certificates"


class Expected(NamedTuple):
    """What charon shall have: a host's certificate with its key, and CAs by the words for them."""

    certificate: Names
    authorities: tuple[tuple[str, Names], ...]


class Loaded(NamedTuple):
    """What charon has."""

    certificates: Names = frozenset()
    with_key: Names = frozenset()
    authorities: Names = frozenset()


def name(serial: int, key: str) -> str:
    """Return a name of a certificate: its number, and the SHA-1 of its public key in hexadecimal digits."""
    return f"{serial:x}/{key}"


def parse(text: str) -> Loaded:
    """Read both lists, one after the other."""
    certificates, _, cas = text.partition(_CAS)
    known = [*_entries(certificates)]
    return Loaded(
        frozenset(one for one, _ in known),
        frozenset(one for one, private in known if private),
        frozenset(one for one, _ in _entries(cas)),
    )


def _entries(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each certificate, and whether charon has its private key."""
    for entry in _ENTRY.split(text)[1:]:
        serial, key = _SERIAL.search(entry), _KEY.search(entry)
        if serial and key:
            number = int(serial[1].replace(":", ""), 16)
            yield name(number, key[1].replace(":", "")), _PRIVATE.search(entry) is not None


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


def _absent(authorities: Iterable[tuple[str, Names]], there: Names) -> Iterator[str]:
    return (f"the CA {words}" for words, names in authorities if not names & there)
