"""What the plugin for monitoring systems says: ranges, which status wins, one line; and how it ends."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_judge import WEST_V4, WEST_V6

from hostipsec import paths
from hostipsec.errors import CharonError
from hostipsec.faces import plugin
from hostipsec.faces.plugin import Limits, Status, ranged
from hostipsec.health import observation
from hostipsec.health.expiry import Expiry
from hostipsec.health.look import Look
from hostipsec.health.report import SEVERITY, STATES, ConnectionHealth, Report
from hostipsec.model import Charon
from hostipsec.programs import check
from hostipsec.store import record
from hostipsec.store.record import Record
from hostipsec.system import processes
from hostipsec.system.processes import Result

ROOT = Path(__file__).parents[2]


def row(number, state="established", severity=None, reason="why", **more):
    known = (f"cp{number}_v4", f"cp{number}.example", "v4", "start", state)
    return ConnectionHealth(*known, severity or SEVERITY[state], reason, **more)


def report(*rows, answered=True, **more):
    return Report(tuple(rows), answered, **more)


NO_LIMITS = Limits()


def said(found, limits=NO_LIMITS, unread=None, dead=(), resting=()):
    return plugin.said(Look((), None, unread=unread or {}, dead=dead, resting=resting), found, found, limits)


# Ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "alarms", "silent"),
    [  # the table of the guidelines
        ("10", (-1, 11), (0, 10)),
        ("10:", (9, -1), (10, 99)),
        ("~:10", (11,), (-5, 0, 10)),
        ("10:20", (9, 21), (10, 20)),
        ("@10:20", (10, 20), (9, 21)),
        ("0", (1,), (0,)),
        ("1.5:2.5", (1, 3), (2,)),
    ],
)
def test_ranges(text, alarms, silent):
    found = ranged(text)
    assert [number for number in (*alarms, *silent) if found.alarms(number)] == [*alarms]


@pytest.mark.parametrize(
    "text", ["", "@", ":", "5:3", "a", "1:2:3", "1e3", "9" * 40, "\u0661", "-", "3\n", " 3"]
)
def test_what_is_no_range(text):
    with pytest.raises(ValueError, match="is no range"):
        ranged(text)
    with pytest.raises(Ended):
        check.main(["-c", text])


class Ended(BaseException):
    """The process would have ended."""


@pytest.fixture(autouse=True)
def ended(monkeypatch):
    """Tell of the end of the process, which tests survive; returns the exit statuses."""
    seen = []

    def end(status):
        seen.append(status)
        raise Ended

    monkeypatch.setattr(check.os, "_exit", end)
    return seen


def test_a_wrong_command_line_is_unknown(ended, capsys):
    """Status 2, as argparse has it, would be CRITICAL."""
    for arguments in (["--bogus"], ["-t", "0"], ["--stage", "off"], ["-w"], ["x"]):
        with pytest.raises(Ended):
            check.main(arguments)
        assert capsys.readouterr().out.startswith("IPSEC UNKNOWN - ")
    assert ended == [3] * 5


# Which status --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in STATES if state != "established"])
def test_each_state_has_the_severity_that_the_judge_gives(state):
    found = said(report(row(1), row(2, state)))
    assert found.status.name.lower() == SEVERITY[state]
    assert found.line.startswith(f"IPSEC {found.status.name} - 1 connection {state}: cp2_v4 (why)")
    assert found.data[STATES.index(state) + 1] == f"'{state}'=1;;;0;2"


def test_never_better_than_the_judge():
    """Whatever comes together, without ranges the status is at least the judge's severity."""
    ends = [
        None,
        *(Expiry(None, 9, severity, f"certificate {severity}") for severity in ("ok", "warning", "critical")),
    ]
    worlds = itertools.product(
        ("established", "held", "down"), ends, (True, False), ("", "hold.json is damaged"), (False, True)
    )
    for state, end, answered, unsure, doubtful in worlds:
        found = report(
            row(1), row(2, state), answered=answered, certificate=end, unsure=unsure, doubtful=doubtful
        )
        unread = {**({"hold": unsure} if unsure else {}), **({"kernel": "no ip"} if doubtful else {})}
        told = said(found, unread=unread)
        assert plugin._ORDER.index(told.status) >= ("ok", "warning", "critical").index(found.severity), found
        assert (told.status is Status.OK) == (found.severity == "ok" and answered and not unread), found


def test_unknown_hides_nothing_critical_and_is_not_hidden_by_a_warning():
    unread = {"kernel": "ip: not found"}
    assert said(report(row(1)), unread=unread).status is Status.UNKNOWN
    assert said(report(row(1, "held")), unread=unread).status is Status.UNKNOWN
    found = said(report(row(1, "down")), unread=unread)
    assert (found.status, found.line) == (
        Status.CRITICAL,
        "IPSEC CRITICAL - 1 connection down: cp1_v4 (why); ip: not found; 1 connection: 1 down",
    )


