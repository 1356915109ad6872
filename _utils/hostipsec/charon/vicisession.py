"""A session with charon over vici: every call has a deadline, every socket is closed.

Needs Python's ``vici`` library (strongSwan's own; Debian packages none) and charon's ``vici`` plugin
(Debian: strongswan-swanctl). :class:`UnavailableError` says that one of them is not there, so that the
caller can turn to stroke; :class:`~hostipsec.errors.CharonError` that charon does not answer in time.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Optional

from .. import paths
from ..errors import CharonError
from ..model import Charon
from . import vicimessage

SESSIONS = 4  # at once, for many requests
CHUNK = 16384  # bytes of answers that are read at once
_NOTHING: Mapping[str, str] = {}
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, struct.error)


class UnavailableError(CharonError):
    """There is no vici here: no library, no socket, or no one behind it."""


class DeadlineSocket:
    """A connected socket all of whose reads and writes end at one deadline.

    The library lifts a socket's timeout after the first byte of an answer; a charon that hangs in
    the middle of one would hang its caller for ever. It also reads four bytes, and then a message; answers
    are taken from the kernel by the chunk.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._socket = sock
        self._end = time.monotonic() + timeout
        self._chunk, self._given = b"", 0  # what was read, and how much of it was given on

    def _arm(self) -> None:
        self._socket.settimeout(max(0.001, self._end - time.monotonic()))

    def sendall(self, data: bytes) -> None:
        """Send all bytes."""
        self._arm()
        self._socket.sendall(data)

    def recv(self, count: int) -> bytes:
        """Return up to ``count`` bytes; none where the other end is closed."""
        if self._given == len(self._chunk):
            self._arm()
            self._chunk, self._given = self._socket.recv(CHUNK), 0
        begin, self._given = self._given, min(self._given + count, len(self._chunk))
        return self._chunk[begin : self._given]

    def gettimeout(self) -> Optional[float]:
        """Return what is left until the deadline."""
        return max(0.0, self._end - time.monotonic())

    def settimeout(self, value: Optional[float]) -> None:
        """Change nothing: the deadline stands."""


Connect = Callable[[float], "contextlib.AbstractContextManager[Any]"]


@contextlib.contextmanager
def connect(timeout: float, path: Optional[str] = None) -> Iterator[Any]:
    """Open a session whose calls all end within ``timeout`` seconds, and close it in any case."""
    library = _library()
    where = path or str(paths.here.charon_vici)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(where)
        except socket.timeout:
            raise CharonError(f"charon takes no call at {where} within {timeout:g} s") from None
        except OSError as error:
            raise UnavailableError(f"no vici at {where}: {error.strerror}") from None
        yield library.session.Session(DeadlineSocket(sock, timeout))


def _library() -> Any:
    try:
        library = importlib.import_module("vici")
        importlib.import_module("vici.session")  # the copy on a host (vicicopy) does not load it by itself
    except ImportError:
        raise UnavailableError("Python's vici library is not installed") from None
    return library


@contextlib.contextmanager
def _told(action: str, timeout: float) -> Iterator[None]:
    """Turn what the library raises into a sentence."""
    try:
        yield
    except socket.timeout:
        raise CharonError(f"charon did not answer within {timeout:g} s over vici ({action})") from None
    except OSError as error:
        raise CharonError(f"charon ended the vici call ({action}): {error}") from None
    except _refusals() as error:
        raise CharonError(f"charon refused the vici call ({action}): {error}") from None
    except _UNREADABLE as error:
        said = f"charon answered the vici call ({action}) in a way that cannot be read"
        raise CharonError(f"{said} ({error!r})") from None


def _refusals() -> tuple[type[Exception], ...]:
    """Return what the library raises for a no of charon; nothing where there is no library."""
    library = sys.modules.get("vici.exception")
    names = ("CommandException", "SessionException", "DeserializationException")
    return tuple(getattr(library, name) for name in names) if library else ()


class Requests:
    """What is asked in one session, all of it before the first answer is read.

    charon answers in the order of the requests (vici_socket.c), and a list by events before its answer. The
    library waits for the answer to each request, which is most of the time of a call.
    """

    def __init__(self, session: Any) -> None:
        self._transport = session.transport
        self._library = _library()

    def ask(self, command: str, message: Mapping[str, Any] = _NOTHING, event: str = "") -> None:
        """Send a request; a command that lists gives an event for each."""
        packet, serialize = self._library.protocol.Packet, self._library.protocol.Message.serialize
        if event:
            self._transport.send(packet.register_event(event))
        self._transport.send(packet.request(command, serialize(message)))

    def answer(self) -> Mapping[str, Any]:
        """Return the next answer. Raises the library's CommandException where charon says no."""
        return self._next()[0]

    def listed(self) -> list[Mapping[str, Any]]:
        """Return what the next answer lists."""
        return self._next()[1]

    def _next(self) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        packet = self._library.protocol.Packet
        events = []
        while True:
            found = packet.parse(self._transport.receive())
            if found.response_type == packet.EVENT:
                events.append(vicimessage.decoded(found.payload.read()))
            elif found.response_type != packet.EVENT_CONFIRM:
                break
        if found.response_type != packet.CMD_RESPONSE:
            raise self._library.exception.SessionException(f"Unexpected response type {found.response_type}")
        answer = vicimessage.decoded(found.payload.read())
        if answer.get("success", b"yes") != b"yes":
            raise self._library.exception.CommandException(answer["errmsg"].decode())
        return answer, events


