"""Services stopped and taken away, by systemd or scripts of /etc/init.d; what is not there needs nothing."""

from __future__ import annotations

from pathlib import Path

from .. import paths
from . import files, processes, service

OURS = "hostipsec-*"  # services, timers, sockets; and scripts
_DEADLINE = 30.0
_RUNLEVELS = "rc[2-5].d"  # of a host that is up


def ours() -> list[Path]:
    """Return the units and scripts of ours."""
    units = [path for path in paths.here.units.glob(f"{OURS}.*") if not path.is_dir()]
    return sorted([*units, *paths.here.scripts.glob(OURS)])


def stop(name: str) -> None:
    """Stop a service."""
    _run(["systemctl", "stop", name] if service.systemd_runs() else [_script(name), "stop"])


def restart(name: str) -> None:
    """Stop a service and start it."""
    _run(["systemctl", "restart", name] if service.systemd_runs() else [_script(name), "restart"])


def enabled(name: str) -> bool:
    """Say whether a service is started at boot."""
    if service.systemd_runs():
        return processes.run(["systemctl", "is-enabled", name], _DEADLINE).stdout.strip() == "enabled"
    return any(paths.here.scripts.parent.glob(f"{_RUNLEVELS}/S[0-9][0-9]{name}"))


def disable(name: str) -> None:
    """Stop a service, and have it started no more at boot."""
    if service.systemd_runs():
        _run(["systemctl", "disable", "--now", name])
    else:
        stop(name)
        _run(["update-rc.d", name, "disable"])


def remove(path: Path) -> None:
    """Stop a service of ours and remove its unit or script."""
    if path.parent == paths.here.units:
        disable(path.name)
        files.remove(path)
    else:
        _run([str(path), "stop"])
        files.remove(path)
        _run(["update-rc.d", path.name, "remove"])


def reread() -> None:
    """Have units and scripts read anew: systemd makes a unit of a script by its name."""
    if service.systemd_runs():
        _run(["systemctl", "daemon-reload"])


def _script(name: str) -> str:
    return str(paths.here.scripts / name)


def _run(argv: list[str]) -> None:
    processes.run(argv, _DEADLINE)
