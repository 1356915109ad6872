"""A real charon takes what was copied for it: every kind of key, chains, bundles, renewals, revocation."""

from __future__ import annotations

import ipaddress
import os
import threading
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from strongswan import STRONGSWAN_CONF, Host, line, unpacked, wait_for
from vici.exception import CommandException

import authorities
from hostipsec.certificates import copies, source
from hostipsec.certificates.copies import Destination
from hostipsec.charon import charonlog
from hostipsec.charon.stroke import StrokeBackend
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.emergency import host as adapter
from hostipsec.emergency import reauthentication
from hostipsec.model import Connection

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

ADDRESSES = {"east": "10.9.0.1", "west": "10.9.0.2"}
CONN = """
config setup
    {setup}
conn peer
    left={left}
    right={right}
    leftid="CN={me}.example"
    rightid="CN={peer}.example"
    leftcert={certificate}
    keyexchange=ikev2
    ike=aes128gcm16-prfsha384-ecp384bp!
    esp=aes128gcm16-ecp384bp-noesn!
    mobike=no
    reauth=no
    leftsendcert=always
    auto=add
    {binding}
"""
SETTINGS = STRONGSWAN_CONF.replace("retransmit_timeout = 60", "make_before_break = yes")


class Pair:
    """Two hosts whose certificates are copied by the package."""

    def __init__(self, place):
        self.place = place
        self.now = datetime.now(timezone.utc)
        self.hosts = {name: Host(name, place / name, over=unpacked()) for name in ADDRESSES}
        self.found, self.setup, self.bound = {}, "cachecrls=no", True
        line(*self.hosts.values(), *([f"{address}/24"] for address in ADDRESSES.values()))

    def give(self, name, issuer, cas, kind="ECDSA", after=b"", key=None, crl=b""):
        """Issue a certificate for a host and copy it as the state does, beside the one in use."""
        issued = authorities.host(f"CN={name}.example", self.now, issuer, kind, key=key)
        where = authorities.write(self.place / f"{name}-source", issued.pem + after, issued.key_pem(), cas)
        if crl:
            (self.place / f"{name}-source/crl.pem").write_bytes(crl)
            where = replace(where, crl=str(self.place / f"{name}-source/crl.pem"))
        self.copy(name, where)
        return issued

    def trust(self, name, cas):
        """Give a host other CAs."""
        place = self.place / f"{name}-source"
        (place / "ca.pem").write_bytes(cas)
        self.copy(
            name, authorities.SourcePaths(*(str(place / one) for one in ("host.pem", "host.key", "ca.pem")))
        )

    def copy(self, name, where):
        root = f"{self.hosts[name].root}/etc/ipsec.d"
        destination = Destination(root, f"{name}.example")
        used = {
            Path(path).name for part in ("certs", "private") for path in destination.own(f"{root}/{part}")
        }
        inspection = source.inspect(where, f"CN={name}.example", self.now)
        copies.write(copies.difference(inspection, destination, used))
        self.found[name] = inspection.usable()

    def conf(self, name):
        peer = "west" if name == "east" else "east"
        ends = {"left": ADDRESSES[name], "right": ADDRESSES[peer], "setup": self.setup}
        binding = self.found[name].binding if self.bound else {}
        ends["binding"] = "\n    ".join(f'{key}="{value}"' for key, value in binding.items())
        certificate = copies.certificate_name(f"{name}.example", self.found[name].certificate)
        return CONN.format(me=name, peer=peer, certificate=certificate, **ends)

    def secrets(self, name):
        mine = self.found[name]
        return f": {mine.key.secrets_keyword} {copies.key_name(f'{name}.example', mine.certificate)}\n"

    def start(self, *names):
        for name in names:
            self.hosts[name].start(self.conf(name), self.secrets(name), SETTINGS)

    def take_up(self, *names):
        """Have charon take up what was copied, as the states do."""
        for name in names:
            stroke = StrokeBackend(self.hosts[name].process)
            self.hosts[name].write("/etc/ipsec.secrets", self.secrets(name))
            self.hosts[name].write("/etc/ipsec.conf", self.conf(name))
            stroke.reread()
            stroke.update()
            wait_for(lambda name=name: self.knows(name, self.own(name)), f"{name}: its new certificate")

    def own(self, name):
        return authorities.x509.load_pem_x509_certificate(self.found[name].certificate_pem)

    def knows(self, name, certificate):
        """Whether a host's charon has, or has been sent, a certificate."""
        return f"{certificate.serial_number:x}" in self.hosts[name].run("ipsec", "listcerts").replace(":", "")

    def sas(self, name):
        return [
            (sa.uniqueid, [child.state for child in sa.children])
            for sa in ViciBackend(self.hosts[name].vici).observe().ike_sas
        ]

    def initiate(self):
        """Start the connection, after the end of all SAs, and wait for its CHILD SA or the failure."""
        east = self.hosts["east"]
        backend = ViciBackend(east.vici)
        backend.terminate([sa.uniqueid for sa in backend.observe().ike_sas], force=True)
        wait_for(lambda: not backend.observe().ike_sas, "end of all SAs")
        with east.vici(70) as session:
            session.request("initiate", {"child": "peer", "timeout": "60000"})
        return [child.state for sa in backend.observe().ike_sas for child in sa.children]

    def reauthenticate(self, name, timeout=60):
        (found,) = reauthentication.run([self.connection(name)], timeout, host=End(self.hosts[name]))
        return found

    def connection(self, name):
        ends = [ipaddress.ip_address(ADDRESSES[name])] * 2
        return Connection("peer", "", "v4", *ends, "", "", initiator=name == "east", stage="start")

    def answering(self, name):
        """Begin to answer what the peer reauthenticates; returns what ends it and tells what was refused."""
        run = reauthentication._Run([], 15, [self.connection(name)], 0.5, End(self.hosts[name]))
        thread = threading.Thread(target=run.run)
        thread.start()
        wait_for(run.log.connected.is_set, "listener")
        return lambda: (thread.join(), [(one.connection.name, one.reason) for one in run.answers])[1]

    def stop(self):
        for host in self.hosts.values():
            host.stop()


