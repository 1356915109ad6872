"""The connections of swanctl's file brought into charon, by vici, and no other connection touched.

What the starter does for ipsec.conf. swanctl's own program would unload what a file that is damaged no longer
says, with status 0, and what it did not load itself; so it loads them at a start of charon only.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from .. import paths
from ..charon.vicisession import ViciBackend
from ..errors import CharonError, HostIPsecError
from ..model import SWANCTL
from ..store import holdfile, present, record
from ..strongswan import autos, sections, swanctl
from ..strongswan.sections import HELD, Configuration
from ..system import backend, files, service

_FEW = 5  # names in a sentence


def update(timeout: float, changed: Collection[str] = ()) -> None:
    """Have charon have those of the file: what is missing is loaded, and what is ``changed``, by name.

    What is ours and not to be there is unloaded first. One that charon has and that did not change is not
    loaded: with ``start_action`` start its SAs would end. Of a damaged file nothing is loaded, and only
    what is held is unloaded. Raises HostIPsecError.
    """
    end, vici = time.monotonic() + timeout, ViciBackend()
    try:
        value = read()
    except HostIPsecError:
        vici.unload(sorted(_held()), timeout)
        raise
    wanted = frozenset(name for name, one in value.connections.items() if one.get("auto") != HELD)
    there = frozenset(one.name for one in vici.observe(timeout).connections)
    ours = value.names | record.found().record.names
    refused = dict(vici.unload(sorted(there & ours - wanted), _left(end)))
    new = sorted(wanted - there | wanted & {*changed})
    refused.update(vici.load({name: section(value, name) for name in new}, _left(end)))
    if refused:
        said = "; ".join(f"{name}: {refused[name]}" for name in sorted(refused)[:_FEW])
        raise CharonError(f"charon does not take {len(refused)} of our connections: {said}")


def _held() -> frozenset[str]:
    """Return the connections of ours that a hold keeps down."""
    return frozenset(holdfile.held(record.found().record.connections, datetime.now(timezone.utc)))


def _left(end: float) -> float:
    return max(0.1, end - time.monotonic())


def keep_copy() -> None:
    """Keep a copy of the file if it is whole, for a start of charon that finds it damaged."""
    content = files.read(paths.here.swanctl)
    if (
        content is not None
        and content != files.read(paths.here.swanctl_copy)
        and swanctl.intact(_text(content))
    ):
        files.replace(paths.here.swanctl_copy, content, 0o644)


def mended() -> bool:
    """Have charon load the last whole file in place of one that is damaged; says whether that was done.

    What is held stays down. A copy that has others than the connections on record is of another time, and is
    left alone. Raises HostIPsecError.
    """
    copy, recorded = _text(files.read(paths.here.swanctl_copy)), record.read()
    if swanctl.intact(_text(files.read(paths.here.swanctl))) or not swanctl.intact(copy):
        return False
    if swanctl.configuration(copy).names != recorded.names:
        return False
    held = holdfile.held(recorded.connections, datetime.now(timezone.utc))
    told = sections.autos(recorded.connections, held, service.keeper_runs())
    files.replace(paths.here.swanctl, autos.changed(copy, told, SWANCTL).encode(), 0o644)
    update(paths.ORDER_DEADLINE)
    return True


def _text(content: Optional[bytes]) -> str:
    return (content or b"").decode("utf-8", "replace")


def read() -> Configuration:
    """Return what the file says. Raises HostIPsecError where it is not just what this package writes."""
    text = _text(files.read(paths.here.swanctl))
    if not swanctl.intact(text):
        raise HostIPsecError(
            f"{paths.here.swanctl} is damaged or was edited, and is not loaded; apply state ipsec, which "
            "writes it anew"
        )
    return present.value({paths.here.swanctl: text})


def section(value: Configuration, name: str) -> dict[str, object]:
    """Return a connection as vici takes it, with the certificates that it names. Raises HostIPsecError."""
    told, places = swanctl.every(value, name), backend.places(paths.here.swanctl_d)
    named = {"local.certs": places.certs, "remote.cacerts": places.cacerts}
    found = {told[key]: _content(directory / told[key]) for key, directory in named.items() if key in told}
    return swanctl.section(value, name, found)


def _content(path: Path) -> bytes:
    content = files.read(path)
    if content is None:
        raise HostIPsecError(f"{path}: is named in {paths.here.swanctl}, and is not there")
    return content
