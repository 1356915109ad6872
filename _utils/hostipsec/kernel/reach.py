"""To which peers the kernel knows no way, as ``ip`` says it (iproute2 5.9 to 6.15).

charon tells of packets that the kernel does not take without a word on the connection they are of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from .. import paths
from ..model import Connection
from ..system import processes

_SAID: Mapping[str, str] = {
    "Network is unreachable": "no route to the peer's address",
    "No route to host": "a route of this host calls the peer's address unreachable",
    "Permission denied": "a route of this host prohibits the peer's address",
}
_FAILED = re.compile(r"^RTNETLINK answers: (.+)\nCommand failed -:(\d+)$", re.MULTILINE)


def unrouted(
    connections: Iterable[Connection],
    timeout: float = paths.CALL_DEADLINE,
    run: Callable[..., processes.Result] = processes.run,
) -> dict[str, str]:
    """Return by name the connections whose peer no packet of theirs gets to, and why; one call for all.

    What cannot be asked, or is answered in another way, is not said.
    """
    asked = [*connections]
    lines = "".join(f"route get {one.right} from {one.left}\n" for one in asked)
    said = run(["ip", "-force", "-batch", "-"], timeout, stdin=lines).stderr if asked else ""
    return {
        asked[int(line) - 1].name: _SAID[why]
        for why, line in _FAILED.findall(said)
        if why in _SAID and 0 < int(line) <= len(asked)
    }
