"""Constant traffic on a host: datagrams to each target, answered by the same program there.

Runs on a host by its system's Python, with no library. Standard input is one line of JSON, `{"own":
[address, ...], "targets": {name: address}, "interval": seconds, "file": path}`. The file is written anew
twice a second: by target `sent` and `received` since the first answer, `interruptions` (how often probes in
a row were lost), `gap` (seconds, the longest time without an answer) and `silent` (seconds since the last).
SIGUSR1 ends the sending, after which `done` is true; SIGTERM ends the program.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time

PORT = 7007
PROBE = struct.Struct("!cQQ")  # question or answer, target, number
LINGER = 1.5  # seconds for the last answers
WRITE_INTERVAL = 0.5  # seconds


class Target:
    """What went to one target, and what came back."""

    def __init__(self, address):
        self.address = address
        self.sent = self.received = self.interruptions = 0
        self.gap = 0.0
        self.last = None  # when the last answer came
        self.number = 0  # of the probe that it was to

    def answered(self, now, number, newest):
        """Note the answer to a probe; what was sent before the first one is left out."""
        if self.last is None:
            self.sent = newest - number + 1
        else:
            self.gap = max(self.gap, now - self.last)
            self.interruptions += number > self.number + 1
        self.received += 1
        self.last, self.number = now, max(self.number, number)

    def as_dict(self, now, stopped):
        """Return the figures; a silence that goes on counts as a gap."""
        if self.last is None:
            return {"sent": 0, "received": 0, "interruptions": 0, "gap": None, "silent": None}
        silent = (stopped or now) - self.last
        counts = {"sent": self.sent, "received": self.received, "interruptions": self.interruptions}
        return {**counts, "gap": max(self.gap, silent), "silent": silent}


class Probes:
    """The sockets of a host, and its targets."""

    def __init__(self, own, targets, interval, file):
        self.sockets = {}
        for address in own:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self.sockets[family] = made = socket.socket(family, socket.SOCK_DGRAM)
            made.bind((address, PORT))
            made.setblocking(False)
        self.targets = [Target(address) for address in targets.values()]
        self.names = list(targets)
        self.interval, self.file = interval, file
        self.number = 0
        self.stopped = None  # when the sending ended

    def run(self):
        """Send and answer until SIGTERM."""
        signal.signal(signal.SIGUSR1, lambda *_: self.stop())
        send = write = time.monotonic()
        while True:
            now = time.monotonic()
            if self.stopped is None and now >= send:
                self.send()
                send = max(send + self.interval, now)
            if now >= write:
                self.write(now)
                write = now + WRITE_INTERVAL
            wait = (write if self.stopped else min(send, write)) - time.monotonic()
            for made in select.select(list(self.sockets.values()), [], [], max(0.0, wait))[0]:
                self.receive(made)

    def stop(self):
        """End the sending."""
        self.stopped = self.stopped or time.monotonic()

    def send(self):
        """Send one probe to each target; one that cannot be sent is lost."""
        self.number += 1
        for index, target in enumerate(self.targets):
            target.sent += 1
            self.put(target.address, PROBE.pack(b"?", index, self.number))

    def put(self, address, data):
        """Send a datagram."""
        made = self.sockets[socket.AF_INET6 if ":" in address else socket.AF_INET]
        with contextlib.suppress(OSError):
            made.sendto(data, (address, PORT))

    def receive(self, made):
        """Answer what is asked, note what is answered."""
        while True:
            try:
                data, sender = made.recvfrom(64)
            except OSError:
                return
            kind, index, number = PROBE.unpack(data)
            if kind == b"?":
                self.put(sender[0], PROBE.pack(b"!", index, number))
            else:
                self.targets[index].answered(time.monotonic(), number, self.number)

    def write(self, now):
        """Write the file."""
        figures = {name: target.as_dict(now, self.stopped) for name, target in zip(self.names, self.targets)}
        done = self.stopped is not None and now - self.stopped > LINGER
        with open(f"{self.file}.new", "w") as new:  # noqa: PTH123  starts faster without pathlib
            json.dump({"done": done, "targets": figures}, new)
        os.replace(f"{self.file}.new", self.file)  # noqa: PTH105


if __name__ == "__main__":
    Probes(**json.loads(sys.stdin.readline())).run()
