"""Hosts that run by swanctl, on Debian 12 and 13, in one mesh with one that runs by ipsec.conf."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import yaml

import labs
from fleetlab import demo
from fleetlab.paths import LAB
from fleetlab.process import wait_for
from operators import Master

CP1001, CP2001, CP3001 = "cp1001.eqiad.example", "cp2001.codfw.example", "cp3001.esams.example"
HOSTS = (CP1001, CP2001, CP3001)
BY_SWANCTL = (CP1001, CP3001)
ENDS = {
    CP1001: {"v4": "10.64.0.11", "v6": "2001:db8:1::11"},
    CP2001: {"v4": "10.192.0.11", "v6": "2001:db8:2::11"},
}
# Came with strongSwan, and apt keeps it since: libsystemd-shared suggests it
STAYS = {CP3001: {"package libip4tc2": (None, "install ok installed")}}
FLEET = LAB / "fleets/swanctl.sls"
CONF = "/etc/swanctl/conf.d/hostipsec.conf"


@pytest.fixture(scope="module")
def fleet() -> Iterator[labs.Fleet]:
    """The hosts after their first run of the state."""
    with labs.settled("swan", FLEET, BY_SWANCTL) as found:
        yield found


@pytest.mark.parametrize("host", BY_SWANCTL)
def test_a_host_has_one_charon_in_its_unit(fleet, host):
    machine = fleet.lab.host(host)
    assert len(machine.run(["pgrep", "charon"]).stdout.split()) == 1
    units = ["strongswan", "hostipsec-keeper"]
    assert machine.run(["systemctl", "is-active", *units]).stdout.split() == ["active", "active"]
    assert machine.run(["systemctl", "is-enabled", *units]).stdout.split() == ["enabled", "enabled"]
    assert machine.run(["ls", "/etc/ipsec.conf", "/usr/sbin/ipsec"], check=False).returncode == 2
    assert machine.run(["sh", "-c", "stat -c %a /etc/swanctl/private/*.pem"]).stdout.split() == ["600"]


def test_the_main_job(fleet):
    """Both families of three pairs, two of them mixed, encrypted on the wire; a second run does nothing."""
    before = fleet.lab.ids()
    assert len(before) == 12
    demo.prove_encrypted(fleet.lab)
    assert fleet.changed() == {host: [] for host in HOSTS}
    assert fleet.lab.ids() == before


def test_what_operators_type(fleet):
    """Status, plan, verify; down, which is held over a restart and against the state, and up."""
    master = Master(fleet.lab)
    assert "6 connections of 3 pairs: 6 up" in master.run("status")[1]
    settled = "nothing to do: 3 hosts run what the pillar says, 6 connections of 3 pairs"
    assert master.run("plan") == (0, [settled])
    assert "3 of 3 hosts are as asked: every connection encrypted both ways" in master.run("verify")[1]
    assert "3 of 3 hosts are as asked: down, and proven" in master.run("down", "reason=T195365")[1]
    for host in BY_SWANCTL:
        fleet.lab.host(host).run(["systemctl", "restart", "strongswan"])
        assert fleet.lab.host(host).run(["swanctl", "--list-conns"]).stdout == ""
    assert fleet.changed() == {host: [] for host in HOSTS}
    assert master.data("status")[1]["counts"] == {"held": 6}
    assert "3 of 3 hosts are as asked: every connection up" in master.run("up")[1]
    assert master.data("status")[1]["counts"] == {"up": 6}


def test_a_charon_that_is_killed_comes_back_with_its_connections(fleet):
    """By the unit and the file; the keeper starts what should be up."""
    fleet.lab.host(CP1001).run(["pkill", "-KILL", "charon-systemd"])
    fleet.lab.wait_one_each()


def test_after_a_boot_with_a_damaged_file_the_last_whole_one_is_loaded(fleet):
    """swanctl takes nothing of such a file, and its unit is active all the same: the keeper sees it."""
    machine = fleet.lab.host(CP3001)
    machine.run(["sh", "-c", f"sed -i '$d' {CONF}; systemctl restart strongswan"])
    said = ["journalctl", "--grep=was damaged", "-u", "hostipsec-keeper"]
    wait_for(lambda: machine.run(said, check=False).returncode == 0, "a keeper that mends it", 60)
    fleet.lab.wait_one_each()
    assert fleet.changed() == {host: [] for host in HOSTS}


def test_hosts_move_to_the_other_back_end_and_back(fleet):
    """One of 12 from ipsec.conf to swanctl, one of 13, whose packages exclude each other, the other way."""
    master, there = Master(fleet.lab), yaml.safe_load(FLEET.read_text())
    moved = copy.deepcopy(there)
    moved["ipsec"]["hosts"][CP2001]["backend"] = "swanctl"
    moved["ipsec"]["hosts"][CP3001]["backend"] = "ipsec.conf"
    fleet.lab.set_pillar(yaml.safe_dump(moved))
    said = " ".join(master.run("plan")[1])
    assert "backend: ipsec.conf -> swanctl" in said
    assert "all of its tunnels end" in said
    status, lines = master.run("rollout", timeout=400)
    assert (status, lines[-1]) == (0, "2 hosts changed, every connection as it should be"), lines
    assert [services(fleet, host) for host in (CP2001, CP3001)] == [["strongswan"], ["strongswan-starter"]]
    fleet.lab.wait_one_each()
    assert fleet.changed() == {host: [] for host in HOSTS}
    fleet.lab.set_pillar(FLEET.read_text())
    for host in (CP2001, CP3001):
        found = fleet.lab.salt(host, "ipsec.rollback", timeout=300)[host]
        assert found["ok"], found
    assert [services(fleet, host) for host in (CP2001, CP3001)] == [["strongswan-starter"], ["strongswan"]]
    fleet.lab.wait_one_each()


def services(fleet, host):
    """Return which of strongSwan's services run; just these have to start at a boot as well."""
    machine, units = fleet.lab.host(host), ("strongswan", "strongswan-starter")

    def those(verb, word):
        said = {one: machine.run(["systemctl", verb, one], check=False).stdout.strip() for one in units}
        return [one for one in units if said[one] == word]

    active = those("is-active", "active")
    assert those("is-enabled", "enabled") == active
    return active


def test_clean_leaves_no_trace(fleet):
    """The last one: charon-systemd goes."""
    fleet.clean("charon-systemd", STAYS)


@pytest.mark.whole
def test_a_host_becomes_one_of_the_next_release(fleet, record_property):
    """Debian 12 to 13 in place, set up anew after clean: as the same by ipsec.conf, in test_releases."""
    fleet.lab.apply("*")
    fleet.lab.wait_one_each()
    ways = {CP1001: ENDS[CP2001], CP2001: ENDS[CP1001], CP3001: ENDS[CP1001]}
    record_property("lost", fleet.becomes_next(CP1001, ways, others=CP2001))
    version = fleet.lab.host(CP1001).run(["swanctl", "--version", "--daemon"]).stdout
    assert " 6.0.1 " in version  # the one that runs
    assert services(fleet, CP1001) == ["strongswan"]
    fleet.reboots_and_is_settled(CP1001)
