"""One page over HTTP, for those who scrape; a client that is slow or hostile hurts nobody else.

There are few connections at a time: who comes when all are taken gets the place of the oldest one, and one
that takes too long ends. Each is for one answer.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PATH = "/metrics"
MOST = 16  # connections at a time
DEADLINE = 20.0  # seconds of one connection
IDLE = 5.0  # seconds without a byte


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens at one address, and answers with what ``page`` returns."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, page: Callable[[], bytes], content_type: str) -> None:
        """Listen. Raises OSError."""
        self.page, self.content_type = page, content_type
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._open: dict[socket.socket, float] = {}  # connections, the oldest first, and when they came
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind; all of IPv6 is all of IPv4 as well."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, in the place of the oldest where all are taken."""
        with self._lock:
            oldest = next(iter(self._open)) if len(self._open) >= MOST else None
            self._open[request] = time.monotonic()
        if oldest is not None:
            self._end(oldest)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End what takes too long; called between requests, and once a second."""
        latest = time.monotonic() - DEADLINE
        with self._lock:
            late = [request for request, came in self._open.items() if came < latest]
        for request in late:
            self._end(request)

    def _end(self, request: socket.socket) -> None:
        with self._lock:
            self._open.pop(request, None)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)  # its thread sees the end, and closes it

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what is a fault of ours; a client that is gone is none."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"http: this is a fault of hostipsec: {error!r}", file=sys.stderr)  # noqa: T201  the journal


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = IDLE
    server_version, sys_version = "hostipsec", ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, f"there is only {PATH}")
            return
        page = self.server.page()
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if body:
            self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no line a scrape."""
