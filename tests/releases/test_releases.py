"""Debian 11, 12 and 13 in one mesh: the main job, both back ends, plan, verify, down and up, clean.

The host of Debian 11 has Salt 3006, under a master of 3008; each runs the programs by its release's Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

import labs
from fleetlab import demo
from fleetlab.paths import LAB
from fleetlab.process import wait_for
from hostipsec.fleet import fleetrollout
from operators import Master

CP1001, CP2001, CP3001 = "cp1001.eqiad.example", "cp2001.codfw.example", "cp3001.esams.example"
FLEET = LAB / "fleets/releases.sls"
STRONGSWAN = {CP1001: "U5.9.1/", CP2001: "U5.9.8/", CP3001: "U6.0.1/"}
PYTHON = {CP1001: "Python 3.9.", CP2001: "Python 3.11.", CP3001: "Python 3.13."}
ENDS = {
    CP1001: {"v4": "10.64.0.11", "v6": "2001:db8:1::11"},
    CP2001: {"v4": "10.192.0.11", "v6": "2001:db8:2::11"},
    CP3001: {"v4": "10.20.0.11", "v6": "2001:db8:3::11"},
}
PACKAGES = (
    *("libstrongswan-standard-plugins", "libcharon-extra-plugins"),
    *("strongswan-charon", "strongswan-starter", "strongswan-swanctl"),
)
# Came with strongSwan, and apt keeps it since: libsystemd-shared suggests it
STAYS = {CP3001: {"package libip4tc2": (None, "install ok installed")}}
# What a host sees by either back end, without what grows or only vici tells
BOTH = """
import json, sys
sys.path.insert(0, "/usr/local/lib/hostipsec")
from hostipsec.charon.stroke import StrokeBackend
from hostipsec.charon.vicisession import ViciBackend

def sa(ike):
    children = [(one.name, one.uniqueid, one.state, one.mode, one.spi_in, one.spi_out, one.proposal,
                 one.packets_in, one.packets_out, one.local_ts, one.remote_ts) for one in ike.children]
    said = (ike.local_id, ike.remote_id, ike.initiator, ike.proposal)
    return (ike.name, ike.uniqueid, ike.state, said, children)

def seen(back_end):
    found = back_end.observe(timeout=20)
    return [found.version, found.plugins, found.connections, found.routed, sorted(map(sa, found.ike_sas))]

print(json.dumps([seen(ViciBackend()), seen(StrokeBackend())], default=repr))
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[labs.Fleet]:
    """A host of each release, after its first run of the state."""
    with labs.settled("each", FLEET, STRONGSWAN) as found:
        yield found


@pytest.mark.parametrize("host", STRONGSWAN)
def test_a_host_has_its_release_and_one_charon_in_its_unit(fleet, host):
    machine = fleet.lab.host(host)
    said = machine.run(["sh", "-c", "ipsec --version; /usr/bin/python3 --version"]).stdout
    assert STRONGSWAN[host] in said
    assert PYTHON[host] in said
    assert len(machine.run(["pgrep", "-x", "charon"]).stdout.split()) == 1
    units = ["strongswan-starter", "hostipsec-keeper"]
    assert machine.run(["systemctl", "is-active", *units]).stdout.split() == ["active", "active"]
    assert machine.run(["systemctl", "is-enabled", *units]).stdout.split() == ["enabled", "enabled"]
    assert machine.run(["ls", "/etc/init.d/ipsec"], check=False).returncode == 2


def test_the_main_job(fleet):
    """Both families of three pairs, encrypted on the wire; a second run changes and starts nothing."""
    before = fleet.lab.ids()
    assert len(before) == 12
    demo.prove_encrypted(fleet.lab)
    assert fleet.changed() == {host: [] for host in STRONGSWAN}
    assert fleet.lab.ids() == before


@pytest.mark.parametrize("host", STRONGSWAN)
def test_both_back_ends_see_the_same(fleet, host):
    by_vici, by_stroke = json.loads(fleet.lab.host(host).run(["python3", "-c", BOTH]).stdout)
    assert len(by_vici[-1]) == 4
    assert by_vici == by_stroke


