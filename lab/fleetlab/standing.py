"""Hosts that stand already: set up once where this machine is fast, kept, and booted in whatever kernel.

In User Mode Linux the first run of the state takes minutes, and seconds here. charon does ESP while hosts are
set up, so that any kernel will do; pairs are `passive` or `off`, so that nothing starts when the hosts boot.
The first run of the state in the other kernel makes the difference to the plane there.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from . import cache, disks
from .errors import LabError
from .lab import Lab, fresh
from .paths import BUILD, LAB, REPO
from .plane import CHARON
from .process import kill, wait_for
from .progress import say

FLEET = LAB / "fleets/small.sls"
STAGES = {"edge-to-core": "passive", "core-to-core": "off"}
DISKS = BUILD / "standing.tar"
KEY = BUILD / "standing.key"
POWER_OFF = 38  # SIGRTMIN+4: systemd ends all services, then itself
DEADLINE = 60.0  # seconds, for hosts to shut down in order


def ready() -> Path:
    """Set the hosts up, where that was not done from these sources; return the file with their disks."""
    cache.ready()
    with cache.alone(BUILD / "standing.lock"):
        key = _key()
        if not (DISKS.exists() and KEY.exists() and KEY.read_text() == key):
            KEY.unlink(missing_ok=True)
            _set_up()
            KEY.write_text(key)
    return DISKS


def _key() -> str:
    """Return a digest of all that goes into the disks."""
    digest = hashlib.sha256(cache.MAIN.key.read_bytes())
    for path in _sources():
        digest.update(f"{path.relative_to(REPO)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for part in (*disks.SERVED, "states", "lab"):
        for path in sorted((REPO / part).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield path


def _set_up() -> None:
    with fresh(f"set{hashlib.sha256(str(BUILD).encode()).hexdigest()[:8]}", FLEET, CHARON) as lab:
        say("applying the state, at full speed")
        pillar = yaml.safe_load(FLEET.read_text())
        for rule in pillar["ipsec"]["rules"]:
            rule["stage"] = STAGES[rule["name"]]
        lab.set_pillar(yaml.safe_dump(pillar))
        lab.apply("*")
        _power_off(lab)
        disks.pack(DISKS, lab.place, lab.machines)
    say("the hosts stand")


def _power_off(lab: Lab) -> None:
    """Have all hosts shut down in order; one that hangs loses its power: its disk is memory, and whole."""
    lab.leave()
    kill([leader for machine in lab.machines.values() if (leader := machine.leader()) is not None], POWER_OFF)

    def off() -> bool:
        return all(machine.leader() is None for machine in lab.machines.values())

    with contextlib.suppress(LabError):
        wait_for(off, "the end of all hosts", DEADLINE)
    for machine in lab.machines.values():
        if machine.leader() is not None:
            say(f"{machine.name} does not shut down: its power is cut")
            machine.cut_power()
