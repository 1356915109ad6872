"""Holds and commands: who decides what of which connections, and which of two decisions counts."""

from __future__ import annotations

import errno
import os
import random
import stat
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fleets
from hostipsec.emergency import comeback, stop
from hostipsec.emergency.host import Host
from hostipsec.errors import HostIPsecError
from hostipsec.model import Charon, LoadedConnection
from hostipsec.pillar import pillar, topology
from hostipsec.store import hold, holdfile
from hostipsec.store.hold import Command, Hold, Lift, Obeyed, OverruledError, Scope
from hostipsec.system import files, locks

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
    found = hold.held_names(hold.lifted((ALL,), lift), CONNECTIONS, NOW)
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
    assert hold.current((one,), NOW) == ()


def test_what_was_written_is_read():
    holds = (ALL, LIFT._replace(scope=Scope(peer="cp3*")), ALL._replace(until=NOW + timedelta(hours=2)))
    assert hold.parse(hold.render(holds)) == holds
    for obeyed in (Obeyed(LATE), Obeyed(LATE._replace(stamp=9e9), {9e9: 200.0})):
        assert hold.parse_command(hold.render_command(obeyed)) == obeyed


def test_hold_json_is_the_same_for_releases_with_one_type_for_both_decisions():
    """They read each key but ``until``; of what they wrote, only one that lifts is not ``held``.

    They wrote no checksum, and read none.
    """
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
    assert hold.parse(text) == decisions
    assert hold.render(decisions) == text.replace("]}", '], "check": "2c9ee0d2"}')
    assert hold.parse(hold.render(decisions)) == decisions


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verb": "up"}', '{"verb": "up", "asked": "x", "who": ""}'])
def test_a_damaged_command_decides_nothing(text):
    assert hold.parse_command(text) == Obeyed()


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
        holdfile.obey(LATE, NOW)
    assert held() == set()


def test_a_full_disk_keeps_no_command_of_the_fleet_from_lifting(here, monkeypatch):
    """`salt-run ipsec.up` notes the command beside, and failed with "charon does not answer"."""
    holdfile.take(ALL, CONNECTIONS, NOW, EARLY)
    plain = files._write

    def full(path, entry):
        if here.state in path.parents:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(path, entry)

    monkeypatch.setattr(files, "_write", full)
    assert holdfile.lift(LIFT, CONNECTIONS, NOW, LATE) == ()
    assert (here.hold.exists(), held()) == (False, set())
    with pytest.raises(HostIPsecError, match="No space left on device"):
        holdfile.take(ALL, CONNECTIONS, NOW, LATE)


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


# A command with a time ahead ------------------------------------------------------------------

CLOCK = NOW.timestamp()


@pytest.mark.parametrize("asked", [CLOCK + 3600, CLOCK * 1000, 1e300], ids=["hour", "milliseconds", "far"])
def test_a_time_ahead_counts_as_now_and_refuses_nothing_later(here, asked):
    """Every later `down` was refused on that host; in milliseconds the answer was a ValueError."""
    wrong = Command("up", asked, "ada")
    holdfile.lift(LIFT, CONNECTIONS, NOW, wrong)
    assert hold.counted(Obeyed(), wrong, CLOCK).asked == CLOCK
    assert "ahead of this host's clock" in hold.counted(Obeyed(), wrong, CLOCK).warning
    later = NOW + timedelta(seconds=1)
    holdfile.take(ALL, CONNECTIONS, later, Command("down", later.timestamp(), "bob"))
    assert held() == {one.name for one in CONNECTIONS}
    with pytest.raises(OverruledError):  # its second phase is no later command
        holdfile.lift(LIFT, CONNECTIONS, NOW + timedelta(seconds=3), wrong)
    assert held() == {one.name for one in CONNECTIONS}
    assert str(wrong).startswith("up by ada, given ")


def test_a_time_ahead_that_a_release_before_has_kept_refuses_nothing(here):
    here.command.write_text('{"asked": %f, "verb": "up", "who": "ada"}' % (CLOCK * 1000))
    holdfile.take(ALL, CONNECTIONS, NOW, Command("down", CLOCK, "bob"))
    assert held() == {one.name for one in CONNECTIONS}


