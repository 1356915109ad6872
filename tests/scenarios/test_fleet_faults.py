"""Down and up of the fleet while something else goes wrong; each says what it took."""

import re
import time

import pytest

from fleetlab.process import wait_for

CUT, DEAD, OLD, FULL = (
    f"{name}.example" for name in ("cp3001.esams", "cp2001.codfw", "cp1002.eqiad", "cp3002.esams")
)
EVERY = 16  # connections of the fleet
EXTMODS = "/var/cache/salt/minion/extmods"


@pytest.fixture
def took(record_property):
    """Run a command of the master; how long it took goes into the report."""

    def run(call, *arguments):
        begin = time.monotonic()
        answer = call(*arguments)
        record_property("seconds until the command returned", round(time.monotonic() - begin, 1))
        record_property("said", next((line for line in answer[1] if "as asked" in line), ""))
        return answer

    return run


def held(lab):
    """Return the hosts on which every connection is held."""
    found = lab.salt("*cp*", "ipsec.status")
    return sorted(
        host
        for host, said in found.items()
        if {row["state"] for row in said["connections"].values()} == {"held"}
    )


def every(lab):
    return sorted(host.name for host in lab.hosts if host.short.startswith("cp"))


def test_a_dead_minion_is_named_and_stops_an_orchestration(mesh, master, took):
    """Its host is taken down at its own shell; the exit status says that somebody has to."""
    host = mesh.lab.host(DEAD)
    host.run(["systemctl", "kill", "--signal=KILL", "salt-minion"])
    status, lines = took(master.run, "down", "reason=T195365", "timeout=5")
    assert status == 1
    assert "4 of 5 hosts are as asked: down, and proven" in lines
    assert f"did not answer: {DEAD}" in lines
    assert host.run(["ipsec-global", "down", "--reason", "T195365"]).returncode == 0
    pillar = "pillar={reason: T2, sites: [codfw, esams], timeout: 5, threshold: %d}"
    status, lines = master.run("state.orchestrate", "ipsec.orch.down", pillar % 0)
    assert status == 1
    assert "     Comment: One or more requisite failed: ipsec.orch.down.ipsec-orch-down-codfw" in lines
    assert "because T2" not in mesh.lab.host(CUT).read("/var/lib/hostipsec/hold.json")
    status, lines = master.run("state.orchestrate", "ipsec.orch.down", pillar % 1)
    assert status == 1  # in the end not every host is down
    assert "                      - 2 of 3 hosts are as asked: down, and proven" in lines
    assert "T2" in mesh.lab.host(CUT).read("/var/lib/hostipsec/hold.json")


def test_orchestrated_down_and_up(mesh, master, took):
    status, lines = took(master.run, "state.orchestrate", "ipsec.orch.down", "pillar={reason: T195365}")
    assert status == 0
    assert "                      - 5 of 5 hosts are as asked: down, and proven" in lines
    assert held(mesh.lab) == every(mesh.lab)
    status, lines = master.run("state.orchestrate", "ipsec.orch.up", "pillar={jitter: 1}")
    assert status == 0
    assert "                      - 4 connections of 2 pairs: 4 up" in lines  # of the first two sites
    assert "                      - 5 of 5 hosts are as asked: every connection up" in lines
    status, lines = master.run("state.orchestrate", "ipsec.orch.up", "pillar={sites: [nowhere]}")
    assert status == 1
    assert "        Name: only: found 'nowhere'; allowed: codfw, eqiad, esams" in lines


def test_a_host_that_the_mesh_does_not_reach_but_salt_does(mesh, master, took):
    """Nobody hears its deletes: it is down all the same, and so are its peers, within the deadline."""
    mesh.lab.network.set_link(CUT, "down")
    status, lines = took(master.run, "down", "reason=T195365", "deadline=3")
    assert status == 0
    assert "5 of 5 hosts are as asked: down, and proven" in lines
    seconds = [float(line.split(" down in ")[1].split(" s: ")[0]) for line in lines if " down in " in line]
    assert len(seconds) == 5 and max(seconds) <= 4, lines
    status, lines = master.run("up", "deadline=8")
    assert status == 1
    assert "1 of 5 hosts are as asked: every connection up" in lines  # cp3002, which has no pair with it
    trouble = [line for line in lines if "no answer from the peer yet" in line]
    assert trouble != []
    assert all(re.match(r"\d+ connections: ", line) and line.endswith(f"; at {CUT}") for line in trouble), (
        lines
    )


def test_the_master_is_restarted_in_the_middle(mesh, master, took):
    """What hosts have begun they finish; the command says of whom it does not know, and ends."""
    mesh.lab.network.set_link(CUT, "down")  # the deadline is used up then

    def restarted():
        running = master.start("down", "reason=T195365", "deadline=8", "timeout=10")
        running.wait_until_held(CUT)
        mesh.lab.master.run(["systemctl", "restart", "salt-master"])
        return running.end()

    status, lines = took(restarted)
    heading = next(line for line in lines if "hosts are as asked" in line)
    assert (status == 0) == heading.startswith("5 of 5")
    assert status == 0 or any(line.startswith(("did not answer: ", "cp")) for line in lines)
    mesh.lab.wait_minions()
    wait_for(lambda: held(mesh.lab) == every(mesh.lab), "the holds of all", 60)
    assert master.run("down", "reason=T195365")[0] == 0  # once more is no harm, and proves it


