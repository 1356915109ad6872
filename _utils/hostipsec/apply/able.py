"""What this host's charon can do of what the pillar proposes, asked before anything is rendered.

The charon that runs is believed, unless it lacks something and plugins came after it started, as at an
installation: then a charon that starts now is asked, in namespaces of its own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Optional

from .. import paths
from ..charon import charon
from ..errors import CharonError, ConfigError, HostIPsecError
from ..strongswan import abilities, proposals
from ..system import backend
from . import configuration, trial
from .configuration import Wanted

STARTING = 60.0  # seconds, at most, from charon's look for plugins to its pid file, on a busy machine


def limited(want: Wanted, host: str) -> Wanted:
    """Return what a host shall run with those proposals that its charon can do.

    Where it cannot be told what charon can do, nothing is left out: what runs is tried before it is swapped
    in. Raises ConfigError, which names the host, where an option has no proposal that it can do.
    """
    needed = abilities.needed(want.configuration)
    listed = _listed(needed, want.configuration.backend) if needed else None
    if listed is None:
        return want
    if none := abilities.impossible(want.configuration, listed):
        raise ConfigError(f"{host} cannot do what the pillar proposes: {'; '.join(map(_said, none))}")
    value, left = abilities.limited(want.configuration, listed)
    if not left:
        return want
    files = configuration.rendered(value, want.record)
    return replace(want, configuration=value, files=files, left=tuple(map(str, left)))


def _said(left: abilities.Left) -> str:
    return f"{left.key} {left.proposal}: {'; '.join(map(_needs, left.lacking))}"


def _needs(lacking: str) -> str:
    six = lacking == abilities.ADDITIONAL
    return f"{lacking} need strongSwan 6" if six else proposals.needs(lacking)


def _listed(needed: Collection[str], by: str) -> Optional[frozenset[str]]:
    """Return the algorithms of this host's charon; None where that cannot be told."""
    running = _of_running()
    if running and ({*needed} <= running or not _came_later()):
        return running
    if not trial.can_start(by):
        return None
    try:
        with _place() as below:
            return trial.algorithms(paths.here.strongswan_d, below, by) or None
    except HostIPsecError:
        return None  # a charon that does not start says why when it is tried with what it shall run


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    """Yield a directory for the trial: ours, or one that goes again on a host that has nothing of ours."""
    with contextlib.ExitStack() as stack:
        there = paths.here.state.is_dir()
        yield paths.here.state if there else Path(stack.enter_context(tempfile.TemporaryDirectory()))


def _of_running() -> frozenset[str]:
    try:
        return charon.algorithms()
    except CharonError:
        return frozenset()


def _came_later() -> bool:
    """Say whether plugins came since charon started, or what loads them; it may be where nothing says it.

    dpkg puts files below /etc in place when all packages are unpacked: charon may have started in between. It
    writes its pid file only some time after it has read them.
    """
    try:
        places = [place.stat() for place in (paths.here.plugins, paths.here.strongswan_d / "charon")]
        started = backend.started().stat().st_mtime
    except OSError:
        return True
    return max(max(place.st_mtime, place.st_ctime) for place in places) >= started - STARTING