def test_clocks_that_differ_a_little_still_tell_which_command_is_the_later(here):
    holdfile.take(ALL, CONNECTIONS, NOW, Command("down", CLOCK + 2, "bob"))
    with pytest.raises(OverruledError):
        holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", CLOCK + 1, "ada"))


def test_an_up_from_a_little_ahead_refuses_no_down_at_the_host_itself(here):
    holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", CLOCK + 4, "ada"))
    holdfile.take(ALL, CONNECTIONS, NOW)
    assert held() == {one.name for one in CONNECTIONS}


@pytest.mark.parametrize("ahead", [-2, 4], ids=["before", "by a clock that is ahead"])
def test_a_down_at_the_host_itself_counts_over_an_up_of_the_fleet_that_is_under_way(here, ahead):
    """The second phase of `salt-run ipsec.up` came seconds after `ipsec-global down`, and lifted its hold."""
    up = Command("up", CLOCK + ahead, "ada")
    holdfile.lift(LIFT, CONNECTIONS, NOW, up)
    holdfile.take(ALL, CONNECTIONS, NOW)
    with pytest.raises(OverruledError, match="a later command counts: down by ada, given 20"):
        holdfile.lift(LIFT, CONNECTIONS, NOW + timedelta(seconds=1), up)
    assert held() == {one.name for one in CONNECTIONS}
    holdfile.take(ALL, CONNECTIONS, NOW)
    later = NOW + timedelta(seconds=6)
    assert holdfile.lift(LIFT, CONNECTIONS, later, Command("up", later.timestamp(), "ada")) == ()
    holdfile.take(ALL, CONNECTIONS, NOW)
    assert holdfile.lift(LIFT, CONNECTIONS, NOW) == ()  # and whoever is at the host itself, at once


def test_a_down_at_the_host_itself_is_refused_by_no_clock(here):
    here.command.write_text('{"asked": %f, "verb": "up", "who": "ada"}' % (CLOCK * 1000))
    holdfile.take(ALL, CONNECTIONS, NOW)
    assert held() == {one.name for one in CONNECTIONS}
    assert holdfile.obeyed().last.asked == CLOCK
    holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", CLOCK + 1, "ada"))
    assert held() == set()


def test_a_master_that_is_behind_and_asks_again_gives_the_later_order(here):
    holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", CLOCK + 4, "ada"))
    with pytest.raises(OverruledError) as caught:
        holdfile.take(ALL, CONNECTIONS, NOW, Command("down", CLOCK - 60, "bob"))
    holdfile.take(ALL, CONNECTIONS, NOW, Command("down", caught.value.later + hold.JUST, "bob"))
    with pytest.raises(OverruledError):  # its second phase
        holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", CLOCK + 4, "ada"))
    assert held() == {one.name for one in CONNECTIONS}


def test_a_down_with_a_time_ahead_says_so(here):
    found = stop.down(CONNECTIONS, Scope(), ALL, 1, False, Command("down", CLOCK + 90, "ada"), Stopped())
    assert found.ahead.startswith(f"asked={CLOCK + 90:.15g} lies 90 s ahead of this host's clock")
    answer = found.answer()
    assert (answer.own["ahead"], answer.notes) == (found.ahead, (found.ahead,))


# What is kept of decisions ----------------------------------------------------------------------


def test_a_whole_host_stays_held_for_peers_yet_to_come(here):
    """`up` of the only peer forgot the hold of the host: a peer that came later was not held."""
    only, joined = CONNECTIONS[:1], CONNECTIONS[1:]
    holdfile.take(ALL, only, NOW)
    holdfile.lift(LIFT._replace(scope=Scope(peer=only[0].peer)), only, NOW)
    assert {*holdfile.held(CONNECTIONS, NOW)} == {one.name for one in joined if one.peer != only[0].peer}
    assert holdfile.lift(LIFT, CONNECTIONS, NOW) == ()
    assert not here.hold.exists()


def test_a_clock_that_steps_back_past_an_expiry_loses_no_hold(here):
    """With an unrelated `up` in between, the hold that still ran was gone."""
    holdfile.take(ALL._replace(until=NOW + timedelta(hours=2)), CONNECTIONS, NOW)
    ahead = NOW + timedelta(days=1)
    assert holdfile.held(CONNECTIONS, ahead) == {}
    holdfile.lift(Lift("bob", ahead, Scope(peer="cp3001*")), CONNECTIONS, ahead)
    holdfile.enforce(CONNECTIONS, ahead)
    assert held() == {one.name for one in CONNECTIONS if not one.peer.startswith("cp3001")}


