"""Every SLS file by Salt's own renderer and compiler: for members, outsiders and hosts not ready."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import strongswan
from minions import HOST, ROOT, Minion, Remote

import homes
from hostipsec.system import service

INIT = (ROOT / "states/ipsec/init.sls").read_text()
CHARON_DOES_ESP = {"plugins": {"kernel-libipsec": {"load": "yes"}}}
FILES = re.findall(r"^  - ipsec\.(\w+)$", INIT, re.MULTILINE)  # in the order in which they are to run


def shown(minion, sls="ipsec"):
    """Return the low data of an SLS file: by id, and it must compile."""
    found = minion.call("state.show_low_sls", sls)
    assert all(isinstance(one, dict) for one in found), found
    return {one["__id__"]: one for one in found}


def asked_for(low, identifier):
    """Return the ids that a state requires, directly or not."""
    seen, todo = set(), [identifier]
    while todo:
        one = low[todo.pop()]
        for kind, name in (
            (*entry.items(),)[0] for key in ("require", "watch") for entry in one.get(key, ())
        ):
            met = [key for key, other in low.items() if _meets(other, kind, name)]
            assert met, f"{one['__id__']} requires {kind} {name}, which is not there"
            todo += [key for key in met if key not in seen]
            seen.update(met)
    return seen


def _meets(low, kind, name):
    return (
        low["__sls__"] == name
        if kind == "sls"
        else low["state"] == kind and name in (low["__id__"], low["name"])
    )


@pytest.fixture
def outsider(tmp_path, data, minion):
    found = Minion(tmp_path / "db", "db1001.eqiad.example", init="systemd", os="Debian", osmajorrelease=12)
    found.pillar(data)
    return found


# A member ------------------------------------------------------------------------------------


def test_a_member(minion):
    low = shown(minion)
    assert low["ipsec-install-packages"]["pkgs"] == [
        "libstrongswan-standard-plugins",
        "strongswan-charon",
        "strongswan-starter",
        "strongswan-swanctl",
    ]
    assert low["ipsec-divert-init-script"]["name"] == "/etc/init.d/ipsec"
    assert low["ipsec-divert-init-script"]["to"] == "/etc/init.d/ipsec-disabled"
    assert low["ipsec-install-vici"]["name"] == "vici>=5.9,<7"
    assert low["ipsec-config-connections"]["name"] == "strongswan-starter"
    assert low["ipsec-service-running"]["enable"] is True
    assert (low["ipsec-sysctl-net.core.xfrm_larval_drop"]["value"]) == "0"


def test_ids_tell_the_file_and_the_thing(minion):
    for identifier, low in shown(minion).items():
        assert identifier.startswith(low["__sls__"].replace("ipsec.", "ipsec-") + "-")


def test_nothing_is_touched_before_the_check_and_all_comes_in_order(minion):
    low = shown(minion)
    for identifier, one in low.items():
        needed = asked_for(low, identifier)
        if one["__sls__"] != "ipsec.check":
            assert "ipsec-check-input" in needed, f"{identifier} does not require the check"
    ranks = {f"ipsec.{name}": number for number, name in enumerate(FILES)}
    for before, after in (
        ("ipsec-divert-init-script", "ipsec-install-packages"),
        ("ipsec-install-packages", "ipsec-certs-reused"),
        ("ipsec-certs-reused", "ipsec-config-connections"),
        ("ipsec-sysctl-net.core.xfrm_larval_drop", "ipsec-config-connections"),
        ("ipsec-config-connections", "ipsec-service-running"),
        ("ipsec-service-running", "ipsec-keeper-running"),
    ):
        assert before in asked_for(low, after)
        assert ranks[low[before]["__sls__"]] < ranks[low[after]["__sls__"]]


@pytest.mark.parametrize("name", FILES)
def test_each_file_alone_brings_what_it_requires(minion, name):
    low = shown(minion, f"ipsec.{name}")
    assert low
    for identifier in low:
        asked_for(low, identifier)


def test_a_member_without_systemd(minion):
    minion.opts["grains"]["init"] = "sysvinit"
    low = shown(minion)
    assert low["ipsec-service-running"]["name"] == "ipsec"
    assert not {"ipsec-divert-init-script", "ipsec-keeper-unit"} & {*low}
    for identifier in low:
        asked_for(low, identifier)


def test_a_member_whose_init_runs_scripts(minion, data, monkeypatch):
    """A container has nothing that would run them, see above."""
    monkeypatch.setattr(service, "scripts_run", lambda: True)
    minion.opts["grains"]["init"] = "sysvinit"
    minion.pillar({**data, "metrics": {"http": "[::]:9815"}})
    low = shown(minion)
    assert "ipsec-divert-init-script" not in low
    for unit, name in (("keeper-unit", "keeper"), ("guard-script", "guard"), ("metrics-unit", "metrics")):
        assert low[f"ipsec-{unit}"]["name"] == f"/etc/init.d/hostipsec-{name}"
        assert low[f"ipsec-{unit}"]["mode"] == "0755"
    assert low["ipsec-metrics-unit"]["context"]["arguments"] == "--http=[::]:9815"
    for identifier in low:
        asked_for(low, identifier)


def test_settings_of_the_pillar_reach_the_states(minion, data):
    sysctl = {
        "net.ipv4.conf.all.accept_redirects": 0,
        "net.core.xfrm_larval_drop": 1,
        "net.ipv4.tcp_rmem": "1 2 3",
    }
    minion.pillar({**data, "vici": False, "packages": ["libcharon-extra-plugins"], "sysctl": sysctl})
    low = shown(minion)
    assert "ipsec-install-vici" not in low
    assert "libcharon-extra-plugins" in low["ipsec-install-packages"]["pkgs"]
    found = {one["name"]: one["value"] for one in low.values() if one["state"] == "sysctl"}
    assert found == {name: str(value) for name, value in sysctl.items()}


def test_metrics_where_the_pillar_asks_for_them(minion, data):
    assert not [key for key in shown(minion) if key.startswith("ipsec-metrics")]
    asked = {"textfile": "/var/lib/prom", "graphite": "graphite.example:2003"}
    minion.pillar({**data, "metrics": asked})
    low = shown(minion)
    assert low["ipsec-metrics-directory"]["name"] == "/var/lib/prom"
    arguments = [f"--{key}={value}" for key, value in asked.items()]
    assert low["ipsec-metrics-unit"]["context"] == {
        "metrics": {"arguments": arguments, "textfile": "/var/lib/prom"}
    }
    needed = asked_for(low, "ipsec-metrics-running")
    assert {"ipsec-metrics-directory", "ipsec-metrics-unit", "ipsec-keeper-running"} <= needed
    minion.pillar({**data, "metrics": {"http": "[::]:9815"}})
    assert "ipsec-metrics-directory" not in shown(minion)


def test_metrics_go_when_the_pillar_no_longer_asks(minion, monkeypatch):
    unit, isfile = "/etc/systemd/system/hostipsec-metrics.service", os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda path: path == unit or isfile(path))
    low = shown(minion)
    assert low["ipsec-metrics-dead"]["enable"] is False
    assert low["ipsec-metrics-absent"]["name"] == unit
    assert "ipsec-metrics-dead" in asked_for(low, "ipsec-metrics-absent")


# Hosts on which nothing is set up ------------------------------------------------------------


@pytest.mark.parametrize("name", ["init", *FILES])
def test_a_host_in_no_rule_has_only_the_check(outsider, name):
    sls = "ipsec" if name == "init" else f"ipsec.{name}"
    assert [*shown(outsider, sls)] == ["ipsec-check-input"]


def test_a_host_in_no_rule_passes_and_says_why(outsider):
    (found,) = outsider.apply().values()
    assert (found["result"], found["changes"], outsider.retcode) == (True, {}, 0)
    assert found["comment"].endswith("no rule pairs it with a host in service; nothing is set up here")


@pytest.mark.parametrize("name", ["init", *FILES])
def test_a_wrong_pillar_stops_before_anything(minion, data, name):
    minion.pillar({**data, "mtu": 9})
    sls = "ipsec" if name == "init" else f"ipsec.{name}"
    found = minion.apply(sls)
    assert [*found] == ["ipsec-check-input"]
    assert found["ipsec-check-input"]["result"] is False
    assert found["ipsec-check-input"]["comment"] == (
        "Nothing was changed.\n- ipsec:mtu: found 9; allowed: a whole number from 1280 to 65535 (bytes)"
    )
    assert minion.retcode == 2


@pytest.mark.parametrize("pillar", [None, {}, "text", [1]])
def test_no_pillar_at_all(minion, pillar):
    minion.pillar(pillar)
    found = minion.apply()
    assert [*found] == ["ipsec-check-input"]
    assert found["ipsec-check-input"]["comment"].startswith("Nothing was changed.\n- ipsec")


def test_a_wrong_certificate_stops_before_anything(minion, source):
    Path(source.key).unlink()
    found = minion.apply()
    assert [*found] == ["ipsec-check-input"]
    assert source.key in found["ipsec-check-input"]["comment"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Salt's own modules: it loads them all
@pytest.mark.parametrize("name", ["init", "check", "keeper"])
def test_a_host_that_was_not_synced_says_what_to_run(tmp_path, data, name):
    minion = Minion(tmp_path / "new", HOST, missing=["_modules", "_states", "_utils"])
    minion.pillar(data)
    found = minion.apply("ipsec" if name == "init" else f"ipsec.{name}")
    assert [*found] == ["ipsec-check-synced"]
    assert found["ipsec-check-synced"]["result"] is False
    assert found["ipsec-check-synced"]["comment"] == (
        f"This minion does not have the modules of this version yet. Run: salt '{HOST}' saltutil.sync_all"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Salt's own modules: it loads them all
def test_a_host_with_modules_of_before_says_what_to_run(tmp_path, data):
    """The SLS files of this version ask a function that the modules of before do not have."""
    minion = Minion(tmp_path / "old", HOST, missing=["_modules"])
    (tmp_path / "modules").mkdir()
    text = "def __virtual__():\n    return 'ipsec'\n\n\ndef host():\n    return {'member': True}\n"
    (tmp_path / "modules/ipsec_of_before.py").write_text(text)  # Salt keeps one module a file name
    minion.opts["module_dirs"] = [str(tmp_path / "modules")]
    minion.pillar(data)
    assert minion.call("ipsec.host") == {"member": True}
    for sls, identifier in (("ipsec", "ipsec-check-synced"), ("ipsec.clean", "ipsec-clean-synced")):
        (found,) = minion.apply(sls).values()
        assert (found["__id__"], found["result"], found["changes"]) == (identifier, False, {})
        assert found["comment"].endswith(f" Run: salt '{HOST}' saltutil.sync_all")


@pytest.mark.parametrize("sls", ["ipsec", "ipsec.clean"])
def test_salt_ssh_is_refused_in_a_sentence(minion, monkeypatch, sls):
    """It finds whatever function it is asked for, and brings no package of _utils."""
    monkeypatch.setitem(minion.opts, "_ssh_version", (9, 2))
    (found,) = minion.apply(sls).values()
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"].startswith("salt-ssh is not supported: it does not bring the engine. ")


def test_only_the_modules_were_synced(tmp_path, data, minion):
    """saltutil.sync_modules alone: Salt cannot find the state, and says what the state module says."""
    half = Minion(tmp_path / "half", HOST, missing=["_states"])
    half.pillar(data)
    found = half.call("state.apply", "ipsec.check")
    text = json.dumps(found)
    assert "ipsec.checked" in text
    assert "Traceback" not in text


# The whole on a host of its own --------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces and mounts")
def test_test_mode_on_a_new_host_predicts_and_touches_nothing(tmp_path, data, source):
    """Salt's own states and ours, in one run, on a host with neither strongSwan nor a network."""
    host = strongswan.Host("new", tmp_path / "host")
    try:
        for path in map(Path, (source.certificate, source.key, source.ca)):
            host.run("mkdir", "-p", str(path.parent))
            (host.root / str(path).lstrip("/")).write_bytes(path.read_bytes())
        for address in homes.addresses(HOST):
            host.run("ip", "address", "add", address, "dev", "lo")
        host.run("rm", "-rf", "/etc/apt/sources.list", "/etc/apt/sources.list.d")  # Salt would wait for them
        remote = Remote(host.argv, tmp_path / "log", place="/tmp/minion", identifier=HOST)
        remote.pillar({**data, "charon": CHARON_DOES_ESP})  # this machine's kernel may have none
        before = files(host)
        found = remote.apply(test=True)
        remote.stop()
        assert files(host) == before
    finally:
        host.stop()
    assert {name: one["result"] for name, one in found.items() if one["result"] is False} == {}
    assert found["ipsec-check-input"]["result"] is True
    connections = found["ipsec-config-connections"]["changes"]["connections"]["added"]
    assert len(connections) == 6


def files(host):
    """Return what every file below /etc, /var/lib and /usr/local is, but for apt's lists."""
    look = [
        "find",
        "/etc",
        "/var/lib",
        "/usr/local",
        "-path",
        "/var/lib/apt",
        "-prune",
        "-o",
        "-not",
        "-type",
        "d",
    ]
    return sorted(host.run(*look, "-printf", "%p %m %s %T@\\n").splitlines())
