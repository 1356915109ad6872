"""`salt-run ipsec.plan`: a pillar edit is seen, over the fleet, before anything is applied."""

import json

CP1001, CP1002, CP2001 = "cp1001.eqiad.example", "cp1002.eqiad.example", "cp2001.codfw.example"
CP3001, CP3002, DB1001 = "cp3001.esams.example", "cp3002.esams.example", "db1001.eqiad.example"
SETTLED = "nothing to do: 5 hosts run what the pillar says, 16 connections of 8 pairs"
STATES = {
    "ipsec.configured": "ipsec-config-connections",
    "ipsec.certificate_reused": "ipsec-certs-reused",
    "ipsec.guarded": "ipsec-guard-policies",
    "ipsec.routes_present": "ipsec-routes-mtu",
}


def planned(lab, *arguments):
    """The exit status and the lines that an operator reads."""
    done = lab.master.run(["salt-run", "ipsec.plan", *arguments], check=False, timeout=120)
    assert "Traceback" not in done.stdout + done.stderr, done
    return done.returncode, [line for line in done.stdout.splitlines() if "unclosed" not in line]


def data(lab, *arguments):
    """The exit status and the data."""
    done = lab.master.run(["salt-run", "--out=json", "ipsec.plan", *arguments], check=False, timeout=120)
    return done.returncode, json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{") :])[0]


def same_as_test_mode(mesh, found, hosts):
    """Whether each host's plan is what `state.apply ipsec test=True` says there, state by state."""
    said = mesh.apply("*", "test=True")
    for host in hosts:
        states, changes = said[host], found["hosts"][host]["changes"]
        for function, identifier in STATES.items():
            assert changes.get(function, {}) == states[identifier]["changes"], (host, function)
    return True


def test_a_settled_fleet_has_nothing_to_do(everything):
    status, lines = planned(everything.lab)
    assert (status, lines[0]) == (0, SETTLED)
    status, found = data(everything.lab)
    assert (status, found["added"], found["removed"], found["changed"]) == (0, [], [], [])
    alone = everything.lab.call(CP1001, "ipsec.plan")
    assert (alone["standing"], alone["changes"]) == ("member", {})


def test_an_edit_of_everything_is_told_and_nothing_is_touched(mesh):
    """A host enters, one leaves, one moves, an option and a setting change: each is told once."""
    pillar = mesh.pillar
    hosts = pillar["ipsec"]["hosts"]
    hosts[DB1001]["cluster"] = "text"
    del hosts[DB1001]["alone"]
    del hosts[CP1002]
    hosts[CP3002]["ipv4"] = "10.20.0.99"
    pillar["ipsec"]["connection"] = {"margintime": "12m"}
    pillar["ipsec"]["setup"] = {"uniqueids": "never"}
    before = mesh.lab.ids()
    mesh.lab.master.write("/srv/pillar/ipsec.sls", json.dumps(pillar).encode())  # no minion was told
    mesh.changed, mesh.touched = True, ""
    status, lines = planned(mesh.lab)
    assert status == 1
    assert any("no interface there has 10.20.0.99" in line for line in lines), lines
    mesh.lab.host(CP3002).run(["ip", "address", "add", "10.20.0.99/24", "dev", "eth0"])
    try:
        told_once(mesh, before)
    finally:
        mesh.lab.host(CP3002).run(["ip", "address", "delete", "10.20.0.99/24", "dev", "eth0"])


def told_once(mesh, before):
    """Whether each part of the edit is told once, and nothing is touched."""
    status, lines = planned(mesh.lab)
    assert status == 3
    assert lines[0].startswith("5 of 5 hosts to change; connections: 6 added, 6 removed, 2 changed; charon")
    assert f"1 host enters: {DB1001}" in lines
    assert any(
        line.startswith(f"1 host leaves: {CP1002}; 6 connections of ours stay there") for line in lines
    )
    assert "  eqiad - esams     4 of 2 pairs  rule edge-to-core" in lines
    moved = f"address v4 of {CP3002} 10.20.0.12 -> 10.20.0.99"
    (line,) = [line for line in lines if moved in line]
    assert line.startswith("2 connections changed of 2 pairs")
    assert any(line.startswith("all connections: margintime 13m -> 12m: 16 connections") for line in lines)
    assert any(line.startswith("charon restarted (setup uniqueids: ") for line in lines)
    status, found = data(mesh.lab)
    assert status == 3
    assert same_as_test_mode(mesh, found, [CP1001, CP2001, CP3001, CP3002, DB1001])
    assert mesh.lab.ids() == before


def test_what_was_planned_is_applied_and_then_there_is_nothing_to_do(mesh):
    pillar = mesh.pillar
    pillar["ipsec"]["hosts"][CP3002]["maintenance"] = True
    pillar["ipsec"]["charon"] = {"retransmit_tries": 7}
    pillar["ipsec"]["mtu"] = 1400
    pillar["ipsec"]["sysctl"] = {"net.ipv4.tcp_mtu_probing": 1}
    mesh.give(pillar)
    status, lines = planned(mesh.lab)
    assert status == 3
    assert "6 connections removed of 3 pairs" in lines
    assert f"1 host in maintenance, kept as configured: {CP3002}" in lines
    assert same_as_test_mode(mesh, data(mesh.lab)[1], [CP1001, CP1002, CP2001, CP3001])
    assert any(line.startswith("sysctl net.ipv4.tcp_mtu_probing 0 -> 1: 4 hosts") for line in lines)
    mesh.apply()
    status, lines = planned(mesh.lab)
    assert (status, lines[0]) == (
        0,
        "nothing to do: 4 hosts run what the pillar says, 10 connections of 5 pairs",
    )


def test_a_host_that_does_not_answer_is_named(everything):
    minion = ["systemctl", "kill", "salt-minion"]
    everything.lab.host(CP2001).run([*minion, "--signal=STOP"])
    try:
        status, lines = planned(everything.lab, "timeout=5")
    finally:
        everything.lab.host(CP2001).run([*minion, "--signal=CONT"])
    assert status == 1
    assert f"did not answer: {CP2001}" in lines


def test_every_error_of_a_pillar_is_told_and_no_host_is_asked(mesh):
    pillar = mesh.pillar
    pillar["ipsec"]["hosts"][CP3001]["ipv4"] = "10.20.0.999"
    pillar["ipsec"]["mtu"] = 9
    mesh.give(pillar, hosts="")
    # jobs that this host was asked; the runner itself leaves one without hosts
    jobs = ["grep", "-rlF", CP3001, "/var/cache/salt/master/jobs", "--include=.minions*"]
    before = mesh.lab.master.run(jobs).stdout
    assert before
    status, lines = planned(mesh.lab)
    assert status == 2
    said = f"  - ipsec:hosts:{CP3001}:ipv4: found '10.20.0.999'; allowed: a unicast IPv4 address"
    assert any(line.startswith(said) for line in lines), lines
    assert any(line.startswith("  - ipsec:mtu: found 9; allowed: ") for line in lines)
    assert mesh.lab.master.run(jobs).stdout == before


def test_a_target_that_fits_nobody(everything):
    status, lines = planned(everything.lab, "nohost*")
    assert status == 2
    assert lines[0] == "tgt=nohost*: no accepted minion fits; nothing was asked of any host"
