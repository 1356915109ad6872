"""A host: systemd as process 1 in systemd-nspawn, over a root that all hosts share."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import names
from .cache import Root
from .errors import CommandError, LabError
from .paths import LAB, NETNS, REPO
from .process import Completed, cmdline, in_namespace, is_init, kill, pids, run, wait_for

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
BOOT_DEADLINE = 120.0  # seconds; User Mode Linux takes its time
END_DEADLINE = 60.0  # seconds
CGROUPS = Path("/sys/fs/cgroup")


def cgroup_roots() -> tuple[Path, ...]:
    """Where cgroups are made: the one tree of version 2, or systemd's trees beside version 1."""
    if (CGROUPS / "cgroup.procs").exists():
        return (CGROUPS,)
    return tuple(root for root in (CGROUPS / "systemd", CGROUPS / "unified") if root.is_dir())


def cgroups(lab: str, host: str) -> tuple[Path, ...]:
    """The cgroups of a host."""
    return tuple(root / names.namespace(lab, host) for root in cgroup_roots())


def remove_cgroups(lab: str, host: str) -> None:
    """End what is left in the cgroups of a host, and remove them."""
    for top in cgroups(lab, host):
        wait_for(lambda one=top: _removed(one), f"the end of cgroup {top}", END_DEADLINE)


def _removed(top: Path) -> bool:
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            kill(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
            Path(directory).rmdir()
    return not top.exists()


class Machine:
    """One host of a lab; ``place`` is its directory."""

    def __init__(self, lab: str, name: str, place: Path, shared: Root) -> None:
        self.lab, self.name, self.place, self.shared = lab, name, place, shared
        self._leader: int | None = None

    @property
    def upper(self) -> Path:
        """What the host's disk has beside the shared root; written to before the host boots."""
        return self.place / "upper"

    @property
    def console(self) -> Path:
        """The log of its console."""
        return self.place / "console.log"

    def boot(self) -> None:
        """Start it, without waiting."""
        for directory in ("upper", "work", "root"):
            (self.place / directory).mkdir(parents=True, exist_ok=True)
        groups = cgroups(self.lab, self.name)
        for group in groups:
            group.mkdir(exist_ok=True)
        with self.console.open("a") as console, Path("/proc/self/ns/mnt").open() as outside:
            launch = [outside.fileno(), LAB / "lab", self.lab, self.name, self.shared.image, self.place]
            subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation", "private", str(LAB / "host-launch")),
                    *map(str, launch),
                    " ".join(map(str, groups)),
                    *self._nspawn(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[outside.fileno()],
                start_new_session=True,
                env={**ENVIRONMENT, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
            )

    def _nspawn(self) -> list[str]:
        options = [
            *(
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--boot",
                "--console=pipe",
                "--kill-signal=SIGRTMIN+3",
            ),
            f"--machine={names.machine(self.lab, self.name)}",
            f"--hostname={self.name}",
            f"--network-namespace-path={NETNS / names.namespace(self.lab, self.name)}",
            "--capability=all",
            f"--bind-ro={REPO}:/srv/ipsec",
            f"--bind-ro={self.shared.packages}:/srv/lab/packages",
            f"--bind-ro={self.shared.wheels}:/srv/lab/wheels",
        ]
        return [*options, *(["--bind=/dev/net/tun"] if Path("/dev/net/tun").exists() else [])]

    # the host's process 1, seen from the machine

    def leader(self) -> int | None:
        """The process number of its systemd; None when it does not run."""
        namespace = NETNS / names.namespace(self.lab, self.name)
        if self._leader is None or not (Path(f"/proc/{self._leader}").exists() and is_init(self._leader)):
            self._leader = next((pid for pid in in_namespace(namespace) if is_init(pid)), None)
        return self._leader

    def wait_booted(self, timeout: float = BOOT_DEADLINE) -> None:
        """Wait until systemd has started all that it starts at boot."""
        wait_for(lambda: self.leader() is not None, f"{self.name}: start (log: {self.console})", timeout)
        ready = ["systemctl", "is-system-running", "--wait"]
        wait_for(
            lambda: self.run(ready, check=False, timeout=timeout).stdout.strip() in ("running", "degraded"),
            f"{self.name}: boot (log: {self.console})",
            timeout,
        )

    def cut_power(self) -> None:
        """End it at once, as a power cut does."""
        kill(self.launchers(), signal.SIGKILL)
        leader = self.leader()
        if leader is not None:
            kill([leader], signal.SIGKILL)
        namespace = NETNS / names.namespace(self.lab, self.name)

        def gone() -> bool:
            left = in_namespace(namespace)
            kill(left)
            return not left

        wait_for(gone, f"{self.name}: end of its processes", END_DEADLINE)
        self._leader = None
        remove_cgroups(self.lab, self.name)

    def launchers(self) -> list[int]:
        """The systemd-nspawn of the host, and what started it."""
        wanted = f"--machine={names.machine(self.lab, self.name)}".encode()
        return [pid for pid in pids() if wanted in cmdline(pid)]

    # commands on the host

    def argv(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs a command on the host, from the machine."""
        settings = {**ENVIRONMENT, **(environment or {})}
        return self._enter("env", "-i", *(f"{key}={value}" for key, value in settings.items()), *command)

    def _enter(self, *command: str) -> list[str]:
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} is off; lab/lab on {self.name}")
        enter = [
            "nsenter",
            f"--target={leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
        ]
        return [*enter, "--", *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = 120,
        stdin: str | None = None,
    ) -> Completed:
        """Run a command on the host and return what it wrote; `CommandError` on another status than 0."""
        limited = [*(["timeout", "-k", "5", f"{timeout:g}"] if timeout else []), *command]
        done = run(self._enter(*limited), stdin=stdin, check=False, env=ENVIRONMENT)
        if check and done.returncode:
            text = (done.stderr + done.stdout).strip()
            raise CommandError(
                f"{self.name}: {' '.join(command)}: status {done.returncode}: {text}", done.returncode
            )
        return done

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file on the running host."""
        command = ["install", "-D", f"--mode={mode:o}", "/dev/stdin", path]
        done = subprocess.run(self.argv(command), input=content, capture_output=True, check=False)
        if done.returncode:
            raise CommandError(f"{self.name}: writing {path}: {done.stderr.decode(errors='replace').strip()}")

    def read(self, path: str) -> str:
        """The text of a file on the running host."""
        return self.run(["cat", path]).stdout
