"""The fleet's pillar in files of the master: read once, and again when changed; merged; refused."""

from __future__ import annotations

import json

import pytest
import yaml

import fleets
from hostipsec.errors import PillarError
from hostipsec.pillar import addressed, fleetfiles, membership

SPOKE = "cp3001.esams.example"


class Files:
    """Files of a master, and how often they were read."""

    def __init__(self, directory):
        self.directory, self.paths, self.reads, self.mines = directory, [], 0, []
        self.mined = {}

    def write(self, name, data):
        path = self.directory / name
        fresh = path.with_suffix(".new")
        fresh.write_text(data if isinstance(data, str) else json.dumps({"ipsec": data}))
        fresh.replace(path)
        if str(path) not in self.paths:
            self.paths.append(str(path))

    def load(self, text):
        self.reads += 1
        return yaml.safe_load(text)

    def mine(self, *arguments):
        self.mines.append(arguments)
        return self.mined

    def part(self, host=SPOKE):
        return fleetfiles.part(host, self.paths, self.load, self.mine, lambda: ["10.0.0.1"])

    def member(self, host=SPOKE):
        return addressed.member(self.part(host), host, None)

    def problems(self):
        with pytest.raises(PillarError) as told:
            self.member()
        return str(told.value)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(fleetfiles, "_kept", {})
    return Files(tmp_path)


def test_a_file_is_read_once_and_again_when_it_has_changed(files):
    files.write("fleet.sls", fleets.example())
    plain = membership.read(fleets.example(), SPOKE)
    assert files.member().connections == files.member().connections == plain.connections
    assert files.part("stranger.example") == {}
    assert files.reads == 1
    files.write("fleet.sls", {**fleets.example(), "mtu": 1450})
    assert files.member().fleet.settings.mtu == 1450
    assert files.reads == 2


def test_what_a_part_is_merged_into_changes_no_other_part(files):
    files.write("fleet.sls", {**fleets.example(), "charon": {"plugins": {"vici": {"load": True}}}})
    part = files.part()
    part["charon"]["plugins"]["vici"]["load"] = False
    part["hosts"].clear()
    part["rules"][0].clear()
    assert files.member().connections
    assert files.reads == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ipsec: {hosts: [", "fleet.sls: line 1, column 17: .*; allowed: YAML, without Jinja"),
        ("", "fleet.sls: found nothing; allowed: key 'ipsec' alone"),
        ("hosts: {}", "fleet.sls: found hosts; allowed: key 'ipsec' alone"),
        ("ipsec: []", "fleet.sls: found ipsec; allowed: key 'ipsec' alone, a mapping"),
        ("ipsec: {}\nother: {}", "found ipsec, other; allowed: key 'ipsec' alone"),
        ("[1, 2]", "allowed: key 'ipsec' alone"),
        ("ipsec: {hosts: {}}", "ipsec:hosts: no host"),
        ("ipsec: {hosts: 3, rules: {}}", "ipsec:hosts: found 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_at_the_host_and_it_is_read_once(files, text, said):
    files.write("fleet.sls", text)
    for _ in range(3):
        with pytest.raises(PillarError, match=said):
            files.member()
    assert files.reads == 1
    files.write("fleet.sls", fleets.example())
    assert files.member().connections


def test_a_file_that_is_gone_is_told_and_noticed_when_it_is_back(files):
    files.write("fleet.sls", fleets.example())
    path = files.directory / "fleet.sls"
    aside = path.rename(files.directory / "aside")
    assert "cannot be read" in files.problems()
    aside.rename(path)
    assert files.member().connections


def test_files_are_one_pillar(files):
    """Hosts of all of them, rules in their order, and each other key once."""
    whole = fleets.example()
    names = sorted(whole["hosts"])
    for number, name in enumerate(names):
        files.write(f"host{number}.sls", {"hosts": {name: whole["hosts"][name]}})
    files.write("rules1.sls", {"rules": whole["rules"][:1]})
    files.write("rules2.sls", {"rules": whole["rules"][1:], "expect": whole.get("expect", [])})
    rest = {key: value for key, value in whole.items() if key not in ("hosts", "rules", "expect")}
    files.write("rest.sls", rest)
    for name in names:
        plain = membership.read(whole, name)
        assert files.member(name).connections == plain.connections
        assert files.member(name).fleet.settings == plain.fleet.settings


def test_what_two_files_say_is_an_error_that_names_both(files):
    files.write("one.sls", {**fleets.example(), "mtu": 1450})
    files.write("other.sls", {"hosts": {SPOKE: {"ipv4": "10.9.9.9"}}, "mtu": 1400})
    told = files.problems()
    assert f"ipsec:hosts:{SPOKE}: found in {files.paths[0]} and in {files.paths[1]}; allowed: one" in told
    assert f"ipsec:mtu: found in {files.paths[0]} and in {files.paths[1]}" in told


def test_the_mine_is_asked_once_for_all_and_again_after_a_minute(files, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(fleetfiles.time, "monotonic", lambda: now[0])
    data = fleets.example()
    address = data["hosts"][SPOKE].pop("ipv4")
    data["hosts"][SPOKE].pop("ipv6", None)
    files.write("fleet.sls", {**data, "addresses": "mine"})
    assert "no address in the pillar or the Salt mine" in files.problems()
    assert "no address" in files.problems()
    assert len(files.mines) == 1
    files.mined = {"network.ip_addrs": {SPOKE: [address]}}
    now[0] += 61
    assert {str(one.left) for one in files.member().connections} == {address}
    assert len(files.mines) == 2


def test_an_address_of_the_master_is_taken_from_no_mine(files):
    data = fleets.example()
    data["hosts"][SPOKE] = {"site": "esams", "cluster": "text", "addresses": "mine"}
    files.mined = {"network.ip_addrs": {SPOKE: ["10.0.0.1"]}}
    files.write("fleet.sls", data)
    assert "which the Salt master has" in files.problems()


@pytest.mark.parametrize(
    ("configured", "files"),
    [
        ([{"ipsec": "/srv/a.sls"}], ("/srv/a.sls",)),
        ([{"cmd_yaml": "x"}, {"ipsec": ["/srv/a.sls", "/srv/b.sls"]}], ("/srv/a.sls", "/srv/b.sls")),
        ([{"cmd_yaml": "x"}], None),
        ([], None),
        ({}, None),
        (None, None),
    ],
)
def test_the_files_are_those_of_the_masters_configuration(configured, files):
    assert fleetfiles.configured(configured) == files
