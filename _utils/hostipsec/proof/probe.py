"""Echo requests to peers, and a look at what leaves meanwhile: raw sockets, nobody's programs.

Both need the capability CAP_NET_RAW; :class:`NoRightError` says that it is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from ..errors import HostIPsecError
from ..model import Address, Connection
from ..strongswan import exceptions
from . import packets
from .verdict import Captured, Replies

PAYLOAD = 56  # bytes, as ping sends
GAP = 0.02  # seconds between two rounds: no burst, and no wait worth the name
_BUFFER = 4 << 20
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SOL_RAW, _ICMP_FILTER = 255, 1
_TOKEN = 8
_NOTHING: Mapping[Address, Connection] = MappingProxyType({})
_AT_ONCE = 4096  # packets taken from one socket before the others have their turn


class NoRightError(HostIPsecError):
    """This process must not use raw sockets."""


@contextlib.contextmanager
def _permitted(what: str) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise NoRightError(f"no right to {what}: this process lacks the capability CAP_NET_RAW") from None
    except OSError as error:
        raise HostIPsecError(f"cannot {what}: {error.strerror}") from None


def _prepare(made: socket.socket) -> None:
    """Wait for nothing, and keep what comes until it is read."""
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    with contextlib.suppress(PermissionError):  # beyond net.core.rmem_max, with CAP_NET_ADMIN
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)


class Prober:
    """Sends echo requests from left to right of connections, and keeps count of the replies.

    Replies are told by sender, identifier and a token of eight bytes, so that a ping of somebody
    else at the same moment is not taken for ours.
    """

    def __init__(self, connections: Sequence[Connection], payload: int = PAYLOAD) -> None:
        """Open a socket for each local address; raises NoRightError, and HostIPsecError where it has none."""
        self._identifier = random.randrange(1, 1 << 16)  # noqa: S311  tells replies apart, keeps no secret
        self.token = os.urandom(_TOKEN)
        self._payload = self.token + bytes(range(256)) * (payload // 256 + 1)
        self._length = payload
        self._sequence = 0
        self._sent: dict[tuple[Address, int], float] = {}
        self._times: dict[Address, list[float]] = {one.right: [] for one in connections}
        self._by_right = {str(one.right): one.right for one in connections}
        self._count: Counter[Address] = Counter()
        self._errors: dict[Address, str] = {}
        self._pairs = tuple(dict.fromkeys((one.left, one.right) for one in connections))
        self.sockets: dict[Address, socket.socket] = {}
        self._absent: dict[Address, str] = {}  # local addresses from which nothing can be sent, and why
        try:
            for left in dict.fromkeys(left for left, _ in self._pairs):
                self._try(left)
            if self._absent and not self.sockets:
                raise HostIPsecError("; ".join(self._absent.values()))
        except BaseException:
            self.close()
            raise

    def _try(self, left: Address) -> None:
        """Open a socket, or note why nothing can be sent from there: the other addresses go on."""
        try:
            self._open(left)
        except NoRightError:
            raise
        except HostIPsecError as error:
            self._absent[left] = str(error)

    def _open(self, left: Address) -> None:
        family, protocol = (
            (socket.AF_INET, socket.IPPROTO_ICMP) if left.version == 4 else (socket.AF_INET6, packets.ICMP6)
        )
        with _permitted("send echo requests"):
            made = socket.socket(family, socket.SOCK_RAW, protocol)
        _prepare(made)
        if left.version == 4:
            made.setsockopt(_SOL_RAW, _ICMP_FILTER, _only(packets.ECHO_REPLY[4], 1))
        else:
            made.setsockopt(packets.ICMP6, _ICMP_FILTER, _only(packets.ECHO_REPLY[6], 8))
        try:
            made.bind((str(left), 0))
        except OSError as error:
            made.close()
            raise HostIPsecError(f"{left} is no address of this host: {error.strerror}") from None
        self.sockets[left] = made

    @property
    def mark(self) -> bytes:
        """Return what a capture knows the requests of this prober by."""
        return struct.pack("!H", self._identifier) + self.token

    def send(self) -> None:
        """Send one request to each peer."""
        self._sequence = self._sequence % 0xFFFF + 1
        payload = self._payload[: self._length]
        for left, right in self._pairs:
            if left in self._absent:
                self._errors[right] = self._absent[left]
                continue
            request = packets.echo_request(right.version, self._identifier, self._sequence, payload)
            try:
                self.sockets[left].sendto(request, (str(right), 0))
            except OSError as error:
                self._errors[right] = str(error.strerror)
            else:
                self._sent[right, self._sequence] = time.monotonic()
                self._count[right] += 1

    def receive(self, left: Address) -> None:
        """Take the replies that wait at the socket of a local address."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                data, sender = self.sockets[left].recvfrom(65536)
                self._take(left, data, sender[0])

    def _take(self, left: Address, data: bytes, sender: str) -> None:
        reply = packets.echo_reply(left.version, data)
        if reply is None or reply.identifier != self._identifier or not reply.payload.startswith(self.token):
            return
        right = self._by_right.get(sender.partition("%")[0])
        sent = self._sent.pop((right, reply.sequence), None) if right else None
        if right and sent is not None:
            self._times[right].append(time.monotonic() - sent)

    def restart(self) -> None:
        """Count anew; a reply to a request of before is not counted."""
        self._sent.clear()
        self._count.clear()
        self._errors.clear()
        for times in self._times.values():
            times.clear()

    @property
    def waiting(self) -> bool:
        """Say whether a request has no reply yet."""
        return bool(self._sent)

    def replies(self, right: Address) -> Replies:
        """Return what was sent to a peer and what came back."""
        return Replies(self._count[right], tuple(self._times[right]), self._errors.get(right, ""))

    def close(self) -> None:
        """Close the sockets."""
        for one in self.sockets.values():
            one.close()


