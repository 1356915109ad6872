"""`make dist`: the archive of a release, made of what is committed; two of one commit are the same.

Below ``hostipsec-VERSION`` stand ``salt`` (what the master serves, and nothing else), ``pillar`` (examples),
and docs.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVED = re.compile(r"(_\w+/.+)|states/(ipsec/.+)")
BESIDE = re.compile(r"pillar/.+|docs/.+|README\.md|CHANGELOG\.md|LICENSE")
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def archive(repository: Path) -> tuple[str, bytes]:
    """Return the name of a release and its archive (tar.gz), from the last commit of a repository."""
    git = ["git", "-C", str(repository), "archive", "--format=tar", "HEAD"]
    committed = subprocess.run(git, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(committed)) as found:
        version = VERSION.search(_content(found, "_utils/hostipsec/__init__.py").decode())
        assert version, "no version"
        name, out = f"hostipsec-{version[1]}", io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as made:
            for place, member in sorted(_placed(found)):
                made.addfile(_plain(member, f"{name}/{place}"), io.BytesIO(_content(found, member.name)))
    return name, gzip.compress(out.getvalue(), mtime=0)


def _placed(found: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield the files of a release, each with its place."""
    for member in found.getmembers():
        served = SERVED.fullmatch(member.name)
        if member.isfile() and served:
            yield f"salt/{served[1] or served[2]}", member
        elif member.isfile() and BESIDE.fullmatch(member.name):
            yield member.name, member


def _plain(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    plain = tarfile.TarInfo(name)
    plain.size, plain.mtime, plain.mode = member.size, member.mtime, 0o755 if member.mode & 0o100 else 0o644
    return plain


def _content(found: tarfile.TarFile, name: str) -> bytes:
    file = found.extractfile(name)
    assert file, name
    return file.read()


def main() -> None:
    """Write the archive below ``.build/dist``, and say where."""
    name, packed = archive(ROOT)
    path = ROOT / ".build/dist" / f"{name}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed)
    sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
