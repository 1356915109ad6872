"""Serves a host's metrics: to node_exporter, over HTTP, to Graphite. Runs as ``hostipsec-metrics.service``.

It reads what the keeper's last look left, and looks at nothing itself: whoever is scraped by many, or waits
for a Graphite that is away, is not the keeper. Where that is too old or cannot be read, it says so, and
nothing of connections.

Each way goes on without the others. What is wrong with one is said once, and when it is over.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, Optional, TypeVar

from ..errors import HostIPsecError
from ..faces import exposition, metrics
from ..faces.measures import Family, Seen
from ..pillar import metrics as places
from ..pillar.metrics import Endpoint
from ..store import samples
from ..system import files, heartbeat, webpage

# seconds
FRESH = 1.0  # for so long whoever asks gets what the one before got
TEXTFILE_EVERY = 15.0
GRAPHITE_EVERY = 60.0
GRAPHITE_DEADLINE = 10.0
LONGEST_WAIT = 600.0  # for a Graphite that is away
LISTEN_AGAIN = 15.0  # after a port that is taken, an address that is not there yet

TEXTFILE = "hostipsec.prom"
T = TypeVar("T")

log = logging.getLogger("hostipsec-metrics")


class Saying:
    """Says what is wrong with something once, until something else is, and when it is over."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __call__(self, of: str, wrong: str) -> None:
        """Say it; ``wrong`` is empty where all is well."""
        before = self._said.get(of, "")
        self._said[of] = wrong
        if wrong and wrong != before:
            log.warning("%s: %s", of, wrong)
        elif before and not wrong:
            log.info("%s: well again", of)


class Told:
    """What there is to tell, read and written anew once a second at most, however many ask."""

    def __init__(self, say: Saying, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock, self._lock = say, clock, threading.Lock()
        self._read: Optional[tuple[float, Seen, tuple[Family, ...]]] = None
        self._page: Optional[bytes] = None  # of what was read

    def __call__(self) -> tuple[Seen, tuple[Family, ...]]:
        """Return it."""
        with self._lock:
            return self._now()

    def page(self) -> bytes:
        """Return it as Prometheus reads it."""
        with self._lock:
            families = self._now()[1]
            if self._page is None:
                self._page = exposition.prometheus(families).encode("utf-8", "replace")
            return self._page

    def _now(self) -> tuple[Seen, tuple[Family, ...]]:
        now = self._clock()
        if self._read is None or not now - self._read[0] < FRESH:
            self._read, self._page = (now, *_looked()), None
            self._say("the keeper's sample", self._read[1].wrong)
        return self._read[1:]


def _looked() -> tuple[Seen, tuple[Family, ...]]:
    now = time.time()
    try:
        found = metrics.seen(samples.read(), now)
        return found, metrics.families(found)
    except HostIPsecError as error:
        nothing = Seen(now, wrong=str(error))
        return nothing, metrics.families(nothing)


# Three ways ----------------------------------------------------------------------------------


def write(directory: str, told: Told) -> None:
    """Give node_exporter its file: whole, and renamed from a name that it does not read."""
    files.replace(f"{directory}/{TEXTFILE}", told.page(), 0o644)


def push(where: Endpoint, told: Told) -> None:
    """Send Graphite what there is now; what it did not take is not kept."""
    seen, found = told()
    host = seen.sample.host or socket.gethostname()
    text = exposition.graphite(found, host, seen.time)
    try:
        with socket.create_connection(where, GRAPHITE_DEADLINE) as connection:
            connection.sendall(text.encode("ascii", "replace"))
    except OSError as error:
        raise HostIPsecError(f"{where.host} port {where.port}: {error.strerror or error}") from None


def serve(where: Endpoint, told: Told, listening: Callable[[], object]) -> NoReturn:
    """Answer those who scrape."""
    try:
        server = webpage.Server(where.host, where.port, told.page, exposition.CONTENT_TYPE)
    except OSError as error:
        raise HostIPsecError(f"{where.host} port {where.port}: {error.strerror or error}") from None
    with server:
        listening()
        server.serve_forever(poll_interval=1.0)
    raise HostIPsecError("it ended")


def complaint(do: Callable[[], object]) -> str:
    """Do something; return what is wrong, in a sentence, or nothing."""
    try:
        do()
    except HostIPsecError as error:
        return str(error)
    except Exception as error:  # the other ways go on, whatever it is
        return f"this is a fault of hostipsec: {error!r}"
    return ""


def pushing(where: Endpoint, told: Told, say: Saying) -> NoReturn:
    """Push again and again, ever more seldom where nobody takes it."""
    wait = GRAPHITE_EVERY
    while True:
        wrong = complaint(lambda: push(where, told))
        say("graphite", wrong)
        wait = min(2 * wait, LONGEST_WAIT) if wrong else GRAPHITE_EVERY
        time.sleep(wait * random.uniform(0.9, 1.1))  # noqa: S311  spreads load, keeps no secret


def serving(where: Endpoint, told: Told, say: Saying) -> NoReturn:
    """Serve; again where that cannot begin."""
    while True:
        say("http", complaint(lambda: serve(where, told, lambda: say("http", ""))))
        time.sleep(LISTEN_AGAIN)


def writing(directory: str, told: Told, say: Saying) -> NoReturn:
    """Write again and again, and live; without a directory only live."""
    while True:
        heartbeat.tell()
        if directory:
            say("textfile", complaint(lambda: write(directory, told)))
        time.sleep(TEXTFILE_EVERY)


# The program ---------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, which the pillar's ``ipsec:metrics`` gives."""
    found = argparse.ArgumentParser(prog="hostipsec-metrics", description=__doc__.splitlines()[0])
    for option, parse, allowed in (
        ("--textfile", places.directory, places.DIRECTORY),
        ("--http", places.listen, places.LISTEN),
        ("--graphite", places.send, places.SEND),
    ):
        found.add_argument(option, type=_allowed(parse, allowed), metavar=allowed.partition(" ")[0])
    return found


def _allowed(parse: Callable[[str], T], allowed: str) -> Callable[[str], T]:
    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"found {text!r:.200}; allowed: {allowed}") from None

    return parsed


def main(given: Optional[Sequence[str]] = None) -> NoReturn:
    """Serve until the process is ended."""
    read = parser()
    options = read.parse_args(given)
    if not (options.textfile or options.http or options.graphite):
        read.error("nothing to serve; give --textfile, --http or --graphite")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    say = Saying()
    told = Told(say)
    for way, where in ((serving, options.http), (pushing, options.graphite)):
        if where:
            threading.Thread(target=way, args=(where, told, say), daemon=True).start()
    try:
        writing(options.textfile or "", told, say)
    finally:
        if options.textfile:  # what nobody renews any more would tell for ever that all is well
            say("textfile", complaint(lambda: files.remove(f"{options.textfile}/{TEXTFILE}")))


if __name__ == "__main__":
    main()