def test_ctrl_c(mesh, master, took):
    """One host has not answered yet, one was not asked: both are named, and what was begun is finished."""
    minion = ["systemctl", "kill", "salt-minion"]
    mesh.lab.host(CUT).run([*minion, "--signal=STOP"])

    def interrupted():
        running = master.start("down", "reason=T195365", "timeout=30", "batch=4")
        running.wait_until_printed(*(f"{host}: " for host in every(mesh.lab)[:4] if host != CUT))
        running.interrupt()
        return running.end()

    try:
        status, lines = took(interrupted)
    finally:
        mesh.lab.host(CUT).run([*minion, "--signal=CONT"])
    assert status == 130
    assert "not asked: cp3002.esams.example" in lines
    said = "interrupted; asked, without an answer yet, and finishing what they have begun: "
    assert f"{said}{CUT}" in lines
    wait_for(lambda: held(mesh.lab) == sorted({*every(mesh.lab)} - {FULL}), "the end of what was begun", 60)


def test_up_while_another_operator_takes_all_down(mesh, master, took):
    """The later one wins on every host, and the earlier one says so."""
    assert master.run("down", "reason=T195365")[0] == 0
    first = master.start("up", "jitter=0", "deadline=20")
    wait_for(lambda: held(mesh.lab) != every(mesh.lab), "the first host that goes up", 60)
    status, lines = took(master.run, "down", "reason=T2")
    assert (status, "5 of 5 hosts are as asked: down, and proven" in lines) == (0, True)
    first.end()
    assert held(mesh.lab) == every(mesh.lab)
    assert master.data("status")[1]["counts"] == {"held": EVERY}
    late = mesh.lab.salt(DEAD, "ipsec.up", "asked=1")  # of an earlier command, and on its way until now
    assert late[DEAD]["overruled"].startswith("a later command counts: down by root (salt-run), given ")
    assert DEAD in held(mesh.lab)


def test_down_while_another_operator_brings_all_up(mesh, master, took):
    mesh.lab.network.set_link(CUT, "down")
    first = master.start("down", "reason=T195365", "deadline=15")
    first.wait_until_held("cp1001.eqiad.example")
    mesh.lab.network.set_link(CUT, "up")
    status, lines = took(master.run, "up", "jitter=0")
    assert (status, "5 of 5 hosts are as asked: every connection up" in lines) == (0, True)
    status, lines = first.end()
    mesh.lab.wait_one_each()
    assert master.data("status")[1]["counts"] == {"up": EVERY}


def test_a_host_with_older_modules(mesh, master, took):
    """It does not know what newer masters say, is told without it, and named."""
    host, module = mesh.lab.host(OLD), f"{EXTMODS}/modules/ipsec.py"
    older = host.read(module)
    for new, old in (("    asked=None,\n", ""), ('"asked": asked', '"asked": None')):
        assert new in older
        older = older.replace(new, old)
    status = "_answer(*face.host(member, peer, connection, stage))"
    untold = f"{{key: said for key, said in {status}.items() if key != 'edition'}}"
    for new, old in (("edition=EDITION", 'old=""'), (status, untold)):
        assert new in older
        older = older.replace(new, old)
    host.write(module, older.encode())
    mesh.lab.salt(OLD, "saltutil.refresh_modules")
    try:
        status, lines = took(master.run, "down", "reason=T195365")
        assert status == 0
        assert "5 of 5 hosts are as asked: down, and proven" in lines
        warning = f"hostipsec is an older one at {OLD}, and "
        assert [line.startswith(warning) for line in lines if "hostipsec is" in line] == [True]
        assert any(line.startswith(warning) for line in master.run("status")[1])
    finally:
        mesh.lab.salt(OLD, "saltutil.sync_all")


def test_a_full_disk(mesh, master, took):
    """The tunnels end, and the host whose hold does not last is named."""
    host, place = mesh.lab.host(FULL), "/var/lib/hostipsec"
    keep = f"cp -a {place}/mesh.json /run/mesh.json && mount -t tmpfs -o size=8k tmpfs {place}"
    host.run(["sh", "-c", f"{keep} && mv /run/mesh.json {place} && ! yes >{place}/full"])
    try:
        status, lines = took(master.run, "down", "reason=T195365")
    finally:
        host.run(["umount", "--lazy", place])
    assert status == 1
    assert "4 of 5 hosts are as asked: down, and proven" in lines
    lost = f"{FULL}: the hold is not kept: {place}/"
    told = next(line for line in lines if line.startswith(lost))
    assert "cannot be written: No space left on device" in told
    assert any(line.startswith(f"{FULL}: 6 of 6 connections down") for line in lines)


def test_a_peer_that_does_not_have_this_host(mesh, master, took):
    pillar = mesh.pillar
    pillar["ipsec"]["rules"][0]["and"]["site"] = ["codfw"]  # applied at one end only
    pillar["ipsec"].pop("expect")
    mesh.give(pillar, CUT)
    mesh.apply(CUT)
    status, lines = took(master.run, "up", "cp1001*", "deadline=8")
    assert status == 1
    assert f"cp1001.eqiad.example: cp3001_v4: {CUT} does not have it" in lines