class ViciBackend:
    """charon over vici. Each method is one session, over before it returns."""

    name = "vici"

    def __init__(self, connect: Connect = connect) -> None:
        self._connect = connect

    @contextlib.contextmanager
    def _session(self, action: str, timeout: float) -> Iterator[Requests]:
        with _told(action, timeout), self._connect(timeout) as session:
            yield Requests(session)

    def observe(self, timeout: float = paths.CALL_DEADLINE) -> Charon:
        """Return one look at charon: five questions in one session."""
        with self._session("list", timeout) as session:
            session.ask("version")
            session.ask("stats")
            session.ask("list-conns", event="list-conn")
            session.ask("list-sas", event="list-sa")
            session.ask("list-policies", {"trap": "yes"}, event="list-policy")
            return vicimessage.charon(
                version=session.answer(),
                stats=session.answer(),
                conns=session.listed(),
                sas=session.listed(),
                policies=session.listed(),
            )

    def glance(self, timeout: float = paths.CALL_DEADLINE) -> Charon:
        """Return a look at the IKE SAs alone: a fifth of the time where there are many connections."""
        with self._session("list-sas", timeout) as session:
            session.ask("list-sas", event="list-sa")
            return vicimessage.charon(sas=session.listed())

    def counters(self, timeout: float = paths.CALL_DEADLINE) -> Mapping[str, int]:
        """Return charon's own counters, by its names; none without its plugin ``counters``."""
        with self._session("get-counters", timeout) as session:
            session.ask("get-counters")
            try:
                answer = session.answer()
            except _refusals():
                return {}
            return vicimessage.counters(answer)

    def algorithms(self, timeout: float = paths.CALL_DEADLINE) -> frozenset[str]:
        """Return the names of the algorithms that charon has."""
        from . import listing  # here: who ends SAs does without it

        with self._session("get-algorithms", timeout) as session:
            session.ask("get-algorithms")
            return listing.of_answer(session.answer())

    def certificates(self, timeout: float = paths.CALL_DEADLINE) -> frozenset[bytes]:
        """Return the certificates that charon has the private keys of, as DER."""
        with self._session("list-certs", timeout) as session:
            session.ask("list-certs", {"type": "x509"}, event="list-cert")
            return frozenset(bytes(one["data"]) for one in session.listed() if "has_privkey" in one)

    def held(self, timeout: float = paths.CALL_DEADLINE) -> tuple[Mapping[str, Any], ...]:
        """Return all certificates and revocation lists that charon has, as ``list-certs`` tells of them."""
        with self._session("list-certs", timeout) as session:
            session.ask("list-certs", {"type": "any"}, event="list-cert")
            return tuple(session.listed())

    def terminate(
        self, ike_ids: Iterable[int], force: bool = False, timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[int, str]:
        """Ask for the end of IKE SAs by unique id, all at once; returns ``{id: why charon refused}``.

        Nothing waits for the peers. With ``force`` an SA is gone at once, whether or not its peer
        answers. An SA that is gone already counts as ended.
        """
        options = {"timeout": "-1", **({"force": "yes"} if force else {})}
        requests = {ike_id: {"ike-id": str(ike_id), **options} for ike_id in ike_ids}
        refused = self._each("terminate", requests, timeout)
        return {key: why for key, why in refused.items() if "no matching SAs" not in why}

    def initiate(self, names: Iterable[str], timeout: float = paths.CALL_DEADLINE) -> Mapping[str, str]:
        """Start connections (their CHILD of the same name); returns ``{name: why charon refused}``."""
        requests = {name: {"child": name, "timeout": "-1"} for name in names}
        return self._each("initiate", requests, timeout)

    def rekey_children(
        self, child_ids: Iterable[int], timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[int, str]:
        """Rekey CHILD SAs by unique id; returns ``{id: why charon refused}``."""
        return self._each("rekey", {number: {"child-id": str(number)} for number in child_ids}, timeout)

    def reauthenticate_ikes(
        self, ike_ids: Iterable[int], timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[int, str]:
        """Authenticate IKE SAs anew by unique id; returns ``{id: why charon refused}``."""
        requests = {number: {"ike-id": str(number), "reauth": "yes"} for number in ike_ids}
        return self._each("rekey", requests, timeout)

    def load(
        self, sections: Mapping[str, Mapping[str, Any]], timeout: float = paths.CALL_DEADLINE
    ) -> Mapping[str, str]:
        """Load connections by name, each in place of its namesake; returns ``{name: why charon refused}``.

        What charon refuses stays as it was. SAs stay too, and go on with the options of before, but for those
        of a connection with ``start_action`` start: they end. A charon that starts anew has none of these.
        """
        return self._each("load-conn", {name: {name: sections[name]} for name in sections}, timeout)

    def unload(self, names: Iterable[str], timeout: float = paths.CALL_DEADLINE) -> Mapping[str, str]:
        """Take connections from charon by name; their SAs stay. Returns ``{name: why charon refused}``."""
        return self._each("unload-conn", {name: {"name": name} for name in names}, timeout)

    def reload_settings(self, timeout: float = paths.CALL_DEADLINE) -> None:
        """Have charon read strongswan.conf again."""
        with self._session("reload-settings", timeout) as session:
            session.ask("reload-settings")
            session.answer()

    def _each(
        self, command: str, requests: Mapping[Any, Mapping[str, Any]], timeout: float
    ) -> dict[Any, str]:
        """Send the requests in a few sessions, one a thread of charon; collect what it refuses."""
        keys = list(requests)
        number = max(1, min(SESSIONS, len(keys) // SESSIONS))
        refused: dict[Any, str] = {}
        with contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(self._session(command, timeout)) for _ in range(number)]
            for one, session in enumerate(sessions):
                for key in keys[one::number]:
                    session.ask(command, requests[key])
            for one, session in enumerate(sessions):
                for key in keys[one::number]:
                    try:
                        session.answer()
                    except _library().exception.CommandException as refusal:
                        refused[key] = str(refusal)
        return refused
