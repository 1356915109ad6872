"""Echo requests between hosts of a lab all the while, and which of them were lost."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

INTERVAL = 0.1  # seconds
_REPLY = re.compile(r"icmp_seq=(\d+) (?:ttl|hlim)")


@dataclass
class Traffic:
    """Echo requests from hosts to addresses, from ``with`` on to its end."""

    lab: object
    ways: Iterable[tuple[str, str]]  # host, address
    running: dict[tuple[str, str], subprocess.Popen] = field(default_factory=dict)
    lost: dict[tuple[str, str], int] = field(default_factory=dict)
    gaps: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # numbers of packets lost in a row
    sent: int = 0

    def __enter__(self) -> "Traffic":
        """Start."""
        for host, address in self.ways:
            command = self.lab.host(host).argv(
                ["env", "--default-signal=INT", "ping", "-i", str(INTERVAL), address]
            )
            self.running[host, address] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and count what has no reply before the last reply that came."""
        for host in {host for host, _ in self.running}:
            self.lab.host(host).run(["pkill", "-INT", "-x", "ping"])
        for way, process in self.running.items():
            text = process.communicate(timeout=10)[0]
            seen = {int(number) for number in _REPLY.findall(text)}
            last = max(seen, default=0)
            assert last, f"no reply at all from {way}"
            self.sent += last
            if last - len(seen):
                numbers = sorted({0, *seen})
                self.lost[way] = last - len(seen)
                self.gaps[way] = [two - one - 1 for one, two in pairwise(numbers) if two - one > 1]
