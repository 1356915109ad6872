"""The package over Salt's bus: synced, asked, and applied in test mode."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import pytest
import salt.version
from conftest import EDGE, HUB, TIMEOUT

from hostipsec.health import sample as samples
from hostipsec.health.sample import Decision, Sample

WAYS_OUT = (
    "salt://pillar/ipsec.sls",
    "salt://pillar/top.sls.example",
    "salt://README.md",
    "salt://tests/fleets.py",
    "salt://lab/lab",
    "salt://../README.md",
    "salt://../pillar/ipsec.sls",
    "salt://ipsec/../../README.md",
    "salt://ipsec/../../../README.md",
    "salt://ipsec/../../pillar/ipsec.sls",
    "salt://_utils/../pillar/ipsec.sls",
    "salt://_utils/hostipsec/../../../pillar/ipsec.sls",
    "salt://ipsec/%2e%2e/%2e%2e/README.md",
    "salt://.git/config",
    "salt://_modules/../.git/config",
    "salt:///etc/passwd",
    "salt://|../README.md",
)


def test_each_minion_is_of_the_salt_that_was_asked_for(fleet, edge_salt):
    assert fleet.values("test.version") == {HUB: salt.version.__version__, EDGE: edge_salt}


def test_a_minion_that_was_not_synced_says_what_to_run(before_sync):
    for host, (states, status) in before_sync.items():
        (state,) = states.values()
        assert (state["result"], state["changes"]) == (False, {})
        assert state["comment"].endswith(f"Run: salt '{host}' saltutil.sync_all")
        assert status != 0


def test_sync_all_brings_every_part(synced):
    for brought in synced.values():
        assert brought["modules"] == ["modules.ipsec", "modules.ipsec_host"]
        assert brought["states"] == ["states.ipsec"]
        assert brought["output"] == ["output.ipsec"]
        assert brought["beacons"] == ["beacons.ipsec"]
        assert {"utils.hostipsec.pillar.topology", "utils.hostipsec.charon.vicisession"} < {*brought["utils"]}


def test_a_minion_sees_the_served_parts_and_nothing_else(salted):
    for files in salted.values("cp.list_master").values():
        assert {name.partition("/")[0] for name in files} == {
            "_modules",
            "_states",
            "_utils",
            "_output",
            "_runners",
            "_beacons",
            "_pillar",
            "ipsec",
        }
        assert [name for name in files if name.endswith((".md", ".yaml", ".example"))] == []


def test_a_minion_cannot_fetch_the_rest_of_the_repository(salted, tmp_path):
    wanted, fetched = tmp_path / "init.sls", tmp_path / "fetched"
    calls = [["salt://ipsec/init.sls", str(wanted)], *([path, str(fetched)] for path in WAYS_OUT)]
    for host, (first, *others) in salted.each("cp.get_file", calls).items():
        assert first == str(wanted)
        assert [path for path, got in zip(WAYS_OUT, others) if got] == [], f"fetched by {host}"
    assert not fetched.exists()
    directories = ("salt://pillar", "salt://..", "salt://ipsec/../..", "salt://_utils/../tests")
    calls = [[path, str(tmp_path / "directory")] for path in directories]
    assert [*salted.each("cp.get_dir", calls).values()] == [[[]] * len(calls)] * 2


def test_check(salted):
    found = salted.values("ipsec.check")
    assert {host: (len(one["peers"]), len(one["connections"])) for host, one in found.items()} == {
        HUB: (3, 6),
        EDGE: (3, 6),
    }
    assert [one["problems"] + one["warnings"] for one in found.values()] == [[], []]


def test_connections_of_both_ends_mirror_each_other(salted):
    found = salted.values("ipsec.connections")
    for family in ("v4", "v6"):
        mine, theirs = found[HUB][f"cp3001_{family}"], found[EDGE][f"cp1001_{family}"]
        assert (mine["left"], mine["right"]) == (theirs["right"], theirs["left"])
        assert (mine["leftid"], mine["rightid"]) == (theirs["rightid"], theirs["leftid"])
        assert (mine["initiator"], theirs["initiator"]) == (True, False)


def test_test_mode_predicts_the_connections(salted):
    for states, _ in salted.run("state.apply", "ipsec", test=True).values():
        found = {state["__id__"]: state for state in states.values()}
        assert [name for name, state in found.items() if state["result"] is False] == []
        assert found["ipsec-check-input"]["comment"] == "3 peers, 6 connections"
        assert len(found["ipsec-config-connections"]["changes"]["connections"]["added"]) == 6


def test_status_where_charon_does_not_run(salted):
    for found, status in salted.run("ipsec.status").values():
        assert status == 1
        assert found["summary"]["sentence"] == "charon does not answer; 6 connections: 6 down"


def test_the_operator_sees_a_table(salted):
    """The outputter is the master's, after ``salt-run saltutil.sync_all`` there."""
    salted.master.salt_run_cli().run("saltutil.sync_all")
    cli = salted.master.salt_cli()
    shown = cli.run("ipsec.status", "connection=*_v6", "--out=ipsec", minion_tgt=HUB)
    assert shown.returncode == 1
    assert f"{HUB}: charon does not answer; 3 connections: 3 down" in shown.stdout
    assert "!!  cp3001_v6" in shown.stdout