class End(adapter.Host):
    """charon of a host of the test."""

    def __init__(self, host):
        backend = ViciBackend(host.vici)
        self.observe, self.initiate, self.terminate = backend.observe, backend.initiate, backend.terminate
        self.reauthenticate = backend.reauthenticate_ikes
        self.follow = lambda log, timeout: charonlog.follow(log, timeout, host.vici)


@pytest.fixture
def pair(tmp_path):
    found = Pair(tmp_path)
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def ca():
    return authorities.authority("CN=Fleet CA, O=Example", datetime.now(timezone.utc), "RSA")


@pytest.mark.parametrize("kind", authorities.KEYS)
def test_every_kind_of_key(pair, ca, kind):
    for name, mine in (("west", "RSA"), ("east", kind)):
        pair.give(name, ca, ca.pem, mine)
        assert pair.found[name].key.type == mine
        pair.start(name)
    assert pair.initiate() == ["INSTALLED"]


def test_an_intermediate_and_a_bundle(pair, ca):
    """Of each file strongSwan reads one certificate: they have to be one file each."""
    middle = authorities.authority("CN=Hosts CA", pair.now, issuer=ca)
    other = authorities.authority("CN=Other CA", pair.now)
    pair.give("west", middle, other.pem + ca.pem, after=middle.pem)
    pair.give("east", ca, other.pem + middle.pem + ca.pem)
    pair.start("west", "east")
    assert pair.initiate() == ["INSTALLED"]


ODD = [
    "CN=Puppet CA: puppet.example",
    "CN=Fleet, O=Beispiel \u00c4G",
    "CN=a/b=c O=d",
    "CN=x #1",
    'CN="q" {b}',
]


@pytest.mark.parametrize("of_east", ["the pillar's CA", "another"])
@pytest.mark.parametrize("bound", [True, False])
def test_a_stranger_with_a_peer_s_name_from_another_ca_that_charon_has_is_refused(pair, ca, of_east, bound):
    """Every CA in cacerts could issue a certificate for any peer; unbound, as before, a stranger gets in."""
    partner = authorities.authority("CN=Partner CA, O=Elsewhere", pair.now, "RSA")
    pair.bound = bound
    pair.give("west", ca, ca.pem)
    stranger = of_east == "another"
    pair.give("east", partner if stranger else ca, partner.pem if stranger else ca.pem)
    for name, other in (("west", partner), ("east", ca)):
        pair.hosts[name].write("/etc/ipsec.d/cacerts/partner.pem", other.pem.decode())
    pair.bound = bound
    pair.start("west")
    pair.bound = False  # the stranger takes anybody
    pair.start("east")
    if bound and stranger:
        with pytest.raises(CommandException, match="establishing CHILD_SA 'peer' failed"):
            pair.initiate()
        assert pair.sas("west") == []
    else:
        assert pair.initiate() == ["INSTALLED"]


@pytest.mark.parametrize("subject", ODD)
def test_charon_binds_peers_to_a_ca_of_any_name(pair, subject):
    """It leaves the CA out, and no more than logs it, where it does not find one of the name."""
    ca = authorities.authority("CN=x", pair.now, "RSA", named=authorities.odd(subject))
    for name in ADDRESSES:
        pair.give(name, ca, ca.pem)
        pair.start(name)
    west = pair.hosts["west"]
    wait_for(lambda: ViciBackend(west.vici).observe().connections, "the connection")
    for found in (ViciBackend(west.vici).observe(), StrokeBackend(west.process).observe()):
        assert len(found.connections[0].remote_cas) == 1
    assert pair.initiate() == ["INSTALLED"]


