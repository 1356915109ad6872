"""Whatever a host answers is one value: an answer, or what it said instead; nonsense is named as such."""

from __future__ import annotations

import contextlib
import copy
import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleets
from hostipsec.answer import Answer
from hostipsec.errors import HostIPsecError
from hostipsec.fleet import answers, batches, commands, marks, outcome, planwords
from hostipsec.fleet.answers import Instead
from hostipsec.fleet.asking import Asking, Heard
from hostipsec.fleet.broken import Broken, Side
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.fleet.gone import Gone
from hostipsec.fleet.joined import Joined
from hostipsec.fleet.marks import Last
from hostipsec.fleet.repairs import Repair
from hostipsec.fleet.targets import Meant
from hostipsec.pillar import pillar

RECORDED = json.loads((Path(__file__).parent / "data/answers/before-one-shape.json").read_text())
RECORDED["restart"] = {
    "ok": True,
    "sentence": "cp3001_v4: 1 IKE SA ended; up in 0.2 s",
    "connections": {"cp3001_v4": {"peer": "cp3001.esams.example", "family": "v4", "ok": True, "reason": ""}},
    "problems": [],
    "notes": [],
}
MANY = settings(max_examples=150)


def recorded(name):
    """Return what a host of before the one shape answered, and the verb that it was asked for."""
    return f"ipsec.{name.partition(',')[0]}", copy.deepcopy(RECORDED[name])


AHEAD = "asked=1795582212 lies 90 s ahead of this host's clock, so the command counts as given now"


@pytest.mark.parametrize("verb", ["down", "up"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"ahead": AHEAD, "notes": [AHEAD, "charon was killed"]}, [AHEAD]),
        ({"notes": [AHEAD, "charon was killed"]}, [AHEAD]),  # of the release before: in a note alone
        ({"notes": ["charon was killed"]}, []),
        ({"ahead": "", "notes": ["asked=1 is what somebody wrote"]}, []),  # a note is no interface
        ({"ahead": AHEAD, "notes": [], "overruled": "a later one counts"}, [AHEAD, "a later one counts"]),
    ],
)
def test_a_command_with_a_time_ahead_is_told_by_a_key(verb, value, said):
    value = {"ok": True, "sentence": "words", "connections": {}, "problems": [], "overruled": "", **value}
    answer = answers.read(f"ipsec.{verb}", value)
    found = outcome.summed(verb, ["a"], Heard({"a": answer}))
    assert [line for line in found.lines if line.startswith("a: ")] == [f"a: {one}" for one in said]


# Of before the one shape -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ok", "sentence", "problems"),
    [
        ("status", True, "6 connections: 6 established", ()),
        ("status, trouble", False, "6 connections: 5 established, 1 down", ()),
        ("down", True, "6 of 6 connections down in 0.4 s: 6 ended", ()),
        (
            "down, trouble",
            False,
            "5 of 6 connections down in 0.4 s: 5 ended",
            ("the hold is not kept: /x: full",),
        ),
        ("down, overruled", False, "a later command counts: up by root", ()),
        ("up", True, "6 of 6 connections up in 2.5 s", ()),
        ("up, trouble", False, "5 of 6 connections up in 5.0 s", ()),
        ("verify", True, "1 of 1 connections are encrypted both ways", ()),
        ("verify, trouble", False, "1 of 2 connections are encrypted both ways", ()),
        ("reauthenticate", True, "1 of 1 connections reauthenticated", ()),
        ("plan", True, "", ()),
        ("plan, changes", True, "", ()),
    ],
)
def test_a_recorded_answer(name, ok, sentence, problems):
    function, value = recorded(name)
    found = answers.read(function, value)
    assert isinstance(found, Answer)
    assert (found.ok, found.sentence, found.problems, found.notes) == (ok, sentence, problems, ())
    assert found.connections == value["connections"]
    assert {**found.as_dict(), **value} == found.as_dict()  # nothing that was said is lost


def test_a_recorded_rollback():
    function, value = recorded("rollback")
    assert answers.read(function, value).ok
    previous = answers.read(*recorded("previous, roll-out"))
    assert (previous.own["mark"], [*previous.connections]) == ("2026-11-25T10:00:00Z", ["cp3001_v4"])
    assert answers.read(*recorded("previous")).own["mark"] is None


def test_a_verification_without_a_connection_is_well_unless_it_says_why_not():
    value = {"connections": {}, "problems": [], "summary": "nothing was probed"}
    assert answers.read("ipsec.verify", value).ok
    assert not answers.read("ipsec.verify", {**value, "problems": ["no right to capture"]}).ok


def test_an_edition_that_is_not_told_is_an_older_one():
    function, value = recorded("status")
    assert answers.read(function, value).own["edition"] == value.pop("edition")
    assert answers.read(function, value).own["edition"] == "an older one"
    assert "edition" not in answers.read(*recorded("verify")).own


