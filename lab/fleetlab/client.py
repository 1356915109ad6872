"""The lab's end of `calls.py`: Salt that stays loaded on a host as long as the lab is looked at."""

import json
import selectors
import subprocess
from typing import IO, Any, NoReturn

from .cache import SALT_HOME
from .errors import LabError
from .machine import Machine

PROGRAM = "/srv/ipsec/lab/fleetlab/calls.py"


class Client:
    """Gives jobs to Salt on a host; started with the first one, and anew where it ended with the host."""

    def __init__(self, host: Machine, kind: str) -> None:
        self._host, self._kind = host, kind
        self._process: subprocess.Popen[str] | None = None

    def answer(self, job: dict[str, Any], timeout: float) -> Any:
        """What was found; `LabError` where there is no answer within that time, or an error."""
        process = self._running()
        assert process.stdin and process.stdout
        try:
            print(json.dumps(job), file=process.stdin, flush=True)
        except BrokenPipeError:
            self._failed(job, "it ended")
        line = _line(process.stdout, timeout)
        if not line.endswith("\n"):
            self._failed(job, f"no answer of Salt within {timeout:g} s")
        found, error = json.loads(line)
        if error:
            self._failed(job, error)
        return found

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._host.argv([f"{SALT_HOME}/bin/python", "-B", PROGRAM, self._kind]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._process

    def _failed(self, job: dict[str, Any], why: str) -> NoReturn:
        self.stop()
        raise LabError(f"{self._host.name}: {job}: {why}")

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
