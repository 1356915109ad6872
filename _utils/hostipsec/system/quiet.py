"""Errors that others log, kept from the operator's terminal, where they are tracebacks; the log has them."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator


class _Listening(logging.Handler):
    """Keeps the exceptions that a logger tells of."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.raised: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an exception."""
        if record.exc_info and record.exc_info[1] is not None:
            self.raised.append(record.exc_info[1])


def _less(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


@contextlib.contextmanager
def errors(name: str) -> Iterator[list[BaseException]]:
    """Print no error meanwhile; yields the exceptions that the logger of that name tells of."""
    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    printing = [one for one in logging.getLogger().handlers if getattr(one, "stream", None) in terminal]
    logger, listening = logging.getLogger(name), _Listening()
    logger.addHandler(listening)
    for one in printing:
        one.addFilter(_less)
    try:
        yield listening.raised
    finally:
        logger.removeHandler(listening)
        for one in printing:
            one.removeFilter(_less)
