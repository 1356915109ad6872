"""The packages whose programs are called here, and which a minimal host lacks; essential ones it has."""

from __future__ import annotations

import shutil

# ``modprobe`` is called by the kernel, for the ciphers of an SA; ``sysctl`` by Salt's state
PROGRAMS = {"iproute2": "ip", "kmod": "modprobe", "procps": "sysctl", "python3": "python3"}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def lacking() -> tuple[str, ...]:
    """Return the packages that are not there; it is their programs that are looked for."""
    return tuple(name for name, program in PROGRAMS.items() if not shutil.which(program, path=_PATH))


def later() -> str:
    """Say what is looked at only once all of them are there; empty where they are."""
    missing = lacking()
    if not missing:
        return ""
    return (
        f"{', '.join(missing)}: to be installed first; addresses, ESP, routes and policies are looked at then"
    )