def test_what_nothing_depends_on_is_left_out():
    """A hundred partial `up`s left 101 entries."""
    decisions = (ALL,)
    for number in range(100):
        for pattern in ("cp3*", "cp30*", f"cp30{number:02}*", "cp3001?esams*"):
            lift = Lift("ada", NOW, Scope(peer=pattern))
            assert hold.held_names(hold.lifted(decisions, lift), CONNECTIONS, NOW) == {
                one.name for one in CONNECTIONS if not one.peer.startswith("cp3")
            }
            decisions = hold.lifted(decisions, lift)
    assert len(decisions) == 2
    for _ in range(100):
        part = Scope(peer="cp2*")
        decisions = hold.lifted(
            hold.taken(decisions, Hold("bob", NOW, "x", scope=part)), Lift("bob", NOW, part)
        )
    assert len(decisions) < 10


def meant(decisions):
    return hold.held_names(decisions, CONNECTIONS, NOW)


@given(st.data())
def test_compacting_changes_nothing(data):
    patterns = st.sampled_from(
        ["*", "cp3*", "cp300?*", "cp3001*", "cp[23]*", "cp1*", "*_v4", "cp3001_v4", "?*"]
    )
    scopes = st.builds(Scope, peer=patterns, connection=patterns)
    kinds = st.builds(Hold, st.just("ada"), st.just(NOW), st.just("x"), st.none(), scopes) | st.builds(
        Lift, st.just("ada"), st.just(NOW), scopes
    )
    decisions = tuple(data.draw(st.lists(kinds, max_size=8)))
    assert meant(hold.compact(decisions)) == meant(decisions)


# Damage -----------------------------------------------------------------------------------------


def mutilated(chance, content):
    """Return content with bytes flipped, cut off, cut out, repeated, or all of it another."""
    found = bytearray(content)
    at, length = chance.randrange(len(found)), chance.randrange(1, 40)
    kind = chance.randrange(6)
    if kind == 0:
        found[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del found[at:]
    elif kind == 2:
        del found[at : at + length]
    elif kind == 3:
        found[at:at] = found[at : at + length]
    elif kind == 4:
        found[at : at + length] = chance.randbytes(length)
    else:
        found[at] = chance.choice(b'{}[]",:0 \n\xff')
    return bytes(found)


UNTIL = NOW + timedelta(hours=2)
PART = Scope(peer="cp3*")
DECISIONS = hold.taken(hold.lifted((ALL,), LIFT._replace(scope=PART)), ALL._replace(until=UNTIL, scope=PART))


def test_ten_thousand_damaged_holds_say_what_is_so_or_nothing():
    """Nothing is taken or lifted that was not: what is read is what was written."""
    content, chance, wrong = hold.render(DECISIONS).encode(), random.Random(1), 0
    for _ in range(10_000):
        damaged = mutilated(chance, content).decode("utf-8", "replace")
        try:
            assert hold.parse(damaged) == DECISIONS, damaged
        except HostIPsecError as error:
            wrong += 1
            assert str(error).startswith("hold.json cannot be read (")
    assert wrong > 9_000


def test_where_it_says_nothing_ipsec_conf_goes_on_saying_what_is_down(here):
    # other connections than those that are held, to tell them apart
    down = {one.name for one in CONNECTIONS if one.peer.startswith("cp2")}
    here.conf.write_text("".join(f"conn {name}\n    auto=ignore\n" for name in sorted(down)))
    content, chance = hold.render(DECISIONS).encode(), random.Random(2)
    for _ in range(300):
        here.hold.write_bytes(mutilated(chance, content))
        there = holdfile.found()
        found = hold.reasons(there.decisions, CONNECTIONS, NOW)
        assert {*found} == down if there.wrong else found == hold.reasons(DECISIONS, CONNECTIONS, NOW)
        assert there.wrong.isprintable()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"holds": 5}', b"[" * 99_999, None])
