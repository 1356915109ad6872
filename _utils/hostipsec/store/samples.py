"""What the keeper leaves of each look: the sample (/run), and totals that outlast a reboot (/var/lib)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from .. import paths
from ..errors import HostIPsecError
from ..system import files

LARGEST = 64 << 20  # bytes; 5,000 connections take 4 MB


def write(plain: Mapping[str, Any]) -> None:
    """Replace the sample. Raises HostIPsecError where that cannot be done, as on a full disk."""
    text = json.dumps(plain, separators=(",", ":"))
    files.ensure_directory(paths.here.locks, 0o700)
    files.replace(paths.here.sample, f"{text}\n".encode(), 0o600)


def read() -> Any:
    """Return the sample as it is on disk, for ``health/sample.parse``; None where there is none.

    Raises HostIPsecError where it cannot be read.
    """
    content = files.read(paths.here.sample, LARGEST)
    if content is None:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HostIPsecError(f"{paths.here.sample}: cannot be read ({error!r:.200})") from None


def write_totals(text: str) -> None:
    """Replace the totals, on a host that keeps anything. Raises HostIPsecError."""
    if paths.here.state.is_dir():
        files.replace(paths.here.totals, text.encode(), 0o600)


def read_totals() -> Optional[str]:
    """Return the text of the totals; None where there is none. Raises HostIPsecError."""
    content = files.read(paths.here.totals, LARGEST)
    return None if content is None else content.decode("utf-8", "replace")
