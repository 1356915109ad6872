"""The execution module as Salt loads it, with a real pillar and real certificates."""

from __future__ import annotations

import inspect
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from minions import HOST, NOW, Minion, Remote

import authorities
from hostipsec import __version__, paths
from hostipsec.strongswan import render
from hostipsec.system import service

PUBLIC = (
    "check",
    "connections",
    "down",
    "firewall",
    "loglevel",
    "overhead",
    "plan",
    "previous",
    "reauthenticate",
    "rollback",
    "routes",
    "status",
    "up",
    "verify",
    "version",
)
LONELY = "db1001.eqiad.example has no peers: no rule pairs it with a host in service"


def test_check_of_a_member(minion):
    found = minion.call("ipsec.check")
    assert {key: value for key, value in found.items() if key != "connections"} == {
        "ok": True,
        "sentence": "3 peers, 6 connections",
        "problems": [],
        "notes": [],
        "warnings": [],
        "peers": ["cp2001.codfw.example", "cp3001.esams.example", "cp3002.esams.example"],
        "lonely": "",
    }
    assert (len(found["connections"]), minion.retcode) == (6, 0)
    assert found["connections"] == minion.call("ipsec.connections")


def test_check_shows_every_error_of_the_pillar_at_once(minion, data):
    data["hosts"]["cp3001.esams.example"]["ipv4"] = "10.20.0.999"
    data["rules"][0]["stage"] = "begin"
    minion.pillar({**data, "mtu": 9, "connexion": {}})
    found = minion.call("ipsec.check")
    assert [line.partition(" ")[0] for line in found["problems"]] == [
        "ipsec:connexion:",
        "ipsec:hosts:cp3001.esams.example:ipv4:",
        "ipsec:mtu:",
        "ipsec:rules:0:stage:",
    ]
    assert "found '10.20.0.999'; allowed: a unicast IPv4 address" in found["problems"][1]
    assert (found["peers"], found["connections"]) == ([], {})
    assert (found["ok"], found["sentence"], minion.retcode) == (False, "4 problems", 1)


def test_check_shows_what_is_wrong_with_the_certificate(minion, source, ca):
    expired = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=-1))
    authorities.write((minion.place.parent / "source"), expired.pem, expired.key_pem(), ca.pem)
    (problem,) = minion.call("ipsec.check")["problems"]
    assert problem.startswith(f"certificate {source.certificate} (CN={HOST}) expired on ")


def test_check_and_plan_say_which_file_wins_over_a_sysctl_at_the_next_boot(minion, tmp_path, monkeypatch):
    """The value of ours lasted until a reboot, and nobody said so."""
    later = tmp_path / "sysctl.d/99-local.conf"
    later.parent.mkdir()
    monkeypatch.setattr(paths.here, "sysctl_directories", (later.parent,))
    monkeypatch.setattr(paths.here, "sysctl_conf", tmp_path / "none")
    assert minion.call("ipsec.check")["warnings"] == []
    later.write_text("net.core.xfrm_larval_drop = 1\n")
    said = f"sysctl net.core.xfrm_larval_drop: {later} sets it to 1 at the next boot, after "
    for verb in ("ipsec.check", "ipsec.plan"):
        found = minion.call(verb)
        (warning,) = [one for one in found["notes"] if one.startswith("sysctl")]
        assert warning.startswith(said), verb
        assert warning.endswith("; take it out there, or say 1 in ipsec:sysctl")


def test_check_warns_where_sequence_numbers_run_out_before_a_rekeying(minion, data):
    minion.pillar({**data, "connection": {"lifetime": "8h", "ikelifetime": "12h"}})
    found = minion.call("ipsec.check")
    assert (found["ok"], minion.retcode) == (True, 0)
    assert [said[:40] for said in found["warnings"]] == ["ipsec:connection:lifetime: found 8h, and"]


def test_check_warns_of_a_certificate_that_ends_soon(minion, ca):
    soon = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=5))
    authorities.write((minion.place.parent / "source"), soon.pem, soon.key_pem(), ca.pem)
    found = minion.call("ipsec.check")
    assert (found["ok"], found["problems"]) == (True, [])
    assert len(found["warnings"]) == 1
    assert found["notes"] == found["warnings"]


@pytest.mark.parametrize(
    "pillar", [None, {}, [], "text", 5, {"hosts": None}, {"hosts": [1], "rules": {"a": 1}}]
)
def test_check_of_no_pillar_at_all(minion, pillar):
    minion.pillar(pillar)
    found = minion.call("ipsec.check")
    assert found["problems"]
    assert all(line.startswith("ipsec") and "allowed: " in line for line in found["problems"])


