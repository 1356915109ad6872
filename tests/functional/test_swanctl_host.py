"""A host that runs by swanctl: states and verbs as elsewhere, with a real charon-systemd and no starter."""

from __future__ import annotations

import os

import pytest
from byswanctl import ADDRESSES, CONF, A, B, C, Member, pillar_of
from minions import NOW
from strongswan import line, wait_for

import authorities
from hostipsec.strongswan import swanctl

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")


@pytest.fixture(scope="module")
def authority():
    return authorities.authority("CN=Fleet CA", NOW)


@pytest.fixture(scope="module")
def members(tmp_path_factory, authority):
    """Return a and b, as the packages leave them."""
    place, found = tmp_path_factory.mktemp("swanctl"), []
    try:
        for identifier in (A, B):
            found.append(Member(identifier, place, authority))
        line(*(one.host for one in found), *([f"{ADDRESSES[one.id]}/24"] for one in found))
        yield found
    finally:
        for one in found:
            one.stop()


@pytest.fixture(scope="module")
def pair(members):
    """Return both with the pillar applied, the second while the package's charon runs; c is not there."""
    members[1].host.run("systemctl", "start", "strongswan")
    for one in members:
        one.settle(pillar_of())
    return members


def test_a_fresh_host_is_set_up(pair):
    a, _ = pair
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.pid
    root = a.host.root / "etc/swanctl"
    (key,) = (root / "private").glob("*.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    assert not (a.host.root / "etc/ipsec.conf").exists()
    assert swanctl.intact(a.conf)
    assert a.status()["backend"] == "vici"


def test_a_second_run_changes_nothing(pair):
    a, _ = pair
    before, pid = a.contents(), a.pid
    assert (a.would(pillar_of())["result"], a.would(pillar_of())["changes"]) == (True, {})
    assert a.settle(pillar_of())["changes"] == {}
    assert (a.contents(), a.pid) == (before, pid)


def test_the_pair_comes_up_and_goes_down_and_stays_down(pair):
    a, b = pair
    found = a.minion.call("ipsec.up", peer=B)
    assert found["ok"], found
    assert a.states()["b_v4"] == b.states()["a_v4"] == "established"
    down = a.minion.call("ipsec.down", peer=B, reason="a test")
    assert down["ok"], down
    assert a.loaded == ["c_v4"]
    assert a.states()["b_v4"] == "held"
    a.host.run("systemctl", "restart", "strongswan")
    assert a.loaded == ["c_v4"]
    assert a.settle(pillar_of())["changes"] == {}
    up = a.minion.call("ipsec.up", peer=B)
    assert up["ok"], up
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.states()["b_v4"] == "established"


def test_an_edit_loads_just_what_differs_and_ends_nothing(pair):
    a, _ = pair
    a.minion.call("ipsec.up", peer=B)
    before, pid = a.sas, a.pid
    edited = pillar_of(connection={**pillar_of().get("connection", {}), "lifetime": "2h"})
    would = a.would(edited)
    assert would["result"] is None
    did = a.settle(edited)
    assert did["changes"] == would["changes"]
    assert (a.sas, a.pid) == (before, pid)
    assert a.settle(pillar_of())["changes"]
    assert (a.sas, a.pid) == (before, pid)


def test_a_peer_that_goes_is_unloaded_and_comes_back(pair):
    a, _ = pair
    less = pillar_of()
    less["hosts"] = {host: entry for host, entry in less["hosts"].items() if host != C}
    pid = a.pid
    assert a.settle(less)["changes"]["connections"] == {"removed": ["c_v4"]}
    assert a.loaded == ["b_v4"]
    assert a.settle(pillar_of())["changes"]["connections"] == {"added": ["c_v4"]}
    assert (a.loaded, a.pid) == (["b_v4", "c_v4"], pid)


def test_back_to_what_ran_before(pair):
    a, _ = pair
    before = a.contents()
    a.settle(pillar_of(connection={**pillar_of().get("connection", {}), "dpddelay": "7s"}))
    found = a.minion.call("ipsec.rollback")
    assert found["ok"], found
    assert a.contents() == before
    assert a.settle(pillar_of())["changes"] == {}


def test_more_is_logged_for_a_while_and_then_as_much_as_before(pair):
    a, _ = pair

    def begun(told):
        """Have the connection begin anew; whether its beginning was told (of type ike, at level 2)."""
        a.minion.call("ipsec.down", peer=B, hold=False)
        del told[:]
        assert a.minion.call("ipsec.up", peer=B)["ok"]
        wait_for(lambda: any("established between" in one for one in told), "a line of the journal")
        return any("state change: CREATED" in one for one in told)

    with a.journal() as told:
        assert not begun(told)
        assert a.minion.call("ipsec.loglevel", ike=2)["raised"] == {"ike": 2}
        assert begun(told)
        assert a.minion.call("ipsec.loglevel", minutes=0)["raised"] == {}
        assert not begun(told)
    assert not list((a.host.root / "etc/strongswan.d").glob("*levels*"))


# Traps of swanctl ----------------------------------------------------------------------------


def damaged(text):
    """What swanctl takes for nothing at all, with status 0."""
    return text[: text.rindex("}\n")]


def refused(text):
    """What swanctl ends with status 22 for: the unit has charon stopped."""
    return text.replace("remote_addrs = ", "mobike = perhaps\n        remote_addrs = ", 1)


@pytest.mark.parametrize(("damage", "runs"), [(damaged, True), (refused, False)])
def test_a_start_with_a_file_that_is_damaged_is_told_and_mended(pair, damage, runs):
    a, _ = pair
    (a.host.root / CONF).write_text(damage(a.conf))
    a.host.process(["systemctl", "restart", "strongswan"], 60)
    assert bool(a.running) == runs
    found = a.status()
    assert not found["ok"]
    assert {*a.states().values()} == {"down"}
    assert a.settle(pillar_of())["changes"]
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.settle(pillar_of())["changes"] == {}


def test_after_a_start_with_a_file_that_is_damaged_the_keeper_has_the_last_whole_one_loaded(pair):
    """But what is held stays down, and a file that somebody edited stays as it is while it is loaded."""
    a, _ = pair
    a.keep()  # a copy
    whole = a.conf
    (a.host.root / CONF).write_text(edited := whole.replace("version = 2", "version = 2 # by hand", 1))
    a.keep()
    assert a.conf == edited
    (a.host.root / CONF).write_text(whole)
    assert a.minion.call("ipsec.down", peer=B)["ok"]
    before = a.conf
    (a.host.root / CONF).write_text(damaged(before))
    a.host.process(["systemctl", "restart", "strongswan"], 60)
    assert a.loaded == []
    a.keep()
    assert (a.loaded, a.conf) == (["c_v4"], before)
    assert a.minion.call("ipsec.up", peer=B)["ok"]
    assert a.loaded == ["b_v4", "c_v4"]


def test_of_a_file_that_is_damaged_nothing_is_loaded_and_down_is_down(pair):
    """`up` and `down` have the file taken up: swanctl itself would unload everything."""
    a, _ = pair
    (a.host.root / CONF).write_text(damaged(a.conf))
    found = a.minion.call("ipsec.up", peer=B)
    assert any("hostipsec.conf is damaged or was edited" in one for one in found["problems"]), found
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.minion.call("ipsec.down", peer=B)["ok"]
    assert a.loaded == ["c_v4"]
    a.settle(pillar_of())
    assert a.loaded == ["c_v4"]
    assert a.minion.call("ipsec.up", peer=B)["ok"]


def test_a_newer_list_of_the_ca_counts_at_once(pair, authority):
    """swanctl's own --load-creds leaves charon with what it has checked already: a revoked peer got in."""
    a, b = pair
    listed = a.host.root / "etc/pki/crl.pem"
    listed.write_bytes(authorities.crl(authority, NOW, number=1))
    assert "warnings" not in a.settle(pillar_of())
    assert a.minion.call("ipsec.up", peer=B)["ok"]
    listed.write_bytes(authorities.crl(authority, NOW, b.certificate, number=2))
    a.settle(pillar_of())
    assert a.states()["b_v4"] == "established"
    assert a.minion.call("ipsec.down", peer=B, hold=False)["ok"]
    assert not a.minion.call("ipsec.up", peer=B, deadline=3)["ok"]
    assert a.states()["b_v4"] != "established"
