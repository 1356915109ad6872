"""Both ends of every pair, brought together."""

from __future__ import annotations

import copy

import pytest

import fleets
from hostipsec.charon import reasons
from hostipsec.fleet import joined
from hostipsec.pillar import pillar, topology

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


def big():
    """Return a fleet whose trouble fits no screen."""
    return pillar.read(fleets.star(40))


def test_trouble_that_fits_no_screen_is_told_in_groups():
    fleet = big()
    said = answers(fleet)
    for host in said.values():
        for row in host.values():
            row.update(state="held", reason="held since then by ada because T1")
    said["edge0001.edge.example"]["hub_v4"].update(state="down", reason="because")
    said["hub.core.example"]["edge0001_v4"].update(state="down", reason="because")
    lines = joined.join(fleet, said).lines()
    assert lines == [
        "80 connections of 40 pairs: 1 down, 79 held",
        "  core - edge    80: 1 down, 79 held",
        "79 connections held: both held since then by ada because T1; at hub.core.example",
        "edge0001.edge.example - hub.core.example v4: down: because",
        "each connection: --out=json, or host=, site=, state=",
    ]


def test_the_hosts_that_explain_the_trouble():
    fleet = big()
    said = answers(fleet)
    del said["hub.core.example"], said["edge0007.edge.example"]
    found = joined.culprits(joined.join(fleet, said).trouble)
    assert [(host, len(rows)) for host, rows in found] == [("hub.core.example", 80)]


def test_filters():
    view = joined.join(FLEET, answers(), {ONE: ["old_v4"]})
    assert view.only() == view
    assert all(OTHER in (row.one, row.other) for row in view.only(host=OTHER).rows)
    assert len(view.only(host=OTHER).rows) == 6
    part = view.only(within=["eqiad", "codfw"])
    assert {row.sites for row in part.rows} == {("codfw", "eqiad")}
    assert part.stray == ()
    assert view.only(state="held").rows == ()


ROW = {"peer": OTHER, "family": "v4", "reason": reasons.REFUSED, "state": "down"}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, f"{reasons.REFUSED}; {OTHER} does not answer Salt either"),
        ({}, f"{OTHER} does not have it"),
        ({"cp1001_v6": {"peer": ONE, "family": "v6"}}, f"{OTHER} does not have it"),
        (
            {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "held", "reason": "held since then"}},
            f"held at {OTHER}: held since then",
        ),
        (
            {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "down", "reason": "loaded, but no SA"}},
            f"the peer refused (NO_PROPOSAL_CHOSEN): {OTHER} has it and does not hold it, so the two share "
            "no IKE proposal, or it was lifted just then",
        ),
    ],
)
def test_why_one_end_could_not_bring_it_up(there, said):
    assert joined.because(ONE, ROW, there) == said


def test_who_only_waits_says_what_the_other_end_does():
    row = {**ROW, "reason": "loaded, but no SA; the peer starts it"}
    there = {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "connecting", "reason": "no answer"}}
    assert joined.because(ONE, row, there) == f"{OTHER} starts it, and says: no answer"


def test_a_reason_that_is_no_guess_stands():
    row = {**ROW, "reason": "no answer"}
    there = {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "down", "reason": "loaded, but no SA"}}
    assert joined.because(ONE, row, there) == "no answer"
