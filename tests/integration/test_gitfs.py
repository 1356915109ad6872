"""The README's settings for gitfs, with a real git repository: what they serve, and that hosts can use it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import salt.config
import salt.fileserver
import yaml
from conftest import HUB, ROOT, readme, write_pillar

import homes

PARTS = {"_modules", "_states", "_utils", "_output", "_runners", "_beacons", "_pillar", "ipsec"}


def repository(directory: Path) -> str:
    """Make a repository of the working tree as it is; returns its address."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    git = ["git", "-C", str(directory), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *command], check=True)
    return f"file://{directory}"


@pytest.fixture(scope="module")
def host(tmp_path_factory, data):
    """Return the configuration directory of a host that serves itself by gitfs."""
    place = tmp_path_factory.mktemp("gitfs")
    (place / "repository").mkdir()
    text = readme("yaml", "gitfs_remotes").replace(
        "https://git.example/ipsec.git", repository(place / "repository")
    )
    write_pillar(place / "pillar", data)
    config = {
        **yaml.safe_load(text),
        "id": HUB,
        "root_dir": str(place / "root"),
        "file_client": "local",
        "pillar_roots": {"base": [str(place / "pillar")]},
        "enable_fqdns_grains": False,
    }
    (place / "minion").write_text(yaml.safe_dump(config))
    return place


def call(host: Path, *arguments: str):
    command = [
        str(Path(sys.executable).parent / "salt-call"),
        "--config-dir",
        str(host),
        "--local",
        "--out=json",
    ]
    env = homes.at_home(host / "bin", homes.addresses())
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, env=env)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return json.loads(done.stdout)["local"]


def test_gitfs_serves_the_parts_and_nothing_else(host):
    server = salt.fileserver.Fileserver(salt.config.minion_config(str(host / "minion")))
    server.update()
    found = server.file_list({"saltenv": "base"})
    assert {name.partition("/")[0] for name in found} == PARTS
    assert {"ipsec/init.sls", "_utils/hostipsec/pillar/topology.py", "_modules/ipsec.py"} < {*found}
    for path in ("pillar/ipsec.sls", "README.md", "tests/fleets.py", "../README.md", "ipsec/../../README.md"):
        assert not server.find_file(path, "base")["path"], path


def test_a_host_syncs_from_gitfs_and_checks_its_pillar(host):
    brought = call(host, "saltutil.sync_all")
    assert (brought["modules"], brought["states"]) == (
        ["modules.ipsec", "modules.ipsec_host"],
        ["states.ipsec"],
    )
    found = call(host, "state.apply", "ipsec.check")
    (state,) = [one for one in found.values() if one["__id__"] == "ipsec-check-input"]
    assert (state["result"], state["comment"]) == (True, "3 peers, 6 connections")