def test_what_operators_type(fleet):
    """Status, plan, verify; down, which is held against the state, and up."""
    master = Master(fleet.lab)
    assert "6 connections of 3 pairs: 6 up" in master.run("status")[1]
    settled = "nothing to do: 3 hosts run what the pillar says, 6 connections of 3 pairs"
    assert master.run("plan") == (0, [settled])
    assert "3 of 3 hosts are as asked: every connection encrypted both ways" in master.run("verify")[1]
    assert "3 of 3 hosts are as asked: down, and proven" in master.run("down", "reason=T195365")[1]
    fleet.lab.apply("*")
    assert master.data("status")[1]["counts"] == {"held": 6}
    assert "3 of 3 hosts are as asked: every connection up" in master.run("up")[1]
    assert master.data("status")[1]["counts"] == {"up": 6}


@pytest.mark.whole
def test_other_ciphers_are_rolled_out_and_back(fleet):
    """Over the three releases; what was up goes on by the ciphers of before, until it is made anew."""
    master, there = Master(fleet.lab), yaml.safe_load(FLEET.read_text())
    there["ipsec"]["connection"] = {"esp": "aes256gcm16-ecp384bp!"}
    fleet.lab.set_pillar(yaml.safe_dump(there))
    status, lines = master.run("rollout", timeout=400)
    assert (status, lines[-1]) == (0, "3 hosts changed, every connection as it should be"), lines
    assert fleetrollout.LASTING in lines
    assert "3 of 3 hosts are as asked" in " ".join(master.run("reauthenticate", timeout=400)[1])
    fleet.lab.wait_one_each()
    for host in STRONGSWAN:
        assert fleet.lab.host(host).run(["ipsec", "statusall"]).stdout.count("AES_GCM_16_256") == 4, host
    fleet.lab.set_pillar(FLEET.read_text())
    assert "3 of 3 hosts are as asked" in " ".join(master.run("rollback", timeout=400)[1])
    assert fleet.changed() == {host: [] for host in STRONGSWAN}
    fleet.lab.wait_one_each()


def test_clean_leaves_no_trace(fleet):
    """The last one: strongSwan goes, and what it was diverted around."""
    fleet.clean("strongswan-starter", STAYS)


def _said(machine):
    """What charon says of itself; empty where it does not run."""
    return machine.run(["ipsec", "statusall"], check=False).stdout


@pytest.mark.whole
def test_strongswan_was_installed_by_hand(fleet):
    """charon starts before its plugins are all there: 12 goes on without openssl, 11 gives up in silence.

    What becomes of it depends on how fast a machine unpacks, so both are brought about here. The state has
    each run with all that the pillar needs. After `clean`, in the test before, hosts are new.
    """
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *PACKAGES]
    state, openssl = ["systemctl", "is-active", "strongswan-starter"], "/etc/strongswan.d/charon/openssl.conf"
    for host in STRONGSWAN:
        fleet.lab.host(host).run(["env", "DEBIAN_FRONTEND=noninteractive", *install])
    eleven, twelve = fleet.lab.host(CP1001), fleet.lab.host(CP2001)
    eleven.run(["systemctl", "stop", "strongswan-starter"])
    twelve.run(["sh", "-ec", f"mv {openssl} /root; systemctl restart strongswan-starter"])
    wait_for(lambda: "Security Associations" in _said(twelve), "charon of Debian 12", 60)
    twelve.run(["mv", "/root/openssl.conf", openssl])
    assert _said(eleven) == ""
    assert " stroke " in _said(twelve)
    assert " openssl " not in _said(twelve)
    fleet.lab.apply("*")
    fleet.lab.wait_one_each()
    for host in STRONGSWAN:
        plugins = fleet.lab.host(host).run(["ipsec", "statusall"]).stdout
        assert " openssl " in plugins, host
        assert " gcm " in plugins, host
        assert fleet.lab.host(host).run(state).stdout.strip() == "active"


@pytest.mark.whole
def test_a_host_becomes_one_of_the_next_release(fleet, record_property):
    """Debian 12 to 13 in place: tunnels come back by themselves, also after a reboot; nothing is to apply."""
    ways = {CP2001: ENDS[CP3001], CP1001: ENDS[CP2001], CP3001: ENDS[CP2001]}
    record_property("lost", fleet.becomes_next(CP2001, ways, others=CP1001))
    host = fleet.lab.host(CP2001)
    assert "charon daemon (strongSwan 6.0.1," in host.run(["ipsec", "statusall"]).stdout  # the one that runs
    assert host.run(["systemctl", "is-enabled", "strongswan-starter"]).stdout.strip() == "enabled"
    assert host.run(["ls", "/etc/init.d/ipsec"], check=False).returncode == 2
    fleet.reboots_and_is_settled(CP2001)