def test_what_is_down_together_is_said_once():
    rows = [row(number, "down", reason="no answer from the peer") for number in range(100, 120)]
    found = said(report(*rows, row(1, "down", reason="other")))
    assert found.line == (
        "IPSEC CRITICAL - 20 connections down: cp100_v4, cp101_v4, cp102_v4, cp103_v4, cp104_v4, cp105_v4 "
        "and 14 more (no answer from the peer); 1 connection down: cp1_v4 (other); 21 connections: 21 down"
    )


@pytest.mark.parametrize(
    ("down", "warning", "critical", "status"),
    [
        (0, None, "3", Status.OK),
        (1, None, "3", Status.OK),
        (1, "0", "3", Status.WARNING),
        (3, "0", "3", Status.WARNING),
        (4, "0", "3", Status.CRITICAL),
        (4, "5", None, Status.OK),
        (6, "5", None, Status.WARNING),
        (0, None, "1:", Status.CRITICAL),
    ],
)
def test_ranges_count_what_is_down(down, warning, critical, status):
    limits = Limits(*(text and ranged(text) for text in (warning, critical)))
    found = said(report(row(99), *(row(number, "down") for number in range(down))), limits)
    assert found.status is status
    assert found.data[0] == f"trouble={down};{warning or ''};{critical or ''};0;{down + 1}"


def test_no_range_covers_what_leaks_is_held_and_yet_up_or_is_not_of_connections():
    limits = Limits(ranged("100"), ranged("100"))
    assert said(report(row(1, "not encrypted")), limits).status is Status.CRITICAL
    assert said(report(row(1, severity="critical", held=True)), limits).status is Status.CRITICAL
    assert said(report(row(1, "down"), answered=False), limits).status is Status.CRITICAL
    assert said(report(row(1, "held")), limits).status is Status.WARNING
    assert said(report(row(1)), limits, dead=["the keeper hangs"]).status is Status.WARNING


def test_maintenance_is_said_and_no_trouble():
    found = said(report(row(1)), resting=[WEST_V4, WEST_V6])
    assert (found.status, found.line) == (
        Status.OK,
        "IPSEC OK - 1 connection: 1 established; 2 connections in maintenance: west_v4, west_v6",
    )
    assert found.data[-1] == "maintenance=2"


def test_one_line_without_a_second_bar():
    found = said(report(row(1, "down", reason="a|b\nc\x1b[31m")))
    (line,) = found.lines()
    assert line.count("|") == 1
    assert line.isprintable()
    assert len(said(report(row(1, "down", reason="x" * 999))).line) < 450
    assert [*found.lines(found.rows)][1] == "cp1_v4: down, a/b c [31m"


# The program ---------------------------------------------------------------------------------


@pytest.fixture
def host(here, monkeypatch):
    """A host with two connections on record, of which charon has none; its looks are counted."""
    here.record.write_text(record.render(Record((WEST_V4, WEST_V6))))
    monkeypatch.setattr(check.os, "geteuid", lambda: 0)
    monkeypatch.setattr(check, "PAUSE", 0.01)
    monkeypatch.setattr(observation.charon, "observe", lambda: Charon("5.9.8", "vici", 99))
    monkeypatch.setattr(observation.kernel, "observe", lambda: None)
    return here


def test_there_is_a_second_look_before_an_alarm(host, monkeypatch, capsys):
    looks = []
    monkeypatch.setattr(observation.charon, "observe", lambda: looks.append(1) or Charon("5.9.8", "vici", 99))
    assert check.main([]) == 2
    assert len(looks) == 2
    assert "2 connections down" in capsys.readouterr().out
    assert check.main(["-t", "1"]) == 2  # no time for it
    assert len(looks) == 3


def test_what_the_first_look_showed_counts_where_the_second_one_hangs(host, monkeypatch, capsys, ended):
    """UNKNOWN hid what was critical."""
    looks = []

    def observe():
        looks.append(1)
        time.sleep(60 if len(looks) > 1 else 0)
        return Charon("5.9.8", "vici", 99)

    monkeypatch.setattr(paths, "CALL_DEADLINE", 0.1)
    monkeypatch.setattr(observation.charon, "observe", observe)
    with pytest.raises(Ended):
        check.main(["-t", "1"])
    assert (len(looks), ended) == (2, [2])
    assert capsys.readouterr().out.startswith("IPSEC CRITICAL - 2 connections down: west_v4, west_v6 (")


def test_what_a_locale_cannot_show_changes_no_exit_status(host, monkeypatch):
    """Python's traceback ends with 1, and that is WARNING."""

    def observe():
        raise CharonError("it says \u2013")

    shown = io.BytesIO()
    monkeypatch.setattr(observation.charon, "observe", observe)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="iso-8859-1"))
    assert check.main([]) == 2
    sys.stdout.flush()
    assert b"it says \\u2013" in shown.getvalue()


