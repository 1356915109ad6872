"""Hosts of ``strongswan.Host`` from within this process: its sockets can be opened there."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import socket
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import strongswan

CLONE_NEWNET = 0x40000000
SIOCSIFMTU = 0x8922
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def network_of(host: strongswan.Host) -> Iterator[None]:
    """Be in the network namespace of a host: sockets opened now stay there."""
    with Path("/proc/thread-self/ns/net").open() as here, Path(f"/proc/{host.pid}/ns/net").open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def batch(host: strongswan.Host, commands: Iterable[str], *options: str) -> None:
    """Run commands of ``ip`` on a host, all in one process."""
    host.write("/tmp/batch", "".join(f"{command}\n" for command in commands))
    host.run("ip", *options, "-batch", "/tmp/batch")


def set_mtu(host: strongswan.Host, device: str, mtu: int) -> None:
    """Set the MTU of a device, without a process."""
    with network_of(host), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFMTU, struct.pack("16si12x", device.encode(), mtu))


@contextlib.contextmanager
def hosts(*names: str, over: Path | None = None) -> Iterator[list[strongswan.Host]]:
    """Make hosts, and end them."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        made = []
        for name in names:
            made.append(strongswan.Host(name, Path(place) / name, over=over))
            stack.callback(made[-1].stop)
        yield made
