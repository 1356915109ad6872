"""docs/pillar-sources.md: each of its examples, compiled by Salt's own Pillar; and its hook, by git."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import salt.config
import salt.pillar
import yaml

import fleets
from hostipsec.fleet import checked
from hostipsec.pillar import pillar, topology

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/pillar-sources.md").read_text()
SHARED = ("pillar/ipsec/init.sls", "/srv/inventory/hosts.json")  # "that from above"
PAIRS = {pair: rule.name for pair, rule in topology.pairs(pillar.read(fleets.example())).items()}
MAIN = "refs/heads/main"


def blocks(text: str) -> dict[str, str]:
    """Return the files that a text shows, by name."""
    return dict(re.findall(r"^`([^`\n]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def files(heading: str) -> dict[str, str]:
    """Return the files of one section, and those that it takes from sections above."""
    every = blocks(PAGE)
    own = blocks(PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0])
    assert own, heading
    return {**{name: every[name] for name in SHARED}, **own}


def written(heading: str, place: Path) -> dict[str, str]:
    """Write the files of a section below a directory; return them as they are there."""
    found = files(heading)
    outside = sorted(name for name in found if name.startswith("/"))
    for name, text in found.items():
        for other in outside:
            text = text.replace(other, str(place / other[1:]))
        text = text.replace("/usr/bin/python3", sys.executable)
        file = place / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    return found


def compiled(place: Path, minion: str = "cp1001.eqiad.example") -> dict:
    """Return the pillar of a minion as a master compiles it."""
    config = {
        "root_dir": str(place / "salt"),
        "file_roots": {"base": []},
        "pillar_roots": {"base": [str(place / "pillar")]},
    }
    for more in sorted((place / "etc/salt/master.d").glob("*.conf")):
        config.update(yaml.safe_load(more.read_text()))
    (place / "master").write_text(json.dumps(config))
    opts = salt.config.master_config(str(place / "master"))
    found = salt.pillar.get_pillar(opts, {"id": minion}, minion, "base").compile_pillar()
    return json.loads(json.dumps(found))


@pytest.mark.parametrize(
    "heading",
    ["Several SLS files", "An inventory that Salt reads by Python", "The ext_pillar of another tool"],
)
def test_each_way_gives_the_fleet(heading, tmp_path):
    written(heading, tmp_path)
    found = compiled(tmp_path)
    assert "_errors" not in found
    fleet = pillar.read(found["ipsec"])
    assert {pair: rule.name for pair, rule in topology.pairs(fleet).items()} == PAIRS
    assert compiled(tmp_path, "cp3001.esams.example")["ipsec"] == found["ipsec"]


def run(*argv: str, cwd: Path, **more: str) -> subprocess.CompletedProcess:
    """Run a program, with the Python of the tests before the system's."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": path, "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1", **who, **more}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_the_check_takes_the_files_as_salt_does(tmp_path):
    written("Several SLS files", tmp_path)
    (command,) = re.findall(r"^ +python3 (-m hostipsec\.check pillar.*)$", PAGE, re.MULTILINE)
    done = run("python3", *command.split(), "--json", cwd=tmp_path, PYTHONPATH=str(ROOT / "_utils"))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["errors"], found["warnings"]) == ([], [])
    assert {(one["one"], one["other"]): one["rule"] for one in found["pairs"]} == PAIRS
    assert checked.compiled(compiled(tmp_path)["ipsec"]).as_dict() == found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": {"x": 1}, "b": [1, 2]}, {"a": {"y": 2}, "b": [3]}),
        (
            {"hosts": {"h": {"ipv4": "192.0.2.1", "shard": ["a"]}}},
            {"hosts": {"h": {"shard": ["b"], "ipv4": None}}},
        ),
        ({"a": {"x": 1}}, {"a": None}),
        ({"a": None}, {"a": {"x": 1}}),
        ({"a": [1]}, {"a": {"x": 1}}),
        ({"a": 1}, {}),
    ],
)
def test_files_are_merged_as_salt_merges_them(one, other, tmp_path):
    from hostipsec.pillar import merged

    (tmp_path / "pillar").mkdir()
    (tmp_path / "pillar/top.sls").write_text(json.dumps({"base": {"*": ["one", "other"]}}))
    texts = {name: json.dumps({"ipsec": data}) for name, data in (("one", one), ("other", other))}
    for name, text in texts.items():
        (tmp_path / f"pillar/{name}.sls").write_text(text)
    ours = merged.merge(merged.read(name, text) for name, text in texts.items()).data
    assert ours == compiled(tmp_path)


def test_the_hook_refuses_a_push_that_is_wrong_and_tells_what_one_that_is_right_changes(tmp_path):
    written("Several SLS files", tmp_path / "work")
    (work, there) = (tmp_path / "work", tmp_path / "there.git")
    run("git", "init", "-q", "--bare", str(there), cwd=tmp_path)
    hook = there / "hooks/pre-receive"
    hook.write_text(blocks(PAGE)["hooks/pre-receive"].replace("/srv/ipsec", str(ROOT)))
    hook.chmod(0o755)
    run("git", "init", "-q", cwd=work)

    def pushed(word: str = "", by: str = "") -> subprocess.CompletedProcess:
        file = work / "pillar/ipsec/eqiad.sls"
        assert word in file.read_text()
        file.write_text(file.read_text().replace(word, by))
        run("git", "add", "pillar", cwd=work)
        run("git", "commit", "-qm", "edit", cwd=work)
        return run("git", "push", "-q", str(there), f"HEAD:{MAIN}", cwd=work)

    def head() -> str:
        return run("git", "rev-parse", MAIN, cwd=there).stdout

    first = pushed()
    assert (first.returncode, "what it changes" in first.stderr) == (0, False), first.stderr
    before = head()
    wrong = pushed("10.64.0.12", "10.64.0.11")
    assert wrong.returncode != 0
    assert "pillar/ipsec/eqiad.sls:4: error: ipsec:hosts:cp1002.eqiad.example:ipv4" in wrong.stderr
    assert head() == before
    right = pushed('10.64.0.11, ipv6: "2001:db8:1::12', '10.64.0.99, ipv6: "2001:db8:1::12')
    assert right.returncode == 0, right.stderr
    assert "address v4 of cp1002.eqiad.example 10.64.0.12 -> 10.64.0.99" in right.stderr
    assert head() != before
