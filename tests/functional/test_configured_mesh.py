"""``ipsec.configured`` on a host whose tunnels are up: what it leaves alone, and what it touches."""

from __future__ import annotations

import copy
import os

import pytest
import strongswan
from configuring import ADDRESSES, CHARON, SERVICE, A, B, C, Member, three_hosts
from strongswan import wait_for

from hostipsec.errors import HostIPsecError
from hostipsec.pillar import parts, pillar

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")


@pytest.fixture
def data():
    return three_hosts()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, ca):
    """Return three hosts, with a line from a to each of the others."""
    place = tmp_path_factory.mktemp("fleet")
    found = {name: Member(name, place, ca) for name in (B, C, A)}
    try:
        for device, peer in (("eth0", B), ("eth1", C)):
            connect(found[A].host, device, ADDRESSES[A], found[peer].host, "eth0", ADDRESSES[peer])
        yield found
    finally:
        for member in found.values():
            member.stop()


def connect(left, left_device, left_address, right, right_device, right_address):
    ends = ["ip", "link", "add", left_device, "netns", str(left.pid), "type", "veth"]
    strongswan.run([*ends, "peer", "name", right_device, "netns", str(right.pid)])
    for host, device, own, other in (
        (left, left_device, left_address, right_address),
        (right, right_device, right_address, left_address),
    ):
        host.run("ip", "link", "set", device, "up")
        host.run("ip", "address", "add", f"{own}/32", "dev", device)
        host.run("ip", "route", "add", other, "dev", device, "src", own)


@pytest.fixture
def mesh(fleet, data):
    """Return host a with tunnels to b and c, which answer."""
    for member in fleet.values():
        member.prepare(data)
        assert member.run()["result"] is True
    fleet[A].wait("b_v4", "c_v4")
    return fleet[A]


def test_a_mesh_that_is_right_is_left_alone(mesh, data):
    before, pid = mesh.sas, mesh.pid
    assert mesh.apply(data)["changes"] == {}
    assert (mesh.sas, mesh.pid) == (before, pid)


def test_a_removed_peer_loses_its_sas_and_the_others_none(mesh, data):
    before, pid = mesh.sas, mesh.pid
    del data["hosts"][C]
    did = mesh.apply(data)
    assert did["changes"]["connections"] == {"removed": ["c_v4"]}
    wait_for(lambda: mesh.sas == {"b_v4": before["b_v4"]}, "end of the SAs with c")
    assert mesh.pid == pid


def test_a_changed_peer_is_the_only_one_that_is_touched(mesh, data):
    """An IKE SA to the old address used to stay up next to the new one."""
    before, pid = mesh.sas, mesh.pid
    data["hosts"][C]["ipv4"] = "10.0.0.9"
    did = mesh.apply(data)
    assert did["changes"] == {
        "connections": {"changed": {"c_v4": {"right": {"old": "10.0.0.3", "new": "10.0.0.9"}}}}
    }
    wait_for(lambda: "?c_v4" not in mesh.sas, "end of the SA with the old address")
    assert mesh.sas["b_v4"] == before["b_v4"]
    data["hosts"][C]["ipv4"] = "10.0.0.3"
    mesh.apply(data)
    mesh.wait("b_v4", "c_v4")
    assert mesh.sas["b_v4"] == before["b_v4"]
    assert mesh.pid == pid


def test_settings_that_charon_reads_anew(mesh, data):
    before, pid = mesh.sas, mesh.pid
    data["charon"]["retransmit_tries"] = 7
    data["setup"] = {"charondebug": {"ike": 2}}
    did = mesh.apply(data)
    assert did["changes"] == {
        "config setup": {"charondebug": {"old": "cfg 2, dmn 2", "new": "ike 2"}},
        "strongswan.conf": {"charon.retransmit_tries": {"old": "15", "new": "7"}},
    }
    assert (mesh.sas, mesh.pid) == (before, pid)


def test_a_connection_that_charon_lost_is_loaded_again(mesh, data):
    """starter believes that charon has it, and would not load it however often it is told to update."""
    before, pid = mesh.sas, mesh.pid
    mesh.host.run("ipsec", "stroke", "delete", "b_v4")
    did = mesh.apply(data)
    assert did["changes"] == {"loaded into charon": ["b_v4"]}
    assert (mesh.sas, mesh.pid) == (before, pid)


def test_from_the_whole_pillar_to_a_part_and_back_nothing_changes(mesh, data):
    """What is on disk stays the same files, and every SA the same SA."""
    before, sas, pid = mesh.files, mesh.sas, mesh.pid
    for given in (parts.Whole(data, pillar.read(data)).part(A), data):
        assert mesh.apply(given)["changes"] == {}
        assert mesh.minion.state("ipsec.checked", "x")["result"] is True
        assert mesh.minion.state("ipsec.certificate_reused", "/etc/ipsec.d")["changes"] == {}
        assert {*mesh.minion.call("ipsec.plan")["changes"]} == {
            "sysctl.present",
            "pkg.installed",
        }  # as always here
        assert (mesh.files, mesh.sas, mesh.pid) == (before, sas, pid)


def test_a_part_that_says_why_it_is_none_changes_nothing(mesh, data):
    before, sas = mesh.files, mesh.sas
    mesh.minion.pillar(parts.refused(HostIPsecError("fleet.sls: line 3"), A))
    for state, name in (("ipsec.checked", "x"), ("ipsec.configured", SERVICE)):
        found = mesh.minion.state(state, name)
        assert (found["result"], found["changes"]) == (False, {})
        assert "fleet.sls: line 3" in found["comment"]
    assert (mesh.files, mesh.sas) == (before, sas)


