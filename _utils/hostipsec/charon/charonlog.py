"""What charon says while something is done, connection by connection: over vici, in the background."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from ..errors import CharonError
from . import vicisession
from .reasons import Message

_PATIENCE = 0.5  # seconds


class Log:
    """Messages so far; grows until the end of :func:`listening`, or until charon goes."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self.connected = threading.Event()  # or known that nobody will be

    def add(self, message: Message) -> None:
        """Add a message."""
        self._messages.append(message)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return the messages in their order."""
        return tuple(self._messages)


def follow(log: Log, timeout: float, connect: vicisession.Connect = vicisession.connect) -> threading.Thread:
    """Start to add what charon says to a log, for ``timeout`` seconds at most.

    Returns once charon listens, or half a second later: what it says to what is started next is not missed.
    Without vici, or with a charon that does not answer, nothing is added: the log explains, it
    proves nothing.
    """
    thread = threading.Thread(target=_listen, args=(log, timeout, connect), daemon=True)
    thread.start()
    log.connected.wait(_PATIENCE)
    return thread


def _listen(log: Log, timeout: float, connect: vicisession.Connect) -> None:
    try:
        with contextlib.suppress(CharonError, OSError), connect(timeout) as session:
            log.connected.set()
            for message in _events(session):
                log.add(message)
    finally:
        log.connected.set()


def _events(session: Any) -> Iterator[Message]:
    with contextlib.closing(session.listen(["log"])) as events:
        for label, event in events:
            if label is None:
                return  # the deadline
            if "msg" in event:
                name = event.get("ikesa-name", b"").decode("utf-8", "replace")
                yield Message(name, event["msg"].decode("utf-8", "replace"))
