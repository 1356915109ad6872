"""The service that runs charon, and its processes. Nothing here waits longer than it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from .. import paths
from ..affixes import without_suffix
from ..errors import HostIPsecError
from ..model import SWANCTL
from . import backend, processes

CHARON, STARTER = "charon", "starter"
_POLL = 0.02
_ASKING = 1.0  # seconds
_CREDENTIALS = struct.Struct("3i")  # process, user and group: unix(7)


def systemd_runs() -> bool:
    """Say whether systemd is process 1."""
    return paths.here.systemd.is_dir()


def scripts_run() -> bool:
    """Say whether process 1 is an init that runs scripts of /etc/init.d, as that of sysvinit-core."""
    return not systemd_runs() and Path(_program("1")).name == "init"


def keeper_runs() -> bool:
    """Say whether something runs the keeper here: then that starts this host's connections, else the starter.

    In a container that runs a program as its process 1, nothing does.
    """
    return systemd_runs() or scripts_run()


def pids(*names: str, by: str = "") -> tuple[int, ...]:
    """Return the processes that run strongSwan's programs of those names, in this network namespace.

    ``by`` is the back end whose charon is meant, by default the one that this host runs by.

    A name is not enough: anybody can give it to a process. They are root's, or the one in charon's pid file,
    which only root writes. Those of containers are not ours.
    """
    programs = {str(_path(name, by or backend.here())) for name in names}
    here = _namespace("self")
    entries = (entry.name for entry in paths.here.proc.iterdir() if entry.name.isdigit())
    ours = (pid for pid in entries if _program(pid) in programs and _namespace(pid) == here)
    return tuple(sorted(int(pid) for pid in ours if _lives(pid) and (_of_root(pid) or pid == _noted())))


def _path(name: str, by: str) -> Path:
    """Return the path of a program: charon-systemd is charon and what starts it in one."""
    return paths.here.charon_systemd if by == SWANCTL else paths.here.starter.with_name(name)


def charon_pid() -> int:
    """Return the process of charon, by its pid file where it writes one; 0 where none is known.

    Else it is who listens at its socket, which the keeper may ask as well: it is shown nobody's program.
    """
    if backend.here() == SWANCTL:
        return _listening() or next(iter(pids(CHARON)), 0)
    noted = _noted()
    return int(noted) if noted.isdecimal() else 0


def _listening() -> int:
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as asked:
            asked.settimeout(_ASKING)
            asked.connect(str(paths.here.charon_vici))
            told = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return int(_CREDENTIALS.unpack(told)[0])
    except OSError:
        return 0


def _program(pid: str) -> str:
    """Return the path of what a process runs, also once a package took it away; nothing where none says."""
    try:
        return without_suffix(os.readlink(paths.here.proc / pid / "exe"), " (deleted)")
    except OSError:
        return ""


def _lives(pid: str) -> bool:
    """Say whether there is a process, and not one that only waits for its parent."""
    try:
        rest = (paths.here.proc / pid / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return bool(rest) and rest[0] not in (b"Z", b"X")


def _of_root(pid: str) -> bool:
    """Say whether root started it, and it has not become another user's."""
    try:
        lines = (paths.here.proc / pid / "status").read_bytes().splitlines()
    except OSError:
        return False
    users = next((line.split()[1:] for line in lines if line.startswith(b"Uid:")), [])
    return bool(users) and {*users} == {b"0"}


def _noted() -> str:
    """Return the process of charon's pid file; nothing where none is there."""
    try:
        return paths.here.charon_pid.read_bytes().decode("ascii", "replace").strip()
    except OSError:
        return ""


def _namespace(pid: str) -> str:
    try:
        return os.readlink(paths.here.proc / pid / "ns/net")
    except OSError:
        return ""


def kill(found: Iterable[int], timeout: float) -> tuple[int, ...]:
    """Kill processes, stopped ones as well; returns those that are still there after the timeout."""
    found = tuple(found)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + timeout
    while True:
        left = tuple(pid for pid in found if _lives(str(pid)))
        if not left or time.monotonic() > end:
            return left
        time.sleep(_POLL)


