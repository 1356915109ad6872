"""The lists of certificates that charon has, and identities as it prints them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from hostipsec.certificates import listed, names
from hostipsec.charon import credentials
from hostipsec.charon.credentials import Expected, Loaded
from hostipsec.errors import CharonError
from places import CA

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


# strongSwan 5.9.8, ``ipsec listcrls --utc``
CRLS = """

List of X.509 CRLs

  issuer:   "CN=Fleet CA, authKeyId: aa"
  update:    this on Feb 06 10:55:14 UTC 2026, ok
             next on Dec 03 10:55:14 UTC 2026, ok (expires in 7 days)
  serial:    01:2c
  delta CRL: for serial 05
  authKeyId: d5:e5
  1 revoked certificate:
    07: Nov 26 10:55:05 UTC 2026, unspecified

  issuer:   "CN=EC CA"
  update:    this on Nov 26 10:55:05 UTC 2055, not valid yet (valid in 3 seconds)
             next on Dec 03 10:55:05 UTC 2055, ok (expires in 6 days)
  serial:    {none}
  authKeyId: aa
  0 revoked certificates

  issuer:   "CN=Without a key"
  update:    this on Nov 26 10:55:05 UTC 2026, ok
  serial:    {none}
  authKeyId: {none}
  0 revoked certificates

""".format(none="")
NUMBERED = credentials.RevocationList("d5e5", datetime(2026, 2, 6, 10, 55, 14, tzinfo=timezone.utc), 300)
OF_2055 = credentials.RevocationList("aa", datetime(2055, 11, 26, 10, 55, 5, tzinfo=timezone.utc))


def test_the_revocation_lists_are_read():
    found = credentials.parse(LISTS + CRLS)
    assert found.crls == {NUMBERED, OF_2055}
    assert credentials.parse(CRLS).crls == found.crls
    assert found == credentials.parse(LISTS)._replace(crls=found.crls)


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, True),
        ({"made": OF_2055.made}, True),  # by its number it is not newer
        ({"number": 299}, True),
        ({"number": None}, True),
        ({"number": 301}, True),  # made in the same second
        ({"number": 301, "made": OF_2055.made}, False),
        ({"number": None, "made": OF_2055.made}, False),
        ({"key": "ff"}, False),
    ],
)
def test_a_newer_list_of_the_same_ca_serves_as_well(change, served):
    wanted = Expected(frozenset(), (), (("CN=CA", NUMBERED._replace(**change)),))
    assert credentials.unserved(wanted, Loaded(crls=frozenset({NUMBERED}))) == (() if served else ("CN=CA",))


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


@pytest.mark.parametrize(
    "line",
    [
        "update:    this on Feb 31 10:00:00 UTC 2026,",
        "update:    this on Jan 01 10:00:00 UTC 99999,",
        "serial:    :",
    ],
)
def test_a_day_or_a_number_that_is_none_is_a_sentence(line):
    told = "  update:    this on Jan 01 10:00:00 UTC 2026,\n  serial:    01\n"
    kind = line.partition(":")[0]
    told = "".join(f"  {line}\n" if kind in one else f"{one}\n" for one in told.splitlines())
    with pytest.raises(CharonError, match="cannot be read"):
        credentials.parse(f'List of X.509 CRLs\n\n  issuer:   "CN=a"\n{told}  authKeyId: aa:bb\n')


@pytest.mark.parametrize("value", [{"a": b"b"}, [b"X509"]])
@pytest.mark.parametrize("key", ["type", "data", "flag"])
def test_over_vici_what_is_no_text_counts_as_not_there(key, value):
    row = {"type": b"X509", "data": CA.certificate.public_bytes(Encoding.DER), key: value}
    assert listed.of([row]).authorities == frozenset()
