"""A peer not managed by Salt, with a CA of its own, which a real charon takes for it and for nobody else."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from members import Member
from spaces import hosts
from strongswan import STRONGSWAN_CONF, line, unpacked
from vici.exception import CommandException

import authorities

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

EAST, WEST, GATEWAY = "east.example", "west.example", "gw.partner.example"
HERE, THERE = {"side": "in", "ipv4": "10.9.0.1"}, {"side": "out", "ipv4": "10.9.0.2"}
ELSEWHERE = {"side": "out", "ipv4": "10.9.0.3"}  # nobody is there


def pillar(**out):
    """Return a pillar in which the test starts what there is."""
    rule = {"name": "all", "between": {"side": "in"}, "and": {"side": "out"}, "stage": "passive"}
    return {"hosts": {EAST: HERE, **out}, "rules": [rule], "connection": {"type": "tunnel"}}


class Both:
    """East as its pillar has it, and somebody at the other address as whoever he says he is."""

    def __init__(self, east, other, place):
        self.now = datetime.now(timezone.utc)
        self.fleet, self.partner = (
            authorities.authority(f"CN={one} CA", self.now) for one in ("Fleet", "Partner")
        )
        self.east, self.other, self.place = east, other, place

    def issued(self, subject, ca):
        """Return a certificate of one of both CAs."""
        if not subject.startswith("@"):
            return authorities.host(subject, self.now, ca)
        beside = authorities.x509.SubjectAlternativeName([authorities.x509.DNSName(subject[1:])])
        return authorities.host("", self.now, ca, extensions=((beside, True),))

    def start(self, of_east, who, ca, revoked=False):
        """Start east, and the other with an identity by a certificate of a CA; the other takes east's."""
        theirs = self.issued(who, ca)
        out = [theirs.certificate] if revoked else []
        (self.place / "partner.pem").write_bytes(
            self.partner.pem + authorities.crl(self.partner, self.now, *out)
        )
        here = Member(self.east, of_east, EAST, self.place)
        found = here.inspect(self.issued(f"CN={EAST}", self.fleet), self.fleet.pem)
        assert found.findings == ()
        here.start(found, STRONGSWAN_CONF)
        there = Member(self.other, pillar(**{WEST: {**THERE, "subject": who}}), WEST, self.place)
        mine = there.inspect(theirs, self.fleet.pem)
        there.start(replace(mine, findings=()), STRONGSWAN_CONF)
        return here, there


def comes_up(member, name):
    """Say whether a connection comes up, begun at one end."""
    try:
        with member.space.vici(70) as session:
            session.request("initiate", {"child": name, "timeout": "60000"})
    except CommandException:
        return False
    return True


GW = {**THERE, "managed": False, "subject": "@gw.partner.example"}
CASES = {
    "the partner by its own CA": (GATEWAY, "@gw.partner.example", "partner", True),
    "the partner by its own CA, which has revoked it": (GATEWAY, "@gw.partner.example", "partner", False),
    "the partner by the fleet's": (GATEWAY, "@gw.partner.example", "fleet", False),
    "a host of the fleet by the partner's": (WEST, f"CN={WEST}", "partner", False),
    "a host of the fleet by the fleet's": (WEST, f"CN={WEST}", "fleet", True),
}


@pytest.mark.parametrize("case", CASES)
def test_each_ca_vouches_for_its_own_alone_whoever_starts(tmp_path, case):
    peer, who, ca, well = CASES[case]
    with hosts("east", "other", over=unpacked()) as (east, other):
        line(east, other, ["10.9.0.1/24"], ["10.9.0.2/24"])
        both = Both(east, other, tmp_path)
        gateway = {**GW, "ca": str(tmp_path / "partner.pem")}
        out = {WEST: THERE, GATEWAY: {**gateway, **ELSEWHERE}}
        if peer == GATEWAY:
            out = {WEST: ELSEWHERE, GATEWAY: gateway}
        cas = {"fleet": both.fleet, "partner": both.partner}
        here, there = both.start(pillar(**out), who, cas[ca], revoked="revoked" in case)
        name = "gw_v4" if peer == GATEWAY else "west_v4"
        assert comes_up(there, "east_v4") is well
        assert [sa.name for sa in here.backend.observe().ike_sas if sa.state == "ESTABLISHED"] == [
            name
        ] * well
        if not well:
            assert not comes_up(here, name)
