"""The lists of certificates that charon has, and identities as it prints them."""

from __future__ import annotations

import pytest

from hostipsec.certificates import names
from hostipsec.charon import credentials
from hostipsec.charon.credentials import Loaded

# strongSwan 5.9.8
LISTS = """
List of X.509 End Entity Certificates

  subject:  "CN=A.EXAMPLE"
  issuer:   "CN=Fleet CA, O=Example"
  validity:  not before Nov 16 07:08:19 2026, ok
             not after  Nov 26 07:08:19 2027, ok (expires in 364 days)
  serial:    00:fc:8f
  flags:
  subjkeyId: c7:d5:0f:1e
  pubkey:    ECDSA 384 bits, has private key
  keyid:     73:4c:73:e7
  subjkey:   c7:d5:0f:1e

  subject:  "CN=peer, has private key"
  issuer:   "CN=Fleet CA, O=Example"
  serial:    02
  pubkey:    RSA 2048 bits
  keyid:     aa:bb

List of X.509 CA Certificates

  subject:  "CN=Fleet CA, O=Example"
  issuer:   "CN=Fleet CA, O=Example"
  serial:    3f:76
  flags:     CA self-signed
  pubkey:    RSA 2048 bits
  keyid:     87:7f

"""


def test_the_lists_are_read():
    mine, peer = credentials.name(0xFC8F, "734c73e7"), credentials.name(2, "aabb")
    cas = frozenset({credentials.name(0x3F76, "877f")})
    assert credentials.parse(LISTS) == Loaded(frozenset({mine, peer}), frozenset({mine}), cas)


def test_no_lists():
    assert credentials.parse("") == Loaded()


@pytest.mark.parametrize(
    ("identity", "printed", "otherwise"),
    [
        ("CN=a.example", "CN=a.example", False),
        ("/O=x/CN=a,b", "O=x, CN=a,b", False),
        ("O=x,CN=a", "O=x, CN=a", False),
        ("CN=a.example", "CN=A.EXAMPLE", True),
        ("CN=a", "CN=?a", True),
        ("CN=\u00c4", "CN=??", False),  # nothing can be said of it
        ("emailAddress=a@b.example", "E=other", False),
        ("no name", "CN=a", False),
    ],
)
def test_an_identity_as_charon_prints_it(identity, printed, otherwise):
    assert names.prints_otherwise(identity, printed) == otherwise
