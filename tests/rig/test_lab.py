"""The lab itself: what its commands do, and that nothing of it is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleetlab import cache
from fleetlab.machine import cgroup_roots
from fleetlab.process import wait_for, with_argument

ROOT = Path(__file__).resolve().parents[2]
NAME, FIRST = "other", "first"
FLEET = """
ipsec:
  hosts:
    a1.north.example: {site: north, ipv4: 10.64.0.11, ipv6: "2001:db8:1::11"}
    b1.south.example: {site: south, ipv4: 10.20.0.11, ipv6: "2001:db8:3::11"}
"""


def lab(*arguments: str, name: str = NAME, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "lab/lab"), "--name", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def leftovers(name: str = NAME) -> list[str]:
    """Namespaces, mounts, directories, cgroups and processes that carry the lab's name."""
    found = [str(path) for path in Path("/run/netns").glob(f"lab-{name}-*")]
    found += [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"ipsec-lab/{name}" in line
    ]
    found += [str(path) for path in Path("/run/ipsec-lab").glob(name)]
    found += [str(path) for root in cgroup_roots() for path in root.glob(f"lab-{name}-*")]
    found += [f"process {pid}" for pid in with_argument(f"/run/ipsec-lab/{name}/")]
    found += [f"process {pid}" for pid in with_argument(f"--machine={name}-")]
    return found


STANZAS = """Suites: bookworm bookworm-updates
Components: main

Suites: bookworm-security
Components: main
"""
LINES = "deb mirror bookworm main\ndeb mirror bookworm-security main\n"


@pytest.fixture
def fleet(tmp_path):
    path = tmp_path / "fleet.sls"
    path.write_text(FLEET)
    yield path
    lab("down")
    assert leftovers() == []


@pytest.fixture
def first(fleet):
    started = lab("up", "--no-master", "--fleet", str(fleet), name=FIRST)
    assert started.returncode == 0, started.stderr
    yield
    lab("down", name=FIRST)
    assert leftovers(FIRST) == []


def test_a_second_lab_beside_the_first(first, fleet, tmp_path):
    """Same addresses, other name; commands pass their status on, and both go on running."""
    started = lab("up", "--no-master", "--fleet", str(fleet))
    assert started.returncode == 0, started.stderr
    assert lab("run", "a1", "--", "sh", "-c", "exit 42").returncode == 42
    assert lab("run", "a1", "--", "hostname", "-f").stdout == "a1.north.example\n"
    assert lab("run", "a1", "--", "cat", input="through\n").stdout == "through\n"
    (tmp_path / "copied").write_text("content")
    assert lab("copy", str(tmp_path / "copied"), "b1:/srv/new/copied").returncode == 0
    assert lab("run", "b1", "--", "cat", "/srv/new/copied").stdout == "content"
    ping = ("run", "a1", "--", "ping", "-q", "-c", "1", "-W", "5")
    for address in ("10.20.0.11", "2001:db8:3::11"):
        assert lab(*ping, address).returncode == 0
    assert lab("link", "b1", "down").returncode == 0
    assert lab("run", "a1", "--", "ping", "-q", "-c", "1", "-W", "1", "10.20.0.11").returncode == 1
    assert lab("link", "b1", "up").returncode == 0
    assert lab(*ping, "10.20.0.11").returncode == 0
    assert lab("off", "b1").returncode == 0
    status = lab("status")
    assert status.returncode == 1
    assert "off  b1.south.example" in status.stdout
    assert lab("on", "b1").returncode == 0
    assert lab("run", "b1", "--", "cat", "/srv/new/copied").stdout == "content"
    assert lab("status").returncode == 0
    assert lab(*ping, "10.20.0.11", name=FIRST).returncode == 0


def test_a_start_that_is_killed_leaves_nothing_after_down(fleet):
    starting = subprocess.Popen(
        [sys.executable, str(ROOT / "lab/lab"), "--name", NAME, "up", "--no-master", "--fleet", str(fleet)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: bool(with_argument(f"--machine={NAME}-")), "a host that boots", 60)
    os.killpg(starting.pid, signal.SIGKILL)
    starting.wait()
    assert leftovers() != []
    assert lab("down").returncode == 0
    assert leftovers() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "a1", "--", "true"), "no lab 'other' is running"),
        (("up", "--fleet", "/nonexistent.sls"), "fleet file /nonexistent.sls: No such file"),
        (("up", "--fleet", "LICENSE"), "LICENSE is not YAML (line"),
        (("image", "--debian", "sid"), "invalid choice: 'sid'"),
        (("--name", "Wrong_Name", "up"), "lab name 'Wrong_Name'"),
    ],
)
def test_mistakes_are_said_in_a_sentence(arguments, said):
    done = lab(*arguments, cwd=ROOT)
    assert done.returncode in (1, 2)  # 2: the command line itself
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{c1: {debian: trixie}}", "lab: 'c1' is no host of ipsec:hosts"),
        (
            "{a1.north.example: {debian: sid}}",
            "{'debian': 'sid'}; expected debian: bullseye or bookworm or trixie",
        ),
        ("{a1.north.example: trixie}", "lab:a1.north.example: 'trixie'; expected debian: "),
        ("trixie", "lab: '' is no host"),
    ],
)
def test_a_mistake_in_the_lab_s_own_section(fleet, section, said):
    fleet.write_text(f"{FLEET}\nlab: {section}\n")
    done = lab("up", "--fleet", str(fleet))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_each_release_has_the_machine_s_package_sources():
    """Of the oldest the index of its security updates offers files that are gone."""
    assert cache.sources(STANZAS, "trixie") == STANZAS.replace("bookworm", "trixie") + "\n"
    assert cache.sources(STANZAS, "bullseye").split("\n\n") == [
        "Suites: bullseye bullseye-updates\nComponents: main\n"
    ]
    assert cache.sources(LINES, "bullseye") == "deb mirror bullseye main\n\n"
