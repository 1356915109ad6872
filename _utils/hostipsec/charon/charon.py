"""The one way to charon: over vici where it is there, else over stroke.

Each call finds its back end anew, so a caller survives a restart of the daemon. Tests give their
own back ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Callable, Optional, Protocol, Sequence, TypeVar

from .. import paths
from ..errors import CharonError
from ..model import Charon
from .stroke import StrokeBackend
from .vicisession import UnavailableError, ViciBackend

if TYPE_CHECKING:
    from .credentials import Loaded

Told = TypeVar("Told")


class Backend(Protocol):
    """What vici and stroke can both do."""

    name: str

    def observe(self, timeout: float = ...) -> Charon:
        """Return one look at charon."""

    def glance(self, timeout: float = ...) -> Charon:
        """Return a look at the IKE SAs, and at nothing else where that is quicker."""

    def counters(self, timeout: float = ...) -> Mapping[str, int]:
        """Return charon's own counters, by its names; none where it keeps none."""

    def algorithms(self, timeout: float = ...) -> frozenset[str]:
        """Return the names of the algorithms that charon has."""

    def certificates(self, timeout: float = ...) -> Optional[frozenset[bytes]]:
        """Return the certificates of which charon has the private keys, as DER; None where it is not told."""

    def terminate(self, ike_ids: Iterable[int], force: bool = ..., timeout: float = ...) -> Mapping[int, str]:
        """Ask for the end of IKE SAs; returns what was refused, and why."""

    def initiate(self, names: Iterable[str], timeout: float = ...) -> Mapping[str, str]:
        """Start connections by name; returns what was refused, and why."""

    def rekey_children(self, child_ids: Iterable[int], timeout: float = ...) -> Mapping[int, str]:
        """Rekey CHILD SAs; returns what was refused, and why."""

    def reauthenticate_ikes(self, ike_ids: Iterable[int], timeout: float = ...) -> Mapping[int, str]:
        """Reauthenticate IKE SAs; returns what was refused, and why."""

    def reload_settings(self, timeout: float = ...) -> None:
        """Have charon read strongswan.conf again."""


Backends = Sequence[Backend]


def observe(timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None) -> Charon:
    """Return one look at charon; ``backend`` in it says which way it was read."""
    return _first(backends, lambda backend: backend.observe(timeout=timeout))


def glance(timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None) -> Charon:
    """Return a look at the IKE SAs alone, the quickest there is; all else in it may be missing."""
    return _first(backends, lambda backend: backend.glance(timeout=timeout))


def counters(timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None) -> Mapping[str, int]:
    """Return charon's own counters since its start, by its names (``ike-init-in-req``).

    None where it has no plugin ``counters``, and over stroke.
    """
    return _first(backends, lambda backend: backend.counters(timeout=timeout))


def algorithms(timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None) -> frozenset[str]:
    """Return the names of the algorithms that charon has, of all kinds: ``{"AES_GCM_16", "ECP_384_BP"}``."""
    return _first(backends, lambda backend: backend.algorithms(timeout=timeout))


def certificates(
    timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None
) -> Optional[frozenset[bytes]]:
    """Return the certificates of which charon has the private keys, as DER; None over stroke."""
    return _first(backends, lambda backend: backend.certificates(timeout=timeout))


def terminate(
    ike_ids: Iterable[int],
    force: bool = False,
    timeout: float = paths.CALL_DEADLINE,
    backends: Optional[Backends] = None,
) -> Mapping[int, str]:
    """Ask for the end of IKE SAs by unique id, all at once, waiting for no peer.

    Returns ``{id: why}`` for those that charon refused; one that has gone by itself is not refused.
    ``force`` ends an SA at once, whether or not its peer answers; only vici can.
    """
    ids = sorted(set(ike_ids))
    return (
        _first(backends, lambda backend: backend.terminate(ids, force=force, timeout=timeout)) if ids else {}
    )


def initiate(
    names: Iterable[str], timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None
) -> Mapping[str, str]:
    """Start connections by name, waiting for no peer; returns ``{name: why}`` for the refused.

    Ask only for what is missing: strongSwan 5.9.1 gives a connection that is up a second CHILD SA, where
    5.9.8 and 6.0.1 leave it as it is.
    """
    wanted = sorted(set(names))
    return _first(backends, lambda backend: backend.initiate(wanted, timeout=timeout)) if wanted else {}


def rekey_children(
    child_ids: Iterable[int], timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None
) -> Mapping[int, str]:
    """Rekey CHILD SAs by unique id; returns ``{id: why}`` for the refused."""
    ids = sorted(set(child_ids))
    return _first(backends, lambda backend: backend.rekey_children(ids, timeout=timeout)) if ids else {}


def reauthenticate_ikes(
    ike_ids: Iterable[int], timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None
) -> Mapping[int, str]:
    """Authenticate IKE SAs anew, as they were configured; returns ``{id: why}`` for the refused."""
    ids = sorted(set(ike_ids))
    return _first(backends, lambda backend: backend.reauthenticate_ikes(ids, timeout=timeout)) if ids else {}


def reload_settings(timeout: float = paths.CALL_DEADLINE, backends: Optional[Backends] = None) -> None:
    """Have charon read strongswan.conf again; some of it (threads, tables) counts only at a start."""
    _first(backends, lambda backend: backend.reload_settings(timeout=timeout))


def reread(timeout: float = paths.ORDER_DEADLINE, stroke: Optional[StrokeBackend] = None) -> None:
    """Read ipsec.secrets, keys, certificates and CAs of /etc/ipsec.d again.

    Over stroke even where vici is there: these files are stroke's, vici knows nothing of them.
    """
    (stroke or StrokeBackend()).reread(timeout)


def credentials(timeout: float = paths.ORDER_DEADLINE, stroke: Optional[StrokeBackend] = None) -> Loaded:
    """Return which certificates charon has loaded."""
    return (stroke or StrokeBackend()).credentials(timeout)


def reload(timeout: float = paths.ORDER_DEADLINE, stroke: Optional[StrokeBackend] = None) -> None:
    """Load all connections of ipsec.conf anew (SIGUSR1 to the starter); SAs stay."""
    (stroke or StrokeBackend()).reload(timeout)


def set_log_levels(
    levels: Mapping[str, int], timeout: float = paths.CALL_DEADLINE, stroke: Optional[StrokeBackend] = None
) -> Mapping[str, str]:
    """Set the level of each type of ``charondebug``, as long as charon runs; only stroke can.

    Returns ``{type: why it stays as it was}``.
    """
    return (stroke or StrokeBackend()).set_log_levels(levels, timeout)


def update(timeout: float = paths.ORDER_DEADLINE, stroke: Optional[StrokeBackend] = None) -> None:
    """Load what ipsec.conf has changed (SIGHUP to the starter), and leave alone what is equal.

    Returns as soon as the starter has its signal; look at the loaded connections for the effect.
    """
    (stroke or StrokeBackend()).update(timeout)


def _first(backends: Optional[Backends], ask: Callable[[Backend], Told]) -> Told:
    """Return the answer of the first back end that is there.

    A charon that is there and does not answer is not asked a second way: it would cost the same
    time again, and stroke and vici share charon's threads.
    """
    missing = []
    both: Backends = (ViciBackend(), StrokeBackend())
    for backend in both if backends is None else backends:
        try:
            return ask(backend)
        except UnavailableError as reason:
            missing.append(str(reason))
    raise CharonError(f"charon cannot be reached: {'; '.join(missing)}")