def test_the_second_look_is_by_the_record_of_then(host, monkeypatch, capsys):
    """What a change takes away in between is no trouble."""
    settled = record.render(Record((), resting=(WEST_V4,)))
    monkeypatch.setattr(check.time, "sleep", lambda _: host.record.write_text(settled))
    assert check.main([]) == 0
    assert capsys.readouterr().out.startswith("IPSEC OK - 0 connections; 1 connection in maintenance")


def test_filters(host, capsys):
    assert check.main(["--connection", "west_v4"]) == 2
    assert "1 connection: 1 down | trouble=1;;;0;1" in capsys.readouterr().out
    for arguments, sentence in {
        ("--peer", "cp9*"): "no connection has peer cp9*",
        ("--stage", "require"): "no connection of this host is in stage require",
    }.items():
        assert check.main([*arguments]) == 3
        assert capsys.readouterr().out.startswith(f"IPSEC UNKNOWN - {sentence}")


def test_verbose(host, capsys):
    counts = []
    for arguments in ([], ["-v"], ["-vv"]):
        check.main(arguments)
        counts.append(len(capsys.readouterr().out.splitlines()))
    assert counts == [1, 3, 3]


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (None, 3, "IPSEC UNKNOWN - no connections are recorded on this host"),
        ("{", 3, "IPSEC UNKNOWN - mesh.json cannot be read ("),
        (record.render(Record()), 0, "IPSEC OK - 0 connections"),
    ],
)
def test_without_connections(host, capsys, content, status, sentence):
    host.record.unlink()
    if content is not None:
        host.record.write_text(content)
    assert check.main([]) == status
    assert capsys.readouterr().out.startswith(sentence)


def test_a_damaged_record_is_unknown_although_its_copy_is_well(host, monkeypatch, capsys):
    record.keep_copy()
    host.record.write_text("{")
    assert check.main([]) == 2  # by the copy two are down
    assert "(its copy counts meanwhile)" in capsys.readouterr().out


def test_a_charon_that_cannot_be_asked(host, monkeypatch, capsys):
    def observe():
        raise CharonError("charon did not answer within 5 s over vici (list)")

    monkeypatch.setattr(observation.charon, "observe", observe)
    assert check.main([]) == 2
    line = capsys.readouterr().out
    assert line.startswith(
        "IPSEC CRITICAL - charon does not answer (charon did not answer within 5 s over vici"
    )


def test_without_connections_no_charon_is_needed(host, monkeypatch, capsys):
    """As the judge says: a host whose peers are all in maintenance."""

    def observe():
        raise CharonError("charon cannot be reached")

    monkeypatch.setattr(observation.charon, "observe", observe)
    host.record.write_text(record.render(Record((), resting=(WEST_V4,))))
    assert check.main([]) == 0
    assert capsys.readouterr().out.startswith(
        "IPSEC OK - 0 connections; 1 connection in maintenance: west_v4"
    )


def test_what_hangs_ends_in_time(host, monkeypatch, capsys, ended):
    monkeypatch.setattr(observation.charon, "observe", lambda: time.sleep(60))
    with pytest.raises(Ended):
        check.main(["-t", "1"])
    assert ended == [3]
    assert capsys.readouterr().out.startswith("IPSEC UNKNOWN - no verdict within 1 s")


@pytest.mark.parametrize(
    ("result", "status", "start"),
    [
        (Result(2, "IPSEC CRITICAL - x | trouble=1\n"), 2, "IPSEC CRITICAL - x"),
        (Result(0, '{"status": "OK"}\n'), 0, "{"),
        (
            Result(1, "", "sudo: a password is required\n"),
            3,
            "IPSEC UNKNOWN - only root may look, and sudo does not",
        ),
        (Result(127, "", "sudo: No such file or directory"), 3, "IPSEC UNKNOWN - only root may look"),
        (Result(1, "Sorry"), 3, "IPSEC UNKNOWN - only root may look"),
        (Result(124, "", "no end after 17 s: sudo"), 3, "IPSEC UNKNOWN - only root may look"),
        (Result(77, "IPSEC odd"), 3, "IPSEC UNKNOWN - only root may look"),
    ],
)
def test_who_is_not_root_goes_by_sudo(monkeypatch, capsys, result, status, start):
    asked = []
    monkeypatch.setattr(check.os, "geteuid", lambda: 65534)
    monkeypatch.setattr(processes, "run", lambda argv, timeout: asked.append(argv) or result)
    assert check.main(["-c", "3", "-v"]) == status
    assert capsys.readouterr().out.startswith(start)
    assert asked == [["sudo", "-n", "--", str(paths.here.check), "-c", "3", "-v"]]


def test_the_command_runs_with_the_system_s_python_alone(tmp_path):
    """Isolated, without site packages; what it says without a record."""
    script = (ROOT / "states/ipsec/files/check_ipsec").read_text()
    command = tmp_path / "check_ipsec"
    command.write_text(script.replace("/usr/local/lib/hostipsec", str(ROOT / "_utils")))
    argv = ["/usr/bin/python3", "-IS", command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("IPSEC UNKNOWN - ")
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (3, "UNKNOWN")
