"""The part of a minion, by Salt's own Pillar and loader as a master has them."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import salt.payload

import fleets
from hostipsec.errors import PillarError
from hostipsec.pillar import addressed, membership

ROOT = Path(__file__).parents[2]
HUB, SPOKE = "cp1001.eqiad.example", "cp3001.esams.example"
SYNC = "package hostipsec is not on this master, or not whole; run: salt-run saltutil.sync_all"
# Compiles pillars in a process of its own, as a master's worker: one command a line, one pillar each
WORKER = """
import base64, sys
import salt.config, salt.payload, salt.pillar
opts = salt.config.master_config(sys.argv[1])
for line in sys.stdin:
    pillar = salt.pillar.get_pillar(opts, {"id": line.strip()}, line.strip(), "base")
    sent = salt.payload.dumps(pillar.compile_pillar())
    print(base64.b64encode(sent).decode(), flush=True)
"""


class Master:
    """A master's worker: a process that goes on, over directories that a test changes."""

    def __init__(self, place, python=sys.executable, *, parts=True):
        self.place, self.modules, self.fleet = place, place / "extmods", place / "fleet.sls"
        for directory in ("srv", "pillar", "extmods"):
            (place / directory).mkdir(parents=True)
        self.sync()
        config = {
            "root_dir": str(place),
            "extension_modules": str(self.modules),
            "file_roots": {"base": [str(place / "srv")]},
            "pillar_roots": {"base": [str(place / "pillar")]},
            "ext_pillar": [{"ipsec": str(self.fleet)}] if parts else [],
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

    def plain(self, text):
        (self.place / "pillar/top.sls").write_text(json.dumps({"base": {"*": ["ipsec"]}}))
        (self.place / "pillar/ipsec.sls").write_text(text)

    def ask(self, minion=SPOKE):
        self.process.stdin.write(f"{minion}\n")
        self.process.stdin.flush()
        return salt.payload.loads(base64.b64decode(self.process.stdout.readline()))

    def member(self, minion=SPOKE):
        return addressed.member(self.ask(minion).get("ipsec"), minion, None)


@contextlib.contextmanager
def going(place, **how):
    found = Master(place, **how)
    yield found
    found.process.stdin.close()
    assert found.process.wait(60) == 0
    found.process.stdout.close()


@pytest.fixture
def master(tmp_path):
    with going(tmp_path) as found:
        yield found


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
    master.plain(json.dumps({"ipsec": fleets.example()}))
    found = master.ask()
    assert "another pillar has 'ipsec', too" in str(found["_errors"])


def test_a_sync_counts_at_once_in_a_process_that_goes_on(master):
    """A worker of the master keeps the package that it has imported, and gets the new module."""
    master.write(fleets.example())
    assert master.ask()["ipsec"]["part"]["of"] == SPOKE
    edited = master.modules / "utils/hostipsec/pillar/parts.py"
    edited.write_text(edited.read_text().replace('KEY = "part"', 'KEY = "share"'))
    assert master.ask()["ipsec"]["share"]["of"] == SPOKE


# What YAML makes of words -----------------------------------------------------------------------------

KEY = f"ipsec:hosts:{SPOKE}:site: "
WORD = "allowed: a label: one word or whole number"
WRITTEN = {  # at a host, as a label: what it is then, or what is said of it
    "2024-01-05": "2024-01-05",
    "2024-1-5": "2024-1-5",
    "2024-01-05T10:00:00Z": "2024-01-05T10:00:00Z",
    "2024-01-05 10:00:00": f"{KEY}found '2024-01-05 10:00:00'; {WORD}",
    "'12:30:00'": "12:30:00",
    "12:30:00": "45000",  # hosts cannot tell these four; the check of the files warns of them
    "010": "10",
    "0x10": "16",
    "1_000": "1000",
    "0o10": "0o10",
    "12:30:00.5": f"{KEY}found 45000.5, as YAML reads 45000.50 too; {WORD}; in quotes",
    "~": f"{KEY}found nothing; allowed: a value, or no such key",
    "": f"{KEY}found nothing; allowed: a value, or no such key",
}
RENDERED = {  # by Python, where no YAML of Salt's is
    "datetime.date(2024, 1, 5)": "as YAML reads 2024-01-05; ",
    "datetime.datetime(2024, 1, 5, 12, 30)": "as YAML reads 2024-01-05 12:30:00; ",
}
RENDERER = """#!py
import datetime, json
def run():
    data = json.loads({text!r})
    data["ipsec"]["hosts"][{host!r}]["site"] = {value}
    return data
"""


def placed(word):
    """Return a fleet's file that has this as the site of a host."""
    rule = {"name": "all", "between": {"id": SPOKE}, "and": {"id": HUB}}
    data = {"hosts": fleets.example()["hosts"], "rules": [rule]}
    data["hosts"][SPOKE]["site"] = "WORD"
    return json.dumps({"ipsec": data}).replace('"WORD"', f" {word}")


def told(given):
    """Return the site of the host, or what is said of it."""
    try:
        return addressed.member(given["ipsec"], SPOKE, None).site
    except PillarError as error:
        return str(error).partition("\n  - ")[2]


@pytest.mark.parametrize("parts", [False, True])
def test_a_word_of_yaml_is_a_label_or_an_error_that_says_how_it_is_written(tmp_path, parts):
    """By a plain pillar and by the ext_pillar, as Salt reads it and sends it."""
    found = {}
    with going(tmp_path, parts=parts) as master:
        for word in WRITTEN:
            if parts:
                master.fleet.write_text(placed(word))
            else:
                master.plain(placed(word))
            found[word] = told(master.ask())
    assert found == WRITTEN


def test_a_date_of_a_renderer_is_told_as_it_was_written(tmp_path):
    """A renderer of one's own, or an inventory, has dates where Salt's YAML has texts."""
    with going(tmp_path, parts=False) as master:
        for value, said in RENDERED.items():
            master.plain(RENDERER.format(text=placed('""'), host=SPOKE, value=value))
            found = told(master.ask())
            assert found.startswith(f"{KEY}found datetime.datetime(2024, 1, 5, "), found
            assert f"{said}{WORD}; in quotes" in found
