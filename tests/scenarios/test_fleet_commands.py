"""`salt-run ipsec.*`: the whole fleet down, up, asked and proven, with hosts that do not answer."""

import time

import pytest

from fleetlab.process import wait_for

OFF, HUNG = "cp2001.codfw.example", "cp3001.esams.example"
EVERY = 16  # connections of the fleet


def test_status_joins_both_ends(asking):
    status, lines = asking.run("status")
    assert status == 0, lines
    assert f"{EVERY} connections of 8 pairs: {EVERY} up" in lines
    assert "  eqiad - esams     8: 8 up" in lines
    status, found = asking.data("status", "site=codfw")
    assert (status, found["counts"], found["silent"], found["failed"]) == (0, {"up": 8}, [], {})
    assert {*found["connections"][0]["sites"]} == {"codfw", "eqiad"}


def test_verify_proves_the_fleet(asking):
    status, lines = asking.run("verify")
    assert status == 0
    assert "5 of 5 hosts are as asked: every connection encrypted both ways" in lines


def test_a_dry_run_changes_nothing(everything, asking):
    before = everything.lab.ids()
    status, lines = asking.run("down", "dry_run=True")
    assert status == 0
    assert "5 hosts asked, nothing was changed" in lines
    told = "cp2001.codfw.example: 8 of 8 connections would be ended (8 connections: 8 established"
    assert any(line.startswith(told) for line in lines), lines
    assert everything.lab.ids() == before


def test_down_lasts_until_up(mesh, master):
    status, lines = master.run("down", "reason=T195365")
    assert status == 0
    assert "5 of 5 hosts are as asked: down, and proven" in lines
    with mesh.lab.capture() as wire:
        mesh.lab.host(OFF).run(["ping", "-q", "-c", "3", "-i", "0.1", "10.20.0.11"])
    assert (wire.counts()["clear"], wire.counts()["esp"]) == (6, 0)
    for states in mesh.apply().values():
        assert isinstance(states, dict), states
        assert [one["comment"] for one in states.values() if one["result"] is not True] == []
    status, found = master.data("status")
    assert (status, found["counts"]) == (1, {"held": EVERY})
    assert all("by root (salt-run) because T195365" in one["reason"] for one in found["connections"])
    status, lines = master.run("up")
    assert status == 0
    assert "5 of 5 hosts are as asked: every connection up" in lines
    assert master.data("status")[1]["counts"] == {"up": EVERY}


def test_a_host_that_is_off_is_named(mesh, master):
    mesh.lab.off(OFF)
    status, lines = master.run("down", "reason=T195365", "timeout=5")
    assert status == 1
    assert "4 of 5 hosts are as asked: down, and proven" in lines
    assert f"did not answer: {OFF}" in lines
    status, found = master.data("status", "timeout=5")
    assert (status, found["silent"]) == (1, [OFF])
    silent = [one for one in found["connections"] if one["state"] == "not answering"]
    assert len(silent) == 8
    assert all(f"{OFF} does not answer" in one["reason"] for one in silent)


def test_a_minion_that_hangs_is_named(mesh, master):
    host = mesh.lab.host(HUNG)
    host.run(["systemctl", "kill", "--signal=STOP", "salt-minion"])
    try:
        status, lines = master.run("down", "reason=T195365", "timeout=5")
    finally:
        host.run(["systemctl", "kill", "--signal=CONT", "salt-minion"])
    assert status == 1
    assert f"did not answer: {HUNG}" in lines
    assert "4 of 5 hosts are as asked: down, and proven" in lines


def test_a_host_that_is_held_alone_stays_so_while_others_go_up(mesh, master):
    mesh.lab.host(HUNG).run(["ipsec-global", "down", "--reason", "disk"])
    status, lines = master.run("up", "cp[12]*", "deadline=5")
    assert status == 1
    held = f"cp1001.eqiad.example: cp3001_v4: held at {HUNG}: held since "
    assert [line.endswith(" by root because disk") for line in lines if line.startswith(held)] == [True]
    found = master.data("status", f"host={HUNG}")[1]
    assert found["counts"] == {"held": 6}
    assert all("because disk" in one["reason"] for one in found["connections"])


def test_a_pillar_that_cannot_be_used_stops_no_emergency(mesh, master):
    """Nobody was asked; and it refuses no later command that one came with a time ahead, nor lifts a hold."""
    pillar = mesh.pillar
    pillar["ipsec"]["hosts"][OFF]["ipv4"] = "10.20.0.999"
    mesh.give(pillar, hosts="")
    ahead = mesh.lab.salt(OFF, "ipsec.up", f"asked={time.time() + 86400:.0f}", "wait=False")[OFF]
    assert ahead["ahead"].startswith("asked="), ahead
    status, lines = master.run("down", "reason=T195365")
    assert status == 0, lines
    said = f"  - ipsec:hosts:{OFF}:ipv4: found '10.20.0.999'; allowed: "
    assert any(line.startswith(said) for line in lines), lines
    assert "5 of 5 hosts are as asked: down, and proven" in lines
    mesh.lab.set_pillar("ipsec:\n  hosts:\n    a: {site: x, ipv4: 10.0.0.1\n    b: {}\n")
    host = mesh.lab.host(HUNG)
    host.write("/var/lib/hostipsec/hold.json", b"{")
    journal = ["journalctl", "-b", "-u", "hostipsec-keeper"]
    wait_for(lambda: "hold.json cannot be read" in host.run(journal).stdout, "a keeper that complains", 60)
    damaged = mesh.status(HUNG)[HUNG]
    assert {row["state"] for row in damaged["connections"].values()} == {"held"}
    assert any("hold.json cannot be read" in one for one in damaged["warnings"])
    status, lines = master.run("up")
    assert status == 0, lines
    assert any("failed: line 4, column 6: did not find expected" in line for line in lines)
    assert "5 of 5 hosts are as asked: every connection up" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "site=nowhere"), "site: found 'nowhere'; allowed: codfw, eqiad, esams"),
        (("status", "state=fine"), "state: found 'fine'; allowed: up, down, ends disagree"),
        (("down", "nohost*"), "tgt=nohost*: no accepted minion fits; nothing was asked of any host"),
        (("up", "batch=-1"), "batch: found -1; allowed: a whole number of hosts, 0 for all at once"),
        (("down", "deadline=soon"), "deadline: found 'soon'; allowed: seconds from 0.1 to 3600"),
        (("reauthenticate", "lead=700"), "lead: found 700; allowed: seconds from 0 to 600"),
        (("down", "hold=maybe"), "hold: found 'maybe'; allowed: True, False"),
        (("down", "deadlin=5"), "unknown argument deadlin; nothing was asked of any host"),
        (("down", "cp1*", "cp2*"), "cp2*: which argument is it? one target, then NAME=VALUE"),
        (("down", "cp1*", "site=esams"), "tgt and site: one of them, not both"),
        (("down", "site=nowhere"), "site: found 'nowhere'; allowed: codfw, eqiad, esams"),
    ],
)
def test_bad_input(asking, arguments, said):
    status, lines = asking.run(*arguments)
    assert status == 2
    assert lines[0].startswith(said)
