"""Why a connection does not come up: the sentences of ``charon/meanings`` for what real charons say."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest
from downs import EAST, SECRETS, Peers, name
from strongswan import wait_for
from test_up_reasons import BY_CERTIFICATE, IMPATIENT, LATE

import authorities
from authorities import x509
from certificate_oddities import COMPANY, POINT, constraints, san
from hostipsec.charon import charonlog, reasons
from hostipsec.charon.charonlog import Log
from hostipsec.charon.vicisession import ViciBackend

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

NOW = datetime.now(timezone.utc)
PAST = {"since": timedelta(days=-20), "until": timedelta(days=-1)}
ENCIPHERING = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
SOMEWHERE = x509.CRLDistributionPoints([x509.DistributionPoint(POINT, None, None, None)])
BOUNDS = "the peer's certificates do not keep to what their CAs allow: "
OTHERWISE = "the peer's authentication is not what this host asks for: "
REFUSED = "the peer refused to authenticate this host (AUTHENTICATION_FAILED)"
# by the peer, what is said here, and there where it is said there
CASES = {
    0: ("its certificate is its own CA", "the peer's certificate is of CN=cp0000.example, a CA that", ""),
    1: ("its CA has expired", "the peer's CA certificate is valid from ", ""),
    2: ("an excluded name", f"{BOUNDS}certificate 'CN=cp0002.example' matches excluded", ""),
    3: ("a CA without the constraint", f"{BOUNDS}intermediate CA 'CN=Sub CA' does not inherit permitted", ""),
    4: ("a CA too many", f"{BOUNDS}path length of 1 violates constraint of 0", ""),
    5: ("no policy", f"{BOUNDS}constraint requires cert policy 1.2.3", ""),
    6: ("its charon cannot read it", REFUSED, "this host has no private key for CN=cp0006.example"),
    7: ("not for signing", "the peer's certificate may not be used to sign (its keyUsage)", ""),
    8: (
        "a list that cannot be had",
        "whether the peer's certificate is revoked cannot be told here (FAIL",
        "",
    ),
    9: ("a short key", f"{OTHERWISE}RSA-2048 signatures not acceptable", ""),
    10: (
        "other addresses",
        "the peer expects other addresses, or its kernel takes no policies (TS_UNACCEPTABLE)",
        "the peer asks for other addresses than are configured here: traffic selectors 10.9.1.11/32 === ",
    ),
    11: (
        "a shared key",
        REFUSED,
        f"{OTHERWISE}constraint requires pre-shared key authentication, but public key was used",
    ),
    12: ("its key is lost", REFUSED, "this host has no private key for CN=cp0012.example"),
    13: ("a group of old", "charon of this host cannot do key exchange group NEWHOPE_128", ""),
}
AT_EAST = {
    5: ("authby=pubkey", "authby=pubkey\n    rightcertpolicy=1.2.3"),
    9: ("authby=pubkey", "leftauth=pubkey\n    rightauth=rsa-4096"),
    13: ("prfsha256-ecp256!", "prfsha256-newhope128!"),
}
AT_PEERS = {
    10: ("authby=pubkey", "authby=pubkey\n    leftsubnet=10.77.0.0/24"),
    11: ("authby=pubkey", "authby=psk"),
}


def ca(called, *extensions, issuer=None, **other):
    return authorities.authority(f"CN={called} CA", NOW, issuer=issuer, extensions=extensions, **other)


def short(called):
    """Return a CA that may have none below it."""
    key, subject = authorities.KEYS["ECDSA"](), authorities.name(f"CN={called} CA")
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1)
    builder = builder.not_valid_before(NOW - timedelta(days=9)).not_valid_after(NOW + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return authorities.Issued(builder.sign(key, authorities.hashes.SHA256()), key)


def issued(number, issuer, *extensions, **other):
    return authorities.host(f"CN=cp{number:04}.example", NOW, issuer, extensions=extensions, **other)


class Both(Peers):
    """East, and peers of which each has another certificate; a list counts where its CA has one."""

    def __init__(self, place):
        fleet, old, listless = ca("Fleet"), ca("Old", **PAST), ca("Listless")
        bound, top = ca("Bound", constraints([".example"])), short("Top")
        narrow = ca("Narrow", constraints(excluded=[".example"]))
        below, sub = ca("Below", issuer=top), ca("Sub", issuer=bound)
        self.certificates = {
            **{number: issued(number, fleet) for number in CASES},
            0: ca("x", named=authorities.name("CN=cp0000.example")),
            1: issued(1, old),
            2: issued(2, narrow, san("cp0002.example")),
            3: issued(3, sub, san("cp0003.example")),
            4: issued(4, below),
            6: issued(6, fleet, (COMPANY, True)),
            7: issued(7, fleet, (ENCIPHERING, True)),
            8: issued(8, listless, (SOMEWHERE, False)),
            9: issued(9, fleet, kind="RSA"),
        }
        kinds = {number: "RSA" if number == 9 else "ECDSA" for number in CASES if number != 12}
        secrets = [f": {kind} {number}.pem\n" for number, kind in {**kinds, "east": "ECDSA"}.items()]
        certified = {"conn": BY_CERTIFICATE, "secrets": "".join(secrets), "strongswan_conf": IMPATIENT}
        super().__init__(place, len(CASES), stage="start", there=AT_PEERS, **certified)
        east = authorities.host("CN=east", NOW, fleet)
        for host in (self.east, self.west):
            for number, one in enumerate([fleet, old, narrow, bound, sub, top, below, listless]):
                host.write(f"/etc/ipsec.d/cacerts/{number}.pem", one.pem.decode())
                if one is not listless:
                    host.write(f"/etc/ipsec.d/crls/{number}.pem", authorities.crl(one, NOW).decode())
        self.write(self.east, "east", "east", east)
        for number, one in self.certificates.items():
            self.write(self.west, f"cp{number:04}.example", number, one)

    def write(self, host, called, key, one):
        host.write(f"/etc/ipsec.d/certs/{called}.pem", one.pem.decode())
        host.write(f"/etc/ipsec.d/private/{key}.pem", one.key_pem().decode())

    def conf(self, auto="add"):
        first, *parts = super().conf(auto).split("\nconn ")
        edited = (part.replace(*AT_EAST.get(number, ("", ""))) for number, part in enumerate(parts))
        return "\nconn ".join([first.replace("uniqueids=no", "strictcrlpolicy=yes"), *edited])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what is said of each at both ends, once all of it is."""
    peers = Both(tmp_path_factory.mktemp("peers"))
    try:
        peers.start()
        logs = Log(), Log()
        for log, host in zip(logs, (peers.east, peers.west)):
            charonlog.follow(log, 120, host.vici)
        for number in CASES:
            ViciBackend(peers.east.vici).initiate([name(number)], timeout=60)
        theirs = sum(bool(there) for _, _, there in CASES.values())
        wait_for(lambda: len(said(logs[0])) == len(CASES), "what east says", 60)
        wait_for(lambda: len(said(logs[1])) == theirs, "what its peers say", 60)
        return said(logs[0]), said(logs[1])
    finally:
        peers.stop()


