"""What `lab/with-esp` and process 1 of the kernel inside say to each other, over one serial line.

A frame is a kind (one byte), a length (four, big-endian) and that many bytes. Output frames are plain bytes;
the request is JSON, in which surrogates stand for bytes that are not UTF-8.
"""

import json
import struct

REQUEST, STDIN, SIGNAL, CLOSE = b"R", b"I", b"S", b"Z"  # to the kernel inside; an empty STDIN is its end
BOOTED, STARTED, STDOUT, STDERR, CREDIT, STATUS, FAILED = (
    b"B",
    b"A",
    b"O",
    b"E",
    b"C",
    b"X",
    b"F",
)  # and from it
# bytes of standard input that may be under way: signals never wait behind it, and the line inside, which
# holds 4096, is never throttled (its driver may not wake up from that)
WINDOW = 3072

_HEADER = struct.Struct(">cI")


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEADER.pack(kind, len(payload)) + payload


def number(kind: bytes, value: int) -> bytes:
    """Return a frame that holds a number."""
    return frame(kind, b"%d" % value)


def encode_request(request: dict) -> bytes:
    """Return a request as the bytes of its frame's payload."""
    return json.dumps(request).encode("ascii")


def decode_request(payload: bytes) -> dict:
    """Return the request that was encoded."""
    return json.loads(payload)


class Reader:
    """Puts frames together again from bytes that come in pieces."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list:
        """Take bytes as they came; return the frames that are complete, as (kind, payload)."""
        self._bytes += data
        found = []
        while len(self._bytes) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._bytes)
            end = _HEADER.size + length
            if len(self._bytes) < end:
                break
            found.append((kind, bytes(self._bytes[_HEADER.size : end])))
            del self._bytes[:end]
        return found
