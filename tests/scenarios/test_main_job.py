"""The main job on real hosts: both ends, the wire, a second run, and what must stay untouched."""

import copy
import json

from fleetlab import demo

CP1001, CP2001, CP3001 = "cp1001.eqiad.example", "cp2001.codfw.example", "cp3001.esams.example"
DB1001 = "db1001.eqiad.example"


def changed(states: dict) -> dict:
    """The changes of each state that has some."""
    return {name: state["changes"] for name, state in states.items() if state["changes"]}


def test_every_connection_is_established_once_at_both_ends(everything):
    ends = {}
    for host, status in everything.status().items():
        for name, one in status["connections"].items():
            assert one["state"] == "established", (host, name, one)
            assert len(one["ike_ids"]) == 1, (host, name)
            assert len(one["child_ids"]) == 1, (host, name)
            ends[host, one["peer"], one["family"]] = one
        assert not status["unmanaged"]
    assert len(ends) == 32
    assert {(peer, host, family) for host, peer, family in ends} == set(ends)


def test_traffic_is_encrypted_and_counted_at_both_ends(everything):
    demo.prove_encrypted(everything.lab)  # raises where the wire has a plain packet, or a counter stood still


def test_ike_uses_the_proposal_of_the_defaults(everything):
    text = everything.lab.host("cp1001").run(["ipsec", "statusall"]).stdout
    assert text.count("IKE proposal: AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP") == 6


def test_a_host_in_no_rule_stays_untouched(everything):
    states = everything.apply(DB1001)[DB1001]
    assert changed(states) == {}
    assert "no peers" in states["ipsec-check-input"]["comment"]
    host = everything.lab.host("db1001")
    assert host.run(["dpkg-query", "-W", "strongswan*"], check=False).returncode == 1
    assert host.run(["ls", "/etc/ipsec.d", "/usr/local/lib/hostipsec"], check=False).returncode == 2


def test_a_second_run_changes_nothing_and_starts_nothing_anew(everything):
    before = everything.lab.ids()
    for host, states in everything.apply().items():
        assert changed(states) == {}, host
        assert all(state["result"] is True for state in states.values()), host
    assert everything.lab.ids() == before


def test_the_prediction_on_new_hosts_came_true(everything):
    """`test=True` before the package was there named exactly the states that then changed something."""
    for host, states in everything.first.items():
        assert all(state["result"] is True for state in states.values()), host
        would = {name for name, state in everything.predicted[host].items() if state["result"] is None}
        assert would == set(changed(states)), host
        predicted = everything.predicted[host]["ipsec-config-connections"]["changes"]
        assert predicted == states["ipsec-config-connections"]["changes"]


def test_the_prediction_on_configured_hosts_is_nothing(everything):
    for host, states in everything.apply(demo.MEMBERS, "test=True").items():
        assert all(state["result"] is True for state in states.values()), host
        assert changed(states) == {}, host


def test_a_changed_pillar_changes_what_was_predicted_and_nothing_else(mesh):
    """A host goes into maintenance: only its connections are touched, other SAs keep their ids."""
    pillar = mesh.pillar
    pillar["ipsec"]["hosts"]["cp3002.esams.example"]["maintenance"] = True
    pillar["ipsec"]["expect"] = []
    before = mesh.lab.ids()
    mesh.give(pillar, "cp1*")
    predicted = mesh.apply("cp1*", "test=True")
    real = mesh.apply("cp1*")
    for host, states in real.items():
        differs = states["ipsec-config-connections"]["changes"]
        assert differs["connections"] == {"removed": ["cp3002_v4", "cp3002_v6"]}, host
        assert "charon" not in differs, host
        assert predicted[host]["ipsec-config-connections"]["changes"] == differs
        assert set(changed(states)) == {"ipsec-config-connections"}
    after = mesh.lab.salt("cp1*", "ipsec.status")
    for host, status in after.items():
        assert "cp3002_v4" not in status["connections"]
        assert not status["unmanaged"], host
        for name, one in status["connections"].items():
            assert tuple(one["ike_ids"]) == before[host, name]


