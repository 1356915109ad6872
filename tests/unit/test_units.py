"""The units of guard and keeper: what each may do, isolated; a keeper that hangs is ended, and seen."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jinja2
import pytest

import fleets
from hostipsec import paths
from hostipsec.health import observation
from hostipsec.model import Metrics
from hostipsec.pillar import pillar, topology
from hostipsec.programs import keeper
from hostipsec.programs import metrics as serving
from hostipsec.system import heartbeat

ROOT = Path(__file__).parents[2]
FILES = ROOT / "states/ipsec/files"
METRICS = Metrics("/var/lib/prometheus/node-exporter", "[::]:9815", "graphite.example:2003")
ASKED = {"arguments": METRICS.arguments, "textfile": METRICS.textfile}
UNITS = {
    name: jinja2.Template((FILES / f"hostipsec-{name}.service").read_text()).render(metrics=ASKED)
    for name in ("guard", "keeper", "metrics")
}
ANALYZE = shutil.which("systemd-analyze")


def settings(unit):
    return [line.partition("=")[::2] for line in UNITS[unit].splitlines() if re.match(r"[A-Z]\w+=", line)]


def command(unit):
    (line,) = [value for key, value in settings(unit) if key == "ExecStart"]
    interpreter, program, given = re.fullmatch(r'(.*?) -c "(.*)" ?(.*)', line).groups()
    return interpreter, program, given.split()


def offline():
    """Whether systemd-analyze can judge a file: from systemd 250 on."""
    said = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, check=False).stdout
    return int(said.split()[1]) >= 250


@pytest.mark.skipif(not (ANALYZE and offline()), reason="needs systemd-analyze of systemd 250 or later")
@pytest.mark.parametrize("unit", UNITS)
def test_exposure(unit, tmp_path):
    """It was 9.5 and 9.6: all of root's rights."""
    path = tmp_path / f"hostipsec-{unit}.service"
    path.write_text(UNITS[unit])
    argv = [ANALYZE, "security", "--offline=true", "--no-pager", str(path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert float(re.search(r"Overall exposure level .*: ([0-9.]+)", said.stdout)[1]) < 2.0, said
    assert said.stderr == ""


@pytest.mark.parametrize("unit", UNITS)
def test_python_is_isolated_and_finds_the_engine_all_the_same(unit, tmp_path):
    """Whatever stands in its environment or where it starts does not get into a program of root's."""
    interpreter, program, _ = command(unit)
    assert interpreter == "/usr/bin/python3 -IB"
    (tmp_path / "argparse.py").write_text("raise SystemExit('not isolated')")
    (tmp_path / "hostipsec").symlink_to(ROOT / "_utils/hostipsec")
    found = program.replace("/usr/local/lib/hostipsec", str(ROOT / "_utils")).replace("main()", "print(main)")
    ran = subprocess.run(
        [sys.executable, "-IB", "-c", found],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "function main" in ran.stdout) == (0, True), ran


@pytest.mark.parametrize("unit", UNITS)
def test_only_what_systemd_247_knows(unit):
    """Debian 11 has it; what it does not know it would pass over."""
    known = set((ROOT / "tests/unit/data/systemd-247.txt").read_text().split())
    assert not [key for key, _ in settings(unit) if key not in known]


def test_the_deadlines_of_a_part_are_shorter_than_the_watchdog_s():
    (seconds,) = [int(value) for key, value in settings("keeper") if key == "WatchdogSec"]
    assert seconds > 3 * paths.ORDER_DEADLINE
    assert seconds > heartbeat.LATE


def test_the_pillar_s_words_are_the_command_line_of_the_program_that_serves_metrics():
    given = command("metrics")[2]
    options = serving.parser().parse_args(given)
    assert options.textfile == "/var/lib/prometheus/node-exporter"
    assert (options.http, options.graphite) == (("::", 9815), ("graphite.example", 2003))
    assert ("ReadWritePaths", "-/var/lib/prometheus/node-exporter") in settings("metrics")


# That it lives ---------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return the paths of a host with systemd and the unit, both there for long."""
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path))
    found = paths.here
    for directory in (found.systemd, found.units, found.proc / "1", found.state):
        directory.mkdir(parents=True)
    unit = found.units / paths.KEEPER_UNIT
    unit.write_text(UNITS["keeper"])
    os.utime(unit, (time.time() - 1000,) * 2)
    (found.proc / "1/stat").write_text(f"1 (systemd) S {'0 ' * 18}0 0\n")
    monkeypatch.setattr(heartbeat, "_since_boot", lambda: 1000.0)
    return found


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Return the socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield found


def test_the_service_manager_is_told_in_each_pass(here, manager):
    heartbeat.beat()
    assert manager.recv(100) == b"WATCHDOG=1"
    assert here.keeper_beat.read_text() == "1000\n"
    keeper.pause(keeper.PAUSE * 1.5, lambda: None)
    assert manager.recv(100) == b"WATCHDOG=1"


def test_one_that_was_started_by_a_unit_of_before_tells_nobody(here, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    heartbeat.tell()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    heartbeat.tell()
    monkeypatch.setenv("NOTIFY_SOCKET", "@hostipsec-nobody")
    heartbeat.tell()


def test_a_keeper_that_looks_is_not_missing(here, monkeypatch):
    heartbeat.beat()
    assert heartbeat.missing() == ""
    monkeypatch.setattr(heartbeat, "_since_boot", lambda: 1059.0)
    assert heartbeat.missing() == ""


@pytest.mark.parametrize("last", [None, "900\n", "junk", ""])
def test_one_that_hangs_or_is_not_there_is_seen(here, last):
    if last is not None:
        here.keeper_beat.write_text(last)
    assert (
        f"the keeper has not looked for {100 if last and last[0] == '9' else 1000} s" in heartbeat.missing()
    )


def test_one_that_has_just_been_set_up_or_booted_is_not_missing_yet(here):
    unit = here.units / paths.KEEPER_UNIT
    os.utime(unit)
    assert heartbeat.missing() == ""
    os.utime(unit, (time.time() - 1000,) * 2)
    assert heartbeat.missing()
    ticks = int(995 * os.sysconf("SC_CLK_TCK"))
    (here.proc / "1/stat").write_text(f"1 (systemd) S {'0 ' * 18}{ticks} 0\n")
    assert heartbeat.missing() == ""


@pytest.mark.parametrize("what", ["of before", "none", "no systemd"])
def test_of_a_keeper_that_leaves_no_traces_nothing_is_said(here, what):
    unit = here.units / paths.KEEPER_UNIT
    if what == "of before":
        unit.write_text(UNITS["keeper"].replace("WatchdogSec", "#"))
        os.utime(unit, (time.time() - 1000,) * 2)
    elif what == "none":
        unit.unlink()
    else:
        here.systemd.rmdir()
    assert heartbeat.missing() == ""


def watched(*connections):
    return observation.watched(observation.observe(connections))


def test_a_look_says_it_where_there_is_something_to_keep(here, monkeypatch):
    monkeypatch.setattr(observation.service, "lacking", lambda *_: "")  # its unit runs
    (connection,) = keeper_s_connections()
    assert "the keeper has not looked" in watched(connection).dead[0]
    assert watched().dead == ()
    heartbeat.beat()
    assert watched(connection).dead == ()


def keeper_s_connections():
    fleet = pillar.read(fleets.star(1))
    return topology.connections(fleet, "hub.core.example")[:1]
