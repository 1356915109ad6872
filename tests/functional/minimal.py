"""A host of Debian's minimal set: no python3, no iproute2, no kmod, no procps; Salt has a Python of its own.

That Python is the machine's, with the libraries that it needs, where Salt's own packages put
theirs. What the state installs comes from a repository on the host: it has no network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import strongswan

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
SALT_HOME = "opt/saltstack/salt"
PYTHON = f"/{SALT_HOME}/bin/python3"
OFFERED = (
    *("iproute2", "kmod", "procps", "python3"),
    *("strongswan-charon", "strongswan-starter", "strongswan-swanctl"),
    *("libstrongswan-standard-plugins", "libcharon-extra-plugins"),
)
FETCH = (
    'mkdir -p "$1/srv/packages/partial"; chroot "$1" apt-get install --yes --download-only '
    f"--no-install-recommends -o Dir::Cache::archives=/srv/packages {' '.join(OFFERED)}"
)


def root() -> Path:
    """Return the root, made once."""
    return strongswan.tree("minimal", OFFERED, how=_make)


def host(name: str, place: Path) -> strongswan.Host:
    """Make a host of it, with this repository where the machine has it."""
    made = strongswan.Host(name, place, lower=root())
    made.run("mkdir", "-p", str(ROOT))
    enter = ["nsenter", "-t", str(made.pid), "-m"]  # not into its root
    strongswan.run([*enter, "mount", "--rbind", str(ROOT), f"{place}/root{ROOT}"])
    return made


def salted(made: strongswan.Host, argv: Sequence[str]) -> list[str]:
    """Return the arguments that run a program of this Python in Salt's there."""
    return made.argv([PYTHON, *argv[1:]])


def _make(packages: Sequence[str], debs: Path, made: Path) -> None:
    make(made)


def make(made: Path, *beside: str) -> None:
    """Make a root of Debian's minimal set and packages beside it, with the repository and Salt's Python."""
    sources = Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")
    known = [str(one) for one in sources if one.exists() and SUITE in one.read_text()]
    shutil.rmtree(made, ignore_errors=True)
    make = [
        "mmdebstrap",
        "--variant=minbase",
        *[f"--include={one}" for one in beside],
        f"--customize-hook={FETCH}",
        SUITE,
        str(made),
        *known[:1],
    ]
    strongswan.run(make, 600)
    offered = made / "srv/packages"
    index = subprocess.run(["apt-ftparchive", "packages", "."], cwd=offered, check=True, capture_output=True)
    (offered / "Packages").write_bytes(index.stdout)
    for path in (made / "etc/apt").glob("sources.list*/*"):
        path.unlink()
    (made / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/packages ./\n")
    _python(made / SALT_HOME)
    (made / "etc/ld.so.conf.d/salt.conf").write_text(f"/{SALT_HOME}/lib\n")
    strongswan.run(["chroot", str(made), "ldconfig"])


def _python(home: Path) -> None:
    """Copy this Python, without its packages: those of the virtual environment are used."""
    (home / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), home / "bin/python3")
    standard = Path(sysconfig.get_path("stdlib"))
    library = home / "lib" / standard.name
    leave = shutil.ignore_patterns("__pycache__", "test", "site-packages", "dist-packages", "config-*")
    shutil.copytree(standard, library, ignore=leave)
    packages = sysconfig.get_path("purelib")
    (library / "sitecustomize.py").unlink(missing_ok=True)
    (library / "sitecustomize.py").write_text(f"import sys\nsys.path.append({packages!r})\n")
    for needed in sorted({*_libraries(home / "bin/python3", *library.rglob("*.so"))}):
        shutil.copy(needed, home / "lib")


def _libraries(*programs: Path) -> Iterator[str]:
    """Yield the shared libraries that programs need, but for those of the C library."""
    for program in programs:
        said = subprocess.run(["ldd", str(program)], check=False, capture_output=True, text=True).stdout
        for name, path in re.findall(r"^\s+(\S+) => (/\S+)", said, re.MULTILINE):
            if not re.match(r"lib(c|m|dl|pthread|rt|util)\.so", name):
                yield path
