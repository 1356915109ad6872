"""Running programs of the machine, and finding processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import CommandError, LabError

Completed = subprocess.CompletedProcess[str]


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a program of the machine and return what it wrote; `CommandError` on another status than 0."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            env=env,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed; run lab/setup") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(argv)}: not done after {timeout:g} s", 124) from None
    if check and done.returncode:
        text = (done.stderr or done.stdout).strip()
        raise CommandError(f"{' '.join(argv)}: status {done.returncode}: {text}", done.returncode)
    return done


def run_logged(argv: Sequence[str], log: Path, what: str, env: dict[str, str] | None = None) -> None:
    """Run a long step with its output in a log file; a failure shows the end of it and says where it is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        output.write(f"+ {' '.join(argv)}\n")
        output.flush()
        try:
            done = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, check=False
            )
        except FileNotFoundError:
            raise LabError(f"{what}: {argv[0]} is not installed; run lab/setup") from None
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"{what}: {argv[0]} ended with status {done.returncode}\n{tail}\nlog: {log}")


def wait_for(
    ready: Callable[[], bool], what: str | Callable[[], str], timeout: float, interval: float = 0.1
) -> None:
    """Ask until it is true; raise `LabError` naming what was waited for when the time is over."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"{what() if callable(what) else what}: not within {timeout:g} s")
        time.sleep(interval)


def pids() -> Iterator[int]:
    """The processes that exist now."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def in_namespace(path: Path) -> list[int]:
    """The processes in the network namespace of that name."""
    try:
        wanted = path.stat().st_ino
    except FileNotFoundError:
        return []
    return [pid for pid in pids() if _namespace(pid) == wanted]


def _namespace(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def with_argument(text: str) -> list[int]:
    """The processes, other than this one, that have an argument containing the text."""
    wanted = text.encode()
    return [pid for pid in pids() if pid != os.getpid() and any(wanted in word for word in cmdline(pid))]


def cmdline(pid: int) -> list[bytes]:
    """The arguments of a process; none when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def is_init(pid: int) -> bool:
    """Whether the process is process 1 of a process namespace below ours."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"


def kill(found: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes, whether or not they are still there."""
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
