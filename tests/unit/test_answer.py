"""The one shape of an answer."""

from __future__ import annotations

import json

import pytest

from hostipsec import answer
from hostipsec.answer import Answer
from hostipsec.errors import HostIPsecError, PillarError, Problem, UnknownArgumentError

KEYS = {"ok", "sentence", "connections", "problems", "notes"}


def test_the_five_keys_are_always_there_and_the_verbs_own_beside_them():
    found = Answer(True, "all well", {"a_v4": {"peer": "a"}}, (), ("late",), {"seconds": 1.5}).as_dict()
    assert found == {
        "ok": True,
        "sentence": "all well",
        "connections": {"a_v4": {"peer": "a"}},
        "problems": [],
        "notes": ["late"],
        "seconds": 1.5,
    }
    assert json.loads(json.dumps(Answer(True, "").as_dict())) == {
        "ok": True,
        "sentence": "",
        "connections": {},
        "problems": [],
        "notes": [],
    }


def test_what_could_not_be_done_has_the_same_shape_and_says_why_in_one_text():
    found = answer.failed(HostIPsecError("charon does not answer"), {"seconds": 0}).as_dict()
    assert {*found} == KEYS | {"error", "seconds"}
    assert (found["ok"], found["connections"]) == (False, {})
    assert found["problems"] == ["charon does not answer"]
    assert found["error"] == found["sentence"] == "charon does not answer"


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "connection", "1 connection"),
        (1200, "connection", "1,200 connections"),
        (2, "policy of stage require", "2 policies of stage require"),
        (0, "host that answered", "0 hosts that answered"),
        (3, "IKE SA", "3 IKE SAs"),
        (2, "SA in the kernel", "2 SAs in the kernel"),
        (2, "route with a locked MTU", "2 routes with a locked MTU"),
    ],
)
def test_things_are_counted_as_one_says_it(number, noun, said):
    assert answer.counted(number, noun) == said


def test_each_error_of_the_pillar_is_a_problem():
    error = PillarError([Problem("ipsec:mtu", "found 9", "more"), Problem("ipsec:a", "found 1", "less")])
    found = answer.failed(error).as_dict()
    assert found["problems"] == ["ipsec:a: found 1; allowed: less", "ipsec:mtu: found 9; allowed: more"]
    assert found["error"] == str(error)


def test_unknown_arguments_are_a_fact_that_nobody_has_to_read_out_of_a_sentence():
    found = answer.failed(UnknownArgumentError(["jitter", "asked"], "nothing was done")).as_dict()
    assert found["unknown"] == ["asked", "jitter"]
    assert {*found} == KEYS | {"error", "unknown"}
