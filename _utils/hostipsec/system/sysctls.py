"""The live values of the kernel's settings (sysctl)."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from . import files


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


def _path(key: str) -> Path:
    """Return its file: a dot separates, and a slash stands for a dot in a name (``conf.eth0/100``)."""
    return paths.here.sysctls / key.translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")
