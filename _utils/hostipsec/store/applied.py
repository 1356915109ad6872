"""Whether the last state.apply passed: what a state failed by is kept until ``ipsec.configured`` passes."""

from __future__ import annotations

import contextlib
import json

from .. import paths
from ..errors import HostIPsecError
from ..system import files

LARGEST = 1 << 20  # bytes
_TEXT = 1000  # characters of why


def fails(why: str) -> None:
    """Keep what a state failed by, on a host that keeps anything; a full disk is told of by others."""
    if paths.here.state.is_dir():
        text = json.dumps({"why": why[:_TEXT]})
        with contextlib.suppress(HostIPsecError, OSError):
            files.replace(paths.here.failed, f"{text}\n".encode(), 0o600)


def passes() -> None:
    """Forget it."""
    with contextlib.suppress(OSError):
        paths.here.failed.unlink()


def failed() -> str:
    """Return what the last state.apply failed by; empty where it passed."""
    try:
        content = files.read(paths.here.failed, LARGEST)
        return "" if content is None else str(json.loads(content)["why"]) or "not told"
    except (HostIPsecError, ValueError, KeyError, TypeError):
        return "what it failed by cannot be read"
