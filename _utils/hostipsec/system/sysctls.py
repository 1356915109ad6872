"""The live values of the kernel's settings (sysctl)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from . import files, sysctlconf


def live(key: str) -> Optional[str]:
    """Return the live value of a sysctl; None where the kernel has none of that name."""
    content = files.read(_path(key))
    return None if content is None else " ".join(content.decode().split())


def set_live(key: str, value: str) -> None:
    """Set the live value of a sysctl."""
    try:
        _path(key).write_text(value)
    except OSError as error:
        raise HostIPsecError(f"sysctl {key} cannot be set to {value}: {error.strerror}") from None


def is_known(key: str) -> bool:
    """Say whether the kernel has a sysctl of that name, be it one that can only be written."""
    return _path(key).is_file()


def overruled(wanted: Mapping[str, str]) -> list[str]:
    """Say which values of ours will not last: a file that is read after ours sets another one at boot."""
    found = sysctlconf.overruled(list(_later()), wanted)
    return [
        f"sysctl {key}: {path} sets it to {value} at the next boot, after {paths.here.sysctl} sets "
        f"{wanted[key]}; take it out there, or say {value} in ipsec:sysctl"
        for key, (path, value) in sorted(found.items())
    ]


def _later() -> Iterator[tuple[str, str]]:
    """Yield the files that are read after ours, in that order: by name, and what reads /etc/sysctl.conf.

    systemd reads that one by a link alone (Debian 11 and 12 bring ``99-sysctl.conf``, 13 does not); where it
    is not process 1, procps' script reads it last of all.
    """
    by_name: dict[str, Path] = {}
    for directory in reversed(paths.here.sysctl_directories):
        by_name.update((path.name, path) for path in directory.glob("*.conf"))
    last = [path for name, path in sorted(by_name.items()) if name > paths.here.sysctl.name]
    procps = () if paths.here.systemd.is_dir() else (paths.here.sysctl_conf,)
    for path in (*last, *procps):
        with contextlib.suppress(HostIPsecError):  # what cannot be read here cannot be told
            yield _called(path), (files.read(path) or b"").decode("utf-8", "replace")


def _called(path: Path) -> str:
    """Return how a file is called; of a link, which file it is: /etc/sysctl.conf, mostly."""
    return f"{path} (a link to {path.resolve()})" if path.is_symlink() else str(path)


def _path(key: str) -> Path:
    """Return its file: a dot separates, and a slash stands for a dot in a name (``conf.eth0/100``)."""
    return paths.here.sysctls / key.translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")