def test_check_of_a_host_that_is_not_in_the_pillar(minion, data):
    del data["hosts"][HOST], data["expect"]
    minion.pillar(data)
    (problem,) = minion.call("ipsec.check")["problems"]
    assert problem.startswith(f"ipsec:hosts: {HOST} is not there; ")


def test_check_of_a_release_that_is_not_known(tmp_path, data):
    minion = Minion(tmp_path / "other", HOST, os="Debian", osmajorrelease=9)
    minion.pillar(data)
    (problem,) = minion.call("ipsec.check")["problems"]
    assert problem.startswith("Debian 9 is not a release this package knows; its Python is 3.5, ")
    assert minion.call("ipsec_host.facts") == {"member": False}


def test_a_host_in_no_rule(tmp_path, data):
    """It needs no certificate, and nothing is set up on it."""
    minion = Minion(tmp_path / "db", "db1001.eqiad.example")
    minion.pillar({**data, "certificates": {"source": "puppet"}})
    found = minion.call("ipsec.check")
    assert (found["problems"], found["peers"], found["lonely"]) == ([], [], LONELY)
    assert minion.call("ipsec_host.facts") == {"member": False}
    assert (minion.call("ipsec.connections"), minion.retcode) == ({}, 0)


def test_a_host_in_no_rule_whose_hold_cannot_be_read(tmp_path, data, monkeypatch):
    """Its status was not ok, with exit status 1, and no word of why."""
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path / "host"))
    paths.here.hold.parent.mkdir(parents=True)
    minion = Minion(tmp_path / "db", "db1001.eqiad.example")
    minion.pillar(data)
    found = minion.call("ipsec.status")
    assert (found["ok"], found["warnings"], minion.retcode) == (True, [], 0)
    paths.here.hold.write_text("{")
    found = minion.call("ipsec.status")
    assert (found["ok"], minion.retcode) == (False, 1)
    assert found["warnings"] == found["notes"] and found["warnings"][0].startswith("hold.json cannot be read")


def test_what_the_sls_files_get_to_know(minion, data):
    more = {"packages": ["libcharon-extra-plugins"], "vici": False, "sysctl": {"net.core.somaxconn": 4096}}
    minion.pillar({**data, **more})
    found = minion.call("ipsec_host.facts")
    assert (found["member"], found["systemd"], found["vici"]) == (True, True, False)
    assert found["service"] == "strongswan-starter"
    assert {"libcharon-extra-plugins", "strongswan-starter"} < {*found["packages"]}
    assert found["init_script"] == "/etc/init.d/ipsec"
    assert found["sysctl"]["net.core.somaxconn"] == "4096"


def test_on_sysv_nothing_is_diverted(minion):
    minion.opts["grains"]["init"] = "sysvinit"
    found = minion.call("ipsec_host.facts")
    assert (found["systemd"], found["service"], found["init_script"]) == (False, "ipsec", None)


def test_connections(minion):
    found = minion.call("ipsec.connections")
    assert list(found) == sorted(found)
    assert found["cp3001_v6"] == {
        "peer": "cp3001.esams.example",
        "family": "v6",
        "left": "2001:db8:1::11",
        "right": "2001:db8:3::11",
        "leftid": f"CN={HOST}",
        "rightid": "CN=cp3001.esams.example",
        "initiator": True,
        "stage": "start",
    }
    assert minion.retcode == 0


def test_connections_of_an_invalid_pillar(minion, data):
    minion.pillar({**data, "mtu": 9})
    found = minion.call("ipsec.connections")
    assert [*found] == ["error"]
    assert found["error"].startswith("1 error(s) in pillar 'ipsec':\n  - ipsec:mtu: ")
    assert minion.retcode == 2


AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="reads the kernel's policies")


@AS_ROOT
def test_the_plan_of_a_new_host_is_what_its_states_say_in_test_mode(minion):
    found = minion.call("ipsec.plan")
    assert (found["standing"], minion.retcode) == ("enters", 3)
    assert len(found["changes"]["ipsec.configured"]["connections"]["added"]) == 6
    assert found["lines"][0].startswith("1 of 1 host to change; connections: 6 added, 0 removed, 0 changed;")
    for function, name in (
        ("ipsec.configured", "strongswan-starter"),
        ("ipsec.certificate_reused", "/etc/ipsec.d"),
        ("ipsec.guarded", "guard"),
        ("ipsec.routes_present", "routes"),
    ):
        said = minion.state(function, name, test=True)
        assert said["changes"] == found["changes"].get(function, {}), function


