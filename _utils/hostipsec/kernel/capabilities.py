"""Whether the kernel can do the ESP that the proposals ask for, told before anything is changed.

An SA of each kind is added in a network namespace that ends with the process that made it. That
loads the modules which charon's own SAs would load, and leaves nothing else behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import paths
from ..errors import HostIPsecError
from ..system import processes
from . import kernelnames

DEADLINE = 15.0  # seconds, for each SA: the first one loads modules
_ENDS = {"v4": ("192.0.2.1", "192.0.2.2"), "v6": ("2001:db8::1", "2001:db8::2")}  # RFC 5737 and RFC 3849
_ESP = {"v4": "esp4", "v6": "esp6"}

# What ip says; kernels up to 5.19 give only the number of an error
_REASONS = (
    ("rights", r"unshare failed|Operation not permitted"),
    ("xfrm_user", r"Cannot open netlink socket"),
    ("type", r"Requested type not found|RTNETLINK answers: Protocol not supported"),
    (
        "algorithm",
        r"algorithm not found|unable to initialize cryptographic"
        r"|RTNETLINK answers: (Function not implemented|No such file)",
    ),
)


class CapabilityError(HostIPsecError):
    """It cannot be told what the kernel can."""


def missing(esp: str, families: Sequence[str], run: processes.Run = processes.run) -> tuple[str, ...]:
    """Say what the kernel lacks for option ``esp`` in these families; nothing where it lacks nothing.

    Returns sentences such as ``the kernel has no ESP for IPv4: it was built without module esp4``.
    Raises CapabilityError where it cannot be told, without the right to make a namespace, say.
    """
    folder = paths.here.modules / os.uname().release
    found = [
        f"{name} cannot be done by a kernel: charon has no name for it there"
        for name in kernelnames.unknown(esp)
    ]
    for family in families:
        for transform in kernelnames.transforms(esp):
            found += _lacking(family, transform, run, folder)
    if found and not folder.exists():
        found.append(
            f"there is no {folder}: reboot after a kernel upgrade; in a container, load them outside"
        )
    return tuple(dict.fromkeys(found))


def _lacking(
    family: str, transform: kernelnames.Transform, run: processes.Run, folder: Path
) -> Iterator[str]:
    reason = _tried(family, transform, run)
    if reason == "xfrm_user":
        yield f"the kernel takes no SAs: {_why_not(('xfrm_user',), folder)}"
    if reason == "algorithm":
        why = _why_not(transform.modules, folder)
        yield f"the kernel has no {transform.name} ({transform.words[1]}): {why}"
    if "type" in (reason, _tried(family, kernelnames.NULL, run) if reason == "algorithm" else ""):
        yield f"the kernel has no ESP for IP{family}: {_why_not((_ESP[family],), folder)}"


def _tried(family: str, transform: kernelnames.Transform, run: processes.Run) -> str:
    """Add such an SA; return what kind of thing stands against it, nothing if it was added."""
    source, destination = _ENDS[family]
    state = ["src", source, "dst", destination, "proto", "esp", "spi", "0x1000", "reqid", "1"]
    command = ["ip", "xfrm", "state", "add", *state, "mode", "transport", *transform.words]
    result = run(["unshare", "--net", *command], DEADLINE)
    if result.status == 0:
        return ""
    said = " ".join(result.text.split()) or "no output"
    kind = next((kind for kind, pattern in _REASONS if re.search(pattern, said)), "")
    if kind in ("rights", ""):
        hint = "; needs root" if kind else ""
        raise CapabilityError(f"cannot tell whether the kernel has {transform.name}: {said}{hint}")
    return kind


def _why_not(names: Sequence[str], folder: Path) -> str:
    """Say why modules are not at work, from the list of those that the running kernel has."""
    known = _text(folder / "modules.dep") + _text(folder / "modules.builtin")
    if not known:
        return f"no module {' or '.join(names)}"
    absent = [name for name in names if not re.search(rf"/{name.replace('_', '[_-]')}\.ko", known)]
    if absent:
        return f"it was built without module {' and '.join(absent)}"
    return f"module {' or '.join(names)} does not load; try: modprobe {' '.join(names)}"


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