def test_keys_are_private_and_in_no_return_or_log(everything):
    host = everything.lab.host("cp1001")
    (key,) = host.run(["find", "/etc/ipsec.d/private", "-type", "f"]).stdout.split()
    listed = host.run(["stat", "-c", "%a %U %n", "/etc/ipsec.d/private", key])
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [["700", "root"], ["600", "root"]]
    assert host.run(["stat", "-c", "%a", "/etc/ipsec.secrets"]).stdout.strip() == "600"
    secret = host.read(key).splitlines()[5]
    assert secret not in json.dumps([everything.predicted, everything.first])
    assert secret not in host.run(["journalctl", "-b", "--no-pager"]).stdout
    for machine, places in (
        (host, ["/var/log/salt", "/var/cache/salt"]),
        (everything.lab.master, ["/var/cache/salt"]),
    ):
        assert machine.run(["grep", "-rlF", secret, *places], check=False).stdout == ""


def test_the_init_script_is_diverted_and_one_charon_runs_in_the_unit(everything):
    host = everything.lab.host("cp1001")
    assert (
        host.run(["dpkg-divert", "--truename", "/etc/init.d/ipsec"]).stdout.strip()
        == "/etc/init.d/ipsec-disabled"
    )
    assert host.run(["ls", "/etc/init.d/ipsec"], check=False).returncode == 2
    assert len(host.run(["pgrep", "-x", "charon"]).stdout.split()) == 1
    assert host.run(["systemctl", "is-enabled", "strongswan-starter"]).stdout.strip() == "enabled"
    assert "charon" in host.run(["systemctl", "status", "--no-pager", "strongswan-starter"]).stdout


def test_a_sysctl_is_live_and_comes_back_at_boot(everything):
    for host in ("cp1001", "cp3002"):
        machine = everything.lab.host(host)
        assert machine.read("/proc/sys/net/core/xfrm_larval_drop").strip() == "0"
        assert "xfrm_larval_drop" in machine.read("/etc/sysctl.d/60-ipsec.conf")


WRONG = {
    "unknown key": ({"conections": {}}, "ipsec:conections: unknown key 'conections'"),
    "unknown option": ({"connection": {"keyingretries": "1"}}, "ipsec:connection:keyingretries"),
    "charon does not know it": ({"setup": {"charondebug": {"app": 1}}}, "ipsec:setup:charondebug"),
    "charon does not start with it": ({"charon": {"user": "nobody-of-that-name"}}, "charon"),
}


def test_a_mistake_changes_nothing_on_the_host(mesh):
    """One clear error; files, charon and SAs are as before, and stay so with one mistake after the other."""
    watched = ["sha256sum", "/etc/ipsec.conf", "/etc/ipsec.secrets", "/etc/strongswan.d/hostipsec.conf"]
    host = mesh.lab.host("cp3001")
    files, ids = host.run(watched).stdout, mesh.lab.ids()
    charon = host.run(["pgrep", "-x", "charon"]).stdout
    for mistake, (extra, said) in WRONG.items():
        pillar = copy.deepcopy(mesh.pillar)
        pillar["ipsec"].update(extra)
        mesh.give(pillar, hosts="")
        states = mesh.apply(CP3001)[CP3001]
        failed = [
            state["comment"]
            for state in states.values()
            if state["result"] is False and "requisite" not in state["comment"]
        ]
        assert len(failed) == 1, (mistake, failed)
        assert said in failed[0], mistake
        assert "Traceback" not in failed[0], mistake
        assert changed(states) == {}, mistake
        assert host.run(watched).stdout == files, mistake
        assert host.run(["pgrep", "-x", "charon"]).stdout == charon, mistake
        assert mesh.lab.ids() == ids, mistake
