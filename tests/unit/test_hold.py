"""Holds and commands: who decides what of which connections, and which of two decisions counts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

import fleets
from hostipsec.emergency import comeback, stop
from hostipsec.emergency.host import Host
from hostipsec.model import Charon, LoadedConnection
from hostipsec.pillar import pillar, topology
from hostipsec.store import hold, holdfile
from hostipsec.store.hold import Command, Hold, Lift, OverruledError, Scope

NOW = datetime(2026, 11, 24, 4, 50, 12, tzinfo=timezone.utc)
ME = "cp1001.eqiad.example"
CONNECTIONS = topology.connections(pillar.read(fleets.example()), ME)
ALL = Hold("ada", NOW, "T195365")
EARLY, LATE = Command("up", 100.0, "ada"), Command("down", 200.0, "bob")
LIFT = Lift("ada", NOW)


def held():
    return {*holdfile.held(CONNECTIONS, NOW)}


# Values --------------------------------------------------------------------------------------


def test_a_peer_can_come_up_out_of_a_hold_of_all():
    lift = LIFT._replace(scope=Scope(peer="cp3001*"))
    found = hold.held_names(hold.lifted((ALL,), lift, CONNECTIONS), CONNECTIONS, NOW)
    assert {one.name for one in CONNECTIONS} - found == {"cp3001_v4", "cp3001_v6"}


def test_two_who_hold_are_both_named():
    holds = hold.taken((ALL,), Hold("bob", NOW + timedelta(minutes=1), "disk"))
    assert hold.words(holds) == (
        "since 2026-11-24 04:50 UTC by ada because T195365; and "
        "since 2026-11-24 04:51 UTC by bob because disk"
    )


def test_the_same_person_holds_since_the_first_time():
    (one,) = hold.taken((ALL,), ALL._replace(when=NOW + timedelta(hours=1), why="T2"))
    assert (one.when, one.why) == (NOW, "T2")


def test_a_hold_that_is_over_holds_nothing():
    one = ALL._replace(until=NOW)
    assert hold.held_names((one,), CONNECTIONS, NOW) == frozenset()
    assert hold.expired((one,), NOW)


def test_what_was_written_is_read():
    holds = (ALL, LIFT._replace(scope=Scope(peer="cp3*")), ALL._replace(until=NOW + timedelta(hours=2)))
    assert hold.parse(hold.render(holds)) == holds
    assert hold.parse_command(hold.render_command(LATE)) == LATE


def test_hold_json_is_the_same_for_releases_with_one_type_for_both_decisions():
    """They read each key but ``until``; of what they wrote, only one that lifts is not ``held``."""
    scope = Scope(peer="cp3*")
    decisions = (ALL, LIFT._replace(scope=scope), ALL._replace(until=NOW, scope=scope))
    at = "2026-11-24T04:50:12+00:00"
    ada = f'"when": "{at}", "who": "ada"'
    text = f"""{{"holds": [
{{"connection": "*", "held": true, "peer": "*", {ada}, "why": "T195365"}},
{{"connection": "*", "held": false, "peer": "cp3*", {ada}, "why": ""}},
{{"connection": "*", "held": true, "peer": "cp3*", "until": "{at}", {ada}, "why": "T195365"}}
]}}
"""
    assert hold.render(decisions) == text
    assert hold.parse(text) == decisions


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verb": "up"}', '{"verb": "up", "asked": "x", "who": ""}'])
def test_a_damaged_command_decides_nothing(text):
    assert hold.parse_command(text) is None


def test_the_order_of_commands():
    hold.heed(None, EARLY)
    hold.heed(EARLY, LATE)
    hold.heed(LATE, LATE)  # the second phase of one command
    hold.heed(LATE, None)  # somebody at this host
    with pytest.raises(OverruledError) as caught:
        hold.heed(LATE, EARLY)
    assert str(caught.value) == (
        "a later command counts: down by bob, given 1970-01-01 00:03:20 UTC; "
        "nothing was done for up by ada, given 1970-01-01 00:01:40 UTC"
    )


# On disk -------------------------------------------------------------------------------------


def test_whatever_the_order_of_arrival_the_later_command_counts(here):
    holdfile.take(ALL, CONNECTIONS, NOW, LATE)
    with pytest.raises(OverruledError):
        holdfile.lift(LIFT, CONNECTIONS, NOW, EARLY)
    assert held() == {one.name for one in CONNECTIONS}
    assert holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", 300.0, "eve")) == ()
    assert not here.hold.exists()
    with pytest.raises(OverruledError):  # remembered although nothing is held by now
        holdfile.take(ALL, CONNECTIONS, NOW, LATE)
    with pytest.raises(OverruledError):
        holdfile.obey(LATE)
    assert held() == set()


def test_what_is_decided_at_the_host_counts_when_it_comes(here):
    holdfile.take(ALL, CONNECTIONS, NOW, LATE)
    holdfile.lift(LIFT, CONNECTIONS, NOW)
    assert held() == set()
    holdfile.take(ALL, CONNECTIONS, NOW)
    assert held() == {one.name for one in CONNECTIONS}


def test_an_ipsec_conf_that_is_damaged_loses_nothing(here):
    """Bytes that are no text ended an emergency stop with a traceback."""
    conf = (
        b"# by hand \xff\nconn cp3001_v4\n  auto=add # \xe4\n\tleft=10.64.0.11\n<<<<\x00\n"
        b"conn cp3001_v6\n  auto=add"
    )
    here.conf.write_bytes(conf)
    holdfile.take(ALL, CONNECTIONS, NOW)
    held = here.conf.read_bytes()
    assert held == conf.replace(b"  auto=add # \xe4\n", b"    auto=ignore\n").replace(
        b"  auto=add", b"    auto=ignore\n"
    )
    holdfile.lift(LIFT, CONNECTIONS, NOW)
    assert here.conf.read_bytes() == held.replace(b"ignore", b"start")  # no keeper runs here
    holdfile.ignore(CONNECTIONS)
    assert here.conf.read_bytes() == held


# Meanwhile -----------------------------------------------------------------------------------


class Stopped(Host):
    """A fake: no charon; the hold is on disk."""

    def __init__(self, lifted_by=None):
        self.lifted_by, self.looks = lifted_by, 0

    def now(self):
        return NOW

    def sleep(self, seconds):
        assert self.looks < 9, "it does not end"

    def guard(self, connections):
        pass

    def update(self, timeout):
        pass

    def glance(self, timeout):
        """Return a charon that has no SA."""
        return Charon("6.0.1", "vici")

    def observe(self, timeout):
        """Return a charon that never forgets its connections; after the second look the hold is lifted."""
        self.looks += 1
        if self.looks == 2:
            self.lifted_by()
        return Charon("6.0.1", "vici", connections=tuple(LoadedConnection(one.name) for one in CONNECTIONS))

    def terminate(self, ids, force, timeout):
        return {}

    def kill(self, pids, timeout):
        raise AssertionError("charon is killed although up is what is wanted")

    def pids(self, *names):
        return (1,)


def test_a_stop_ends_nothing_more_once_its_hold_is_lifted(here):
    """It went on to its deadline, ended what came up meanwhile, and killed charon at last."""
    host = Stopped(lambda: holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", 300.0, "eve")))
    found = stop.down(CONNECTIONS, Scope(), ALL, 5, True, LATE, host)
    assert not found.ok
    assert (
        found.overruled == found.sentence == "the hold was lifted meanwhile: what was not down yet stays up"
    )
    assert (found.charon, found.problems, found.lost_hold) == ("runs", (), False)


def test_a_stop_that_comes_late_does_nothing(here):
    holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", 300.0, "eve"))
    host = Stopped()
    found = stop.down(CONNECTIONS, Scope(), ALL, 5, True, LATE, host)
    assert (found.ok, host.looks, found.lost_hold) == (False, 0, False)
    assert found.overruled.startswith("a later command counts: up by eve, given ")


def test_an_up_that_comes_late_does_nothing(here, monkeypatch):
    holdfile.take(ALL, CONNECTIONS, NOW, LATE)
    found = comeback.up(CONNECTIONS, Scope(), "ada", 5, True, EARLY, Host())
    assert not found.ok
    assert found.overruled.startswith("a later command counts: down by bob, given ")
    assert {row.state for row in found.connections} == {"held"}
