"""A host of Debian's minimal set: no python3, no iproute2, no kmod, no procps; Salt has a Python of its own.

That Python is the machine's, with all libraries that it needs, for the host may be of an older release; it is
where Salt's own packages put theirs. What the state installs comes from a repository on the host: it has no
network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import strongswan

from fleetlab import cache

ROOT = Path(__file__).parents[2]
SUITE = cache.SUITE
SALT_HOME = "opt/saltstack/salt"
PYTHON = f"/{SALT_HOME}/bin/python3"
# Its libraries are for it alone: no program of the host finds them
STARTED = f"""#!/bin/sh
home=/{SALT_HOME}
exec $home/lib/ld-linux-x86-64.so.2 --argv0 "$0" --library-path $home/lib $home/bin/python3.own "$@"
"""
CUSTOMIZED = """import ctypes.util
import sys

OWN, found = {own!r}, ctypes.util.find_library  # which asks ldconfig
ctypes.util.find_library = lambda name: OWN.get(name) or found(name)
sys.path.append({packages!r})
"""
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
    given(made, place)
    return made


def given(made: strongswan.Host, place: Path) -> None:
    """Give a host this repository, and what was built for it, where the machine has them."""
    enter = ["nsenter", "-t", str(made.pid), "-m"]  # not into its root
    for path in (ROOT, strongswan.BUILD.resolve()):
        made.run("mkdir", "-p", str(path))
        strongswan.run([*enter, "mount", "--rbind", str(path), f"{place}/root{path}"])


def salted(made: strongswan.Host, argv: Sequence[str]) -> list[str]:
    """Return the arguments that run a program of this Python in Salt's there."""
    return made.argv([PYTHON, *argv[1:]])


def _make(packages: Sequence[str], debs: Path, made: Path) -> None:
    make(made)


def make(made: Path, *beside: str, suite: str = SUITE) -> None:
    """Make a root of Debian's minimal set and packages beside it, with the repository and Salt's Python."""
    shutil.rmtree(made, ignore_errors=True)
    make = [
        "mmdebstrap",
        "--variant=minbase",
        '--aptopt=Acquire::Check-Valid-Until "false"',  # as in suites
        *[f"--include={one}" for one in beside],
        f"--customize-hook={FETCH}",
        suite,
        str(made),
    ]
    with tempfile.TemporaryDirectory() as place:
        strongswan.run([*make, *cache.sources_of(cache.Root(suite), Path(place))], 600)
    offered = made / "srv/packages"
    index = subprocess.run(["apt-ftparchive", "packages", "."], cwd=offered, check=True, capture_output=True)
    (offered / "Packages").write_bytes(index.stdout)
    for path in (made / "etc/apt").glob("sources.list*/*"):
        path.unlink()
    (made / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/packages ./\n")
    _python(made / SALT_HOME)


def _python(home: Path) -> None:
    """Copy this Python, without its packages: those of the virtual environment are used."""
    (home / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), home / "bin/python3.own")
    (home / "bin/python3").write_text(STARTED)
    (home / "bin/python3").chmod(0o755)
    standard = Path(sysconfig.get_path("stdlib"))
    library = home / "lib" / standard.name
    leave = shutil.ignore_patterns("__pycache__", "test", "site-packages", "dist-packages", "config-*")
    shutil.copytree(standard, library, ignore=leave)
    packages = Path(sysconfig.get_path("purelib")).resolve()
    programs = [home / "bin/python3.own", *library.rglob("*.so"), *packages.rglob("*.so")]
    for needed in sorted({*_libraries(*programs)}):
        shutil.copy(needed, home / "lib")
    own = {path.name[3:].partition(".so")[0]: path.name for path in (home / "lib").glob("lib*.so.*")}
    (library / "sitecustomize.py").unlink(missing_ok=True)
    (library / "sitecustomize.py").write_text(CUSTOMIZED.format(own=own, packages=str(packages)))


def _libraries(*programs: Path) -> Iterator[str]:
    """Yield the shared libraries that programs need, and what loads them."""
    for program in programs:
        said = subprocess.run(["ldd", str(program)], check=False, capture_output=True, text=True).stdout
        yield from (path for path in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(", said, re.MULTILINE))
