"""A run that fails or is cut short leaves the last good configuration and its tunnels; the next one repairs.

What charon refuses is in test_main_job.py: a mistake changes nothing on the host.
"""

import re
import subprocess

import pytest

from fleetlab.process import wait_for

CP1001, CP3001 = "cp1001.eqiad.example", "cp3001.esams.example"
FILES = ("/etc/ipsec.conf", "/etc/ipsec.secrets", "/etc/strongswan.d/hostipsec.conf")
STATE = "/var/lib/hostipsec"


@pytest.fixture
def edited(mesh):
    """Give the fleet a pillar that changes every connection, and files on the host as they were."""
    before = files(mesh)
    pillar = mesh.pillar
    pillar["ipsec"]["connection"] = {**pillar["ipsec"].get("connection", {}), "margintime": "14m"}
    mesh.give(pillar, CP3001)
    return before


def files(mesh):
    return {path: mesh.lab.host(CP3001).read(path) for path in FILES}


def start(mesh, *arguments):
    """Start a run on the host, and do not wait for it."""
    argv = mesh.lab.host(CP3001).argv(["salt-call", "--log-level=error", "state.apply", "ipsec", *arguments])
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_trial(mesh):
    """Wait until the run tries the new files: next it writes them."""
    there = ["sh", "-c", f"ls -d {STATE}/trial.*"]
    host = mesh.lab.host(CP3001)
    wait_for(lambda: host.run(there, check=False).returncode == 0, "a trial of the new files", 60, 0.02)


def whole(mesh, before):
    """Whether each file is that of before, or the new one, and nothing in between."""
    for path, text in files(mesh).items():
        assert text in (before[path], before[path].replace("margintime=13m", "margintime=14m")), path


def repaired(mesh, ids):
    """The next plain run does what is left to do, and the one after it nothing; no tunnel is touched."""
    states = mesh.apply(CP3001)[CP3001]
    assert all(state["result"] is True for state in states.values()), states
    assert "margintime=14m" in mesh.lab.host(CP3001).read(FILES[0])
    again = mesh.apply(CP3001)[CP3001]
    assert [name for name, state in again.items() if state["changes"]] == []
    assert mesh.lab.host(CP3001).run(["find", STATE, "-name", "trial.*"]).stdout == ""
    assert mesh.lab.ids() == ids


def test_the_minion_killed_in_the_middle(mesh, edited):
    ids, host = mesh.lab.ids(), mesh.lab.host(CP3001)
    mesh.lab.master.run(["salt", "--async", CP3001, "state.apply", "ipsec"])
    wait_for_trial(mesh)
    host.run(["systemctl", "kill", "--signal=KILL", "salt-minion"])
    whole(mesh, edited)
    wait_for(lambda: host.run(["pgrep", "-cx", "charon"]).stdout.strip() == "1", "the end of the trial", 60)
    host.run(["systemctl", "restart", "salt-minion"])
    mesh.lab.wait_minions()
    repaired(mesh, ids)


def test_a_full_disk(mesh, edited):
    ids, host = mesh.lab.ids(), mesh.lab.host(CP3001)
    host.run(["sh", "-c", f"cp -a {STATE} /tmp/kept && mount -t tmpfs -o size=300k tmpfs {STATE}"])
    try:
        host.run(["sh", "-c", f"cp -a /tmp/kept/. {STATE}; cat /dev/zero >{STATE}/filler || true"])
        states = mesh.apply(CP3001)[CP3001]
        failed = states["ipsec-config-connections"]
        assert (failed["result"], failed["changes"]) == (False, {})
        assert "No space left on device" in failed["comment"]
        assert "Traceback" not in failed["comment"]
        assert files(mesh) == edited
        assert mesh.lab.ids() == ids
    finally:
        host.run(["umount", STATE])
    repaired(mesh, ids)


def test_two_runs_at_once(mesh, edited):
    """Salt refuses the second one; told not to, both come to the same end."""
    ids = mesh.lab.ids()
    runs = [start(mesh, "concurrent=True") for _ in range(2)]
    for run in runs:
        said = run.communicate(timeout=200)[0]
        assert "Traceback" not in said
        assert re.search("^Failed: +0$", said, re.MULTILINE), said
    repaired(mesh, ids)


def test_the_power_cut_in_the_middle(mesh, edited):
    """Hosts that have no tunnel to it notice nothing; its own come back when it boots."""
    ids, lab = mesh.lab.ids(), mesh.lab
    run = start(mesh)
    wait_for_trial(mesh)
    lab.off(CP3001)
    run.communicate()
    lab.on(CP3001)
    whole(mesh, edited)
    lab.wait_minions()
    mesh.lab.wait_one_each()
    states = mesh.apply(CP3001)[CP3001]
    assert all(state["result"] is True for state in states.values()), states
    again = mesh.apply(CP3001)[CP3001]
    assert [name for name, state in again.items() if state["changes"]] == []
    others = [key for key in ids if key[0] != CP3001 and "cp3001" not in key[1]]
    after = mesh.lab.ids()
    assert {key: after[key] for key in others} == {key: ids[key] for key in others}


def versions(host) -> list[str]:
    """The versions of strongSwan that this host can have, the newest first."""
    lines = host.run(["apt-cache", "madison", "strongswan-charon"]).stdout.splitlines()
    return [line.split("|")[1].strip() for line in lines]


def test_strongswan_is_upgraded(mesh, record_property):
    """From the release before: one interruption, tunnels back by themselves.

    Debian has two only while an update is not yet part of a point release: else the same one comes again.
    """
    lab, host = mesh.lab, mesh.lab.host(CP3001)
    ids = mesh.lab.ids()
    listed = host.run(["dpkg-query", "-W", "-f", "${Package}\n", "*strongswan*", "libcharon*"]).stdout.split()
    shown = "dpkg-query -W -f '${Status} ${Package}\n' \"$@\" | sed -n 's/^install ok installed //p'"
    packages = host.run(["sh", "-c", shown, "sh", *listed]).stdout.split()
    assert "strongswan-charon" in packages
    newest, *older = versions(host)
    install = ["apt-get", "install", "--yes", "-q", "--allow-downgrades"]
    if older:
        host.run([*install, *(f"{name}={older[-1]}" for name in packages)], timeout=300)
        mesh.lab.wait_one_each(90)
    with lab.traffic({CP1001: {"v4": "10.20.0.11", "v6": "2001:db8:3::11"}}) as traffic:
        host.run([*install, "--reinstall", *(f"{name}={newest}" for name in packages)], timeout=300)
        mesh.lab.wait_one_each(90)
        traffic.wait_flows()
    record_property("versions", [*older, newest])
    record_property("lost", {way: str(found) for way, found in traffic.figures.items()})
    assert max(found.interruptions for found in traffic.figures.values()) <= 1, traffic.figures
    diverted = host.run(["dpkg-divert", "--truename", "/etc/init.d/ipsec"]).stdout.strip()
    assert diverted == "/etc/init.d/ipsec-disabled"
    assert host.run(["ls", "/etc/init.d/ipsec"], check=False).returncode == 2
    assert [name for name, state in mesh.apply(CP3001)[CP3001].items() if state["changes"]] == []
    after = mesh.lab.ids()
    others = [key for key in ids if key[0] != CP3001 and "cp3001" not in key[1]]
    assert {key: after[key] for key in others} == {key: ids[key] for key in others}
