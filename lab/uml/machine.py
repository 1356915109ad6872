"""One kernel: started, given a command, ended with everything in it."""

import contextlib
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import frames
from .errors import UmlError
from .provision import BUILD, HOME, LINUX

INIT = Path(__file__).with_name("init")
BOOT_SECONDS = 60
GRACE_SECONDS = 10  # for a command that was told to end
HALT_SECONDS = 60  # for writing what is unwritten in the build folder
HALTED = b"reboot: System halted"
CHUNK = 16384
FULL = 65536


def linux_argv(memory: int, line: int, name: str) -> list:
    """Return what starts the kernel, in a process namespace: when its first process goes, all of it goes.

    All of it runs on one processor: every system call inside is two switches between processes outside,
    which take twice as long and more where the two processes are on different processors.
    """
    processors = sorted(os.sched_getaffinity(0))
    processor = processors[os.getpid() % len(processors)]
    guard = ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", str(processor)]
    guard += ["unshare", "--pid", "--fork", "--kill-child"]
    kernel = [str(LINUX), f"mem={memory >> 20}M", "rootfstype=hostfs", "rootflags=/", "rw", f'init="{INIT}"']
    lines = ["con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{line}"]
    return [*guard, *kernel, *lines, f"uml_dir={HOME}", f"umid={name}", "lsm=apparmor", "panic=-1"]


def request(argv: Sequence[str], cwd: str, env: Mapping[str, str], modules: Path) -> dict:
    """Return all that the kernel inside has to know about the command."""
    umask = os.umask(0o022)
    os.umask(umask)
    return {
        "argv": list(argv),
        "cwd": cwd,
        "env": dict(env),
        "umask": umask,
        "files": list(resource.getrlimit(resource.RLIMIT_NOFILE)),
        "hostname": socket.gethostname(),
        "home": str(HOME / "root"),
        "build": str(BUILD),
        "modules": str(modules),
    }


class Output:
    """One of our own two output streams: never waited for, so that signals and the time limit are heard."""

    def __init__(self, fd: int, kind: bytes) -> None:
        """Write to that file descriptor what comes in frames of that kind."""
        self.fd = fd
        self.kind = kind
        self.bytes = bytearray()
        self.closed = False

    def add(self, data: bytes) -> None:
        """Take bytes."""
        if not self.closed:
            self.bytes += data

    def write(self) -> bool:
        """Write what a pipe that is ready takes without waiting; false when nobody reads any more."""
        try:
            del self.bytes[: os.write(self.fd, self.bytes[:4096])]
        except BrokenPipeError:
            self.closed = True
            self.bytes.clear()
        return not self.closed