def unit() -> str:
    """Return the name of the unit; empty where systemd does not run, or strongSwan is not installed."""
    if not systemd_runs():
        return ""
    names = (paths.SWANCTL_UNIT,) if backend.here() == SWANCTL else paths.STRONGSWAN_UNITS
    places = (
        (name, directory / f"{name}.service") for name in names for directory in paths.here.unit_directories
    )
    return next((name for name, path in places if path.exists()), "")


def lacking(name: str, timeout: float) -> str:
    """Say that a unit of ours, or its script, does not run; empty where it does, or nothing here runs it."""
    if scripts_run():
        return _unscripted(name.rpartition(".")[0], timeout)
    if not systemd_runs():
        return ""
    found = processes.run(["systemctl", "is-active", name], timeout)
    state = " ".join(found.text.split()) or f"status {found.status}"
    return "" if state == "active" else f"{name} does not run ({state}); see: journalctl -u {name}"


def _unscripted(name: str, timeout: float) -> str:
    script = paths.here.scripts / name
    if not script.exists():
        return f"{name} does not run: {script} is not there; apply state ipsec"
    found = processes.run([str(script), "status"], timeout)
    if found.status == 0:
        return ""
    return f"{name} does not run (status {found.status}); type: service {name} start; see: {log(name)}"


def log(name: str) -> str:
    """Return what shows the log of a service here: ``journalctl -u strongswan-starter``."""
    return f"journalctl -u {name}" if systemd_runs() else f"grep {name} /var/log/syslog"


def stopped(timeout: float) -> str:
    """Say that strongSwan's unit is not active, and how to start it; empty where it is, or there is none."""
    name = unit()
    if not name or not lacking(name, timeout):
        return ""
    how = f"see: {log(name)}" if name == paths.SWANCTL_UNIT else "as after 'ipsec stop'"
    return f"{name} is stopped, {how}; type: systemctl start {name}"


def astray() -> str:
    """Say that charon does not run in its unit, so that systemd does not know of it; empty where it does.

    So it is after ``ipsec start`` or ``ipsec restart`` at a shell: a second charon is started beside it, or
    none where the host is to start one, and the processes end with whoever typed that.
    """
    name, pid = unit(), str(charon_pid())
    if not name or not _is_charon(pid):
        return ""
    try:
        groups = (paths.here.proc / pid / "cgroup").read_text()
    except (OSError, ValueError):
        return ""
    if any(f"/{one}.service" in groups for one in paths.STRONGSWAN_UNITS):
        return ""
    if backend.here() == SWANCTL:
        return f"charon-systemd (process {pid}) is not in {name}; end it, then type: systemctl start {name}"
    return f"charon runs outside of {name}, as after 'ipsec restart'; {_BACK.format(name=name)}"


def _is_charon(pid: str) -> bool:
    """Say whether the process that root noted as charon is it; by its name where its program is not shown.

    That takes CAP_SYS_PTRACE, which the keeper has not.
    """
    if program := _program(pid):
        return program == str(_path(CHARON, backend.here()))
    try:
        name = _path(CHARON, backend.here()).name
        return bool(pid) and (paths.here.proc / pid / "comm").read_text() == f"{name}\n"
    except (OSError, ValueError):
        return False


_BACK = "type: ipsec stop; systemctl start {name} (tunnels end, and are back within seconds)"


def start(timeout: float) -> None:
    """Start the service without waiting for it. Raises HostIPsecError where that is not possible."""
    _act("start", timeout)


def restart(timeout: float) -> None:
    """Start the service anew, whatever became of its processes."""
    _act("restart", timeout)


def stop(timeout: float) -> None:
    """Stop the service, so that nothing starts its processes again."""
    _act("stop", timeout)


def _act(verb: str, timeout: float) -> None:
    name = unit()
    if name:
        argv = ["systemctl", "--no-block", verb, name]
    elif paths.here.init_script.exists() and not systemd_runs():
        argv = [str(paths.here.init_script), verb]
    else:
        raise HostIPsecError(f"strongSwan cannot be {_DONE[verb]}: it has no service on this host")
    done = processes.run(argv, timeout)
    if done.status != 0:
        said = " ".join(done.text.split()) or f"status {done.status}"
        raise HostIPsecError(f"{' '.join(argv)}: {said}; see: {log(name or 'ipsec')}")


_DONE = {"start": "started", "restart": "restarted", "stop": "stopped"}
