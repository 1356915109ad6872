"""Roll-outs told apart: which was the last, what the next one goes on with, and who goes back."""

from __future__ import annotations

import multiprocessing
from datetime import datetime, timezone

import pytest

from hostipsec.answer import Answer
from hostipsec.errors import HostIPsecError
from hostipsec.fleet import marks
from hostipsec.fleet.asking import Heard
from hostipsec.fleet.ledger import Ledger, TakenError
from hostipsec.fleet.marks import Last

OLD, LAST, LATER = "2026-11-20T10:00:00Z", "2026-11-24T20:00:00Z", "2026-11-25T20:00:00Z"
NOW = datetime(2026, 11, 24, 20, 0, tzinfo=timezone.utc)
AFTER = datetime(2026, 11, 26, tzinfo=timezone.utc)
AHEAD = "2099-01-01T00:00:00Z"


def kept(mark, when="2026-11-24 20:00 UTC", **more):
    return Answer(True, "", own={"mark": mark, "when": when if mark is not None else None, **more})


def whole(previous, last, mark="", now=AFTER):
    return marks.whole(previous, last, mark, now)


def heard(silent=(), **hosts):
    return Heard(
        {host: one if isinstance(one, Answer) else kept(one) for host, one in hosts.items()}, {}, silent
    )


# Which mark ----------------------------------------------------------------------------------


def test_a_mark_is_later_than_the_last_whatever_became_of_the_clock():
    assert marks.fresh(NOW, None) == LAST
    assert marks.fresh(NOW, Last(OLD)) == LAST
    assert marks.fresh(NOW, Last(LAST)) == "2026-11-24T20:00:01Z"
    assert marks.fresh(NOW, Last(LATER)) == "2026-11-25T20:00:01Z"
    assert marks.fresh(NOW, Last("2027 by hand")) == LAST


def test_who_changed_a_host_since():
    answers = heard(
        a=LAST, b=OLD, c=None, d=kept("", "2026-11-24 21:00 UTC"), e=kept("", "2026-11-20 21:00 UTC"), f=LATER
    ).answers
    assert marks.since(Last(LAST), answers) == ("d", "f")


# Who goes back -------------------------------------------------------------------------------


def test_what_the_last_roll_out_changed_goes_back():
    way = whole(heard(a=LAST, b=OLD, c=None, d=""), Last(LAST, ("a", "b")))
    assert (way.hosts, way.slow, way.left) == ({LAST: ["a"]}, (), {})


def test_a_roll_out_before_the_last_is_not_undone_where_the_last_is_away():
    """With the only host of the last roll-out off, the one before was undone elsewhere."""
    way = whole(heard(b=OLD, silent=("a", "z")), Last(LAST, ("a",)))
    assert (way.hosts, way.slow) == ({}, ("a",))


def test_what_is_taken_back_is_not_taken_back_again():
    """A second `rollback` undid the roll-out before."""
    with pytest.raises(HostIPsecError, match="nothing to go back from"):
        whole(heard(a=None, b=OLD), Last(LAST, ("a",), back=True))


def test_a_host_that_another_changed_since_is_named():
    way = whole(heard(a=LAST, b=kept("", "2026-11-24 21:00 UTC"), c=OLD), Last(LAST, ("a", "b", "c")))
    assert way.hosts == {LAST: ["a"]}
    assert way.left == {
        "b": "its last change, of 2026-11-24 21:00 UTC, is another's since: it is not taken back"
    }


def test_a_host_that_is_at_it_is_named():
    way = whole(heard(a=LAST, b=kept(None, running=True)), Last(LAST, ("a", "b")))
    assert (way.hosts, list(way.left)) == ({LAST: ["a"]}, ["b"])


def test_a_later_roll_out_of_another_master_is_named():
    with pytest.raises(HostIPsecError, match=f"hosts were changed by {LATER}, of another master"):
        whole(heard(a=LAST, b=LATER), Last(LAST, ("a", "b")))


