"""A configuration tried out before it is swapped in: by a parser, then by a charon of its own.

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
from ..certificates import listed
from ..charon import statusall
from ..charon.credentials import Loaded
from ..charon.stroke import StrokeBackend
from ..charon.vicisession import ViciBackend, connect
from ..errors import CharonError, ConfigError, HostIPsecError
from ..model import IPSEC_CONF, SWANCTL, Charon
from ..strongswan import swanctl
from ..system import processes

CONFTEST_OK = "config OK"
DEADLINE = 15.0  # seconds: charon with 70 connections answers after less than one
_POLL = 0.05
_GONE = re.compile(r"refused to be started|has died|died on signal|aborting charon|too long to start")
# a trial has no network, so nothing it says of the network is a reason
_NOISE = re.compile(r"^\d+\[(NET\] |[A-Z]{3}\] (?!.*(fail|abort|invalid|error|unable)))")
_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
# by back end, the files of a trial below its directory, and which of the paths they stand for
FILES: Mapping[str, Mapping[str, str]] = {
    IPSEC_CONF: {
        "ipsec.conf": "conf",
        "ipsec.secrets": "secrets",
        "strongswan.d/hostipsec.conf": "strongswan",
    },
    SWANCTL: {"conf.d/hostipsec.conf": "swanctl", "strongswan.d/hostipsec.conf": "strongswan"},
}
# $1: that directory. Until `apart` is there, what answers at charon's sockets is the charon in service.
_SCRIPT = """\
set -e
mount -t tmpfs -o mode=0755 tmpfs /run
[ -L /var/run ] || mount --bind /run /var/run
mount --bind "$1/strongswan.d" /etc/strongswan.d
if [ -d "$1/conf.d" ]; then
    mount --bind "$1/conf.d" /etc/swanctl/conf.d
    touch "$1/apart"
    exec "$2"
fi
mount --bind "$1/ipsec.conf" /etc/ipsec.conf
mount --bind "$1/ipsec.secrets" /etc/ipsec.secrets
touch "$1/apart"
exec "$2" --nofork
"""
_LOGGED = b"charon-systemd {\n filelog {\n  stderr {\n   default = 1\n  }\n }\n}\n"  # it logs to the journal


@dataclass(frozen=True)
class Verdict:
    """What the trial charon showed; None where namespaces cannot be made on this host."""

    charon: Optional[Charon]
    warning: str = ""
    loaded: Optional[Loaded] = None


def can_start(by: str) -> bool:
    """Say whether this host has the charon of a back end."""
    return _program(by).exists()


def _program(by: str) -> Path:
    return paths.here.charon_systemd if by == SWANCTL else paths.here.starter


def parsed(directory: Path) -> None:
    """Have the files of a trial parsed. Raises ConfigError."""
    if _by(directory) == SWANCTL:
        if not swanctl.intact((directory / "conf.d/hostipsec.conf").read_text()):
            raise ConfigError(
                f"the new {paths.here.swanctl.name} does not read as it was meant; nothing was changed"
            )
    else:
        conftest(directory / "ipsec.conf")


def _by(directory: Path) -> str:
    return SWANCTL if (directory / "conf.d").is_dir() else IPSEC_CONF


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
    """Yield a directory with the files of a back end, and ``strongswan.d``, as they would be.

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
        if any(name.startswith("conf.d/") for name in files):
            shutil.copytree(paths.here.swanctl.parent, directory / "conf.d")
            (directory / "strongswan.d/zz-trial.conf").write_bytes(_LOGGED)
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
    with _started(directory, names, deadline) as (charon, trial):
        return Verdict(charon, loaded=trial.credentials())


def algorithms(
    strongswan_d: Path, below: Path, by: str = IPSEC_CONF, deadline: float = DEADLINE
) -> Optional[frozenset[str]]:
    """Return the algorithms that a charon has which starts now; None where namespaces cannot be made.

    The charon in service may have started before its plugins were there, or before they were replaced.
    Raises :class:`~hostipsec.errors.ConfigError` when it does not start.
    """
    if not _possible():
        return None
    nothing = {name: b"" for name in FILES[by] if not name.startswith("strongswan.d")}
    with staged(nothing, strongswan_d, below) as directory, _started(directory, (), deadline) as (_, trial):
        return trial.algorithms()


