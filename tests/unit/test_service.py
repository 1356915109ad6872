"""Which processes are strongSwan's: those that run its programs as root, whatever others are called."""

from __future__ import annotations

import os

import pytest

from hostipsec.system import service

HERE, CONTAINER = "net:[4026531840]", "net:[4026532999]"


class Processes:
    """A /proc that a test makes up."""

    def __init__(self, here):
        self.here = here
        self.add("self", namespace=HERE)

    def add(self, pid, program="starter", user="0", namespace=HERE, name=b"starter", state=b"S", users=None):
        place = self.here.proc / str(pid)
        (place / "ns").mkdir(parents=True)
        (place / "ns/net").symlink_to(namespace)
        path = program if program.startswith("/") else str(self.here.starter.with_name(program))
        (place / "exe").symlink_to(path)
        (place / "stat").write_bytes(b"%s (%s) %s 1 1" % (str(pid).encode(), name, state))
        (place / "status").write_text(f"Name:\tx\nUid:\t{users or chr(9).join([user] * 4)}\n")


@pytest.fixture
def processes(here):
    return Processes(here)


def test_what_root_runs_is_found_also_after_the_package_has_gone(processes):
    processes.add(7)
    processes.add(8, "charon")
    processes.add(9, f"{processes.here.starter} (deleted)", name=b"a (b) \xff")
    assert service.pids(service.STARTER) == (7, 9)
    assert service.pids(service.CHARON, service.STARTER) == (7, 8, 9)


@pytest.mark.parametrize(
    "other",
    [
        {"program": "/home/nobody/starter"},
        {"program": "/usr/bin/python3.11"},  # named so by prctl
        {"user": "65534"},
        {"users": "1000\t0\t0\t0"},  # a program of root that somebody else started
        {"namespace": CONTAINER},
        {"state": b"Z"},
    ],
    ids=str,
)
def test_what_only_has_the_name_is_nobody_of_ours(processes, other):
    """Any user's process with the name `starter` was killed."""
    processes.add(7, **other)
    assert service.pids(service.STARTER) == ()


def test_a_charon_that_has_become_another_user_is_the_one_of_the_pid_file(processes):
    processes.add(7, "charon", user="106")
    processes.add(8, "charon", user="106")
    processes.here.charon_pid.write_text("7\n")
    assert service.pids(service.CHARON) == (7,)
    processes.here.charon_pid.write_bytes(b"\xff")
    assert service.pids(service.CHARON) == ()


@pytest.mark.skipif(os.getuid() != 0, reason="looks at processes of this machine")
def test_this_machine_can_be_asked(monkeypatch):
    assert os.getpid() not in service.pids("charon", "starter")


# At a shell ------------------------------------------------------------------------------------------


@pytest.fixture
def unit(processes):
    """Return a host with systemd and the unit, on which charon is process 8."""
    here = processes.here
    here.systemd.mkdir(parents=True)
    here.unit_directories[-1].mkdir(parents=True)
    (here.unit_directories[-1] / "strongswan-starter.service").write_text("")
    here.charon_pid.parent.mkdir(parents=True, exist_ok=True)
    here.charon_pid.write_text("8\n")
    processes.add(8, "charon")
    return here


@pytest.mark.parametrize(
    "groups",
    [
        "0::/system.slice/strongswan-starter.service\n",
        "12:cpu:/\n1:name=systemd:/machine.slice/x.scope/system.slice/strongswan-starter.service\n0::/\n",
        "0::/system.slice/strongswan.service\n",
        None,  # gone meanwhile
    ],
)
def test_a_charon_in_its_unit_is_where_it_should_be(unit, groups):
    if groups is not None:
        (unit.proc / "8/cgroup").write_text(groups)
    assert service.astray() == ""


def test_a_charon_that_somebody_started_at_a_shell_is_told_with_what_to_type(unit):
    """`ipsec restart` takes it out of its unit: systemd starts a second one, or none."""
    (unit.proc / "8/cgroup").write_text("0::/user.slice/user-0.slice/session-3.scope\n")
    assert service.astray() == (
        "charon runs outside of strongswan-starter, as after 'ipsec restart'; type: ipsec stop; "
        "systemctl start strongswan-starter (tunnels end, and are back within seconds)"
    )


@pytest.mark.parametrize("lacks", ["systemd", "unit", "charon"])
def test_where_there_is_no_unit_or_no_charon_nothing_is_said(unit, lacks):
    (unit.proc / "8/cgroup").write_text("0::/user.slice\n")
    if lacks == "systemd":
        unit.systemd.rmdir()
    elif lacks == "unit":
        (unit.unit_directories[-1] / "strongswan-starter.service").unlink()
    else:
        unit.charon_pid.write_text("99\n")
    assert service.astray() == ""
