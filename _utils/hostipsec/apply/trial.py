"""A configuration tried out before it is swapped in: by starter's own parser, then by a charon of its own.

The trial charon runs in private mount, network and process namespaces with the new files over the old
ones. It has no network, sees no tunnel and leaves nothing; the charon in service does not notice.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .. import paths
from ..charon import statusall
from ..charon.credentials import Loaded
from ..charon.stroke import StrokeBackend
from ..errors import ConfigError, HostIPsecError
from ..model import Charon
from ..system import processes

CONFTEST_OK = "config OK"
DEADLINE = 15.0  # seconds: charon with 70 connections answers after less than one
_POLL = 0.05
_GONE = re.compile(r"refused to be started|has died|died on signal|aborting charon|too long to start")
# a trial has no network, so nothing it says of the network is a reason
_NOISE = re.compile(r"^\d+\[(NET\] |[A-Z]{3}\] (?!.*(fail|abort|invalid|error|unable)))")
_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
# $1: a directory with ipsec.conf, ipsec.secrets and strongswan.d. Until `apart` is there, what answers at
# charon's sockets is the charon in service.
_SCRIPT = """\
set -e
mount -t tmpfs -o mode=0755 tmpfs /run
[ -L /var/run ] || mount --bind /run /var/run
mount --bind "$1/ipsec.conf" /etc/ipsec.conf
mount --bind "$1/ipsec.secrets" /etc/ipsec.secrets
mount --bind "$1/strongswan.d" /etc/strongswan.d
touch "$1/apart"
exec "$2" --nofork
"""


@dataclass(frozen=True)
class Verdict:
    """What the trial charon showed; None where namespaces cannot be made on this host."""

    charon: Optional[Charon]
    warning: str = ""
    loaded: Optional[Loaded] = None


def conftest(conf: Path) -> None:
    """Let starter parse ipsec.conf; each warning is fatal, as it drops the connection (exit status 0).

    Raises :class:`~hostipsec.errors.ConfigError` with what starter says.
    """
    done = processes.run([str(paths.here.starter), "--conftest", "--conf", str(conf)], 30)
    said = [line for line in done.text.splitlines() if line.strip() and CONFTEST_OK not in line]
    if done.status != 0 or said or CONFTEST_OK not in done.text:
        raise ConfigError(
            f"strongSwan does not take the new ipsec.conf (starter --conftest, status {done.status}): "
            + "; ".join(line.replace(str(conf), "ipsec.conf") for line in said[:10])
        )


@contextlib.contextmanager
def staged(files: Mapping[str, bytes], strongswan_d: Path, below: Path) -> Iterator[Path]:
    """Yield a directory with ``ipsec.conf``, ``ipsec.secrets`` and ``strongswan.d`` as they would be.

    ``files`` gives the contents by name relative to that directory; ``below`` is made 0700.
    """
    try:
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(below)
        directory = Path(tempfile.mkdtemp(prefix=f"trial.{os.getpid()}.", dir=below))
    except OSError as error:
        raise _unwritable(below, error) from None
    try:
        shutil.copytree(strongswan_d, directory / "strongswan.d")
        for name, content in files.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o600)
        yield directory
    except OSError as error:
        raise _unwritable(directory, error) from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sweep(below: Path) -> None:
    """Remove what a process left that was killed in a trial."""
    for directory in below.glob("trial.*.*"):
        pid = directory.name.split(".")[1]
        if not (paths.here.proc / str(pid)).exists():
            shutil.rmtree(directory, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> HostIPsecError:
    """Say why a directory cannot be filled; for a tree, why its first file could not be copied."""
    if isinstance(error, shutil.Error):
        return HostIPsecError(f"{path}: cannot be written: {error.args[0][0][2]}; nothing was changed")
    return HostIPsecError(f"{path}: cannot be written: {error.strerror}; nothing was changed")


def run(directory: Path, names: Collection[str], deadline: float = DEADLINE) -> Verdict:
    """Start a charon with the files in ``directory`` and wait until it has loaded ``names``.

    Raises :class:`~hostipsec.errors.ConfigError` when it does not start or does not load them all.
    """
    if not _possible():
        return Verdict(None, "no trial charon: this host does not let root make namespaces (unshare)")
    with _started(directory, names, deadline) as (charon, backend):
        return Verdict(charon, loaded=backend.credentials())


def algorithms(strongswan_d: Path, below: Path, deadline: float = DEADLINE) -> Optional[frozenset[str]]:
    """Return the algorithms that a charon has which starts now; None where namespaces cannot be made.

    The charon in service may have started before its plugins were there, or before they were replaced.
    Raises :class:`~hostipsec.errors.ConfigError` when it does not start.
    """
    if not _possible():
        return None
    nothing = {"ipsec.conf": b"", "ipsec.secrets": b""}
    with staged(nothing, strongswan_d, below) as directory, _started(directory, (), deadline) as (_, backend):
        return backend.algorithms()


def _possible() -> bool:
    return processes.run([*_UNSHARE, "true"], 10).status == 0


@contextlib.contextmanager
def _started(
    directory: Path, names: Collection[str], deadline: float
) -> Iterator[tuple[Charon, StrokeBackend]]:
    """Have a charon run with all of these connections; yields what it shows, and the way to it."""
    log = directory / "charon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _SCRIPT, "trial", str(directory), str(paths.here.starter)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        charon = _wait(process, log, frozenset(names), time.monotonic() + deadline)
        yield charon, StrokeBackend(_inside(process.pid))
    finally:
        process.kill()  # and with it all in its process namespace (--kill-child)
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path, names: frozenset[str], deadline: float) -> Charon:
    missing = names
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        if process.poll() is not None or _GONE.search(said):
            raise ConfigError(f"charon does not start with the new configuration: {_reason(said)}")
        charon = _observe(process.pid) if (log.parent / "apart").exists() else None
        if charon:
            missing = names - {connection.name for connection in charon.connections}
            if not missing:
                return charon
        time.sleep(_POLL)
    raise ConfigError(
        f"charon does not load {', '.join(sorted(missing)[:5])} ({len(missing)} of {len(names)}) "
        f"within {DEADLINE:g} s: {_reason(log.read_text(errors='replace'))}"
    )


def _inside(pid: int) -> processes.Run:
    """Return what runs programs where the trial is."""
    # with --root, as the root of a host that is itself a chroot is not that of its mount namespace
    enter = ["nsenter", "--target", str(pid), "--mount", "--net", "--root"]
    return lambda argv, timeout: processes.run([*enter, *argv], timeout)


def _observe(pid: int) -> Optional[Charon]:
    done = _inside(pid)(["ipsec", "statusall"], 5)
    if done.status != 0 or "Status of IKE charon daemon" not in done.stdout:
        return None
    return statusall.parse(done.stdout)


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    return "; ".join(lines[-5:]) or "it says nothing"