def test_an_operator_decides_anew_over_a_hold_that_cannot_be_read(here, content):
    if content is None:
        here.hold.mkdir()  # as what cannot be read at all
    else:
        here.hold.write_bytes(content)
    here.conf.write_text("conn cp3001_v4\n    auto=ignore\nconn cp3001_v6\n    auto=add\n")
    assert held() == {"cp3001_v4"}
    with pytest.raises(HostIPsecError, match="ipsec-global up brings all up and ipsec-global down holds all"):
        holdfile.known(CONNECTIONS, NOW)
    assert not holdfile.enforce(CONNECTIONS, NOW)
    holdfile.lift(LIFT._replace(scope=Scope(peer="cp2*")), CONNECTIONS, NOW)
    assert (held(), holdfile.found().wrong) == ({"cp3001_v4"}, "")
    holdfile.take(ALL, CONNECTIONS, NOW)
    assert held() == {one.name for one in CONNECTIONS}
    holdfile.lift(LIFT, CONNECTIONS, NOW)
    assert held() == set()


def test_a_disk_that_fails_where_the_hold_is(here, monkeypatch):
    """EIO: what is there can be read by nobody, and is put out of the way by who decides anew."""
    here.hold.write_text(hold.render((ALL,)))
    plain = type(here.hold).read_bytes

    def read(path):
        if path == here.hold and path.stat().st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return plain(path)

    bad = here.hold.stat().st_ino
    monkeypatch.setattr(type(here.hold), "read_bytes", read)
    assert "Input/output error" in holdfile.found().wrong
    assert holdfile.take(ALL._replace(who="bob"), CONNECTIONS, NOW)
    assert (held(), holdfile.found().wrong) == ({one.name for one in CONNECTIONS}, "")


def test_a_full_disk_keeps_nobody_from_lifting_a_hold(here, monkeypatch):
    """`up` of the fleet has its command remembered, which takes space: it failed, and charon was blamed."""
    holdfile.take(ALL, CONNECTIONS, NOW)
    plain = files.swap

    def full(changes):
        if here.command in changes:
            raise HostIPsecError("No space left on device")
        return plain(changes)

    monkeypatch.setattr(files, "swap", full)
    later = Command("up", NOW.timestamp() + 1, "eve")
    assert holdfile.lift(LIFT, CONNECTIONS, NOW, later) == ()
    assert not here.hold.exists()
    with pytest.raises(HostIPsecError, match="No space left"):
        holdfile.obey(later, NOW)


def test_a_reason_that_a_terminal_would_act_on_is_shown_as_text():
    assert hold.words((ALL._replace(why="a\x1b[2Jb\udcffc\nd"),)).isprintable()


# The lock ----------------------------------------------------------------------------------------


def test_only_root_reaches_the_lock(here, monkeypatch):
    """Whoever can open a lock can hold it: it was 0644, and any user kept an emergency stop waiting."""
    monkeypatch.setattr(os, "umask", os.umask)
    before = os.umask(0)
    try:
        holdfile.take(ALL, CONNECTIONS, NOW)
    finally:
        os.umask(before)
    assert (mode(here.locks), mode(here.lock)) == (0o700, 0o600)


def test_a_lock_that_somebody_holds_delays_and_stops_nobody(here):
    with locks.held(here.lock, 0) as first, locks.held(here.lock, 0.05) as second:
        assert (first, second) == (True, False)
    here.lock.unlink()
    here.lock.mkdir()
    with locks.held(here.lock, 1) as got:
        assert not got


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


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
    assert found.answer().own["later"] is None


def test_a_stop_that_comes_late_does_nothing(here):
    holdfile.lift(LIFT, CONNECTIONS, NOW, Command("up", 300.0, "eve"))
    host = Stopped()
    found = stop.down(CONNECTIONS, Scope(), ALL, 5, True, LATE, host)
    assert (found.ok, host.looks, found.lost_hold) == (False, 0, False)
    assert found.overruled.startswith("a later command counts: up by eve, given ")
    assert found.answer().own["later"] == 300.0


def test_an_up_that_comes_late_does_nothing(here, monkeypatch):
    holdfile.take(ALL, CONNECTIONS, NOW, LATE)
    found = comeback.up(CONNECTIONS, Scope(), "ada", 5, True, EARLY, Host())
    assert not found.ok
    assert found.overruled.startswith("a later command counts: down by bob, given ")
    assert found.answer().own["later"] == 200.0
    assert {row.state for row in found.connections} == {"held"}
