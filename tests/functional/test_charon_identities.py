"""A real charon knows peers by what their certificates have beside the subject, of which they have none."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from spaces import hosts
from strongswan import STRONGSWAN_CONF, line, unpacked, wait_for
from vici.exception import CommandException

import authorities
from hostipsec.apply import configuration
from hostipsec.certificates import copies, source
from hostipsec.certificates.copies import Destination
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.pillar import membership
from hostipsec.strongswan import render
from hostipsec.strongswan.sections import Secret

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


def given(host, one, ca, place):
    """Give a host what the states would: copies of its files, and its configuration."""
    now = datetime.now(timezone.utc)
    member = membership.read(PILLAR, host)
    where = authorities.write(place / host, one.pem, one.key_pem(), ca.pem)
    return member, source.inspect(where, member.subject, now)


def start(space, host, member, found):
    """Start charon as our files have it; returns what the states would compare it with."""
    mine = found.credentials
    copies.write(copies.difference(found, Destination(f"{space.root}/etc/ipsec.d", host), set()))
    wanted = configuration.wanted(
        member.connections,
        member.fleet.settings,
        copies.certificate_name(host, mine.certificate),
        Secret(mine.key.secrets_keyword, copies.key_name(host, mine.certificate)),
        binding=mine.binding,
    )
    value = wanted.configuration
    space.start(render.ipsec_conf(value), render.ipsec_secrets(value), STRONGSWAN_CONF)
    return wanted


def initiate(space, name):
    """Have charon begin a connection, and wait for its end."""
    with space.vici(70) as session:
        session.request("initiate", {"child": name, "timeout": "60000"})


def test_names_and_addresses_beside_the_subject(tmp_path):
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Public CA", now)
    with hosts("east", "west", over=unpacked()) as (east, west):
        line(east, west, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        backends = {}
        for space, host in ((west, "west.example"), (east, "east.example")):
            member, found = given(host, issued(host, ca, now), ca, tmp_path)
            assert found.findings == ()
            wanted = start(space, host, member, found)
            backends[host] = ViciBackend(space.vici)
            seen = backends[host].observe()
            assert configuration.misnamed(wanted, seen) == ()
            assert configuration.missing(wanted, seen) == ()
        for family in ("v4", "v6"):
            initiate(east, f"west_{family}")
        known = {(sa.name, sa.local_id, sa.remote_id) for sa in backends["east.example"].observe().ike_sas}
        assert known == {(f"west_{family}", "East.example.org", "192.0.2.7") for family in ("v4", "v6")}


def test_a_certificate_with_another_name_is_found_before_and_refused_by_peers(tmp_path):
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Public CA", now)
    other = {"east.example": authorities.x509.DNSName("other.example.org")}
    with hosts("east", "west", over=unpacked()) as (east, west):
        line(east, west, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        member, found = given("west.example", issued("west.example", ca, now), ca, tmp_path)
        start(west, "west.example", member, found)
        member, found = given("east.example", issued("east.example", ca, now, other), ca, tmp_path)
        assert [finding.code for finding in found.findings] == ["wrong-subject"]
        start(east, "east.example", member, replace(found, findings=()))
        wait_for(lambda: ViciBackend(east.vici).observe().connections, "connections")
        with pytest.raises(CommandException, match="establishing CHILD_SA 'west_v4' failed"):
            initiate(east, "west_v4")
