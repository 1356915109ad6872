"""What crosses the line: a capture in the core's namespace, and what its packets are."""

import json
import signal
import struct
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from .errors import LabError
from .process import run, wait_for

COOKED = 276  # DLT_LINUX_SLL2: https://www.tcpdump.org/linktypes.html
OUTGOING = 4
SNAPLEN = 256
ESP, ICMP6, UDP = 50, 58, 17
NEIGHBOUR_DISCOVERY = range(133, 138)  # RFC 4861
DEADLINE = 60.0  # seconds


@dataclass(frozen=True)
class Packet:
    """A packet between two hosts of the fleet. Kinds: esp, ike, clear, and nd (neighbour discovery)."""

    time: float
    kind: str
    source: str
    destination: str
    protocol: int
    length: int
    bytes: bytes


class Capture:
    """A context manager: captures while its body runs; the packets are there afterwards."""

    def __init__(self, namespace: Path, links: set[int], once: bool, hosts: set[str], file: Path) -> None:
        """Look at links of a namespace by number; ``once``: only at what comes in on them."""
        self.namespace, self.links, self.once, self.hosts, self.file = namespace, links, once, hosts, file
        self.packets: tuple[Packet, ...] = ()

    def __enter__(self) -> "Capture":
        command = ["tcpdump", "-i", "any", "-n", "-U", "--immediate-mode", "-s", str(SNAPLEN), "-Z", "root"]
        self.file.unlink(missing_ok=True)
        self._errors = self.file.with_suffix(".log").open("w+")
        self._tcpdump = subprocess.Popen(
            ["nsenter", f"--net={self.namespace}", *command, "-w", str(self.file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        wait_for(self._listening, "the start of the capture", DEADLINE)
        return self

    def _listening(self) -> bool:
        if self._tcpdump.poll() is not None:
            self._errors.seek(0)
            raise LabError(f"the capture: {self._errors.read().strip()}")
        self._errors.seek(0)
        return "listening on" in self._errors.read()

    def __exit__(self, *_: object) -> None:
        try:
            self._wait_for_marker()
        finally:
            self._tcpdump.send_signal(signal.SIGINT)
            self._tcpdump.wait(DEADLINE)
            self._errors.close()
        self.packets = tuple(self._read())

    def _wait_for_marker(self) -> None:
        """Send a packet of our own past the capture: when it is in the file, all before it is."""
        marker = uuid.uuid4().bytes
        code = f"import socket; socket.socket(2, 2).sendto({marker!r}, ('127.0.0.1', 9))"
        run(["nsenter", f"--net={self.namespace}", "python3", "-Sc", code])
        wait_for(lambda: marker in self.file.read_bytes(), "the end of the capture", DEADLINE)

    def _read(self) -> Iterator[Packet]:
        for moment, network in frames(self.file.read_bytes(), self.links, self.once):
            packet = parse(moment, network)
            if packet and {packet.source, packet.destination} <= self.hosts:
                yield packet

    def counts(self) -> dict[str, int]:
        """How many packets between hosts were esp, ike, clear."""
        found = Counter(packet.kind for packet in self.packets)
        return {kind: found[kind] for kind in ("esp", "ike", "clear")}

    def clear(self) -> list[Packet]:
        """The packets that anyone on the line can read."""
        return [packet for packet in self.packets if packet.kind == "clear"]


def frames(pcap: bytes, links: set[int], once: bool) -> Iterator[tuple[float, bytes]]:
    """Network packets that a pcap file of `tcpdump -i any` has of some links."""
    if len(pcap) >= 24 and struct.unpack_from("<I", pcap, 20)[0] != COOKED:
        raise LabError("the capture: tcpdump wrote another link type than LINUX_SLL2")
    offset = 24
    while offset + 16 <= len(pcap):
        seconds, micros, size = struct.unpack_from("<III", pcap, offset)
        frame = pcap[offset + 16 : offset + 16 + size]
        offset += 16 + size
        if len(frame) < 20:
            continue
        index, kind = struct.unpack_from("!I", frame, 4)[0], frame[10]
        if index in links and not (once and kind == OUTGOING):
            yield seconds + micros / 1e6, frame[20:]


def parse(moment: float, network: bytes) -> Packet | None:
    """What a packet is; None for what is not IP."""
    version = network[0] >> 4 if network else 0
    if version == 4 and len(network) >= 20:
        protocol, start = network[9], (network[0] & 15) * 4
        source, destination = network[12:16], network[16:20]
        length = struct.unpack_from("!H", network, 2)[0]
        fragment = struct.unpack_from("!H", network, 6)[0] & 0x1FFF
    elif version == 6 and len(network) >= 40:
        protocol, start = network[6], 40
        source, destination = network[8:24], network[24:40]
        length = struct.unpack_from("!H", network, 4)[0] + 40
        fragment = 0
        if protocol == 44:  # a fragment, RFC 8200
            protocol, start = network[40], 48
            fragment = struct.unpack_from("!H", network, 42)[0] >> 3
    else:
        return None
    kind = classify(protocol, network[start:], fragment)
    addresses = (str(ip_address(source)), str(ip_address(destination)))
    return Packet(moment, kind, *addresses, protocol, length, network)


def classify(protocol: int, payload: bytes, fragment: int) -> str:
    """Tell ESP (RFC 4303, in UDP RFC 3948), IKE and neighbour discovery from all else."""
    if protocol == ESP:
        return "esp"
    if protocol == UDP and len(payload) >= 8 and not fragment:
        ports = struct.unpack_from("!HH", payload)
        if 500 in ports:
            return "ike"
        if 4500 in ports:
            return "ike" if payload[8:12] in (b"\0\0\0\0", b"\xff") else "esp"
    if protocol == ICMP6 and payload and payload[0] in NEIGHBOUR_DISCOVERY:
        return "nd"
    return "clear"


def link_numbers(namespace: Path) -> dict[str, int]:
    """The numbers of the links in a namespace, by name."""
    code = "import json, socket; print(json.dumps({name: index for index, name in socket.if_nameindex()}))"
    numbers: dict[str, int] = json.loads(
        run(["nsenter", f"--net={namespace}", "python3", "-Sc", code]).stdout
    )
    return numbers