@pytest.mark.parametrize("name", ["down, refused", "plan, refused"])
def test_a_recorded_error(name):
    function, value = recorded(name)
    unknown = {"asked"} if "unknown argument" in value["error"] else set()
    assert answers.read(function, value) == Instead(value["error"], frozenset(unknown))


# Of today --------------------------------------------------------------------------------------


def test_the_one_shape_is_read_as_it_is():
    said = Answer(True, "well", {"a_v4": {"peer": "a", "family": "v4", "left": ""}}, own={"seconds": 1.0})
    found = answers.read("ipsec.down", said.as_dict())
    assert found.as_dict() == {**said.as_dict(), "edition": "an older one"}


def test_unknown_arguments_are_a_field():
    said = {"ok": False, "error": "some words", "unknown": ["asked", "jitter"], "connections": {}}
    assert answers.read("ipsec.up", said) == Instead("some words", frozenset({"asked", "jitter"}))


# What Salt says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'ipsec.up' is not available.", "ipsec.up: older modules or none; run saltutil.sync_all there"),
        (
            "Passed invalid arguments to ipsec.up: up() got an unexpected keyword argument\n\n    Docs.",
            "ipsec.up: older modules or none; run saltutil.sync_all there",
        ),
        (
            "'ipsec' __virtual__ returned False: package hostipsec is not on this host",
            "'ipsec' __virtual__ returned False: package hostipsec is not on this host",
        ),
        ("Minion did not return. [Not connected]", "Minion did not return. [Not connected]"),
        (
            "The minion function caused an exception: Traceback:\n  File x\nKeyError: 1\n",
            "The minion function caused an exception: Traceback: File x KeyError: 1",
        ),
    ],
)
def test_a_text(text, said):
    outdated = "saltutil.sync_all" in said or "__virtual__" in said  # a host that cannot have our engine
    assert answers.read("ipsec.up", text) == Instead(said, outdated=outdated)


BUSY = 'The function "state.apply" is running as PID 7 and was started at 2026, Nov 26 with jid 1'


@pytest.mark.parametrize("verb", sorted(answers._SHAPES))
def test_a_list_of_texts_is_told_as_they_are(verb):
    """Salt says so why it does not begin; that was "answered nonsense", and cut off."""
    assert answers.read(f"ipsec.{verb}", [BUSY, "b\nc"]) == Instead(f"{BUSY} b c")
    assert answers.wrong_states([BUSY]) == [BUSY]
    assert answers.changed_states([BUSY]) is False


def test_arguments_that_salt_says_are_not_known():
    said = "ERROR executing 'ipsec.status': The following keyword arguments are not valid: stage=start, x=a"
    assert answers.read("ipsec.status", said) == Instead(said, frozenset({"stage", "x"}))


# Nonsense --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"connections": []}, "answered nonsense: no 'ok' in {'connections': []}"),
        ({"ok": True, "sentence": "", "connections": []}, "answered nonsense: connections: []"),
        ({"ok": True, "sentence": "", "connections": {1: {}}}, "answered nonsense: connections: the key 1"),
        ({"ok": 1, "sentence": "", "connections": {}}, "answered nonsense: ok: 1"),
        ({1: 2}, "answered nonsense: the key 1"),
        ([], "answered nonsense: []"),
        (None, "answered nonsense: None"),
        ("\n", "answered nonsense: ''"),
        (5, "answered nonsense: 5"),
    ],
)
def test_nonsense(value, said):
    assert answers.read("ipsec.down", value) == Instead(said)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3)
)
KEYS = st.sampled_from(sorted({*answers._FIVE, "summary", "unmanaged", "error", "edition", "peer"}))
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS | st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
ANSWERED = sorted(name for name in RECORDED if "refused" not in name)


def places(value, path=()):
    """Yield the paths to all values inside a value."""
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def broken(draw):
    """Return a recorded answer in which something is missing or is another thing, and what was asked."""
    function, value = recorded(draw(st.sampled_from(ANSWERED)))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(places(value))
        if not paths:
            break
        *above, last = draw(st.sampled_from(paths))
        inner = value
        for key in above:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = draw(JUNK)
        else:
            del inner[last]
    return function, value


FUNCTIONS = st.sampled_from([f"ipsec.{verb}" for verb in answers._SHAPES])
FLEET = pillar.read(fleets.example())
HOST, WELL = "cp1001.eqiad.example", "cp3001.esams.example"


class Client:
    """One host that answers anything, and others that are well."""

    def __init__(self, value, well):
        self.value, self.well, self.printed = value, well, []

    def returns(self, hosts, function, arguments):
        yield from ((host, self.value if host == HOST else self.well) for host in hosts)

    def say(self, text):
        self.printed.append(text)

    def clock(self):
        return 0.0

    def sleep(self, seconds):
        pass


def read_by_all(function, value):
    """Have all that read answers to a function read the one of a host; return what was heard."""
    verb = function.rpartition(".")[2]
    asking_ = Asking(Client(value, copy.deepcopy(RECORDED[verb])))
    READERS.get(verb, read_as_a_command)(asking_, verb)
    return asking_.ask([HOST, WELL], function)


