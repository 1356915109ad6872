"""Which processes are strongSwan's: those that run its programs as root, whatever others are called."""

from __future__ import annotations

import os

import pytest

from hostipsec.errors import HostIPsecError
from hostipsec.system import heartbeat, manager, service

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


@pytest.mark.parametrize(("name", "told"), [("charon", True), ("sh", False), (None, False)])
def test_whoever_is_not_shown_what_a_process_runs_goes_by_its_name(unit, name, told):
    """The keeper may look at no program of another's, and saw no charon at all."""
    (unit.proc / "8/cgroup").write_text("0::/user.slice/user-0.slice/session-3.scope\n")
    (unit.proc / "8/exe").unlink()
    if name:
        (unit.proc / "8/comm").write_text(f"{name}\n")
    assert service.astray().startswith("charon runs outside of strongswan-starter") is told


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


@pytest.mark.parametrize(
    ("program", "systemd", "scripts"),
    [
        ("/usr/lib/systemd/systemd", True, False),
        ("/usr/sbin/init", False, True),  # of sysvinit-core
        ("/usr/sbin/init", True, False),
        ("/usr/bin/dumb-init", False, False),  # a container
        ("/usr/bin/sleep", False, False),
    ],
)
def test_what_starts_services_here(processes, program, systemd, scripts):
    processes.add(1, program)
    if systemd:
        processes.here.systemd.mkdir(parents=True)
    assert (service.systemd_runs(), service.scripts_run()) == (systemd, scripts)
    assert service.keeper_runs() == (systemd or scripts)


@pytest.fixture
def scripts(processes):
    """A host whose init runs scripts; what they are told."""
    processes.add(1, "/usr/sbin/init")
    processes.here.scripts.mkdir(parents=True)
    return processes.here.scripts


def script(place, name, body="exit 0"):
    path = place / name
    path.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>{place}/told\n{body}\n')
    path.chmod(0o755)
    return path


def told(place):
    return (place / "told").read_text().splitlines() if (place / "told").exists() else []


def test_a_keeper_is_asked_for_by_its_script(scripts):
    assert service.lacking("hostipsec-keeper.service", 5).endswith(" is not there; apply state ipsec")
    found = script(scripts, "hostipsec-keeper")
    assert service.lacking("hostipsec-keeper.service", 5) == ""
    script(scripts, "hostipsec-keeper", "exit 3")
    assert service.lacking("hostipsec-keeper.service", 5) == (
        "hostipsec-keeper does not run (status 3); type: service hostipsec-keeper start; "
        "see: grep hostipsec-keeper /var/log/syslog"
    )
    assert told(scripts) == ["hostipsec-keeper status"] * 2
    assert heartbeat.missing() == ""  # it began a moment ago
    os.utime(found, (0, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat, "_since_boot", lambda: 1000.0)
        patch.setattr(heartbeat, "_started", lambda: 10.0)
        assert heartbeat.missing().startswith("the keeper has not looked for 990 s: ")
        assert heartbeat.missing().endswith("see: grep hostipsec-keeper /var/log/syslog")


def test_the_service_is_started_by_its_script(scripts):
    with pytest.raises(HostIPsecError, match="it has no service on this host"):
        service.start(5)
    script(scripts, "ipsec")
    service.restart(5)
    assert told(scripts) == ["ipsec restart"]
    script(scripts, "ipsec", "echo no; exit 1")
    with pytest.raises(HostIPsecError, match=r"init.d/ipsec stop: no; see: grep ipsec /var/log/syslog"):
        service.stop(5)


def test_scripts_of_ours_go_and_that_of_strongswan_stays(scripts, monkeypatch):
    links = scripts.parent / "rc2.d"
    links.mkdir()
    script(scripts, "ipsec")
    for name in ("hostipsec-guard", "hostipsec-keeper"):
        script(scripts, name)
    assert [path.name for path in manager.ours()] == ["hostipsec-guard", "hostipsec-keeper"]
    assert not manager.enabled("ipsec")
    (links / "S02ipsec").symlink_to("../init.d/ipsec")
    assert manager.enabled("ipsec")
    (scripts.parent / "bin").mkdir()
    script(scripts.parent / "bin", "update-rc.d").write_text(
        f'#!/bin/sh\necho "update-rc.d $*" >>{scripts}/told\n'
    )
    monkeypatch.setenv("PATH", f"{scripts.parent}/bin:{os.environ['PATH']}")
    for path in manager.ours():
        manager.remove(path)
    manager.disable("ipsec")
    manager.reread()
    assert manager.ours() == []
    assert told(scripts) == [
        *("hostipsec-guard stop", "update-rc.d hostipsec-guard remove"),
        *("hostipsec-keeper stop", "update-rc.d hostipsec-keeper remove"),
        *("ipsec stop", "update-rc.d ipsec disable"),
    ]
