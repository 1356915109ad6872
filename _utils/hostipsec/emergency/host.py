"""This host, as an emergency stop, a comeback and a change of configuration use it: one seam for all of it.

Whatever they find out or do goes through a :class:`Host`. Each call ends in bounded time, and tells what is
wrong by a HostIPsecError. Tests put another host in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Optional

from .. import paths
from ..charon import charon
from ..errors import HostIPsecError
from ..kernel import addresses, guard, kernel
from ..model import SWANCTL, Address, Charon, Connection, Kernel
from ..store import holdfile, record
from ..store.hold import Command, Decisions, Hold, Lift
from ..system import backend, locks, service

if TYPE_CHECKING:
    from ..charon.charonlog import Log
    from ..charon.credentials import Loaded

CALL, ORDER = paths.CALL_DEADLINE, paths.ORDER_DEADLINE
STARTING = 2.0  # seconds to wait for another who starts connections just then


class Host:
    """Where things happen: the clock, charon, its service, the kernel, and the holds on disk."""

    _by = ""  # what this host is about to run by, where its files do not say so yet

    def __init__(
        self,
        restart: Optional[Callable[[], None]] = None,
        by: str = "",
        install: Optional[Callable[[Sequence[str]], object]] = None,
    ) -> None:
        """Take another way to start the service, or start it anew, and to install packages: Salt's own."""
        self._restart, self._by, self._install = restart, by, install

    @property
    def by(self) -> str:
        """By what charon is told."""
        return self._by or backend.here()

    # the clock

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(timezone.utc)

    def clock(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    # charon

    def observe(self, timeout: float = CALL) -> Charon:
        """Return one look at charon. Raises CharonError where none answers."""
        return charon.observe(timeout)

    def observe_if_running(self) -> Optional[Charon]:
        """Return one look at charon, None where none runs. Raises CharonError for one that hangs."""
        from ..charon import daemon  # here: an emergency stop has no use for it

        return daemon.observe()

    def glance(self, timeout: float = CALL) -> Charon:
        """Return a look at the IKE SAs alone."""
        return charon.glance(timeout)

    def terminate(self, ids: Iterable[int], force: bool = False, timeout: float = CALL) -> Mapping[int, str]:
        """Ask for the end of IKE SAs; returns what was refused, and why."""
        return charon.terminate(ids, force, timeout)

    def initiate(self, names: Iterable[str], timeout: float = CALL) -> Mapping[str, str]:
        """Start connections, waiting for no peer; returns what was refused, and why."""
        return charon.initiate(names, timeout)

    def starting(self) -> AbstractContextManager[bool]:
        """Return what keeps others of this host from starting connections meanwhile; see `starting`."""
        return locks.held(paths.here.starting, STARTING)

    def reauthenticate(self, ids: Iterable[int], timeout: float = CALL) -> Mapping[int, str]:
        """Authenticate IKE SAs anew; returns what was refused, and why."""
        return charon.reauthenticate_ikes(ids, timeout)

    def update(self, timeout: float = ORDER, changed: Collection[str] = ()) -> None:
        """Have charon take up what differs in the file of connections; ``changed`` are those, by name.

        The starter knows itself what changed.
        """
        if self.by == SWANCTL:
            from . import loading  # here: where ipsec.conf counts, nobody waits for it

            loading.update(timeout, changed)
        else:
            charon.update(timeout)

    def reload(self, timeout: float = ORDER) -> None:
        """Have charon take up all connections that it lacks; SAs stay."""
        if self.by == SWANCTL:
            self.update(timeout)
        else:
            charon.reload(timeout)

    def reread(self, timeout: float = ORDER) -> None:
        """Make charon read keys, certificates and CAs again."""
        if self.by == SWANCTL:
            from ..charon import swanctlprogram

            swanctlprogram.reread(timeout)
        else:
            charon.reread(timeout)

    def credentials(self, timeout: float = ORDER) -> Loaded:
        """Return which certificates charon has loaded."""
        if self.by == SWANCTL:
            from ..certificates import listed
            from ..charon.vicisession import ViciBackend

            return listed.of(ViciBackend().held(timeout))
        return charon.credentials(timeout)

    def settings(self, charondebug: Mapping[str, int], timeout: float = CALL) -> None:
        """Make charon read strongswan.conf anew, and set its log levels: those of swanctl's stand there."""
        charon.reload_settings(timeout)
        if self.by != SWANCTL:
            charon.set_log_levels(charondebug, timeout)

    def follow(self, log: Log, timeout: float) -> None:
        """Listen to what charon says, in the background."""
        from ..charon import charonlog  # here: an emergency stop has no use for it

        charonlog.follow(log, timeout)

    # its service

    def start(self, timeout: float = ORDER) -> None:
        """Start the service."""
        service.start(timeout)

    def restart(self, timeout: float = ORDER) -> None:
        """Start the service, or start it anew, whatever became of its processes."""
        if self._restart is not None:
            self._restart()
        else:
            service.restart(timeout)

    def begin(self, timeout: float = ORDER) -> None:
        """Start the service of the back end that this host runs by, whatever another one is."""
        service.restart(timeout)

    def install(self, by: str) -> None:
        """Install the packages of a back end; those of the other may have to go, and are at hand then.

        Raises HostIPsecError.
        """
        from ..system import packages, platforms  # here: an emergency stop has no use for them

        wanted = platforms.PACKAGES_OF[by]
        if self._install is None:
            raise HostIPsecError(f"packages {', '.join(wanted)} are not installed: apply state ipsec")
        packages.fetch(packages.displaced(wanted))
        self._install(wanted)

    def leave(self, to: str) -> None:
        """Begin a move to another back end: nothing starts its service yet."""
        from ..system import handover  # here: as above

        handover.begin(to)

    def stay(self) -> None:
        """End a move: the host is there, or goes on by what it had."""
        from ..system import handover  # here: as above

        handover.end()

    def settle(self) -> None:
        """Have services be as the files say, where a move was cut off in the middle."""
        from ..system import handover  # here: as above

        handover.settle(backend.here())

    def hand_over(self, to: str) -> None:
        """End what runs by the other back end, and have the service of this one be what starts at a boot."""
        from ..system import handover  # here: as above

        handover.hand_over(to)

    def stop(self, timeout: float = ORDER) -> None:
        """Stop the service."""
        service.stop(timeout)

    def pids(self, *names: str) -> tuple[int, ...]:
        """Return the processes of charon, of the starter, or both."""
        return service.pids(*names)

    def kill(self, pids: Iterable[int], timeout: float) -> tuple[int, ...]:
        """Kill processes; returns those that are left."""
        return service.kill(pids, timeout)

    # the kernel

    def kernel(self, timeout: float = CALL) -> Kernel:
        """Return one look at the kernel's IPsec state."""
        return kernel.observe(timeout)

    def absent(self, connections: Sequence[Connection]) -> Mapping[Address, str]:
        """Return the addresses of connections that this host does not have, and why; none if not known."""
        try:
            return addresses.absent(one.left for one in connections)
        except HostIPsecError:
            return {}

    def unrouted(self, connections: Sequence[Connection]) -> Mapping[str, str]:
        """Return by name the connections to whose peer the kernel knows no way, and why."""
        from ..kernel import reach  # here: an emergency stop has no use for it

        return reach.unrouted(connections)

    def set_policies(self, batch: str) -> None:
        """Add policies to the kernel's, or renew them."""
        kernel.set_policies(batch)

    def delete(self, batch: str, timeout: float = CALL) -> None:
        """Delete states and policies in the kernel; what is gone by then is no error."""
        kernel.delete(batch, timeout)

    def guard(self, connections: Sequence[Connection]) -> None:
        """Block what is in the clear where these connections, unless they are held, want it; nothing else.

        What is blocked beside connections stays blocked, unless it is held.
        """
        guard.apply(holdfile.free((*connections, *record.read().barred)))

    # the holds on disk

    def holds(self) -> Decisions:
        """Return all of them."""
        return holdfile.read()

    def held(self, connections: Sequence[Connection], now: datetime) -> Mapping[str, str]:
        """Return ``{name: "since ... by ... because ..."}`` of the connections that are held."""
        return holdfile.held(connections, now)

    def take(
        self, hold: Hold, connections: Sequence[Connection], now: datetime, command: Optional[Command]
    ) -> Decisions:
        """Write a hold; returns all. Raises OverruledError where a later command was obeyed."""
        return holdfile.take(hold, connections, now, command)

    def lift(self, lift: Lift, connections: Sequence[Connection], command: Optional[Command]) -> Decisions:
        """Lift holds; returns those that are left. Raises OverruledError as well."""
        return holdfile.lift(lift, connections, lift.when, command)

    def obey(self, command: Command) -> None:
        """Note a command that takes no hold. Raises OverruledError as well."""
        holdfile.obey(command, self.now())

    def ignore(self, connections: Sequence[Connection]) -> None:
        """Keep connections out of the file that charon is told by, without a hold."""
        holdfile.ignore(connections)
