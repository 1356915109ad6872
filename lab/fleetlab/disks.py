"""What a host finds on its disk when it boots for the first time: names, Salt, the pillar."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from . import names
from .addresses import PlannedHost, render_hosts_file
from .paths import LAB, REPO
from .process import run

SERVED = ("_modules", "_states", "_utils", "_output", "_runners", "_beacons", "_pillar")  # and states/ipsec
SOURCE = "/srv/ipsec"
SALT_ROOT, PILLAR_ROOT = "/srv/salt", "/srv/pillar"
ATTRIBUTES = ("--xattrs", "--xattrs-include=*", "--numeric-owner")  # an overlay marks directories by them
TOP = {"base": {"*": ["ipsec", "plane"]}}
# Where to start a process is slow, the looks of three keepers, each 5 s, take a third of the processor
SELDOM = """\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -IB -c "import sys; sys.path.insert(0, '/usr/local/lib/hostipsec'); \
    from hostipsec import paths; paths.KEEPER_INTERVAL = 15.0; \
    from hostipsec.programs.keeper import main; main()"
"""


def write(disk: Path, text: str, mode: int = 0o644) -> None:
    """Write a file and the directories above it."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_text(text)
    disk.chmod(mode)


def names_of(
    root: Path, lab: str, host: PlannedHost, hosts: Sequence[PlannedHost], master: str | None
) -> None:
    """Write what the host is called, and what it calls the others."""
    write(root / "etc/hostname", f"{host.name}\n")
    write(root / "etc/machine-id", f"{names.machine_id(lab, host.name)}\n", 0o444)
    write(root / "etc/hosts", render_hosts_file(host, hosts, master))


def addresses(root: Path, lines: Sequence[str]) -> None:
    """Write what the host gives its links at boot, when it is its turn: lines for `ip -batch`."""
    write(root / "etc/lab-network", "".join(f"{line}\n" for line in lines))
    enable(root, "lab-network")


def minion(root: Path, host: PlannedHost, masterless: bool, processes: bool) -> None:
    """Write a minion's configuration; without a master it serves itself from the same source.

    ``processes`` are few where there is one processor, and slow.
    """
    config: dict[str, object] = {
        "id": host.name,
        "master": "salt",
        "log_level_logfile": "warning",
        "multiprocessing": processes,
        "random_startup_delay": 0,
        "acceptance_wait_time": 1,
        "acceptance_wait_time_max": 3,
        "recon_default": 500,
        "recon_max": 3000,
        "grains_cache": False,
        "disable_modules": [],
        "enable_fqdns_grains": False,
        "metadata_server_grains": False,
    }
    if masterless:
        config |= {"file_client": "local", **_roots()}
    write(root / "etc/salt/minion", yaml.safe_dump(config))
    (disable if masterless else enable)(root, "salt-minion")
    if not processes:
        write(root / "etc/systemd/system/hostipsec-keeper.service.d/lab.conf", SELDOM)


def master(root: Path) -> None:
    """Write a master's configuration: a directory of links, as the README shows."""
    config = {
        "interface": "0.0.0.0",
        "user": "root",
        "auto_accept": True,
        "worker_threads": 3,
        "timeout": 15,
        "log_level_logfile": "warning",
        **_roots(),
    }
    write(root / "etc/salt/master", yaml.safe_dump(config))
    enable(root, "salt-master")


def _roots() -> dict[str, object]:
    return {"file_roots": {"base": [SALT_ROOT]}, "pillar_roots": {"base": [PILLAR_ROOT]}}


def unpack(standing: Path, place: Path) -> None:
    """Lay down the disks of hosts that were set up already."""
    run(["tar", *ATTRIBUTES, "--extract", f"--file={standing}", f"--directory={place}"])


def pack(standing: Path, place: Path, hosts: Iterable[str]) -> None:
    """Keep the disks of hosts that are off, and the CA that signed their certificates."""
    unfinished, parts = standing.with_suffix(".new"), ["ca", *(f"hosts/{name}/upper" for name in hosts)]
    run(["tar", *ATTRIBUTES, "--create", f"--file={unfinished}", f"--directory={place}", *parts])
    unfinished.replace(standing)


def served(root: Path) -> None:
    """Make the directory of links that the master serves (or a host without a master uses)."""
    salt = root / SALT_ROOT.lstrip("/")
    salt.mkdir(parents=True, exist_ok=True)
    for part in SERVED:
        if (REPO / part).is_dir():
            _link(salt / part, f"{SOURCE}/{part}")
    _link(salt / "ipsec", f"{SOURCE}/states/ipsec")


def pillar(root: Path, fleet: str, plane: str) -> None:
    """Write the pillar: the fleet's file as it is, and the plane's."""
    directory = root / PILLAR_ROOT.lstrip("/")
    write(directory / "top.sls", yaml.safe_dump(TOP))
    write(directory / "ipsec.sls", fleet)
    write(directory / "plane.sls", (LAB / f"pillar/plane-{plane}.sls").read_text())


def enable(root: Path, unit: str) -> None:
    """Enable a unit as systemctl would."""
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    _link(wants / f"{unit}.service", f"/usr/lib/systemd/system/{unit}.service")


def disable(root: Path, unit: str) -> None:
    """Disable a unit as systemctl would."""
    (root / f"etc/systemd/system/multi-user.target.wants/{unit}.service").unlink(missing_ok=True)


def _link(link: Path, target: str) -> None:
    """Have a link, also where there is one."""
    link.unlink(missing_ok=True)
    link.symlink_to(target)