@AS_ROOT
def test_a_host_tells_who_vouches_for_it_and_whom_it_takes(minion, source, monkeypatch, tmp_path):
    """Its plan by the files at their source, its status by those that charon has."""
    planned = minion.call("ipsec.plan")["authentication"]
    assert [one["name"] for one in planned["chain"]] == ["CN=Fleet CA"]
    assert (planned["trusts"], planned["fault"]) == (planned["chain"], "")
    monkeypatch.setattr(paths.here, "ipsec_d", tmp_path / "ipsec.d")
    assert minion.call("ipsec.status")["authentication"] is None
    assert minion.state("ipsec.certificate_reused", str(paths.here.ipsec_d))["result"] is True
    (name,) = [path.name for path in (paths.here.ipsec_d / "certs").iterdir()]
    paths.here.conf.write_text(f"{render.HEADER}conn %default\n    leftcert={name}\n")
    assert minion.call("ipsec.status")["authentication"] == planned


def test_the_plan_of_a_wrong_pillar_is_its_errors(minion, data):
    minion.pillar({**data, "mtu": 9, "connexion": {}})
    found = minion.call("ipsec.plan")
    assert (found["ok"], found["connections"], found["changes"], minion.retcode) == (False, {}, {}, 2)
    assert [one.partition(": ")[0] for one in found["problems"]] == ["ipsec:connexion", "ipsec:mtu"]
    assert found["lines"] == found["error"].splitlines()
    assert found["error"].startswith("2 error(s) in pillar 'ipsec':\n  - ipsec:connexion: ")


def test_the_plan_of_a_host_whose_certificate_is_wrong_is_what_is_wrong(minion, ca):
    expired = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=-1))
    authorities.write((minion.place.parent / "source"), expired.pem, expired.key_pem(), ca.pem)
    assert " expired on " in minion.call("ipsec.plan")["error"]
    assert minion.retcode == 2


@pytest.mark.parametrize(
    ("ours", "standing", "status"), [(True, "leaves", 3), (False, "outside", 0)], ids=["ours", "none"]
)
def test_the_plan_of_a_host_that_is_no_member(minion, data, ours, standing, status):
    """What runs there stays until somebody applies ipsec.clean: it may be the pillar that is wrong."""
    if ours:
        paths.here.conf.write_text(f"{render.HEADER}\nconn cp3001_v4\n    auto=start\n")
    del data["hosts"][HOST], data["expect"]
    minion.pillar(data)
    found = minion.call("ipsec.plan")
    assert (found["standing"], found["configured"], found["changes"]) == (standing, int(ours), {})
    assert minion.retcode == status
    (minion.place / "pillar/ipsec.sls").write_text("{}")
    assert minion.call("ipsec.plan")["lines"] == [
        f"no pillar 'ipsec'; connections of ours that stand here: {int(ours)}"
    ]
    assert minion.retcode == status


def test_an_address_from_the_mine(minion, data):
    """Without a master, a minion's mine holds what it sent itself."""
    del data["hosts"][HOST]["ipv4"], data["hosts"][HOST]["ipv6"]
    minion.pillar({**data, "addresses": "mine"})
    minion.call(
        "data.update", "mine_cache", {"network.ip_addrs": ["10.1.2.3"], "network.ip_addrs6": ["fd00::1"]}
    )
    found = minion.call("ipsec.connections")
    assert {one["left"] for one in found.values()} == {"10.1.2.3", "fd00::1"}


def test_a_peer_of_which_no_address_is_known_stops_no_other_peer(minion, data):
    peer = "cp3001.esams.example"
    del data["hosts"][peer]["ipv4"], data["hosts"][peer]["ipv6"]
    minion.pillar({**data, "addresses": "mine"})
    found = minion.call("ipsec.check")
    assert (found["ok"], found["problems"]) == (True, [])
    assert f"ipsec:hosts:{peer}: no address in the pillar or the Salt mine; " in "".join(found["notes"])
    assert peer not in found["peers"]