def _only(kind: int, words: int) -> bytes:
    """Return the filter that blocks every type of ICMP but one (linux/icmp.h, linux/icmpv6.h)."""
    bits = ~(1 << kind) & ((1 << 32 * words) - 1)
    return struct.pack(f"={words}I", *(bits >> 32 * index & 0xFFFFFFFF for index in range(words)))


class Knocks:
    """One packet to each port that alone is encrypted, where echo requests are not: they would prove nothing.

    A TCP connection that is opened and closed, or an empty datagram; a service sees no more of it.
    """

    def __init__(self, connections: Iterable[Connection]) -> None:
        """Choose whom to knock at."""
        self._only = {one.right: one for one in connections if one.only and exceptions.ICMP not in one.only}
        self._sockets: dict[socket.socket, Address] = {}  # those from which one left
        self._answered: Counter[Address] = Counter()
        self._errors: dict[Address, str] = {}

    def send(self) -> None:
        """Knock at each."""
        for right, one in self._only.items():
            for what in filter(None, map(exceptions.parse, one.only)):
                try:
                    self._sockets[_knock(one, what)] = right
                except OSError as error:
                    self._errors[right] = str(error.strerror)

    def wait(self, timeout: float) -> None:
        """Wait for answers: that of TCP is one, yes or no; whoever got a datagram may say nothing."""
        end, waiting = time.monotonic() + timeout, dict(self._sockets)
        with selectors.DefaultSelector() as selector:
            for one in waiting:
                tcp = one.type == socket.SOCK_STREAM
                selector.register(one, selectors.EVENT_WRITE if tcp else selectors.EVENT_READ)
            while waiting and (left_over := end - time.monotonic()) > 0:
                for key, _ in selector.select(left_over):
                    selector.unregister(one := key.fileobj)  # type: ignore[assignment]
                    self._answered[waiting.pop(one)] += _answered(one)

    def __contains__(self, connection: Connection) -> bool:
        """Whether a connection is proven so."""
        return connection.right in self._only

    def replies(self, right: Address) -> Replies:
        """Return what was sent to a peer and what was answered; how long it took is not known."""
        sent = sum(one == right for one in self._sockets.values())
        answered = (0.0,) * self._answered[right]
        return Replies(sent, answered, self._errors.get(right, ""), "packets to what alone is encrypted")

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets:
            one.close()


def _answered(one: socket.socket) -> bool:
    """Whether a peer answered; that nobody listens for datagrams it says by ICMP, in the clear."""
    if one.type == socket.SOCK_STREAM:
        return True
    try:
        one.recv(1)
    except OSError:
        return False
    return True


