"""A real charon knows peers by what their certificates have beside the subject, of which they have none."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from members import Member
from spaces import hosts
from strongswan import STRONGSWAN_CONF, line, unpacked
from vici.exception import CommandException

import authorities
from hostipsec.apply import configuration

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

EAST, WEST = {"ipv4": "10.9.0.1", "ipv6": "fd09::1"}, {"ipv4": "10.9.0.2", "ipv6": "fd09::2"}
KNOWN = {"east.example": "@East.example.org", "west.example": "ip:192.0.2.7"}
PILLAR = {
    "hosts": {
        "east.example": {**EAST, "side": "east", "subject": KNOWN["east.example"]},
        "west.example": {**WEST, "side": "west", "subject": KNOWN["west.example"]},
    },
    "connection": {"type": "tunnel"},  # charon itself does ESP here
    # passive: the test starts them
    "rules": [{"name": "both", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "passive"}],
}
NAMES = {
    "east.example": authorities.x509.DNSName("east.example.org"),
    "west.example": authorities.x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
}


def issued(host, ca, now, names=NAMES):
    """Return a certificate without a subject, as ACME's are issued."""
    beside = authorities.x509.SubjectAlternativeName([names[host]])
    return authorities.host("", now, ca, named=authorities.x509.Name([]), extensions=((beside, True),))


def initiate(space, name):
    """Have charon begin a connection, and wait for its end."""
    with space.vici(70) as session:
        session.request("initiate", {"child": name, "timeout": "60000"})


def test_names_and_addresses_beside_the_subject(tmp_path):
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Public CA", now)
    with hosts("east", "west", over=unpacked()) as (east, west):
        line(east, west, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        for space, host in ((west, "west.example"), (east, "east.example")):
            one = Member(space, PILLAR, host, tmp_path)
            found = one.inspect(issued(host, ca, now), ca.pem)
            assert found.findings == ()
            wanted = one.start(found, STRONGSWAN_CONF)
            assert configuration.misnamed(wanted, one.backend.observe()) == ()
        for family in ("v4", "v6"):
            initiate(east, f"west_{family}")
        known = {(sa.name, sa.local_id, sa.remote_id) for sa in one.backend.observe().ike_sas}
        assert known == {(f"west_{family}", "East.example.org", "192.0.2.7") for family in ("v4", "v6")}


def test_a_certificate_with_another_name_is_found_before_and_refused_by_peers(tmp_path):
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Public CA", now)
    other = {"east.example": authorities.x509.DNSName("other.example.org")}
    with hosts("east", "west", over=unpacked()) as (east, west):
        line(east, west, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        peer, one = (Member(space, PILLAR, f"{space.name}.example", tmp_path) for space in (west, east))
        peer.start(peer.inspect(issued("west.example", ca, now), ca.pem), STRONGSWAN_CONF)
        found = one.inspect(issued("east.example", ca, now, other), ca.pem)
        assert [finding.code for finding in found.findings] == ["wrong-subject"]
        one.start(replace(found, findings=()), STRONGSWAN_CONF)
        with pytest.raises(CommandException, match="establishing CHILD_SA 'west_v4' failed"):
            initiate(east, "west_v4")
