"""Real processes of hosts that are given addresses which this machine does not have."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import fleets

PROGRAM = """#!/bin/sh
[ "$*" != "-j address show" ] || exec cat "$0.json"
exec {ip} "$@"
"""


def addresses(*hosts: str) -> list[str]:
    """Return the addresses of hosts of the example fleet, of all by default."""
    every = fleets.example()["hosts"]
    chosen = (every[host] for host in hosts or every)
    return [str(one[family]) for one in chosen for family in ("ipv4", "ipv6") if family in one]


def at_home(place: Path, wanted: Iterable[str]) -> dict[str, str]:
    """Return an environment whose ``ip`` shows these addresses; whatever else it is asked for is real."""
    place.mkdir(parents=True, exist_ok=True)
    local = [{"family": "inet6" if ":" in one else "inet", "local": one} for one in wanted]
    (place / "ip.json").write_text(json.dumps([{"ifname": "lo", "addr_info": local}]))
    (place / "ip").write_text(PROGRAM.format(ip=shutil.which("ip")))
    (place / "ip").chmod(0o755)
    return {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}
