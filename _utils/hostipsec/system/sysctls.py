"""The live values of the kernel's settings (sysctl)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Say which values of ours will not last: a file that is read after ours has it otherwise at boot."""
    found = sysctlconf.overruled(list(_later()), wanted)
    return [_said(key, wanted[key], *found[key]) for key in sorted(found)]


def _said(key: str, ours: str, path: str, value: Optional[str]) -> str:
    left = value is None
    does = f"has systemd leave it as the kernel has it (-{key})" if left else f"sets it to {value}"
    instead = "" if left else f", or say {value} in ipsec:sysctl"
    return (
        f"sysctl {key}: {path} {does} at the next boot, after {paths.here.sysctl} sets {ours}; "
        f"take it out there{instead}"
    )


def _later() -> Iterator[tuple[str, sysctlconf.Read]]:
    """Yield what the files that are read after ours set, in that order: by name, and by /etc/sysctl.conf.

    systemd reads that one by a link alone (Debian 11 and 12 bring ``99-sysctl.conf``, 13 does not); where it
    is not process 1, procps' script reads it last of all.
    """
    by_name: dict[str, Path] = {}
    for directory in reversed(paths.here.sysctl_directories):
        by_name.update((path.name, path) for path in directory.glob("*.conf"))
    last = [path for name, path in sorted(by_name.items()) if name > paths.here.sysctl.name]
    if paths.here.systemd.is_dir():
        yield from _read(last, sysctlconf.of_systemd)
    else:
        yield from _read([*last, paths.here.sysctl_conf], sysctlconf.settings)


def _read(
    several: Sequence[Path], content: Callable[[str], sysctlconf.Read]
) -> Iterator[tuple[str, sysctlconf.Read]]:
    for path in several:
        with contextlib.suppress(HostIPsecError):  # what cannot be read here cannot be told
            yield _called(path), content((files.read(path) or b"").decode("utf-8", "replace"))


def _called(path: Path) -> str:
    """Return how a file is called; of a link, which file it is: /etc/sysctl.conf, mostly."""
    return f"{path} (a link to {path.resolve()})" if path.is_symlink() else str(path)


def _path(key: str) -> Path:
    """Return its file: a dot separates, and a slash stands for a dot in a name (``conf.eth0/100``)."""
    return paths.here.sysctls / key.translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")
