"""What User Mode Linux needs on this machine: packages, modules in order, a place for its memory.

And, on a processor with more registers than its kernel knows of, a library (`xstate.c`).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UmlError

BUILD = Path(__file__).resolve().parents[2] / ".build"
HOME = BUILD / "uml"
LINUX = Path("/usr/bin/linux.uml")
PACKAGES = {"user-mode-linux": LINUX, "kmod": Path("/sbin/modprobe"), "iproute2": Path("/sbin/ip")}
MODULES = Path("/usr/lib/uml/modules")
GIB = 1 << 30
XSTATE = Path(__file__).with_name("xstate.c")
COMPILER = {"gcc": Path("/usr/bin/gcc"), "libc6-dev": Path("/usr/include/stdio.h")}
LARGE = "amx_tile"  # a processor that has it has more registers than this kernel knows of


def ready() -> Path:
    """Install and prepare what is missing; return the folder with the kernel's modules."""
    if os.geteuid():
        raise UmlError("User Mode Linux over this machine's root needs root")
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "root").mkdir(exist_ok=True)
    with _alone():
        _install(PACKAGES, BUILD / "uml-setup.log")
        return _modules(BUILD / "uml-setup.log")


def preload(cpuinfo: Path = Path("/proc/cpuinfo")) -> "Path | None":
    """Return the library that the kernel needs on a processor with more registers; None on others.

    Raises `UmlError` where it cannot be made.
    """
    if LARGE not in cpuinfo.read_text().split():
        return None
    source, log = XSTATE.read_bytes(), BUILD / "uml-setup.log"
    made = HOME / f"xstate-{hashlib.sha256(source).hexdigest()[:12]}.so"
    with _alone():
        if not made.exists():
            _install(COMPILER, log)
            unfinished = made.with_suffix(".new")
            if _logged(["gcc", "-O2", "-shared", "-fPIC", "-o", str(unfinished), str(XSTATE)], log):
                raise UmlError(f"gcc failed on {XSTATE}; log: {log}")
            unfinished.replace(made)
    return made


@contextmanager
def _alone() -> Iterator[None]:
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(wanted: "dict[str, Path]", log: Path) -> None:
    """Install the packages of which the file is not there."""
    packages = [package for package, file in wanted.items() if not file.exists()]
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if _logged(install, log) and (_logged(["apt-get", "update"], log) or _logged(install, log)):
        raise UmlError(f"installing {' '.join(packages)} failed; log: {log}")


def _logged(argv: list, log: Path) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("a") as output:
        output.write(f"+ {' '.join(argv)}\n")
        output.flush()
        try:
            return subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, timeout=900
            ).returncode
        except FileNotFoundError:
            raise UmlError(
                f"{argv[0]} is not on this machine; install user-mode-linux, kmod and iproute2"
            ) from None
        except subprocess.TimeoutExpired:
            raise UmlError(f"{' '.join(argv)}: not done after 900 s; log: {log}") from None


def _modules(log: Path) -> Path:
    """Return a copy of the modules with an index: modprobe wants both, and does not follow a link."""
    versions = sorted(MODULES.iterdir(), key=lambda folder: folder.stat().st_mtime)
    if not versions:
        raise UmlError(f"no modules under {MODULES}: install user-mode-linux again")
    version = versions[-1].name
    base = HOME / f"modules-{version}"
    if not (base / ".ready").exists():
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(versions[-1], base / "lib/modules" / version)
        if _logged(["depmod", "-b", str(base), version], log):
            raise UmlError(f"depmod failed on {base}; log: {log}")
        (base / ".ready").touch()
    return base / "lib/modules" / version


def memory_place(folders: "Iterable[str] | None" = None) -> Path:
    """Return the folder for the file that is the memory: room enough, and programs may run from it."""
    candidates = [Path(folder) for folder in (folders or _places()) if _usable(folder)]
    if not candidates:
        raise UmlError("no folder for the memory of User Mode Linux: set TMPDIR to one that is not noexec")
    return next((folder for folder in candidates if free(folder) >= GIB), max(candidates, key=free))


def _places() -> "tuple[str, ...]":
    return (os.environ.get("TMPDIR", "/dev/shm"), "/dev/shm", "/run", "/tmp", str(HOME))


def _usable(folder: str) -> bool:
    return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC


def free(folder: Path) -> int:
    """Return the bytes that are free there."""
    return shutil.disk_usage(folder).free


def default_memory(available: int, free: int) -> int:
    """Return the bytes to give: 6 GiB, or what a small machine (but a quarter) or a small folder has."""
    return max(min(6 * GIB, available * 3 // 4, free * 9 // 10), GIB // 2)


def available_memory() -> int:
    """Return the bytes that the machine can give now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2 * GIB
