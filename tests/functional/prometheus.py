"""Prometheus and promtool from Debian's package, unpacked below .build; nothing is installed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from strongswan import tree, wait_for

from hostipsec.system import processes

RULES = Path(__file__).parents[2] / "docs/monitoring/ipsec.rules.yml"
ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/" + sys.argv[1], timeout=60).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""


def unpacked() -> Path:
    """Return the tree with Prometheus."""
    return tree("prometheus", ("prometheus",))


def alertmanager() -> Path:
    """Return the tree with Alertmanager."""
    return tree("alertmanager", ("prometheus-alertmanager",))


def program(name: str) -> str:
    """Return where one of its programs is."""
    return str(unpacked() / "usr/bin" / name)


def promtool(*arguments: str) -> processes.Result:
    """Run promtool; its status and what it printed."""
    return processes.run([program("promtool"), *arguments], 120)


def impatient(place: Path) -> str:
    """Write our rules without the time that a fault may last; returns where they are."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (place / "rules.yml").write_text(yaml.safe_dump(rules))
    return str(place / "rules.yml")


class Prometheus:
    """A Prometheus that scrapes files, in a network namespace of its own."""

    def __init__(self, place: Path, configuration: Mapping[str, Any]) -> None:
        """Start it; files below ``place/www`` are at 127.0.0.1:8000."""
        self.log = place / "prometheus.log"
        (place / "www").mkdir(exist_ok=True)
        (place / "prometheus.yml").write_text(json.dumps(configuration))
        argv = [
            program("prometheus"),
            f"--config.file={place}/prometheus.yml",
            f"--storage.tsdb.path={place}/tsdb",
        ]
        files = f"python3 -m http.server -b 127.0.0.1 -d '{place}/www' 8000"
        started = ["sh", "-c", f'ip link set lo up && {{ {files} & exec "$@"; }}', "sh", *argv]
        spaces = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*spaces, *started], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            wait_for(lambda: self.asked("status/config").get("status") == "success", "Prometheus", 90)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log.read_text()[-2000:]}") from None

    def asked(self, path: str, **arguments: str) -> dict[str, Any]:
        """Ask its API; nothing where it does not answer."""
        enter = ["nsenter", f"--net=/proc/{self._inside()}/ns/net", "python3", "-c", ASK]
        found = processes.run([*enter, f"{path}?{urlencode(arguments)}"], 90)
        return json.loads(found.stdout) if found.status == 0 and found.stdout else {}

    def _inside(self) -> str:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        wait_for(lambda: children.read_text().split() != [], "namespace of Prometheus")
        return children.read_text().split()[0]

    def stop(self) -> None:
        """End it, and with it its namespace."""
        self._process.kill()
        self._process.wait()
