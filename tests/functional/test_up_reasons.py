"""Why a connection does not come up, in words, from what real charons say."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest
from downs import CONN, EAST, Peers, name
from strongswan import wait_for

import authorities
from hostipsec.charon import charonlog, reasons
from hostipsec.charon.vicisession import ViciBackend

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

IMPATIENT = """
charon {
    retransmit_timeout = 1
    plugins { vici { load = yes }
        kernel-libipsec { load = yes
            allow_peer_ts = yes }
        kernel-netlink { fwmark = !0x42 }
        socket-default { fwmark = 0x42 } }
}
"""
BY_CERTIFICATE = CONN.replace("authby=psk", "authby=pubkey\n    leftcert={me}.pem\n    leftsendcert=always")


@pytest.fixture
def make(tmp_path):
    """Return a function that makes peers; they end with the test."""
    made = []

    def build(*arguments, **named):
        made.append(Peers(tmp_path / "peers", *arguments, strongswan_conf=IMPATIENT, stage="start", **named))
        return made[-1]

    yield build
    for peers in made:
        peers.stop()


def told(peers, deadline):
    """Bring all up; what is said of each connection that does not come up."""
    answer = peers.ipsec_global("up", "-b", "--json", f"--deadline={deadline}")
    assert answer.text.startswith("{"), answer.text
    return answer, {key: row["reason"] for key, row in answer.data["connections"].items() if not row["up"]}


def test_what_the_peer_or_the_line_does(make):
    """One charon, and peers of which each has another fault; the one without comes up."""
    there = {
        1: ("ike=aes128gcm16-prfsha256-ecp256!", "ike=aes256gcm16-prfsha384-ecp384!"),
        2: ("esp=aes128gcm16-ecp256-noesn!", "esp=aes256gcm16-noesn!"),
        3: ('rightid="CN=east"', 'rightid="CN=somebody else"'),
        4: None,
    }
    peers = make(5, absent=1, there=there)
    peers.start()
    answer, found = told(peers, 6)
    assert answer.status == 1
    assert answer.data["connections"][name(0)]["up"] is True
    causes = {key: row["cause"] for key, row in answer.data["connections"].items()}
    assert causes == {**dict.fromkeys(causes, ""), name(1): "refused", name(4): "refused"}
    assert found == {
        name(1): reasons.REFUSED,
        name(2): found[name(2)],
        name(3): "the peer refused to authenticate this host (AUTHENTICATION_FAILED): it does not trust this "
        "certificate, or expects another identity",
        name(4): reasons.REFUSED,
        name(5): found[name(5)],
    }
    assert "is ESTABLISHED, but has no CHILD SA: nothing is encrypted" in found[name(2)]
    assert found[name(2)].endswith("; the peer accepts none of the ESP proposals (NO_PROPOSAL_CHOSEN)")
    assert found[name(5)].startswith("no answer from the peer yet (")
    assert found[name(5)].endswith(" tries): off, unreachable, or UDP 500/4500 is filtered")


def test_a_certificate_of_the_peer_that_has_expired(make):
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    east = authorities.host("CN=east", now, ca)
    past = {"since": timedelta(days=-20), "until": timedelta(days=-1)}
    other = authorities.host("CN=cp0000.example", now, ca, **past)
    peers = make(1, conn=BY_CERTIFICATE, secrets=": ECDSA key.pem\n")
    for host, mine, called in ((peers.east, east, "east"), (peers.west, other, "cp0000.example")):
        host.write("/etc/ipsec.d/cacerts/ca.pem", ca.pem.decode())
        host.write(f"/etc/ipsec.d/certs/{called}.pem", mine.pem.decode())
        host.write("/etc/ipsec.d/private/key.pem", mine.key_pem().decode())
    peers.start()
    answer, found = told(peers, 4)
    assert answer.status == 1
    assert found[name(0)].startswith("the peer's certificate is valid from ")
    assert found[name(0)].endswith(" only")


def test_the_address_of_this_host_is_gone(make):
    """charon's "Network is unreachable" was told as a peer that does not answer; and all was up before."""
    peers = make(2)
    peers.start()
    peers.up()
    peers.east.run("ip", "address", "add", "10.9.0.77/16", "dev", "eth0")
    peers.east.run("ip", "address", "del", f"{EAST}/16", "dev", "eth0")
    why = f"no interface here has {EAST}, which this connection is from"
    shown = peers.ipsec_global("status", "--json")
    rows = [(one["state"], one["reason"]) for one in shown.data["connections"].values()]
    assert (shown.status, rows) == (1, [("no address", f"{why}; its SAs carry nothing")] * 2)
    assert peers.ipsec_global("down", "--reason=T1").status == 0
    answer, found = told(peers, 6)
    assert (answer.status, found) == (1, dict.fromkeys((name(0), name(1)), why))


def test_the_end_that_refuses_knows_why(make):
    """A host whose certificate and CA are of another CA: its peers tell it no more than that they refuse."""
    now = datetime.now(timezone.utc)
    ours, other = (authorities.authority(f"CN={name} CA", now) for name in ("Fleet", "Other"))
    peers = make(1, conn=BY_CERTIFICATE, secrets=": ECDSA key.pem\n")
    for host, ca, called in ((peers.east, other, "east"), (peers.west, ours, "cp0000.example")):
        mine = authorities.host(f"CN={called}", now, ca)
        host.write("/etc/ipsec.d/cacerts/ca.pem", ca.pem.decode())
        host.write(f"/etc/ipsec.d/certs/{called}.pem", mine.pem.decode())
        host.write("/etc/ipsec.d/private/key.pem", mine.key_pem().decode())
    peers.start()
    log = charonlog.Log()
    charonlog.follow(log, 20, peers.west.vici)
    ViciBackend(peers.east.vici).initiate([name(0)], timeout=10)
    wait_for(lambda: "east0000" in reasons.explain(log.messages), "reason")
    assert reasons.explain(log.messages) == {"east0000": "no CA here for the certificate of CN=east"}
