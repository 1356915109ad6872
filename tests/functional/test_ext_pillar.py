"""The part of a minion, by Salt's own Pillar and loader as a master has them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fleets
from hostipsec.pillar import addressed, membership

ROOT = Path(__file__).parents[2]
HUB, SPOKE = "cp1001.eqiad.example", "cp3001.esams.example"
SYNC = "package hostipsec is not on this master, or not whole; run: salt-run saltutil.sync_all"
# Compiles pillars in a process of its own, as a master's worker: one command a line, one pillar each
WORKER = """
import json, sys, time
import salt.config, salt.pillar
opts = salt.config.master_config(sys.argv[1])
for line in sys.stdin:
    begin = time.perf_counter()
    pillar = salt.pillar.get_pillar(opts, {"id": line.strip()}, line.strip(), "base")
    found = json.loads(json.dumps(pillar.compile_pillar()))
    print(json.dumps({"pillar": found, "seconds": time.perf_counter() - begin}), flush=True)
"""


class Master:
    """A master's worker: a process that goes on, over directories that a test changes."""

    def __init__(self, place, python=sys.executable):
        self.place, self.modules, self.fleet = place, place / "extmods", place / "fleet.sls"
        for directory in ("srv", "pillar", "extmods"):
            (place / directory).mkdir(parents=True)
        self.sync()
        config = {
            "root_dir": str(place),
            "extension_modules": str(self.modules),
            "file_roots": {"base": [str(place / "srv")]},
            "pillar_roots": {"base": [str(place / "pillar")]},
            "ext_pillar": [{"ipsec": str(self.fleet)}],
            "log_level": "critical",
        }
        (place / "master").write_text(json.dumps(config))
        command = [python, "-c", WORKER, str(place / "master")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def sync(self):
        """Copy the modules as ``saltutil.sync_all`` does."""
        shutil.copytree(ROOT / "_utils", self.modules / "utils", dirs_exist_ok=True)
        shutil.copytree(ROOT / "_pillar", self.modules / "pillar", dirs_exist_ok=True)

    def write(self, data):
        self.fleet.write_text(json.dumps({"ipsec": data}))

    def plain(self, data):
        (self.place / "pillar/top.sls").write_text(json.dumps({"base": {"*": ["ipsec"]}}))
        (self.place / "pillar/ipsec.sls").write_text(json.dumps({"ipsec": data}))

    def ask(self, minion=SPOKE):
        self.process.stdin.write(f"{minion}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["pillar"]

    def member(self, minion=SPOKE):
        return addressed.member(self.ask(minion).get("ipsec"), minion, None)


@pytest.fixture
def master(tmp_path):
    found = Master(tmp_path)
    yield found
    found.process.stdin.close()
    assert found.process.wait(60) == 0
    found.process.stdout.close()


def test_each_minion_gets_its_part_and_nothing_of_others(master):
    data = fleets.example()
    master.write(data)
    for host in data["hosts"]:
        found, plain = master.member(host), membership.read(data, host)
        assert (found.connections, found.barred) == (plain.connections, plain.barred)
        assert {one.id for one in found.fleet.hosts} == {host, *plain.peers}
    assert master.ask("stranger.example") == {}


def test_a_change_of_the_file_is_noticed(master):
    master.write(fleets.example())
    assert master.member().fleet.settings.mtu is None
    master.write({**fleets.example(), "mtu": 1450})
    assert master.member().fleet.settings.mtu == 1450


def test_a_file_that_is_wrong_is_told_by_the_states_of_this_package_alone(master):
    master.write({"hosts": {}})
    found = master.ask()
    assert "_errors" not in found
    with pytest.raises(Exception, match="ipsec:hosts: no host"):
        addressed.member(found["ipsec"], SPOKE, None)


def test_a_master_without_the_engine_gives_an_error_and_not_an_empty_pillar(master):
    shutil.rmtree(master.modules / "utils")
    master.write(fleets.example())
    found = master.ask()
    assert "ipsec" not in found
    assert SYNC in str(found["_errors"])
    master.sync()
    assert master.member().connections


@pytest.mark.parametrize("text", ["def half(", ""])
def test_an_engine_that_is_half_synced_gives_an_error_too(master, text):
    master.write(fleets.example())
    assert master.member().connections
    (master.modules / "utils/hostipsec/pillar/parts.py").write_text(text)
    found = master.ask()
    assert found["_errors"]
    assert "ipsec" not in found
    master.sync()
    assert master.member().connections


def test_a_plain_pillar_beside_it_is_an_error(master):
    master.write(fleets.example())
    master.plain(fleets.example())
    found = master.ask()
    assert "another pillar has 'ipsec', too" in str(found["_errors"])


def test_a_sync_counts_at_once_in_a_process_that_goes_on(master):
    """A worker of the master keeps the package that it has imported, and gets the new module."""
    master.write(fleets.example())
    assert master.ask()["ipsec"]["part"]["of"] == SPOKE
    edited = master.modules / "utils/hostipsec/pillar/parts.py"
    edited.write_text(edited.read_text().replace('KEY = "part"', 'KEY = "share"'))
    assert master.ask()["ipsec"]["share"]["of"] == SPOKE
