"""salt-ssh, whose ssh and scp are scripts that go nowhere: what it says where the engine is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import HUB, serve, write_pillar

pytestmark = pytest.mark.whole

SSH = """#!/bin/sh
shift # the host
while [ "$1" = -o ]; do shift 2; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec sh -c "$*"
"""
SCP = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
exec cp "$1" "${2#*:}"
"""


@pytest.fixture(scope="module")
def roster(tmp_path_factory, data):
    """Return the configuration directory of a master without minions."""
    place = tmp_path_factory.mktemp("ssh")
    for name, text in (("ssh", SSH), ("scp", SCP)):
        (place / "bin").mkdir(exist_ok=True)
        (place / "bin" / name).write_text(text)
        (place / "bin" / name).chmod(0o755)
    serve(place / "srv")
    write_pillar(place / "pillar", data)
    config = {
        "root_dir": str(place / "root"),
        "file_roots": {"base": [str(place / "srv")]},
        "pillar_roots": {"base": [str(place / "pillar")]},
        "ssh_log_file": str(place / "log"),
    }
    (place / "master").write_text(yaml.safe_dump(config))
    target = {
        "host": "192.0.2.1",
        "user": "root",
        "priv": "agent-forwarding",
        "thin_dir": str(place / "thin"),
    }
    (place / "roster").write_text(yaml.safe_dump({HUB: target}))
    return place


def call(place: Path, *arguments: str):
    program = str(Path(sys.executable).parent / "salt-ssh")
    options = [f"--config-dir={place}", f"--roster-file={place}/roster", "--out=json"]
    path = f"{place}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        [program, *options, HUB, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PATH": path},
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return json.loads(done.stdout)[HUB], done.returncode


@pytest.mark.parametrize("sls", ["ipsec", "ipsec.clean"])
def test_a_state_is_refused_in_a_sentence(roster, sls):
    states, status = call(roster, "state.apply", sls)
    (found,) = states.values()
    assert (found["result"], found["changes"]) == (False, {}), found
    assert status
    assert found["comment"].startswith("salt-ssh is not supported: it does not bring the engine. ")


def test_a_function_says_what_is_not_there(roster):
    said, status = call(roster, "ipsec.status")
    assert "package hostipsec is not on this host" in str(said)
    assert status