@pytest.mark.parametrize("function", ["ipsec.connections", "ipsec.status", "ipsec.check", "ipsec_host.facts"])
def test_a_wrong_pillar_is_told_in_words(salted, data, function):
    salted.pillar({**data, "mtu": 9, "hostz": {}})
    for found, status in salted.run(function).values():
        if function == "ipsec_host.facts":
            assert found == {"member": False}
        elif function == "ipsec.check":
            assert [line.partition(":")[2].partition(":")[0] for line in found["problems"]] == [
                "hostz",
                "mtu",
            ]
        else:
            assert "ipsec:mtu: found 9; allowed: " in found["error"]
            assert status == 2


def test_a_wrong_pillar_changes_nothing(salted, data):
    salted.pillar({**data, "mtu": 9})
    for states, status in salted.run("state.apply", "ipsec").values():
        (state,) = states.values()
        assert (state["__id__"], state["result"], state["changes"]) == ("ipsec-check-input", False, {})
        assert "ipsec:mtu: found 9; allowed: " in state["comment"]
        assert status != 0


def test_no_pillar_at_all(salted):
    salted.pillar(None)
    for states, _ in salted.run("state.apply", "ipsec").values():
        (state,) = states.values()
        assert state["comment"].startswith("Nothing was changed.\n- ipsec")


def test_addresses_from_the_mine(salted, data):
    """Hosts without an address in the pillar: each minion sent its own to the mine."""
    bare = copy.deepcopy(data)
    for host in (HUB, EDGE):
        del bare["hosts"][host]["ipv4"], bare["hosts"][host]["ipv6"]
    for host in [*bare["hosts"]]:
        if host not in (HUB, EDGE):
            del bare["hosts"][host]
    bare["rules"], bare["expect"], bare["addresses"] = bare["rules"][:1], [], "mine"
    salted.values("mine.update")
    salted.pillar(bare)
    found = salted.values("ipsec.connections")
    assert {name: (one["left"], one["right"]) for name, one in found[HUB].items()} == {
        "cp3001_v4": ("10.64.0.11", "10.20.0.11")
    }
    assert found[EDGE]["cp1001_v4"]["right"] == "10.64.0.11"


@pytest.fixture
def mine_of_edge(salted):
    """Return a function that writes what a minion says into its own mine."""

    def write(said):
        sent = salted.client.cmd(
            EDGE, "mine.send", ["network.ip_addrs", [said]], TIMEOUT, kwarg={"mine_function": "test.echo"}
        )
        assert sent == {EDGE: True}

    yield write
    salted.values("mine.update")


