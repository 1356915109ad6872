"""A host of Debian with sysvinit-core: ``/sbin/init`` is process 1, and boots by scripts of ``/etc/rc?.d``.

Its interfaces are there before it boots, as a container's. Salt has a Python of its own, and strongSwan comes
from a repository on the host, as in :mod:`minimal`. What its scripts could do to the machine is kept from
them: its name, its devices, what of ``/proc/sys`` is not of a network.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import minimal
import strongswan
from strongswan import wait_for

BESIDE = ("sysvinit-core", "ifupdown", "inetutils-syslogd")
INITTAB = "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\nl2:2:wait:/etc/init.d/rc 2\n"
BOOT = """
set -e
read -r pid rest </proc/self/stat  # of the machine's /proc: the pid that the machine knows
cd "$1"
mount -t proc proc proc
mount -t proc proc mnt
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind mnt/sys/net proc/sys/net
umount mnt
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/net
for device in null zero full random urandom tty net/tun; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
: >dev/console
exec chroot . sh -c 'echo "$0"; exec /sbin/init' "$pid"
"""


def root(suite: str) -> Path:
    """Return the root of a release, made once."""
    return strongswan.tree(
        f"sysv-{suite}", BESIDE, how=lambda packages, _, made: _make(suite, packages, made)
    )


def _make(suite: str, packages: Sequence[str], made: Path) -> None:
    minimal.make(made, *packages, suite=suite)
    (made / "etc/inittab").write_text(INITTAB)
    for clock in (made / "etc").glob("*/*hwclock.sh"):
        clock.unlink()


class Sysv(strongswan.Host):
    """Such a host: off at first."""

    def __init__(self, name: str, place: Path, suite: str) -> None:
        super().__init__(name, place, lower=root(suite))
        self._place, self._spaces = place, self.pid
        self._init: subprocess.Popen[str] | None = None
        minimal.given(self, place)

    def boot(self) -> None:
        """Switch it on; returns when the scripts of its runlevel are through."""
        spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        argv = [
            "nsenter",
            "-t",
            str(self._spaces),
            "-m",
            "-n",
            *spaces,
            "sh",
            "-c",
            BOOT,
            "sh",
            f"{self._place}/root",
        ]
        self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._init.stdout is not None
        self.pid = int(self._init.stdout.readline())
        wait_for(
            lambda: self.process(["runlevel"], 10).stdout.endswith(" 2\n") and self._through(), "runlevel 2"
        )

    def _through(self) -> bool:
        return "/etc/init.d/rc" not in self.process(
            ["sh", "-c", "cat /proc/[0-9]*/cmdline"], 10
        ).stdout.replace("\0", " ")

    def power_off(self) -> None:
        """End every process of it at once, as without power; its files and interfaces stay."""
        if self._init:
            self._init.kill()
            self._init.wait()
        self._init, self.pid = None, self._spaces

    def stop(self) -> None:
        self.power_off()
        super().stop()

    @property
    def console(self) -> str:
        """What was said at boot."""
        return (self.root / "dev/console").read_text(errors="replace")
