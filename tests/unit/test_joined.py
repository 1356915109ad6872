"""Both ends of every pair, brought together."""

from __future__ import annotations

import copy

import pytest

import fleets
from hostipsec import joined, pillar, topology

ONE, OTHER = "cp1001.eqiad.example", "cp3001.esams.example"
FLEET = pillar.read(fleets.example())


def answers(fleet=FLEET):
    """Return what every host says of a fleet where all is up."""
    return {
        host.id: {
            one.name: {"state": "established", "reason": ""} for one in topology.connections(fleet, host.id)
        }
        for host in fleet.hosts
    }


def found(said, fleet=FLEET, **more):
    """Return the row of the pair, its IPv4."""
    view = joined.join(fleet, said, **more)
    (row,) = [one for one in view.rows if (one.one, one.other, one.family) == (ONE, OTHER, "v4")]
    return row


def test_all_is_up():
    view = joined.join(FLEET, answers())
    assert view.ok
    assert dict(view.counts) == {"up": 16}
    assert {sites: dict(counts) for sites, counts in view.sites.items()} == {
        ("codfw", "eqiad"): {"up": 4},
        ("codfw", "esams"): {"up": 4},
        ("eqiad", "esams"): {"up": 8},
    }
    assert view.lines()[0] == "16 connections of 8 pairs: 16 up"
    assert view.trouble == ()


def test_each_pair_is_there_once_the_initiator_first():
    rows = joined.join(FLEET, answers()).rows
    assert len({(row.one, row.other, row.family) for row in rows}) == len(rows)
    for row in rows:
        (mine,) = [one for one in topology.connections(FLEET, row.one) if one.peer == row.other
                   and one.family == row.family]  # fmt: skip
        assert mine.initiator


@pytest.mark.parametrize(
    ("here", "there", "state", "reason"),
    [
        ("established", "established", "up", ""),
        ("established", "down", "ends disagree", f"{ONE} has it; {OTHER} says down: because"),
        ("down", "established", "ends disagree", f"{ONE} says down: because; {OTHER} has it"),
        ("established", None, "ends disagree", f"{ONE} has it; {OTHER} does not know it"),
        ("down", None, "ends disagree", f"{ONE} says down: because; {OTHER} does not know it"),
        ("down", "connecting", "down", "because"),
        ("no xfrm", "established", "ends disagree", f"{ONE} says no xfrm: because; {OTHER} has it"),
        ("held", "down", "held", f"{ONE} because"),
        ("held", "held", "held", "both because"),
        ("one-way", "established", "one-way", f"{ONE} says one-way: because; {OTHER} has it"),
        ("duplicate", "established", "duplicate", f"{ONE} says duplicate: because; {OTHER} has it"),
        ("duplicate", "one-way", "one-way", f"{ONE} says duplicate: because; {OTHER} says one-way: because"),
    ],
)
def test_states(here, there, state, reason):
    said = answers()
    for host, name, value in ((ONE, "cp3001_v4", here), (OTHER, "cp1001_v4", there)):
        if value is None:
            del said[host][name]
        else:
            said[host][name] = {"state": value, "reason": "" if value == "established" else "because"}
    row = found(said)
    assert (row.state, row.reason) == (state, reason)
    assert row.ok == (state == "up")


def test_a_host_that_does_not_answer():
    said = answers()
    del said[OTHER]
    row = found(said)
    assert row.state == "not answering"
    assert row.reason == f"{OTHER} does not answer; {ONE} has it"
    assert not joined.join(FLEET, said).ok


def test_two_hosts_that_do_not_answer():
    assert found({}).reason == f"{ONE} does not answer; {OTHER} does not answer"


def test_maintenance_is_no_trouble():
    data = copy.deepcopy(fleets.example())
    data["hosts"][OTHER]["maintenance"] = True
    fleet = pillar.read(data)
    row = found(answers(fleet), fleet)
    assert (row.state, row.reason, row.ok) == ("maintenance", f"{OTHER} in maintenance", True)


def test_a_passive_connection_may_be_down():
    data = copy.deepcopy(fleets.example())
    for rule in data["rules"]:
        rule["stage"] = "passive"
    fleet = pillar.read(data)
    said = answers(fleet)
    said[ONE]["cp3001_v4"] = said[OTHER]["cp1001_v4"] = {"state": "down", "reason": "passive"}
    assert found(said, fleet).ok


def test_what_no_pillar_gives_is_trouble():
    view = joined.join(FLEET, answers(), {ONE: ["old_v4"]})
    assert not view.ok
    assert view.lines()[-1] == f"{ONE}: old_v4 is not in the pillar"