@pytest.mark.parametrize("said", [AHEAD, "zzz", "2026-11-26T00:00:06Z", "9" * 50])
def test_a_mark_that_no_master_can_have_given_yet_stops_no_way_back(said):
    """One minion with a mark ahead of the clock, and rollback without a target asked for mark=."""
    way = whole(heard(a=LAST, b=said, c=OLD), Last(LAST, ("a", "b")))
    assert (way.hosts, list(way.left)) == ({LAST: ["a"]}, ["b"])
    assert whole(heard(a=LAST, x=said), Last(LAST, ("a",))).left == {}
    assert whole(heard(a=LAST, b=said), None).hosts == {LAST: ["a"]}
    with pytest.raises(HostIPsecError, match="nothing to go back from"):
        whole(heard(b=said), None)
    assert whole(heard(a=said), Last(OLD), said).hosts == {said: ["a"]}  # who names it is obeyed


def test_where_the_clock_of_this_master_went_back_its_own_last_mark_counts():
    assert whole(heard(a=AHEAD, b=LAST), Last(AHEAD, ("a",))).hosts == {AHEAD: ["a"]}


def test_a_roll_out_of_the_release_before_was_not_noted():
    assert whole(heard(a=OLD, b=LAST, c=""), None).hosts == {LAST: ["b"]}
    with pytest.raises(HostIPsecError, match=f"z may have been changed by the last: say mark= .{LAST} is"):
        whole(heard(a=OLD, b=LAST, silent=("z",)), None)
    with pytest.raises(HostIPsecError, match="nothing to go back from"):
        whole(heard(a=None, b=""), None)


def test_a_roll_out_by_its_mark():
    way = whole(heard(a=OLD, b=LAST, silent=("z",)), Last(LAST, ("b",)), OLD)
    assert (way.hosts, way.slow) == ({OLD: ["a"]}, ("z",))


def test_hosts_by_name_are_told_their_own_mark():
    way = marks.by_name(heard(a=OLD, b=LAST, c="", d=None, e=kept(LAST, running=True)))
    assert way.hosts == {OLD: ["a"], LAST: ["b"], "": ["c"]}
    assert list(way.left) == ["e"]


# On disk -------------------------------------------------------------------------------------


def test_the_last_roll_out_is_known(tmp_path):
    ledger = Ledger(tmp_path / "cache")
    assert ledger.last() is None
    for last in (Last(LAST, ("a", "b")), Last(LATER, ("a",), through=True), Last(LATER, (), back=True)):
        ledger.keep(last)
        assert ledger.last() == last


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"mark": 1}', '{"mark": "a", "told": 5}', "\xff"])
def test_a_damaged_note_is_a_sentence(tmp_path, text):
    (tmp_path / "hostipsec").mkdir()
    (tmp_path / "hostipsec/rollout.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(HostIPsecError, match=r"rollout.json: is damaged"):
        Ledger(tmp_path).last()


def test_one_at_a_time(tmp_path):
    with Ledger(tmp_path).lease("salt-run ipsec.rollout by root"):
        for ledger in (Ledger(tmp_path).lease, Ledger(tmp_path).lease_if_kept):
            with (
                pytest.raises(
                    TakenError, match=r"^salt-run ipsec.rollout by root, process \d+, since 2.* changes"
                ),
                ledger("another"),
            ):
                pass
    with Ledger(tmp_path).lease("the next"):
        pass


def _hold(place, told):
    with Ledger(place).lease("one that dies"):
        told.send(True)
        told.recv()


def test_one_that_is_killed_keeps_nobody_out(tmp_path):
    here, there = multiprocessing.Pipe()
    other = multiprocessing.Process(target=_hold, args=(tmp_path, there))
    other.start()
    assert here.poll(60)
    with pytest.raises(TakenError), Ledger(tmp_path).lease("me"):
        pass
    other.kill()
    other.join(60)
    with Ledger(tmp_path).lease("me"):
        pass


def test_a_place_that_cannot_be_written_stops_a_roll_out_and_no_way_back(tmp_path):
    (tmp_path / "hostipsec").write_text("a file")
    with pytest.raises(HostIPsecError, match="cannot be written"), Ledger(tmp_path).lease("a roll-out"):
        pass
    done = []
    with Ledger(tmp_path).lease_if_kept("a way back"):
        done.append(True)
    assert done
    with pytest.raises(HostIPsecError, match="cannot be written"):
        Ledger(tmp_path).keep(Last(LAST))