def test_binding_peers_of_a_host_of_before_ends_no_sa_and_makes_none(pair, ca):
    pair.bound = False
    for name in ADDRESSES:
        pair.give(name, ca, ca.pem)
    pair.start("west", "east")
    assert pair.initiate() == ["INSTALLED"]
    before, pair.bound = {name: pair.sas(name) for name in ADDRESSES}, True
    for name in ADDRESSES:  # one after the other: ends of different releases fit each other
        pair.take_up(name)
        observe = ViciBackend(pair.hosts[name].vici).observe
        wait_for(
            lambda observe=observe: [one.remote_cas for one in observe().connections] not in ([], [()]), name
        )
        assert {name: pair.sas(name) for name in ADDRESSES} == before
    assert pair.reauthenticate("east").ok


def test_a_ca_that_is_renewed_under_its_name_binds_peers_anew(pair, ca):
    """A connection keeps the CA that was found when it was loaded: an equal name did not load it anew."""
    for name in ADDRESSES:
        pair.give(name, ca, ca.pem)
    pair.start("west", "east")
    assert pair.initiate() == ["INSTALLED"]
    renewed = authorities.authority("CN=Fleet CA, O=Example", pair.now, key=ca.key)
    for name in ADDRESSES:
        pair.trust(name, renewed.pem)
    pair.take_up(*ADDRESSES)
    assert pair.initiate() == ["INSTALLED"]


@pytest.mark.parametrize("renewal", ["same key", "new key", "RSA to ECDSA", "new CA"])
def test_a_renewal_touches_no_sa_and_counts_at_the_next_authentication(pair, ca, renewal):
    """A connection kept the certificate that it was loaded with, until charon was restarted.

    Here the new one is used by the initiator (east) and by the responder, at once where that is asked for,
    and the pair has one IKE SA before and after.
    """
    first = {name: pair.give(name, ca, ca.pem, "RSA") for name in ADDRESSES}
    pair.start("west", "east")
    assert pair.initiate() == ["INSTALLED"]
    before = {name: pair.sas(name) for name in ADDRESSES}
    new_ca = authorities.authority("CN=New CA", pair.now)
    issuer = new_ca if renewal == "new CA" else ca
    kind = "ECDSA" if renewal == "RSA to ECDSA" else "RSA"
    for name in ADDRESSES:
        key = first[name].key if renewal == "same key" else None
        pair.give(name, issuer, ca.pem + new_ca.pem, kind, key=key)
    pair.take_up(*ADDRESSES)
    assert {name: pair.sas(name) for name in ADDRESSES} == before
    found = pair.reauthenticate("east")
    assert found.ok, found
    for name, peer in (("east", "west"), ("west", "east")):
        assert pair.knows(name, pair.own(peer)), name
        wait_for(lambda name=name: len(pair.sas(name)) == 1, f"one IKE SA at {name}")
        assert pair.sas(name)[0][1] == ["INSTALLED"]
    assert found.new == (pair.sas("east")[0][0],) != found.old


@pytest.mark.parametrize("name", ADDRESSES)
def test_reauthenticating_what_has_not_changed(pair, ca, name):
    """charon leaves alone what is started again as it is; it is asked in another way."""
    for one in ADDRESSES:
        pair.give(one, ca, ca.pem)
    pair.start("west", "east")
    assert pair.initiate() == ["INSTALLED"]
    found = pair.reauthenticate(name)
    assert found.ok, found
    assert [ids for ids, _ in pair.sas(name)] == [*found.new]


def test_what_is_refused_leaves_the_tunnel(pair, ca):
    """The peer does not know the new CA: the IKE SA of before stays."""
    for name in ADDRESSES:
        pair.give(name, ca, ca.pem)
    pair.start("west", "east")
    assert pair.initiate() == ["INSTALLED"]
    before = pair.sas("east")
    unknown = authorities.authority("CN=Unknown CA", pair.now)
    pair.give("east", unknown, ca.pem + unknown.pem)
    pair.take_up("east")
    refused = pair.answering("west")
    found = pair.reauthenticate("east", timeout=15)
    assert (found.ok, found.new) == (False, ())
    assert found.reason.startswith("the peer refused to authenticate this host (AUTHENTICATION_FAILED)")
    assert refused() == [("peer", "no CA here for the certificate of CN=east.example")]
    assert pair.sas("east") == before


@pytest.mark.parametrize("revoked", [True, False])
def test_a_revoked_host_is_refused(pair, ca, revoked):
    """With strictcrlpolicy a list has to be there; without the entry in it, the same pair comes up."""
    pair.setup = "strictcrlpolicy=yes"
    east = pair.give("east", ca, ca.pem, crl=authorities.crl(ca, pair.now))
    pair.give("west", ca, ca.pem, crl=authorities.crl(ca, pair.now, *([east.certificate] if revoked else [])))
    pair.start("west", "east")
    if revoked:
        with pytest.raises(CommandException, match="establishing CHILD_SA 'peer' failed"):
            pair.initiate()
    else:
        assert pair.initiate() == ["INSTALLED"]


def test_without_a_list_a_strict_policy_refuses_everybody(pair, ca):
    pair.setup = "strictcrlpolicy=yes"
    for name in ADDRESSES:
        pair.give(name, ca, ca.pem)
    pair.start("west", "east")
    with pytest.raises(CommandException, match="establishing CHILD_SA 'peer' failed"):
        pair.initiate()
