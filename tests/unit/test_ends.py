"""One end: what a host says of it, in newer and older words; and why it could not bring it up."""

from __future__ import annotations

import pytest

from hostipsec.charon import reasons
from hostipsec.fleet.ends import because, end
from hostipsec.health import report

ONE, OTHER = "cp1001.eqiad.example", "cp3001.esams.example"


def told(of_pair="start", **row):
    """Return what is made of a row."""
    return end(ONE, {"cp3001_v4": row}, "cp3001_v4", of_pair)


def test_a_verdict_is_taken_over_as_it_is():
    row = {"state": "down", "severity": "ok", "reason": "no traffic yet", "held": True, "stage": "require"}
    found = told(of_pair="start", **row, initiator=True, ends=["10.0.0.1", "10.0.0.2"])
    seen = (ONE, "ok", True, True, "down", "no traffic yet", True, "require", True)
    assert found == (*seen, *[None] * 4, ("10.0.0.1", "10.0.0.2"))
    assert told(of_pair="start", **row).ends == ()


@pytest.mark.parametrize("state", report.STATES)
@pytest.mark.parametrize("stage", ["passive", "start", "require"])
def test_older_modules_say_no_severity(state, stage):
    """It follows from the state, and a passive connection that is down was no trouble ever."""
    passive = (state, stage) == ("down", "passive")
    assert told(stage, state=state).severity == ("ok" if passive else report.SEVERITY[state])


@pytest.mark.parametrize(
    "row", [{"state": "fine"}, {"state": "established", "severity": "good"}, {"state": "up", "severity": 0}]
)
def test_what_this_master_does_not_understand_is_not_well(row):
    assert told(**row).severity == "critical"


def test_no_verdict():
    assert [*map(str, (end(ONE, None, "x", "start"), end(ONE, {}, "x", "start"), told(reason="odd")))] == [
        "does not answer",
        "does not know it",
        "does not know it",
    ]
    assert not end(ONE, None, "x", "passive").ok
    assert end(ONE, {}, "x", "passive").severity == "critical"


def test_only_what_is_well_has_it():
    assert str(told(state="established", severity="ok", reason="")) == "has it"
    assert str(told(state="established", severity="warning", reason="no trap")) == "says established: no trap"
    assert str(told(state="connecting", severity="warning")) == "says connecting"


# Why one end could not bring it up ------------------------------------------------------------


ROW = {"peer": OTHER, "family": "v4", "reason": reasons.REFUSED, "state": "down", "cause": report.REFUSED}


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
    assert because(ONE, ROW, there) == said


def test_who_only_waits_says_what_the_other_end_does():
    row = {**ROW, "reason": "loaded, but no SA; the peer starts it", "cause": report.WAITS}
    there = {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "connecting", "reason": "no answer"}}
    assert because(ONE, row, there) == f"{OTHER} starts it, and says: no answer"


def test_who_hears_nothing_says_that_the_peer_does_not_listen():
    row = {**ROW, "reason": "no answer", "cause": ""}
    said = reasons.meaning_of("ignoring IKE_SA setup from 10.0.0.1, half-open IKE_SA limit of 3 reached")
    there = {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "down", "reason": said}}
    assert because(ONE, row, there) == f"{OTHER} says: {said}"


def test_a_reason_that_is_no_guess_stands():
    row = {**ROW, "reason": "no answer", "cause": ""}
    there = {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "down", "reason": "loaded, but no SA"}}
    assert because(ONE, row, there) == "no answer"


def test_an_older_host_gives_no_cause():
    """Its sentence was taken apart: now it stands as it is."""
    row = {"peer": OTHER, "family": "v4", "reason": "loaded, but no SA; the peer starts it", "state": "down"}
    there = {"cp1001_v4": {"peer": ONE, "family": "v4", "state": "connecting", "reason": "no answer"}}
    assert because(ONE, row, there) == "loaded, but no SA; the peer starts it"