FIVE = {"ok", "sentence", "connections", "problems", "notes"}
REFUSED = (
    ("down", {"deadline": 0}, "deadline: found 0; allowed: seconds from 0.1 to 3600"),
    ("down", {"expires": "soon"}, "expires: found 'soon'; allowed: a time: whole seconds, or a whole "),
    ("down", {"asked": "now"}, "asked: found 'now'; allowed: seconds since 1970"),
    ("down", {"reasn": "x"}, "unknown argument reasn; nothing was done"),
    ("up", {"jitter": 601}, "jitter: found 601; allowed: seconds from 0 to 600"),
    ("up", {"jiter": 1, "peeer": "x"}, "unknown argument jiter, peeer; nothing was done"),
    ("reauthenticate", {"deadline": "soon"}, "deadline: found 'soon'; allowed: seconds from 0.1 to 3600"),
    ("verify", {"count": 0}, "count=0: allowed: a whole number from 1 to 100"),
    ("verify", {"peer": "nobody"}, "no host of the pillar is called nobody; "),
    ("loglevel", {"ike": 5}, "loglevel:ike: found 5; allowed: a level from -1 to 4"),
    ("loglevel", {"ikee": 2}, "loglevel:ikee: unknown type 'ikee'; allowed: did you mean 'ike'?"),
    ("loglevel", {"minutes": 9}, "minutes: found 9; allowed: 0, to undo; else with types, as ike=2"),
    ("loglevel", {"ike": 2, "minutes": -1}, "minutes: found -1; allowed: minutes from 0 to 1440"),
    ("plan", {"stage": "off"}, "stage: found 'off'; allowed: passive, start, require"),
)


@pytest.mark.parametrize(("verb", "arguments", "said"), REFUSED)
def test_bad_input_is_a_sentence_in_the_shape_of_every_answer(minion, verb, arguments, said):
    found = minion.call(f"ipsec.{verb}", **arguments)
    assert {*found} >= FIVE | {"error"}
    assert (found["ok"], found["connections"], minion.retcode) == (False, {}, 2)
    assert found["sentence"] == found["error"]
    assert found["problems"] == [found["error"]]
    assert found["error"].startswith(said)
    assert found.get("unknown", []) == [name for name in arguments if said.startswith("unknown")]


@pytest.fixture
def apart(monkeypatch, tmp_path):
    """Have verbs work on files of the test, and on nothing of the machine itself."""
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path / "host"))
    for directory in (paths.here.proc, paths.here.run, paths.here.state):
        directory.mkdir(parents=True)
    for name in ("start", "restart", "stop"):
        monkeypatch.setattr(service, name, lambda *_: None)


@AS_ROOT
@pytest.mark.parametrize(
    "verb", ["check", "plan", "status", "verify", "reauthenticate", "rollback", "up", "down", "loglevel"]
)
def test_every_verb_answers_in_one_shape(minion, apart, verb):
    arguments = {"down": {"hold": False}, "up": {"deadline": 1}}.get(verb, {})
    found = minion.call(f"ipsec.{verb}", **arguments)
    types = {key: type(found[key]) for key in FIVE}
    assert types == {"ok": bool, "sentence": str, "connections": dict, "problems": list, "notes": list}
    assert all(isinstance(row, dict) for row in found["connections"].values())


ODD = [True, -1, "[", "\udcff", [1], {"a": 1}, 10**400, float("nan"), b"x"]


