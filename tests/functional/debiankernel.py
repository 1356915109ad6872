"""Debian's own kernel in QEMU's emulation, for what that of User Mode Linux lacks; nothing is installed.

It needs no disk: its root is an archive of a small Debian, and behind it one of this project.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromium
from strongswan import run as ran
from strongswan import tree

ROOT = Path(__file__).parents[2]
SYSTEM = "python3,iproute2,iputils-ping,nftables,kmod,netbase,procps,cpio,linux-image-cloud-amd64"
ARCHIVE = 'chroot "$1" sh -c "cd / && rm -rf var/cache/apt usr/share/doc usr/share/locale boot/initrd* && '
ARCHIVE += 'find . -xdev | cpio --quiet -oH newc"'
TAKEN = ("_utils/hostipsec", "tests")  # of this project
INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
tar -xf /project.tar -C / && ip link set lo up
cd /project && PYTHONPATH=_utils:tests:tests/functional:tests/functional/within \\
    python3 -B tests/functional/within/{script} >/tmp/out 2>/tmp/err
echo "status $?"; tail -n 40 /tmp/err; tail -n 1 /tmp/out | sed 's/^/RESULT /'
echo o >/proc/sysrq-trigger; sleep 60
"""


def machine() -> Path:
    """Return the tree with QEMU."""
    return tree("qemu", ("qemu-system-x86",), how=chromium.fetch)


def system() -> Path:
    """Return the tree with a kernel, ``vmlinuz``, and the archive that is its root, ``initrd``."""

    def made(_packages: Sequence[str], _debs: Path, root: Path) -> None:
        root.mkdir(parents=True)
        hooks = [f"copy-out /boot {root}", f"{ARCHIVE} >{root}/initrd"]
        hooks = [f"--customize-hook={one}" for one in hooks]
        release = ran(["sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"']).strip()
        quiet = ["--quiet", "--variant=minbase", "--format=null", f"--include={SYSTEM}"]
        ran(["mmdebstrap", *quiet, *hooks, release, "/dev/null"], 600)

    return tree("debian-kernel", (), how=made)


def newc(name: str, content: bytes, mode: int) -> bytes:
    """Return one file of an archive that a kernel unpacks at its start."""
    fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = ("070701" + "".join(f"{one:08x}" for one in fields) + name + "\0").encode()
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, content))


def project(script: str) -> bytes:
    """Return the archive with this project, and with what is run."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for one in TAKEN:
            tar.add(ROOT / one, f"project/{one}", filter=lambda it: None if "__pycache__" in it.name else it)
    files = (
        newc("project.tar", packed.getvalue(), 0o100644),
        newc("init", INIT.format(script=script).encode(), 0o100755),
    )
    return b"".join([*files, newc("TRAILER!!!", b"", 0)])


def run(script: str, place: Path, timeout: float = 300.0) -> Any:
    """Return what a script of ``within``, with its arguments, printed there: JSON, in its last line."""
    root, debian = machine(), system()
    (place / "initrd").write_bytes((debian / "initrd").read_bytes() + project(script))
    libraries = [str(one) for one in (root / "usr/lib/x86_64-linux-gnu", root / "lib/x86_64-linux-gnu")]
    modules = f"{libraries[0]}/qemu"
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "QEMU_MODULE_DIR": modules}
    (kernel,) = (debian / "boot").glob("vmlinuz*")
    files = ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios"]
    begin = [
        "-kernel",
        str(kernel),
        "-initrd",
        f"{place}/initrd",
        "-append",
        "console=ttyS0 quiet panic=-1 rdinit=/init",
    ]
    bare = [
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "2G",
        "-nographic",
        "-no-reboot",
        "-nodefaults",
        "-serial",
        "stdio",
    ]
    argv = [f"{root}/usr/bin/qemu-system-x86_64", *files, *bare, *begin]
    done = subprocess.run(
        argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert "status 0" in done.stdout and told, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    return json.loads(told[-1].removeprefix("RESULT "))
