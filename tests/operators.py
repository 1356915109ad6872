"""What operators type at the Salt master, and what they read."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from fleetlab import Lab
from fleetlab.process import wait_for

HOLD = "/var/lib/hostipsec/hold.json"


class Master:
    """The shell of the master."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def run(self, function: str, *arguments: str, timeout: float = 150) -> tuple[int, list[str]]:
        """Return the exit status and the lines that an operator reads."""
        command = ["salt-run", function if "." in function else f"ipsec.{function}", *arguments]
        done = self.lab.master.run(command, check=False, timeout=timeout)
        return done.returncode, read(done.stdout, done.stderr)

    def data(self, function: str, *arguments: str, timeout: float = 150) -> tuple[int, Any]:
        """Return the exit status and the data."""
        command = ["salt-run", "--out=json", f"ipsec.{function}", *arguments]
        done = self.lab.master.run(command, check=False, timeout=timeout)
        return done.returncode, json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{") :])[0]

    def start(self, function: str, *arguments: str) -> Running:
        """Start a command, which others come in between of."""
        return Running(self.lab, ["salt-run", f"ipsec.{function}", *arguments])


class Running:
    """A command that is not done yet."""

    def __init__(self, lab: Lab, command: list[str]) -> None:
        self.lab, self.text = lab, " ".join(command)
        self._place = Path(tempfile.mkdtemp(dir=lab.place))
        self._out, self._err = self._place / "out", self._place / "err"
        argv = lab.master.argv(command, {"PYTHONUNBUFFERED": "1"})
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(argv, stdout=out, stderr=err)

    @property
    def printed(self) -> str:
        """What it printed so far."""
        return self._out.read_text()

    def wait_until_printed(self, *texts: str) -> None:
        """Wait until each text is printed."""
        wait_for(
            lambda: all(text in self._out.read_text() for text in texts), f"{', '.join(texts)} printed", 60
        )

    def wait_until_held(self, host: str) -> None:
        """Wait until it has reached a host."""
        machine = self.lab.host(host)
        wait_for(
            lambda: machine.run(["test", "-e", HOLD], check=False).returncode == 0, f"a hold at {host}", 60
        )

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.lab.master.run(["pkill", "--oldest", "-INT", "-f", self.text])

    def end(self, timeout: float = 120) -> tuple[int, list[str]]:
        """Return the exit status and the lines that an operator reads."""
        status = self._process.wait(timeout)
        return status, read(self._out.read_text(), self._err.read_text())


def read(out: str, err: str) -> list[str]:
    """Return the lines of a command; none of them is of a traceback."""
    assert "Traceback" not in out + err, out + err
    return [line for line in out.splitlines() if "unclosed" not in line]