def _possible() -> bool:
    return processes.run([*_UNSHARE, "true"], 10).status == 0


class _Trial:
    """A charon on trial, told by ipsec.conf."""

    def __init__(self, pid: int) -> None:
        self.run = _inside(pid)

    def observe(self) -> Optional[Charon]:
        """Return what it shows; None where it does not answer yet."""
        done = self.run(["ipsec", "statusall"], 5)
        if done.status != 0 or "Status of IKE charon daemon" not in done.stdout:
            return None
        return statusall.parse(done.stdout)

    def credentials(self) -> Loaded:
        """Return what it has of certificates."""
        return StrokeBackend(self.run).credentials()

    def algorithms(self) -> frozenset[str]:
        """Return what it has of algorithms."""
        return StrokeBackend(self.run).algorithms()


class _SwanctlTrial(_Trial):
    """A charon on trial, told by swanctl's files as at a boot."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        socket = str(paths.here.proc / f"{pid}/root" / paths.here.charon_vici.relative_to(paths.here.root))
        self._vici = ViciBackend(lambda timeout: connect(timeout, socket))
        self._told = False

    def observe(self) -> Optional[Charon]:
        """Return what it shows; None where it does not answer yet. Raises ConfigError for what it refuses."""
        try:
            self._vici.glance(5)
            self._tell()
            return self._vici.observe(5)
        except CharonError:
            return None

    def _tell(self) -> None:
        if self._told:
            return
        done = self.run([str(paths.here.swanctl_program), "--load-all", "--noprompt"], DEADLINE)
        if done.status != 0:
            raise ConfigError(f"charon does not take the new configuration (swanctl): {why(done.text)}")
        self._told = True

    def credentials(self) -> Loaded:
        """Return what it has of certificates."""
        return listed.of(self._vici.held())

    def algorithms(self) -> frozenset[str]:
        """Return what it has of algorithms."""
        return self._vici.algorithms()


def why(said: str) -> str:
    """Return the lines of swanctl that say why it failed; not those of plugins that it does without."""
    told = [line for line in said.splitlines() if not line.startswith("plugin '")]
    return "; ".join(line for line in told if _REFUSED.search(line)) or "\n".join(told)[-500:]


_REFUSED = re.compile(r"fail|invalid|unknown|discard|error", re.IGNORECASE)


@contextlib.contextmanager
def _started(directory: Path, names: Collection[str], deadline: float) -> Iterator[tuple[Charon, _Trial]]:
    """Have a charon run with all of these connections; yields what it shows, and the way to it."""
    log, by = directory / "charon.log", _by(directory)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _SCRIPT, "trial", str(directory), str(_program(by))],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        trial = _SwanctlTrial(process.pid) if by == SWANCTL else _Trial(process.pid)
        charon = _wait(process, trial, log, frozenset(names), deadline)
        yield charon, trial
    finally:
        process.kill()  # and with it all in its process namespace (--kill-child)
        process.wait()


def _wait(
    process: subprocess.Popen[bytes], trial: _Trial, log: Path, names: frozenset[str], deadline: float
) -> Charon:
    missing, end = names, time.monotonic() + deadline
    while time.monotonic() < end:
        said = log.read_text(errors="replace")
        if process.poll() is not None or _GONE.search(said):
            raise ConfigError(f"charon does not start with the new configuration: {_reason(said)}")
        charon = trial.observe() if (log.parent / "apart").exists() else None
        if charon:
            missing = names - {connection.name for connection in charon.connections}
            if not missing:
                return charon
        time.sleep(_POLL)
    raise ConfigError(
        f"charon does not load {', '.join(sorted(missing)[:5])} ({len(missing)} of {len(names)}) "
        f"within {deadline:g} s: {_reason(log.read_text(errors='replace'))}"
    )


def _inside(pid: int) -> processes.Run:
    """Return what runs programs where the trial is."""
    # with --root, as the root of a host that is itself a chroot is not that of its mount namespace
    enter = ["nsenter", "--target", str(pid), "--mount", "--net", "--root"]
    return lambda argv, timeout: processes.run([*enter, *argv], timeout)


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    return "; ".join(lines[-5:]) or "it says nothing"