@AS_ROOT
@pytest.mark.parametrize(
    "verb", sorted({*PUBLIC} - {"version", "connections", "routes", "previous", "check"})
)
def test_whatever_an_argument_is_there_is_no_traceback(minion, apart, monkeypatch, verb):
    """Each argument with odd values: an answer, or a sentence that says what is allowed."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    quick = {"down": {"deadline": 0.1, "hold": False}, "up": {"deadline": 0.1}}.get(verb, {})
    taken = inspect.signature(minion.function(f"ipsec.{verb}")).parameters.values()
    for name in [one.name for one in taken if one.kind != one.VAR_KEYWORD]:
        for odd in ODD:
            found = minion.call(f"ipsec.{verb}", **{**quick, name: odd})
            assert "Traceback" not in str(found), (name, odd)


@pytest.mark.parametrize("at", ["soon", 0, 10**10])
def test_a_moment_that_cannot_be(minion, at):
    found = minion.call("ipsec.reauthenticate", at=at)
    assert found["error"].startswith(f"at: found {at!r}; allowed: seconds from ")


def test_version_where_no_charon_runs(minion, monkeypatch):
    monkeypatch.setattr(paths.here, "charon_vici", Path("/nowhere"))
    found = minion.call("ipsec.version")
    assert found["package"] == __version__
    assert (found["strongswan"], found["backend"]) == (None, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Salt's own modules
def test_salt_finds_these_functions_and_each_has_an_example(minion):
    docs = minion.call("sys.doc", "ipsec")
    assert sorted(docs) == [f"ipsec.{name}" for name in PUBLIC]
    docs.update(minion.call("sys.doc", "ipsec_host"))
    assert {*docs} - {f"ipsec.{name}" for name in PUBLIC} == {"ipsec_host.facts", "ipsec_host.restart"}
    for name, text in docs.items():
        assert "CLI Example:" in text
        assert f" {name}" in text.partition("CLI Example:")[2], f"the example of {name} is of something else"


def test_a_minion_without_the_engine_says_what_to_do(tmp_path):
    """The modules came and the package beside them did not: a sentence, and no traceback."""
    remote = Remote(
        lambda argv: argv,
        tmp_path / "log",
        place=str(tmp_path / "remote"),
        identifier=HOST,
        missing=["_utils"],
    )
    try:
        remote.pillar({})
        assert remote.call("sys.list_functions", "ipsec") == []
        found = remote.apply("ipsec")
    finally:
        remote.stop()
    assert [*found] == ["ipsec-check-synced"]
    assert found["ipsec-check-synced"]["result"] is False
    assert found["ipsec-check-synced"]["comment"].endswith(f"Run: salt '{HOST}' saltutil.sync_all")
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_minion_in_a_process_of_its_own(tmp_path, data):
    """The helper of the tests on other hosts answers alike."""
    remote = Remote(lambda argv: argv, tmp_path / "log", place=str(tmp_path / "remote"), identifier=HOST)
    try:
        remote.pillar(data)
        assert len(remote.call("ipsec.check")["connections"]) == 6
        with pytest.raises(AssertionError, match="KeyError"):
            remote.call("ipsec.nothing")
    finally:
        remote.stop()


BROKEN = """
def get(*_, **__):
    raise ValueError("no such thing")


def list_pkgs(*_, **__):
    raise KeyError("dpkg")
"""


def test_what_salt_raises_where_its_jobs_are_counted_is_a_sentence(minion, tmp_path):
    (tmp_path / "modules").mkdir()
    raises = "def is_running(*_):\n    raise OSError('proc')\n"
    (tmp_path / "modules/saltutil.py").write_text(f"__virtualname__ = 'saltutil'\n{raises}")
    minion.opts["module_dirs"] = [*minion.opts["module_dirs"], str(tmp_path / "modules")]
    found = minion.call("ipsec.previous")
    assert found["error"].startswith("saltutil.is_running: OSError: proc; type: salt-call -l debug")
    assert minion.retcode != 0


def test_what_a_firewall_lets_through(minion):
    assert "ip saddr { 10.20.0.11, 10.20.0.12, 10.192.0.11 } meta l4proto esp accept" in minion.call(
        "ipsec.firewall"
    )
    assert "domain ip6 table filter {" in minion.call("ipsec.firewall", "ferm")
    wrong = minion.call("ipsec.firewall", "pf")
    assert (wrong["error"].count("nftables, ferm"), minion.retcode) == (1, 2)


@AS_ROOT
@pytest.mark.parametrize("verb", ["check", "connections", "status", "plan", "overhead", "routes", "verify"])
@pytest.mark.parametrize("module", ["mine", "pkg"])
def test_whatever_a_module_of_salt_raises_is_a_sentence(minion, data, tmp_path, module, verb):
    """A traceback of Salt's own modules went through to the operator."""
    (tmp_path / "modules").mkdir()
    (tmp_path / f"modules/{module}.py").write_text(f"__virtualname__ = {module!r}\n{BROKEN}")
    minion.opts["module_dirs"] = [*minion.opts["module_dirs"], str(tmp_path / "modules")]
    if module == "mine":
        del data["hosts"][HOST]["ipv4"], data["hosts"][HOST]["ipv6"]
        minion.pillar({**data, "addresses": "mine"})
    found = minion.call(f"ipsec.{verb}")
    assert "Traceback" not in str(found)
    if module == "mine":
        assert "mine.get: ValueError: no such thing; type: salt-call -l debug mine.get" in str(found)
        assert minion.retcode != 0
        found = minion.state("ipsec.checked", "input")
        assert (found["result"], "Traceback" in found["comment"]) == (False, False)
    elif verb == "plan":
        assert "; type: salt-call -l debug " in found["error"]
