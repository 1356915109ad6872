"""The one way to start a process: an argument list, a deadline, text back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Callable, NamedTuple, Optional, Sequence

TIMED_OUT = 124  # as timeout(1) says
NOT_FOUND = 127  # as a shell says


class Result(NamedTuple):
    """What a process left behind."""

    status: int
    stdout: str
    stderr: str = ""

    @property
    def text(self) -> str:
        """Return both streams, one after the other."""
        return self.stdout + self.stderr


Run = Callable[[Sequence[str], float], Result]


def run(
    argv: Sequence[str], timeout: float, env: Optional[Mapping[str, str]] = None, stdin: str = ""
) -> Result:
    """Run a program to its end, or kill it after ``timeout`` seconds (status 124).

    It reads ``stdin``, and then the end. Output is read in locale C. A program that is not there gives
    status 127.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
        )
    except subprocess.TimeoutExpired as expired:
        return Result(TIMED_OUT, _text(expired.stdout), f"no end after {timeout:g} s: {argv[0]}")
    except OSError as error:
        return Result(NOT_FOUND, "", f"{argv[0]}: {error.strerror}")
    return Result(done.returncode, _text(done.stdout), _text(done.stderr))


def _text(output: Optional[bytes]) -> str:
    return (output or b"").decode("utf-8", "replace")