def said(log):
    return reasons.explain(list(log.messages))


@pytest.mark.parametrize("number", CASES, ids=lambda number: CASES[number][0])
def test_what_is_said_of_a_peer_that_does_not_come_up(found, number):
    _, here, there = CASES[number]
    assert found[0][name(number)].startswith(here)
    assert found[1].get(f"east{number:04}", "").startswith(there)


LIMITS = {
    "half open from one address": (
        LATE.replace("init_limit_half_open = 1", "block_threshold = 3"),  # charon rounds that up
        "4 IKE SAs of the peer are half open; see who begins so many, or raise charon.block_threshold",
    ),
    "IKE SAs": (
        "charon { ikesa_limit = 4 }",
        "it has 4 IKE SAs, as many as it may; see who begins so many, or raise charon.ikesa_limit",
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_peer_that_may_have_no_more(tmp_path, limit):
    more, sentence = LIMITS[limit]
    peers, log = Peers(tmp_path, 5, strongswan_conf=IMPATIENT + more, stage="start", secrets=SECRETS), Log()
    try:
        peers.start()
        charonlog.follow(log, 60, peers.west.vici)
        for number in range(5):
            ViciBackend(peers.east.vici).initiate([name(number)], timeout=30)
        of, whole = {EAST: ["east0004"]}, f"this host ignores what its peers begin: {sentence}"
        wait_for(lambda: reasons.explain(list(log.messages), of).get("east0004") == whole, limit, 60)
    finally:
        peers.stop()