class Machine:
    """The kernel as it runs: bytes, signals and time pass here."""

    def __init__(
        self, memory: int, place: Path, timeout: "float | None", preload: "Path | None" = None
    ) -> None:
        """Start the kernel, with a library where it needs one (`provision.preload`).

        Its console is a log that stays only when something fails.
        """
        self.name = f"run-{os.getpid()}"
        self.log = HOME / f"{self.name}.log"
        self._timeout = timeout
        self._line, theirs = socket.socketpair()
        with theirs, self.log.open("wb") as log:
            self._kernel = subprocess.Popen(
                linux_argv(memory, theirs.fileno(), self.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "TMPDIR": str(place),
                    "HOME": str(HOME),
                    **({"LD_PRELOAD": str(preload)} if preload else {}),
                },
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._reader = frames.Reader()
        self._to_send = bytearray()
        self._outputs = (Output(1, frames.STDOUT), Output(2, frames.STDERR))
        self._stdin: int | None = None if os.isatty(0) else 0
        self._credit = 0
        self._request = b""
        self._status: int | None = None
        self._deadline = time.monotonic() + BOOT_SECONDS
        self._late = self._boot_late
        self._wakeup = self._signals()
        self._told = False

    @staticmethod
    def _signals() -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, lambda *_: None)
        return reader

    def run(self, wanted: dict) -> int:
        """Run the command; return its status, 124 when its time was over."""
        self._request = frames.frame(frames.REQUEST, frames.encode_request(wanted))
        try:
            while self._status is None or any(output.bytes for output in self._outputs):
                self._turn()
            self._halt()
        finally:
            self._kill()
        self.log.unlink()
        return self._status

    def _turn(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._late()
            return
        with selectors.PollSelector() as selector:
            for fd, events in self._interests().items():
                selector.register(fd, events)
            ready = {key.fd: mask for key, mask in selector.select(min(left, 3600))}
        self._serve(ready)

    def _interests(self) -> dict:
        room = sum(len(output.bytes) for output in self._outputs) < FULL
        line = (room and self._status is None) * selectors.EVENT_READ
        line |= bool(self._to_send) * selectors.EVENT_WRITE
        found = {self._line.fileno(): line, self._wakeup: selectors.EVENT_READ}
        if self._stdin is not None and self._credit > 0 and self._status is None:
            found[self._stdin] = selectors.EVENT_READ
        for output in self._outputs:
            if output.bytes:
                found[output.fd] = selectors.EVENT_WRITE
        return {fd: events for fd, events in found.items() if events}

    def _serve(self, ready: dict) -> None:
        if self._wakeup in ready:
            for number in os.read(self._wakeup, 64):
                self._pass_signal(number)
        if ready.get(self._line.fileno(), 0) & selectors.EVENT_WRITE:
            del self._to_send[: self._line.send(self._to_send[:CHUNK])]
        if ready.get(self._line.fileno(), 0) & ~selectors.EVENT_WRITE:
            self._receive()
        if self._stdin is not None and self._stdin in ready:
            self._read_stdin(self._stdin)
        for output in self._outputs:
            if output.bytes and output.fd in ready and not output.write():
                self._send(frames.frame(frames.CLOSE, output.kind))

    def _send(self, data: bytes) -> None:
        self._to_send += data

    def _read_stdin(self, fd: int) -> None:
        data = os.read(fd, min(self._credit, CHUNK))
        self._credit -= len(data)
        self._send(frames.frame(frames.STDIN, data))
        if not data:
            self._stdin = None

    def _receive(self) -> None:
        try:
            data = self._line.recv(CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            raise UmlError(f"the kernel of User Mode Linux ended before the command did; log: {self.log}")
        for kind, payload in self._reader.feed(data):
            self._take(kind, payload)

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == frames.BOOTED:
            self._send(self._request)
        elif kind == frames.STARTED:
            self._started()
        elif kind == frames.CREDIT:
            self._credit += int(payload)
        elif kind == frames.STATUS:
            self._ended(int(payload))
        elif kind == frames.FAILED:
            raise UmlError(f"User Mode Linux: {payload.decode(errors='replace')}; log: {self.log}")
        for output in self._outputs:
            if kind == output.kind:
                output.add(payload)

    def _started(self) -> None:
        self._credit = frames.WINDOW
        if self._stdin is None:
            self._send(frames.frame(frames.STDIN))
        self._deadline = time.monotonic() + self._timeout if self._timeout is not None else float("inf")
        self._late = self._command_late

    def _ended(self, status: int) -> None:
        if self._status is None:
            self._status = 124 if self._late in (self._give_up, self._undead) else status
        self._deadline = float("inf")

    def _boot_late(self) -> None:
        raise UmlError(f"User Mode Linux did not boot within {BOOT_SECONDS} s; log: {self.log}")

    def _command_late(self) -> None:
        self._send(frames.number(frames.SIGNAL, signal.SIGTERM))
        self._deadline = time.monotonic() + GRACE_SECONDS
        self._late = self._give_up

    def _give_up(self) -> None:
        self._send(frames.number(frames.SIGNAL, signal.SIGKILL))
        self._deadline = time.monotonic() + GRACE_SECONDS
        self._late = self._undead

    def _undead(self) -> None:
        raise UmlError(f"the command did not end when it was killed; log: {self.log}")

    def _pass_signal(self, number: int) -> None:
        self._send(frames.number(frames.SIGNAL, number))

    def _halt(self) -> None:
        """Wait for the end of the kernel; one that has halted, and whose process stays, is killed by us."""
        end = time.monotonic() + HALT_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._kernel.wait(GRACE_SECONDS)
                return
            if HALTED in self.log.read_bytes():
                return
        raise UmlError(f"User Mode Linux did not halt within {HALT_SECONDS} s; log: {self.log}")

    def _kill(self) -> None:
        """End what is left: the process namespace goes with its first process."""
        if self._kernel.poll() is None:
            os.killpg(self._kernel.pid, signal.SIGKILL)
            self._kernel.wait()
        shutil.rmtree(HOME / self.name, ignore_errors=True)