def test_what_an_operator_added_is_left_alone(mesh, data):
    """A connection that was never ours is not in the way, and is not removed."""
    extra = "conn by-hand\n    right=10.0.0.7\n    auto=add\n"
    mesh.host.write("/etc/ipsec.d/by-hand.conf", extra, 0o644)
    mesh.host.run(
        "ipsec", "stroke", "add", "by-hand", "x", "y", "10.0.0.1", "10.0.0.7", "10.0.0.1", "10.0.0.7"
    )
    assert mesh.apply(data)["changes"] == {}
    assert "by-hand" in mesh.host.run("ipsec", "statusall")
    mesh.host.run("ipsec", "stroke", "delete", "by-hand")


# The last good one comes back ----------------------------------------------------------------


def test_starter_does_not_take_up_what_is_new(mesh, data):
    """Files and connections are those of before; the tunnels did not notice."""
    before, pid, kept = mesh.sas, mesh.pid, mesh.minion.call("ipsec.previous")
    mesh.minion.put("hostipsec.apply.transition", "LOADED_DEADLINE", 2)
    starter = mesh.host.run("pgrep", "-o", "starter").strip()
    mesh.host.run("kill", "-STOP", starter)
    changed = copy.deepcopy(data)
    changed["hosts"]["d.two.example"] = {"site": "two", "ipv4": "10.0.0.4"}
    try:
        said = mesh.fails(changed)
    finally:
        mesh.host.run("kill", "-CONT", starter)
        mesh.minion.put("hostipsec.apply.transition", "LOADED_DEADLINE", 20)
    assert said == (
        "charon does not run with exactly the expected connections: it lacks d_v4; "
        "the last good configuration is back"
    )
    assert (mesh.sas, mesh.pid) == (before, pid)
    assert mesh.minion.call("ipsec.previous") == kept
    assert mesh.apply(data)["changes"] == {}


def test_a_charon_that_does_not_start_in_earnest(mesh, data):
    """The trial went well, the start does not: what ran before runs again, with its tunnels."""
    mesh.minion.put("hostipsec.apply.transition", "LOADED_DEADLINE", 4)
    fragile = f"""#!/bin/sh
        if grep -q 'threads = 20' /etc/strongswan.d/hostipsec.conf && ip link show eth0 >/dev/null 2>&1; then
            exit 1
        fi
        exec {CHARON}.d/charon "$@"
    """
    mesh.host.run("mkdir", "-p", f"{CHARON}.d")
    mesh.host.run("mv", CHARON, f"{CHARON}.d/charon")
    mesh.host.write(CHARON, fragile, 0o755)
    changed = copy.deepcopy(data)
    changed["charon"]["threads"] = 20
    try:
        said = mesh.fails(changed)
        mesh.wait("b_v4", "c_v4")
        assert mesh.apply(data)["changes"] == {}
    finally:
        mesh.host.run("mv", f"{CHARON}.d/charon", CHARON)
        mesh.minion.put("hostipsec.apply.transition", "LOADED_DEADLINE", 20)
    assert said == (
        "charon does not answer 4 s after it got the new configuration; the last good configuration is back"
    )


# Last, since it takes its time ---------------------------------------------------------------


def test_an_option_of_all_connections_replaces_each_sa_once(mesh, data):
    """Make before break: charon brings up the new SA, and ends the old one of the pair ten seconds later."""
    pid = mesh.pid
    data["connection"]["margintime"] = "14m"
    did = mesh.apply(data)
    assert did["changes"] == {"all connections": {"margintime": {"old": "13m", "new": "14m"}}}
    mesh.wait("b_v4", "c_v4")
    assert mesh.pid == pid


# An address that the host does not have ------------------------------------------------------


LACKS = "no interface here has 2001:db8::1"


@pytest.fixture
def lacking(mesh, data):
    """Return host a with an IPv6 address in the pillar that it does not have, for its pair with b."""
    for host, address in ((A, "2001:db8::1"), (B, "2001:db8::2")):
        data["hosts"][host]["ipv6"] = address
    mesh.minion.pillar(data)
    return mesh


def test_a_host_that_lacks_an_address_is_not_changed_and_says_so(lacking):
    """``state.apply`` was through with a connection that can never come up, and the check had no problem."""
    before, pid, sas = lacking.files, lacking.pid, lacking.sas
    assert lacking.minion.call("ipsec.check")["problems"] == [
        f"ipsec:hosts:{A}:ipv6: found 2001:db8::1; {LACKS}; correct it, or give the address to the host first"
    ]
    assert lacking.minion.call("ipsec.plan")["absent"] == ["2001:db8::1"]
    (ran,) = lacking.minion.apply().values()
    assert (ran["result"], ran["changes"]) == (False, {})
    assert LACKS in ran["comment"]
    assert (lacking.files, lacking.pid, lacking.sas) == (before, pid, sas)


def test_status_and_verify_of_an_address_that_has_gone_tell_it_and_go_on_with_the_rest(lacking):
    """All was told to be up for a while; and ``verify`` proved nothing of the other connections either."""
    assert lacking.run()["result"] is True  # as while the address was there
    row = lacking.minion.call("ipsec.status")["connections"]["b_v6"]
    assert (row["state"], row["severity"]) == ("no address", "critical")
    assert row["reason"] == f"{LACKS}, which this connection is from"
    found = lacking.minion.call("ipsec.verify", count=1, timeout=2)
    assert found["sentence"] == "2 of 3 connections are encrypted both ways"
    assert {name: one["ok"] for name, one in found["connections"].items()} == {
        "b_v4": True,
        "b_v6": False,
        "c_v4": True,
    }
    assert LACKS in found["connections"]["b_v6"]["reason"]
