"""The status of the fleet: what is asked again, who explains what is wrong, and when all is well."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.fleet import commands
from hostipsec.fleet.asking import Asking
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.pillar import pillar, topology

FLEET = pillar.read(fleets.example())
SPOKE, HUB, CODFW = "cp3001.esams.example", "cp1001.eqiad.example", "cp2001.codfw.example"
DOWN = {"state": "down", "severity": "critical", "reason": "no SA"}
UP = {"state": "established", "severity": "ok", "reason": ""}


class Fleet:
    """Hosts in memory, with a clock; ``down`` gives by host until when its connections are down."""

    def __init__(self, certificate=None, unmanaged=(), **down):
        self.down, self.certificate, self.unmanaged = down, certificate, unmanaged
        self.time, self.asked = 0.0, 0
        self.silent = set()

    def returns(self, hosts, function, arguments):
        assert function == "ipsec.status"
        self.asked += 1
        yield from ((host, self.status(host)) for host in hosts if host not in self.silent)

    def status(self, host):
        rows = {
            one.name: {"peer": one.peer, "family": one.family, "stage": one.stage, "initiator": one.initiator}
            for one in topology.connections(FLEET, host)
        }
        for row in rows.values():
            ends = {host.partition(".")[0], row["peer"].partition(".")[0]}
            row.update(DOWN if any(self.time < self.down.get(end, 0) for end in ends) else UP)
        return {
            "connections": rows,
            "unmanaged": {name: {} for name in self.unmanaged if host == HUB},
            "summary": {"sentence": "words", "severity": "ok"},
            "certificate": self.certificate if host == SPOKE else None,
            "edition": "1",
        }

    def say(self, text):
        pass

    def clock(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


def status(hosts, patience=0.0, **chosen):
    return commands.status(Asking(hosts), FLEET, Filter(**chosen), patience)


def test_all_is_well():
    found = status(Fleet())
    assert (found.ok(0), found.bad, found.as_dict(0, "1")["retcode"]) == (True, frozenset(), 0)
    assert found.lines("1")[0] == "16 connections of 8 pairs: 16 up"


@pytest.mark.parametrize(
    ("patience", "asked", "well"), [(0, 1, False), (1.5, 3, False), (2, 3, True), (60, 3, True)]
)
def test_it_is_asked_again_until_all_is_well_or_the_time_is_over(patience, asked, well):
    hosts = Fleet(cp3001=1.6)
    found = status(hosts, patience)
    assert (hosts.asked, found.ok(0)) == (asked, well)


def test_a_threshold_of_hosts_that_explain_what_is_wrong():
    found = status(Fleet(cp3001=9, cp2001=9))
    assert found.bad == {SPOKE, CODFW}
    assert [found.ok(threshold) for threshold in (0, 1, 2)] == [False, False, True]


def test_who_says_nothing_is_bad_where_the_whole_was_asked_for():
    hosts = Fleet()
    hosts.silent = {"db1001.eqiad.example"}  # which has no peers
    assert status(hosts).bad == hosts.silent
    assert status(hosts, site="esams").bad == set()


def test_what_no_pillar_gives_is_not_well_and_no_host_explains_it():
    found = status(Fleet(unmanaged=["old_v4"]))
    assert (found.ok(0), found.well, found.bad) == (False, False, frozenset())
    assert f"{HUB}: old_v4 is not in the pillar" in found.lines("1")


def test_a_certificate_about_to_expire_is_trouble_that_waiting_does_not_mend():
    hosts = Fleet(certificate={"days_left": 3, "severity": "warning", "sentence": "expires in 3 days"})
    found = status(hosts, 60)
    assert (hosts.asked, found.well, found.ok(0), found.ok(1)) == (1, True, False, True)
    assert found.as_dict(0, "1")["certificates"] == {SPOKE: 3}
    assert found.lines("1")[-2:] == [
        f"certificates: the first expires in 3 days, that of {SPOKE}",
        f"{SPOKE}: expires in 3 days",
    ]
