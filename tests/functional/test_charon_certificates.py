"""A real charon takes what was copied for it: every kind of key, chains, bundles, a renewal."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest
from strongswan import Host, line, unpacked, wait_for
from vici.exception import CommandException

import authorities
from hostipsec import certificates
from hostipsec.certificates import DestinationPaths
from hostipsec.stroke import StrokeBackend
from hostipsec.vicisession import ViciBackend

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

ADDRESSES = {"east": "10.9.0.1", "west": "10.9.0.2"}
CONN = """
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
    auto=add
"""


class Pair:
    """Two hosts whose certificates are copied by the package."""

    def __init__(self, place):
        self.place = place
        self.now = datetime.now(timezone.utc)
        self.hosts = {name: Host(name, place / name, over=unpacked()) for name in ADDRESSES}
        line(*self.hosts.values(), *([f"{address}/24"] for address in ADDRESSES.values()))

    def give(self, name, issuer, cas, kind="ECDSA", after=b""):
        """Issue a certificate for a host and copy it as the state does; returns the outcome."""
        issued = authorities.host(f"CN={name}.example", self.now, issuer, kind)
        source = authorities.write(self.place / f"{name}-source", issued.pem + after, issued.key_pem(), cas)
        root = f"{self.hosts[name].root}/etc/ipsec.d"
        destination = DestinationPaths.below(root, f"{name}.example")
        outcome = certificates.reuse(source, destination, f"CN={name}.example", self.now, apply=True)
        assert outcome.errors == ()
        return outcome

    def conf(self, name, certificate):
        peer = "west" if name == "east" else "east"
        ends = {"left": ADDRESSES[name], "right": ADDRESSES[peer]}
        return CONN.format(me=name, peer=peer, certificate=certificate, **ends)

    def start(self, name, keyword):
        certificate = f"{name}.example.pem"
        self.hosts[name].start(self.conf(name, certificate), f": {keyword} {certificate}\n")

    def initiate(self):
        """Start the connection, after the end of all SAs, and wait for its CHILD SA or the failure."""
        east = self.hosts["east"]
        backend = ViciBackend(east.vici)
        backend.terminate([sa.uniqueid for sa in backend.observe().ike_sas], force=True)
        wait_for(lambda: not backend.observe().ike_sas, "end of all SAs")
        with east.vici(15) as session:
            session.request("initiate", {"child": "peer", "timeout": "10000"})
        return [child.state for sa in backend.observe().ike_sas for child in sa.children]

    def stop(self):
        for host in self.hosts.values():
            host.stop()


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
        outcome = pair.give(name, ca, ca.pem, mine)
        assert outcome.key_type == mine
        pair.start(name, outcome.secrets_keyword)
    assert pair.initiate() == ["INSTALLED"]


def test_an_intermediate_and_a_bundle(pair, ca):
    """Of each file strongSwan reads one certificate: they have to be one file each."""
    middle = authorities.authority("CN=Hosts CA", pair.now, issuer=ca)
    other = authorities.authority("CN=Other CA", pair.now)
    pair.start("west", pair.give("west", middle, other.pem + ca.pem, after=middle.pem).secrets_keyword)
    pair.start("east", pair.give("east", ca, other.pem + middle.pem + ca.pem).secrets_keyword)
    assert pair.initiate() == ["INSTALLED"]


def test_a_connection_keeps_its_certificate_until_it_is_loaded_anew(pair, ca):
    """Rereading brings the new key and CAs; the connection goes on with the certificate it was loaded with.

    The starter loads anew what differs in ipsec.conf: the same file under another name does.
    """
    for name in ("west", "east"):
        pair.start(name, pair.give(name, ca, ca.pem).secrets_keyword)
    assert pair.initiate() == ["INSTALLED"]
    new_ca = authorities.authority("CN=New CA", pair.now)
    for name in ("west", "east"):
        assert pair.give(name, new_ca, new_ca.pem).changes
        StrokeBackend(pair.hosts[name].process).reread()
    with pytest.raises(CommandException, match="establishing CHILD_SA 'peer' failed"):
        pair.initiate()
    for name in ("west", "east"):
        certs = pair.hosts[name].root / "etc/ipsec.d/certs"
        (certs / f"{name}.example.pem").rename(certs / "renewed.pem")
        pair.hosts[name].write("/etc/ipsec.conf", pair.conf(name, "renewed.pem"))
        StrokeBackend(pair.hosts[name].process).update()
        wait_for(lambda host=pair.hosts[name]: "New CA" in host.run("ipsec", "listcerts"), "new certificate")
    assert pair.initiate() == ["INSTALLED"]
