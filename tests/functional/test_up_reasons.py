"""Why a connection does not come up, in words, from what real charons say."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone

import pytest
from downs import CONN, EAST, Peers, address, name
from strongswan import wait_for

import authorities
from certificate_oddities import constraints, san
from hostipsec.charon import charonlog, reasons
from hostipsec.charon.charonlog import Log
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
LATE = """
charon {
    init_limit_half_open = 1
    receive_delay = 20000
    receive_delay_type = 35  # IKE_AUTH
    receive_delay_response = no
}
"""
BY_CERTIFICATE = CONN.replace("authby=psk", "authby=pubkey\n    leftcert={me}.pem\n    leftsendcert=always")


@pytest.fixture
def make(tmp_path):
    """Return a function that makes peers; they end with the test."""
    made = []

    def build(*arguments, **named):
        named.setdefault("strongswan_conf", IMPATIENT)
        made.append(Peers(tmp_path / "peers", *arguments, stage="start", **named))
        return made[-1]

    yield build
    for peers in made:
        peers.stop()


def told(peers, deadline):
    """Bring all up; what is said of each connection that does not come up."""
    answer = peers.ipsec_global("up", "-b", "--json", f"--deadline={deadline}")
    assert answer.text.startswith("{"), answer.text
    return answer, {key: row["reason"] for key, row in answer.data["connections"].items() if not row["up"]}


def settled(peers, deadline):
    """Bring all up, until every peer that there is has answered, which takes long on a busy machine."""
    end = time.monotonic() + 60
    while True:
        answer, found = told(peers, deadline)
        heard = [found.get(name(number), "") for number in range(peers.count)]
        late = [why for why in heard if why.startswith(("no answer from the peer yet", "charon is at it"))]
        if not late or time.monotonic() > end:
            return answer, found


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
    answer, found = settled(peers, 6)
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
    assert found[name(2)].endswith(
        "; the peer accepts none of the ESP proposals, or its kernel takes no SA of them (NO_PROPOSAL_CHOSEN)"
    )
    assert found[name(5)].startswith("no answer from the peer yet (")
    assert found[name(5)].endswith(" tries): off, unreachable, or UDP 500/4500 is filtered")


def test_a_peer_to_whom_there_is_no_route(make):
    """charon names no connection with "Network is unreachable": it was "no answer from the peer yet"."""
    peers = make(1, absent=2)
    peers.east.run("ip", "route", "add", "throw", address(1))  # no other table has a route
    peers.east.run("ip", "route", "add", "unreachable", address(2))
    peers.start()
    said = {
        name(1): "no route to the peer's address",
        name(2): "a route of this host calls the peer's address unreachable",
    }
    assert settled(peers, 4)[1] == said
    rows = peers.ipsec_global("status", "--json").data["connections"]
    assert rows[name(0)]["state"] == "established"
    for one, why in said.items():
        assert rows[one]["reason"].endswith(f": {why}"), rows[one]


def by_certificate(make, east, west, ca, **named):
    """Make two peers with certificates; ``ca`` are those that both trust."""
    peers = make(1, conn=named.pop("conn", BY_CERTIFICATE), secrets=": ECDSA key.pem\n", **named)
    for host, mine, called in ((peers.east, east, "east"), (peers.west, west, "cp0000.example")):
        for number, one in enumerate(ca):
            host.write(f"/etc/ipsec.d/cacerts/{number}.pem", one.pem.decode())
        host.write(f"/etc/ipsec.d/certs/{called}.pem", mine.pem.decode())
        host.write("/etc/ipsec.d/private/key.pem", mine.key_pem().decode())
    return peers


def test_a_certificate_of_the_peer_that_has_expired(make):
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    east = authorities.host("CN=east", now, ca)
    past = {"since": timedelta(days=-20), "until": timedelta(days=-1)}
    other = authorities.host("CN=cp0000.example", now, ca, **past)
    peers = by_certificate(make, east, other, [ca])
    peers.start()
    answer, found = settled(peers, 4)
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
    charonlog.follow(log, 120, peers.west.vici)
    assert log.connected.wait(60)  # what charon says once is not to be missed
    ViciBackend(peers.east.vici).initiate([name(0)], timeout=10)
    wait_for(lambda: "east0000" in reasons.explain(log.messages), "reason")
    assert reasons.explain(log.messages) == {"east0000": "no CA here for the certificate of CN=east"}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("revoked", "the peer's certificate is revoked, since "),
        ("strict", "whether the peer's certificate is revoked cannot be told here (SKIPPED: "),
        ("stale", "whether the peer's certificate is revoked cannot be told here (STALE: "),
        (
            "constraint",
            "the peer's certificates do not keep to what their CAs allow: certificate ",
        ),
        ("another CA", "the peer's certificate is of another CA than CN=Other CA, to which peers are bound"),
    ],
)
def test_a_certificate_that_this_host_does_not_take(make, case, said):
    now = datetime.now(timezone.utc)
    bounds = (constraints([".elsewhere"]),) if case == "constraint" else ()
    ca = authorities.authority("CN=Fleet CA", now, extensions=bounds)
    other = authorities.authority("CN=Other CA", now)
    west = authorities.host("CN=cp0000.example", now, ca, extensions=(san("cp0000.example"),))
    bound = BY_CERTIFICATE.replace("authby", 'rightca="CN=Other CA"\n    authby')
    conn = bound if case == "another CA" else BY_CERTIFICATE
    mine = other if case in ("another CA", "constraint") else ca
    peers = by_certificate(make, authorities.host("CN=east", now, mine), west, [ca, other], conn=conn)
    if case == "revoked":
        revoked = authorities.crl(ca, now, west.certificate)
        peers.east.write("/etc/ipsec.d/crls/ca.pem", revoked.decode())
    if case == "stale":
        over = authorities.crl(ca, now - timedelta(days=30))
        peers.east.write("/etc/ipsec.d/crls/ca.pem", over.decode())
    if case in ("strict", "stale"):
        conf = peers.conf().replace("uniqueids=no", "uniqueids=no\n    strictcrlpolicy=yes")
        peers.conf = lambda: conf
    peers.start()
    _, found = settled(peers, 2)
    assert found[name(0)].startswith(said)


def test_a_peer_that_has_as_many_half_open_ike_sas_as_it_may_have(make):
    """The end that begins hears nothing; the other one knows why."""
    peers = make(2, strongswan_conf=IMPATIENT + LATE)
    log = Log()
    peers.start()
    charonlog.follow(log, 120, peers.west.vici)
    assert log.connected.wait(60)  # what charon says once is not to be missed
    answer, found = told(peers, 5)
    assert answer.status == 1
    assert [why.partition(" (")[0] for why in found.values()] == ["no answer from the peer yet"] * 2
    wait_for(lambda: reasons.explain(log.messages, {EAST: ["east0001"]}), "the peer's reason")
    assert reasons.explain(log.messages, {EAST: ["east0001"]})["east0001"] == (
        "this host ignores what its peers begin: 1 IKE SAs are half open; see who begins so many, or raise "
        "charon.init_limit_half_open"
    )


def test_a_kernel_that_takes_no_sa(make):
    """Where the machine's kernel has no ESP charon itself says so; where it has, there is nothing to show."""
    peers = make(1)
    without = "charon { plugins { kernel-libipsec { load = no } } }"
    peers.east.write("/etc/strongswan.d/zzz-without.conf", without)
    peers.start()
    answer, found = settled(peers, 4)
    if answer.status == 0:
        pytest.skip("this kernel has ESP")
    assert "the kernel of this host " in found[name(0)], peers.east.log