@pytest.mark.parametrize("said", ['2001:db8::66%x"\n\tauto="start"', 5], ids=["lines of ipsec.conf", "5"])
def test_a_hostile_mine_is_named_and_stops_no_other(salted, data, mine_of_edge, said):
    """Its text became lines of every peer's ipsec.conf, and a number was a traceback on every host."""
    bare = copy.deepcopy(data)
    del bare["hosts"][EDGE]["ipv4"], bare["hosts"][EDGE]["ipv6"]
    bare["hosts"][EDGE]["addresses"] = "mine"
    mine_of_edge(said)
    salted.pillar(bare)
    found = salted.run("ipsec.check")
    (hub, good), (edge, bad) = found[HUB], found[EDGE]
    assert (hub["ok"], good, edge["ok"], bad) == (True, 0, False, 1)
    named = f"ipsec:hosts:{EDGE}: the Salt mine: found "
    assert [line.startswith(named) for line in edge["problems"]] == [True]
    assert any(line.startswith(named) for line in hub["warnings"])
    assert {one["peer"] for one in hub["connections"].values()} == {
        "cp2001.codfw.example",
        "cp3002.esams.example",
    }
    plan, _ = salted.run("ipsec.plan")[HUB]
    assert (plan["standing"], len(plan["connections"])) == ("enters", 4)
    states, _ = salted.run("state.apply", "ipsec", test=True)[HUB]
    assert [one["comment"] for one in states.values() if one["result"] is False] == []


NONSENSE = """
def status(*_, **__):
    return {"connections": []}


down = status
"""


@pytest.fixture
def nonsense_of_edge(salted):
    """Have a minion answer what no module of ours answers."""
    place = Path(salted.values("config.get", "extension_modules")[EDGE])
    (place / "modules/ipsec.py").write_text(NONSENSE)
    salted.client.cmd(EDGE, "saltutil.refresh_modules", (), TIMEOUT)
    yield
    salted.values("saltutil.sync_all")
    salted.client.cmd(EDGE, "saltutil.refresh_modules", (), TIMEOUT)


@pytest.mark.parametrize("verb", ["status", "down"])
def test_a_minion_that_answers_nonsense_is_named_and_the_other_counts(salted, nonsense_of_edge, verb):
    """One such answer ended both with a KeyError."""
    salted.master.salt_run_cli().run("saltutil.sync_all")
    more = ["reason=T1", "dry_run=True"] if verb == "down" else []
    done = salted.master.salt_run_cli().run(f"ipsec.{verb}", *more, "--out=json")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1
    found = done.data
    assert [*found["failed"]] == [EDGE], found
    assert any(line.startswith(f"{EDGE}: answered nonsense: ") for line in found["lines"])
    assert HUB not in (*found["failed"], *found["silent"])


def test_an_argument_that_is_none(salted):
    for found, status in salted.run("ipsec.status", nonsense=1).values():
        assert "nonsense" in str(found)
        assert status != 0


@pytest.mark.whole
def test_what_changed_comes_to_the_master_s_bus(salted, data, bus):
    """The beacon of the pillar, synced, in the minion's own loop."""
    sample, hold = salted.place / "state.json", Decision("all connections", "root", "T1", 1764150000.0)
    salted.pillar(data, beacons={"ipsec": [{"interval": 1}, {"sample": str(sample)}]})
    salted.values("saltutil.refresh_pillar", wait=True)  # 3006 loads its modules before it has the pillar
    told, end = {}, time.monotonic() + 60
    while {*told} != {HUB, EDGE}:
        assert time.monotonic() < end, f"told within 60 s by {sorted(told)}"
        sample.write_text(json.dumps(samples.plain(Sample(time.time(), HUB, holds=(hold,)))))
        event = bus("salt/beacon/", 1)
        if event:
            told[event["data"]["id"]] = event["tag"], event["data"]["reason"]
    assert told == {host: (f"salt/beacon/{host}/ipsec/hold/set", "T1") for host in (HUB, EDGE)}
