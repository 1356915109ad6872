"""A host that runs moves from ipsec.conf to swanctl and back: a pair of real charons, both ways installed."""

from __future__ import annotations

import contextlib
import os

import pytest
from byswanctl import ADDRESSES, CONF, A, B, Member, both_unpacked, pillar_of
from minions import NOW
from strongswan import line, wait_for

import authorities

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

BY_STARTER, BY_SWANCTL = ["charon", "starter"], ["charon-systemd"]


def asked(backend, **more):
    """Return the pillar of the two, by which a host shall run."""
    found = pillar_of(**{"backend": backend, **more})
    found["hosts"] = {host: entry for host, entry in found["hosts"].items() if host in (A, B)}
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a and b by ipsec.conf, with their pair up."""
    place, found, ca = tmp_path_factory.mktemp("moving"), [], authorities.authority("CN=Fleet CA", NOW)
    try:
        for identifier in (A, B):
            found.append(Member(identifier, place, ca, both_unpacked))
        line(*(one.host for one in found), *([f"{ADDRESSES[one.id]}/24"] for one in found))
        for one in found:
            one.settle(asked("ipsec.conf"))
        up(found)
        yield found
    finally:
        for one in found:
            one.stop()


def up(pair):
    """Have the pair up, and each end with one SA of it: as the keepers would."""
    a, b = pair
    a.minion.call("ipsec.up")
    a.wait(b_v4="established")
    b.wait(a_v4="established")


def texts(member):
    names = ("etc/ipsec.conf", "etc/ipsec.secrets", "etc/strongswan.d/hostipsec.conf", CONF)
    return {
        name: (member.host.root / name).read_text() for name in names if (member.host.root / name).exists()
    }


def boots(member):
    """Return by unit what would be at a boot."""
    units = ("strongswan", "strongswan-starter")
    return [member.host.process(["systemctl", "is-enabled", one], 60).stdout.strip() for one in units]


def test_what_a_move_does_is_said_before(pair):
    a, _ = pair
    before = texts(a)
    found = a.would(asked("swanctl"))
    assert found["result"] is None
    assert found["changes"] == {
        "backend": "ipsec.conf -> swanctl",
        "charon": "restarted (backend: ipsec.conf -> swanctl)",
    }
    assert "all of its tunnels end" in found["comment"]
    assert (a.processes(), texts(a)) == (BY_STARTER, before)


def test_a_host_moves_and_its_pair_comes_back(pair):
    """The one that starts the pair: by the state itself."""
    a, b = pair
    found = a.settle(asked("swanctl"))
    assert "moved from ipsec.conf to swanctl" in found["comment"]
    assert a.processes() == BY_SWANCTL
    assert boots(a) == ["enabled", "masked"]
    a.wait(b_v4="established")
    b.wait(a_v4="established")
    assert "conn b_v4" not in texts(a)["etc/ipsec.conf"]
    assert a.settle(asked("swanctl"))["changes"] == {}
    assert b.settle(asked("ipsec.conf"))["changes"] == {}


def test_the_way_back_is_a_rollback(pair):
    a, b = pair
    found = a.minion.call("ipsec.rollback")
    assert found["ok"], found
    assert a.processes() == BY_STARTER
    assert boots(a) == ["masked", "enabled"]
    assert CONF not in texts(a)
    assert a.settle(asked("ipsec.conf"))["changes"] == {}
    up(pair)
    assert b.processes() == BY_STARTER


def test_or_an_edit_back(pair):
    a, _ = pair
    before = texts(a)
    a.settle(asked("swanctl"))
    a.settle(asked("ipsec.conf"))
    assert (a.processes(), texts(a)) == (BY_STARTER, before)
    up(pair)


def test_what_is_held_down_stays_down(pair):
    a, _ = pair
    assert a.minion.call("ipsec.down", reason="a test")["ok"]
    try:
        a.settle(asked("swanctl"))
        assert a.loaded == []
        assert a.states() == {"b_v4": "held"}
        a.settle(asked("ipsec.conf"))
        assert a.loaded == []
    finally:
        up(pair)


# What goes wrong in the middle ---------------------------------------------------------------


@contextlib.contextmanager
def no_packages(member):
    """The program is not there, and apt brings nothing."""
    program, apt = (member.host.root / path for path in ("usr/sbin/charon-systemd", "usr/bin/apt-get"))
    program.rename(f"{program}.away")
    real = apt.read_bytes()
    apt.write_text("#!/bin/sh\necho 'E: Unable to fetch some archives'\nexit 100\n")
    try:
        yield "apt-get --simulate --quiet: status 100, E: Unable to fetch some archives; nothing was changed"
    finally:
        apt.write_bytes(real)
        program.with_name(f"{program.name}.away").rename(program)


@contextlib.contextmanager
def no_trial(member):
    """What was installed does not start, not even on trial."""
    program = member.host.root / "usr/sbin/charon-systemd"
    program.rename(f"{program}.away")
    program.write_text("#!/bin/sh\necho 'no such plugin'\nexit 1\n")
    program.chmod(0o755)
    try:
        yield "charon does not start with the new configuration: no such plugin; nothing was changed"
    finally:
        program.with_name(f"{program.name}.away").rename(program)


@contextlib.contextmanager
def no_start(member):
    """The trial passes, and the service does not start."""
    refused = member.host.root / "tmp/refused"
    refused.write_text("strongswan\n")
    try:
        yield "the last good configuration is back"
    finally:
        refused.unlink()


def cut(member, after):
    """Begin a move, and have the host lose its power after so many orders to systemd; it boots then."""
    member.host.write("/tmp/cut", f"{after}\n", 0o644)
    assert member.would(asked("swanctl"))["result"] is None
    member.configured(asked("swanctl"))
    for name in (*BY_STARTER, *BY_SWANCTL):
        member.host.process(["pkill", "-KILL", "-x", name], 60)
    wait_for(lambda: not member.processes(), "the end of all")
    member.host.process(["sh", "-c", "rm -f /tmp/cut /run/*charon*"], 60)
    for unit, word in zip(("strongswan", "strongswan-starter"), boots(member)):
        if word == "enabled":
            member.host.process(["systemctl", "start", unit], 60)


@pytest.mark.parametrize("backend", ["swanctl", "ipsec.conf"])
@pytest.mark.parametrize("after", range(6))
def test_after_a_power_cut_in_the_middle_the_state_brings_about_what_is_asked(pair, after, backend):
    """Whichever that is: the move that was begun, or the way back. Never do both run."""
    a, _ = pair
    cut(a, after)
    assert not {*BY_STARTER} & {*a.processes()} or not {*BY_SWANCTL} & {*a.processes()}
    a.settle(asked(backend))
    assert a.processes() == (BY_SWANCTL if backend == "swanctl" else BY_STARTER)
    assert sorted(boots(a)) == ["enabled", "masked"]
    a.settle(asked("ipsec.conf"))
    assert (a.processes(), boots(a)) == (BY_STARTER, ["masked", "enabled"])
    up(pair)


@pytest.mark.parametrize("trouble", [no_packages, no_trial, no_start])
def test_a_move_that_fails_leaves_what_ran_before(pair, trouble):
    a, _ = pair
    before, sas = texts(a), a.sas
    with trouble(a) as said:
        found = a.configured(asked("swanctl"))
        assert found["result"] is False
        assert said in found["comment"]
    assert (a.processes(), texts(a)) == (BY_STARTER, before)
    assert boots(a)[1] == "enabled"
    assert trouble is no_start or a.sas == sas
    assert a.settle(asked("ipsec.conf"))["changes"] == {}
    up(pair)


def test_with_a_charon_that_hangs_nothing_is_moved(pair):
    """What it has cannot be told."""
    a, _ = pair
    a.host.run("pkill", "-STOP", "-x", "charon")
    wait_for(lambda: "T" in a.host.run("ps", "-C", "charon", "-o", "stat="), "charon stops")
    try:
        found = a.configured(asked("swanctl"))
    finally:
        a.host.process(["pkill", "-CONT", "-x", "charon"], 60)
    assert (found["result"], a.processes()) == (False, BY_STARTER)
