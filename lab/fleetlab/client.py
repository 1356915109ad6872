"""The lab's end of `calls.py`: a client of Salt that runs on the master as long as the lab is looked at."""

import json
import selectors
import subprocess
from typing import IO, Any

from .cache import SALT_HOME
from .errors import LabError
from .machine import Machine

PROGRAM = "/srv/ipsec/lab/fleetlab/calls.py"


class Client:
    """Gives jobs to minions; started with the first one, and anew where it ended with its host."""

    def __init__(self, master: Machine) -> None:
        self._master = master
        self._process: subprocess.Popen[str] | None = None

    def answers(self, job: dict[str, Any], timeout: float) -> dict[str, Any]:
        """What each minion that answered returned; `LabError` where the master did not, within that time."""
        process = self._running()
        assert process.stdin and process.stdout
        try:
            print(json.dumps(job), file=process.stdin, flush=True)
        except BrokenPipeError:
            return self._failed(job, "the client ended")
        line = _line(process.stdout, timeout)
        if not line.endswith("\n"):
            return self._failed(job, f"no answer of the master within {timeout:g} s")
        found: dict[str, Any]
        found, error = json.loads(line)
        return self._failed(job, error) if error else found

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._master.argv([f"{SALT_HOME}/bin/python", "-B", PROGRAM]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._process

    def _failed(self, job: dict[str, Any], why: str) -> dict[str, Any]:
        self.stop()
        raise LabError(f"{job['function']} on {job['target']}: {why}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _line(stream: IO[str], timeout: float) -> str:
    """Read the one line that answers a job, where it begins to come within that time."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(timeout) else ""
