"""Sessions with a charon that answers, refuses, hangs or goes; the real one is in tests/functional."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time

import pytest
from vici.protocol import Message, Packet

import recordings
from hostipsec.charon import charon
from hostipsec.charon.vicisession import DeadlineSocket, UnavailableError, ViciBackend, connect
from hostipsec.errors import CharonError


class Session:
    """A session that answers from a recording and notes what it was asked; it is its own transport."""

    def __init__(self, refusals=()):
        self.asked = []
        self.refusals = dict(refusals)
        self.open = 0
        self.answers = []
        self.transport = self

    @contextlib.contextmanager
    def connect(self, timeout):
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    def send(self, packet):
        kind, payload = Packet.parse(packet)
        command = payload.read(payload.read(1)[0]).decode()
        if kind == Packet.EVENT_REGISTER:
            self.answers.append(bytes([Packet.EVENT_CONFIRM]))
            return
        message = {key: value.decode() for key, value in Message.deserialize(payload).items()}
        self.asked.append((command, message))
        recorded = recordings.answers("5.9.8-up")
        for event in recorded.get(command.replace("list-", ""), ()) if command.startswith("list-") else ():
            head = Packet._named_request(Packet.EVENT, command[:-1])
            self.answers.append(head + Message.serialize(event))
        refusals = [self.refusals[value] for value in message.values() if value in self.refusals]
        answer = {"success": "no", "errmsg": refusals[0]} if refusals else recorded.get(command, {})
        self.answers.append(bytes([Packet.CMD_RESPONSE]) + Message.serialize(answer))

    def receive(self):
        return self.answers.pop(0)


def test_one_look_is_one_session():
    session = Session()
    assert ViciBackend(session.connect).observe() == recordings.vici("5.9.8-up")
    assert [asked[0] for asked in session.asked] == [
        "version",
        "stats",
        "list-conns",
        "list-sas",
        "list-policies",
    ]
    assert session.open == 0


def test_terminate_waits_for_no_peer():
    session = Session({"5": "terminating failed", "6": "no matching SAs to terminate found"})
    backend = ViciBackend(session.connect)
    assert backend.terminate([4, 5, 6]) == {5: "terminating failed"}
    assert session.asked[0] == ("terminate", {"ike-id": "4", "timeout": "-1"})
    backend.terminate([7], force=True)
    assert session.asked[-1] == ("terminate", {"ike-id": "7", "timeout": "-1", "force": "yes"})


def test_other_requests():
    session = Session({"b": "CHILD_SA config 'b' not found"})
    backend = ViciBackend(session.connect)
    assert backend.initiate(["a", "b"]) == {"b": "CHILD_SA config 'b' not found"}
    assert backend.rekey_children([3]) == backend.reauthenticate_ikes([4]) == {}
    backend.reload_settings()
    assert session.asked == [
        ("initiate", {"child": "a", "timeout": "-1"}),
        ("initiate", {"child": "b", "timeout": "-1"}),
        ("rekey", {"child-id": "3"}),
        ("rekey", {"ike-id": "4", "reauth": "yes"}),
        ("reload-settings", {}),
    ]


# A charon that does not do what it should ----------------------------------------------------


@pytest.fixture
def charon_that(tmp_path):
    """Return a function that starts a charon with one behaviour, and gives the back end for it."""
    path = str(tmp_path / "charon.vici")
    ended, threads = threading.Event(), []

    def start(behave, timeout=10):
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()

        def serve():
            with server, contextlib.suppress(OSError):
                caller, _ = server.accept()
                with caller:
                    behave(caller, ended)

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        return ViciBackend(lambda seconds: connect(seconds, path))

    yield start
    ended.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def hang(caller, ended):
    ended.wait(10)


def trickle(caller, ended):
    """Say that an answer of 64 KiB comes, and send a byte of it now and then."""
    caller.sendall(struct.pack("!I", 65536))
    while not ended.wait(0.01):
        caller.sendall(b"\0")


def close(caller, ended):
    caller.recv(1)


def refuse(caller, ended):
    """Answer that the command is not known."""
    caller.recv(4096)
    caller.sendall(struct.pack("!IB", 1, 2))
    ended.wait(10)


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (hang, r"charon did not answer within 0\.2 s over vici \(list-sas\)"),
        (trickle, r"charon did not answer within 0\.2 s over vici \(list-sas\)"),
        (close, r"charon ended the vici call \(list-sas\)"),
        (refuse, r"charon refused the vici call \(list-sas\): Unexpected response type 2"),
    ],
)
def test_a_call_ends_in_time_and_in_words(charon_that, behave, said):
    """The library lifts a socket's timeout after the first byte of an answer."""
    backend, start = charon_that(behave), time.monotonic()
    with pytest.raises(CharonError, match=said):
        backend.glance(timeout=0.2)
    assert time.monotonic() - start < 5


def test_reads_and_writes_end_at_one_deadline():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        limited = DeadlineSocket(ours, 0.2)
        limited.settimeout(None)
        theirs.sendall(b"ab")
        assert limited.recv(1) == b"a"
        assert 0 < limited.gettimeout() <= 0.2
        with pytest.raises(socket.timeout):
            limited.sendall(b"x" * 10_000_000)
        assert limited.gettimeout() == 0


# No vici -------------------------------------------------------------------------------------


def test_no_socket(tmp_path):
    with (
        pytest.raises(UnavailableError, match=r"no vici at .*/none: No such file or directory"),
        connect(1.0, str(tmp_path / "none")),
    ):
        pass


def test_no_one_behind_the_socket(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    with pytest.raises(UnavailableError, match="Connection refused"), connect(1.0, str(tmp_path / "left")):
        pass


def test_no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "vici", None)
    monkeypatch.delitem(sys.modules, "vici.exception")
    with pytest.raises(UnavailableError, match="Python's vici library is not installed"):
        ViciBackend().observe()


# The one way to charon -----------------------------------------------------------------------


class Other:
    """A back end that gives one answer, or raises it."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = 0

    def observe(self, timeout):
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_stroke_is_asked_where_vici_is_not_there():
    found = charon.observe(
        backends=(Other(UnavailableError("no vici")), Other(recordings.stroke("5.9.8-up")))
    )
    assert found.backend == "stroke"


def test_a_charon_that_hangs_is_not_asked_a_second_way():
    second = Other(recordings.stroke("5.9.8-up"))
    with pytest.raises(CharonError, match="hangs"):
        charon.observe(backends=(Other(CharonError("hangs")), second))
    assert second.calls == 0


def test_neither_is_there():
    backends = (Other(UnavailableError("no vici")), Other(UnavailableError("no stroke")))
    with pytest.raises(CharonError, match="charon cannot be reached: no vici; no stroke"):
        charon.observe(backends=backends)


def test_nothing_to_do_asks_no_one():
    assert charon.terminate([], backends=()) == charon.initiate([], backends=()) == {}
    assert charon.rekey_children([], backends=()) == charon.reauthenticate_ikes([], backends=()) == {}
