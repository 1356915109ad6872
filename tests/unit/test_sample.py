"""The sample that the keeper leaves: what is written is what is read, also by another release."""

from __future__ import annotations

import json

import pytest

from hostipsec.errors import HostIPsecError
from hostipsec.health.sample import STALE, Decision, Process, Sample, Sampled, Traffic, parse, plain

ONE = Sampled(
    name="cp2001_v4",
    peer="cp2001.codfw.example",
    family="v4",
    stage="start",
    sites="codfw-eqiad",
    pair="cp1001-cp2001",
    state="established",
    severity="ok",
    reason="TRANSPORT, AES_GCM_16_128",
    expected=True,
    up=True,
    held=False,
    received=Traffic(840, 10),
    sequence=0.01,
)
SAMPLE = Sample(
    time=1764151200.5,
    host="cp1001.eqiad.example",
    site="eqiad",
    sentence="1 connection: 1 established",
    connections=(ONE,),
    states={"established": 1, "down": 0},
    charon=Process("5.9.8", "vici", "kernel", busy={"critical": 4}, heap={"used": 1 << 20}),
    counters={"ike-init-in-req": 3},
    errors={"XfrmInNoStates": 1},
    holds=(Decision("peer cp2*", "root", "T1", 1764150000.0),),
    unread={"certificate": "no certificate"},
)


def test_what_is_written_is_what_is_read() -> None:
    assert parse(json.loads(json.dumps(plain(SAMPLE)))) == SAMPLE
    alone = Sample(time=0.0, host="a")
    assert parse(json.loads(json.dumps(plain(alone)))) == alone


def test_what_a_later_release_adds_is_passed_over() -> None:
    found = json.loads(json.dumps(plain(SAMPLE)))
    found["new"] = found["connections"][0]["new"] = found["charon"]["new"] = 1
    assert parse(found) == SAMPLE


@pytest.mark.parametrize(
    "found", [None, [], {}, {"schema": 2}, {"schema": 1}, {"schema": 1, "connections": [1], "charon": None}]
)
def test_what_is_no_sample_is_said(found: object) -> None:
    with pytest.raises(HostIPsecError, match="the sample cannot be read"):
        parse(found)


@pytest.mark.parametrize(("late", "stale"), [(0, False), (STALE, False), (STALE + 1, True), (-3600, True)])
def test_an_old_sample_says_nothing(late: float, stale: bool) -> None:
    assert SAMPLE.stale(SAMPLE.time + late) == stale