def read_as_a_command(asking_, verb):
    found = commands.command(asking_, verb, Meant([HOST, WELL]), {}).as_dict("0")
    ok = [one["ok"] for one in found["hosts"].values()]
    assert found["lines"][0].startswith(f"{sum(ok)} of 2 hosts are as asked")
    assert all(f"{host}: {text}" in found["lines"] for host, text in found["failed"].items())


def read_as_up(asking_, verb):
    read_as_a_command(asking_, verb)
    commands.up(asking_, Meant([HOST, WELL]), {}, 0, 0, 0, [])


def read_as_status(asking_, verb):
    found = commands.status(asking_, FLEET, Filter(), 0, Gone([HOST]))
    assert found.as_dict(0, "0")["failed"] == found.heard.failed
    if HOST in found.heard.failed:
        assert {row.state for row in found.shown.rows if HOST in (row.one, row.other)} == {"not answering"}
    for command in ("down", "up"):
        commands.dry_run(asking_, command, Meant([HOST, WELL])).as_dict("0")
    json.dumps(Repair(asking_, FLEET, Filter(), 100, 1.0).foresee().as_dict())


def read_as_restart(asking_, verb):
    sides = (Side(HOST, "cp3001_v4", (7,)), Side(WELL, "cp1001_v4", ()))
    row = Joined(HOST, WELL, "v4", "start", ("eqiad", "esams"), "ends disagree", "critical")
    heard, why = Repair(asking_, FLEET, Filter(), 100, 1.0)._one(Broken(row, *sides))
    assert bool(why) == (HOST not in heard.answers or not heard.answers[HOST].ok)


def read_as_plan(asking_, verb):
    planned, heard = commands.plan(asking_, FLEET, [HOST, WELL], whole=False)
    assert planned.missing == (() if HOST in heard.answers else (HOST,))
    assert planned.as_dict() and planwords.lines(planned)
    batches.to_change(planned.answers)
    batches.fresh(planned.answers)
    batches.touched(planned.answers)


NOW = datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc)


def read_as_previous(asking_, verb):
    heard = asking_.ask([HOST, WELL], f"ipsec.{verb}")
    for last in (None, Last("2026-11-24T20:00:00Z", (HOST, WELL))):
        for way in (marks.by_name, lambda told, last=last: marks.whole(told, last, "", NOW)):
            with contextlib.suppress(HostIPsecError):
                outcome.would_go_back(heard, way(heard)).as_dict("0")


READERS = {"status": read_as_status, "up": read_as_up, "plan": read_as_plan, "previous": read_as_previous}
READERS["restart"] = read_as_restart


@MANY
@given(FUNCTIONS, JUNK)
def test_junk_is_named_and_never_counted(function, value):
    heard = read_by_all(function, value)
    assert {*heard.answers, *heard.failed} == {HOST, WELL}
    assert WELL in heard.answers, "the others count"
    if HOST in heard.answers:  # the junk is an answer after all: it has all that is read of one
        assert isinstance(value, dict) and isinstance(value["connections"], (dict, list))
    else:
        assert heard.failed[HOST]
    json.dumps(heard.failed)


@MANY
@given(broken())
def test_a_broken_answer_is_read_or_named(pair):
    """Whatever is missing in an answer that was a good one: no reader falls over it."""
    heard = read_by_all(*pair)
    assert {*heard.answers, *heard.failed} == {HOST, WELL}


@MANY
@given(broken())
def test_a_command_is_ok_only_where_the_host_says_so(pair):
    function, value = pair
    found = answers.read(function, value)
    if isinstance(found, Answer) and function.endswith(("down", "up", "reauthenticate", "rollback")):
        assert found.ok is value["ok"]


# A state run -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"a": {"__id__": "b", "result": True, "comment": "well"}}, []),
        ({"a": {"result": None, "comment": "would"}}, []),
        ({"a": {"__id__": "b", "result": False, "comment": "expired\nlong ago"}}, ["b: expired long ago"]),
        ({"a": {"result": False, "comment": "One or more requisite failed: b"}}, []),
        (["Rendering SLS 'base:ipsec'\n failed"], ["Rendering SLS 'base:ipsec' failed"]),
        ("'state.apply' is not available.", ["'state.apply' is not available."]),
        ({}, ["answered nonsense: {}"]),
        (None, ["answered nonsense: None"]),
        ([], ["answered nonsense: []"]),
        ({"a": {"result": 0, "comment": ""}}, ["answered nonsense: a: result: 0"]),
        ({"a": 5}, ["answered nonsense: a: 5"]),
        ({1: {"result": True, "comment": ""}}, ["answered nonsense: the key 1"]),
    ],
)
def test_states(value, wrong):
    assert answers.wrong_states(value) == wrong


@MANY
@given(JUNK)
def test_a_state_run_of_junk_is_wrong(value):
    found = answers.wrong_states(value)
    assert found or all(isinstance(one["result"], (bool, type(None))) for one in value.values())
