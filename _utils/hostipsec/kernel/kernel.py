"""The kernel's IPsec state, read by ``ip`` and from ``/proc``."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import Kernel, KernelPolicy
from ..system import processes
from . import xfrm

_POLICIES = ["ip", "-s", "xfrm", "policy", "list"]


class KernelError(HostIPsecError):
    """The kernel's IPsec state cannot be read."""


def observe(timeout: float = paths.CALL_DEADLINE, run: processes.Run = processes.run) -> Kernel:
    """Return the SAs, policies and error counters of this network namespace.

    Keys are left out where ``ip`` can (``nokeys``). A kernel without error counters gives none.
    """
    states = _read(["ip", "-s", "xfrm", "state", "list", "nokeys"], timeout, run)
    policies = _read(_POLICIES, timeout, run)
    try:
        errors = paths.here.xfrm_stat.read_text()
    except OSError:
        errors = ""
    found, made = xfrm.kernel(states, policies, errors), xfrm.added(states)
    now = time.time()
    aged = (one._replace(age=_age(made.get((one.dst, one.spi), ""), now)) for one in found.states)
    return found._replace(states=tuple(aged))


def _age(made: str, now: float) -> Optional[int]:
    """Return the seconds since a local time; None where there is none."""
    try:
        return max(0, int(now - datetime.fromisoformat(made).timestamp()))
    except (ValueError, OverflowError, OSError):
        return None


def policies(
    timeout: float = paths.CALL_DEADLINE, run: processes.Run = processes.run
) -> tuple[KernelPolicy, ...]:
    """Return the policies alone."""
    return xfrm.parse_policies(_read(_POLICIES, timeout, run))


def count(timeout: float = paths.CALL_DEADLINE, run: processes.Run = processes.run) -> int:
    """Return the number of states by the kernel's own count, which is no list of them."""
    said = _read(["ip", "xfrm", "state", "count"], timeout, run)
    number = said.replace("SAD count", "").strip()
    if not number.isdecimal():
        raise KernelError(f"ip xfrm state count: found {' '.join(said.split())!r}, expected: SAD count N")
    return int(number)


def set_policies(batch: str, timeout: float = paths.CALL_DEADLINE) -> None:
    """Run ``ip -batch`` to add, renew or delete policies; raises KernelError where a line of it fails."""
    result = processes.run(["ip", "-batch", "-"], timeout, stdin=batch)
    if result.status != 0:
        raise KernelError(f"the kernel's policies cannot be set: {' '.join(result.text.split())}")


def delete(batch: str, timeout: float = paths.CALL_DEADLINE) -> None:
    """Run ``ip -batch``, all lines of it whatever becomes of one; look again for the effect.

    Raises KernelError where ``ip`` cannot be run, or does not end.
    """
    result = processes.run(["ip", "-force", "-batch", "-"], timeout, stdin=batch)
    if result.status in (processes.TIMED_OUT, processes.NOT_FOUND):
        raise KernelError(f"the kernel's IPsec state cannot be cleared: {' '.join(result.text.split())}")


def _read(argv: list[str], timeout: float, run: processes.Run) -> str:
    result = run(argv, timeout)
    if result.status != 0:
        said = " ".join(result.text.split()) or "no output"
        raise KernelError(f"{' '.join(argv)}: status {result.status}, {said}; needs root and iproute2")
    return result.stdout