def _knock(connection: Connection, what: exceptions.Packets) -> socket.socket:
    tcp = what.protocol == packets.TCP
    family = socket.AF_INET if connection.right.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.bind((str(connection.left), 0))
        with contextlib.suppress(BlockingIOError):
            made.connect((str(connection.right), what.port))
        if not tcp:
            made.send(b"")
    except OSError:
        made.close()
        raise
    return made


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


@dataclass
class _Seen:
    """What left to one address."""

    esp: Counter[str] = field(default_factory=Counter)  # by SPI
    clear: int = 0
    probes: int = 0


class Capture:
    """Counts what leaves to some addresses on one interface. What comes in is never looked at.

    A capture shows what came in after it was decrypted as well, so it proves nothing there.
    """

    def __init__(
        self,
        interface: str,
        destinations: Sequence[Address],
        mark: bytes,
        excepted: Mapping[Address, Connection] = _NOTHING,
    ) -> None:
        """Begin; ``mark`` is the prober's, ``excepted`` has what may go in the clear. Raises NoRightError."""
        self.interface, self._excepted = interface, excepted
        self._mark = mark
        self._seen = {one: _Seen() for one in destinations}
        self._dropped = 0
        with _permitted(f"capture on {interface}"):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # nothing, until it is bound
        try:
            _prepare(self.socket)
            self._attach(packets.outgoing_filter(destinations))
            self.socket.bind((interface, _ETH_P_ALL))
        except OSError as error:
            self.socket.close()
            raise HostIPsecError(f"no capture on {interface}: {error.strerror}") from None

    def _attach(self, program: Sequence[packets.Instruction]) -> None:
        array = ctypes.create_string_buffer(packets.assembled(program))
        whole = _Program(len(program), ctypes.addressof(array))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(whole))

    def receive(self) -> None:
        """Take the packets that wait."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                packet = packets.parse(self.socket.recv(packets.SNAPLEN))
                if packet is not None and packet.destination in self._seen:
                    self._count(self._seen[packet.destination], packet)

    def _count(self, seen: _Seen, packet: packets.Packet) -> None:
        if packet.kind == "esp":
            seen.esp[packet.spi] += 1
        elif packet.kind == "clear" and not self._may_be(packet):
            seen.clear += 1
            seen.probes += packet.echo.startswith(self._mark)

    def _may_be(self, packet: packets.Packet) -> bool:
        """Whether a rule leaves a packet in the clear."""
        one = self._excepted.get(packet.destination)
        if one is None:
            return False
        return not {*packet.ports} & {*one.only} if one.only else bool({*packet.ports} & {*one.clear})

    def captured(self, destination: Address) -> Captured:
        """Return what was seen on the way to a peer."""
        _, dropped = struct.unpack("=II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._dropped += dropped  # asking starts the kernel's count anew
        seen = self._seen[destination]
        return Captured(self.interface, dict(seen.esp), seen.clear, seen.probes, self._dropped)

    def close(self) -> None:
        """End."""
        self.socket.close()


# Both at once --------------------------------------------------------------------------------


def send(
    prober: Prober, captures: Sequence[Capture], enough: Callable[[int], bool], gap: float = GAP
) -> None:
    """Send rounds, one every ``gap`` seconds, until ``enough`` (given how many there were) says so."""
    sent = 0
    while not enough(sent):
        prober.send()
        sent += 1
        _listen(prober, captures, gap, lambda: False)


def collect(prober: Prober, captures: Sequence[Capture], timeout: float) -> None:
    """Wait for the replies that are missing, ``timeout`` seconds at most."""
    _listen(prober, captures, timeout, lambda: not prober.waiting)
    for capture in captures:
        capture.receive()


def _listen(prober: Prober, captures: Sequence[Capture], timeout: float, done: Callable[[], bool]) -> None:
    end = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for left, one in prober.sockets.items():
            selector.register(one, selectors.EVENT_READ, partial(prober.receive, left))
        for capture in captures:
            selector.register(capture.socket, selectors.EVENT_READ, capture.receive)
        while not done() and (left_over := end - time.monotonic()) > 0:
            for key, _ in selector.select(left_over):
                key.data()
