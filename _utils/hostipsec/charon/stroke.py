"""charon over ``ipsec``: what there is where vici is not.

Against vici: no ``force`` (a dead peer keeps its SA until the retransmissions are through), one
process a call, and ``ipsec`` ends with status 0 whatever charon answered, so its text is read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Optional, TypeVar

from .. import paths
from ..errors import CharonError
from ..model import Charon
from ..system import processes

if TYPE_CHECKING:
    from .credentials import Loaded

Key = TypeVar("Key")
TRIES = 3  # to read a status that is whole
_NOT_RUNNING = 7  # as ipsec(8) says where charon has no pid file
_LATE = processes.Result(processes.TIMED_OUT, "")


class StrokeBackend:
    """charon over stroke, by ``ipsec``. Nothing waits for the peers."""

    name = "stroke"

    def __init__(self, run: processes.Run = processes.run) -> None:
        self._run = run

    def observe(self, timeout: float = paths.CALL_DEADLINE) -> Charon:
        """Return one look at charon.

        The blocking form of the list waits for SAs that are in use just then; ``statusall-nb``
        would leave them out.
        """
        from . import statusall  # here: where vici is, nobody waits for its regular expressions

        end, left = time.monotonic() + timeout, timeout
        for _ in range(TRIES - 1):  # an SA that comes or goes while the list is written is counted or listed
            with contextlib.suppress(statusall.CutOffError):
                return statusall.parse(self._text(["statusall"], left))
            left = max(0.1, end - time.monotonic())
        return statusall.parse(self._text(["statusall"], left))

    def glance(self, timeout: float = paths.CALL_DEADLINE) -> Charon:
        """Return the same: stroke has no list of the IKE SAs alone."""
        return self.observe(timeout)

    def counters(self, timeout: float = paths.CALL_DEADLINE) -> Mapping[str, int]:
        """Return none: they are vici's."""
        return {}

    def algorithms(self, timeout: float = paths.CALL_DEADLINE) -> frozenset[str]:
        """Return the names of the algorithms that charon has."""
        from . import listing  # here: who ends SAs does without it

        return listing.of_text(self._text(["listalgs"], timeout), self.observe(timeout).version)

    def certificates(self, timeout: float = paths.CALL_DEADLINE) -> Optional[frozenset[bytes]]:
        """Return None: stroke prints no certificate whole."""
        return None

    def terminate(
        self, ike_ids: Iterable[int], force: bool = False, timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[int, str]:
        """Ask for the end of IKE SAs by unique id; returns ``{id: why it was not asked}``.

        stroke cannot force: with ``force`` every SA is refused, in words.
        """
        if force:
            return dict.fromkeys(ike_ids, "stroke cannot force, and vici is not there")
        return self._each({ike_id: ["stroke", "down-nb", f"[{ike_id}]"] for ike_id in ike_ids}, timeout)

    def initiate(self, names: Iterable[str], timeout: float = paths.CALL_DEADLINE) -> Mapping[str, str]:
        """Start connections by name; returns ``{name: why charon refused}``."""
        return self._each({name: ["stroke", "up-nb", name] for name in names}, timeout)

    def rekey_children(
        self, child_ids: Iterable[int], timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[int, str]:
        """Rekey CHILD SAs by unique id; returns ``{id: why it was not asked}``."""
        return self._each({number: ["stroke", "rekey", f"{{{number}}}"] for number in child_ids}, timeout)

    def reauthenticate_ikes(
        self, ike_ids: Iterable[int], timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[int, str]:
        """Refuse every SA, in words: stroke has no word for it."""
        return dict.fromkeys(ike_ids, "stroke cannot reauthenticate an SA, and vici is not there")

    def reload_settings(self, timeout: float = paths.CALL_DEADLINE) -> None:
        """Have charon read strongswan.conf again, by SIGHUP to charon itself: stroke has no word for it."""
        try:
            pid = int(paths.here.charon_pid.read_text())
            if (paths.here.proc / f"{pid}/comm").read_text().strip() != "charon":
                raise CharonError(
                    f"process {pid} of {paths.here.charon_pid} is not charon; is the service running?"
                )
            os.kill(pid, signal.SIGHUP)
        except (OSError, ValueError) as error:
            raise CharonError(f"charon is not running ({paths.here.charon_pid}: {error})") from None

    def reread(self, timeout: float = paths.ORDER_DEADLINE) -> None:
        """Read keys, certificates and CAs of /etc/ipsec.d and ipsec.secrets again."""
        for what in ("rereadsecrets", "rereadall"):
            self._text([what], timeout)

    def credentials(self, timeout: float = paths.ORDER_DEADLINE) -> Loaded:
        """Return which certificates, CAs and CRLs charon has loaded, and for which it has the private key."""
        from . import credentials  # here: who ends SAs does not wait for it

        kinds = ("listcerts", "listcacerts", "listcrls")
        lists = [self._text([what, "--utc"], timeout) for what in kinds]
        return credentials.parse("".join(lists))

    def update(self, timeout: float = paths.ORDER_DEADLINE) -> None:
        """Have the starter compare ipsec.conf with what is loaded, and load what differs.

        Returns as soon as the starter has its signal; look at the loaded connections for the effect.
        """
        self._tell_starter("update", timeout)

    def reload(self, timeout: float = paths.ORDER_DEADLINE) -> None:
        """Have the starter load all connections anew, whatever charon has; SAs stay."""
        self._tell_starter("reload", timeout)

    def set_log_levels(
        self, levels: Mapping[str, int], timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[str, str]:
        """Set the level of each type of ``charondebug``; returns ``{type: why it stays as it was}``."""
        return self._each(
            {kind: ["stroke", "loglevel", kind, str(levels[kind])] for kind in sorted(levels)}, timeout
        )

    def _tell_starter(self, what: str, timeout: float) -> None:
        result = self._run([str(paths.here.ipsec), what], timeout)
        if result.status != 0:
            raise CharonError(
                f"ipsec {what}: status {result.status}, {_said(result)}; is the service running?"
            )

    def _text(self, command: list[str], timeout: float) -> str:
        result = self._run([str(paths.here.ipsec), *command], timeout)
        failure = _failure(result, timeout)
        if failure:
            raise CharonError(f"ipsec {' '.join(command)}: {failure}")
        return result.stdout

    def _each(self, commands: Mapping[Key, list[str]], timeout: float) -> dict[Key, str]:
        """Run one command after the other, all within the deadline; silence is consent with ``-nb``."""
        end = time.monotonic() + timeout
        refused: dict[Key, str] = {}
        for key, argv in commands.items():
            left = end - time.monotonic()
            result = self._run([str(paths.here.ipsec), *argv], left) if left > 0 else _LATE
            failure = _failure(result, timeout) or result.text.strip()
            if failure:
                refused[key] = failure
        return refused


def _failure(result: processes.Result, timeout: float) -> str:
    """Say why there is no answer of charon in a result; ``""`` where there may be one.

    The status tells nothing more: ``ipsec statusall`` ends with that of the starter, not of charon.
    """
    if result.status == processes.TIMED_OUT:
        return f"charon did not answer within {timeout:g} s over stroke"
    if result.status == processes.NOT_FOUND:
        return f"cannot be run ({_said(result)}); is strongswan-starter installed?"
    if "failed to connect to stroke socket" in result.text or result.status == _NOT_RUNNING:
        return f"charon is not running ({_said(result)})"
    return ""


def _said(result: processes.Result) -> str:
    return " ".join(result.text.split()) or "no output"
