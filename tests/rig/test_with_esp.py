"""`lab/with-esp` in User Mode Linux, whatever this kernel can: streams, status, signals, time, files."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from uml.provision import BUILD, HOME

pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="User Mode Linux over this machine's root needs root"
)

PROGRAM = Path(__file__).parents[2] / "lab/with-esp"
LONG = 120.0  # seconds, until a run that hangs is a failure


@contextlib.contextmanager
def started(*arguments: str, **more: object):
    """A run that has begun; it is over at the end, whatever happens."""
    run = subprocess.Popen(
        [str(PROGRAM), "--uml", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )
    try:
        yield run
    finally:
        if run.poll() is None:
            run.kill()
        run.communicate()
        assert not left_of(run), "something of the run is left"


def left_of(run: subprocess.Popen) -> list[Path]:
    """What a run that ended left in the build folder."""
    return [path for path in (HOME / f"run-{run.pid}", HOME / f"run-{run.pid}.log") if path.exists()]


def kernels(run: subprocess.Popen) -> list[int]:
    """The kernels of a run that are alive: processes that were started with its name."""
    name = f"umid=run-{run.pid}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if name in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def wait_for_line(run: subprocess.Popen, line: bytes) -> None:
    """Wait until the command inside has said something."""
    assert run.stdout is not None
    assert run.stdout.readline() == line


INSIDE = r"""
echo out; echo err >&2; printf '\0\377' ; pwd; echo "$GIVEN"; umask; cat; uname -r >&2
echo changed >/etc/hostname; rm /etc/passwd; mkdir /var/lib/of-the-run; echo hello >"$1"; echo hello >"$2"
head -c 300000 /dev/zero >&2
exit 3
"""


def test_streams_status_input_place_and_files(tmp_path):
    """One run for all that needs no end by force; the build folder is the only thing it writes to."""
    name = uuid.uuid4().hex
    kept, lost = BUILD / f"with-esp-{name}", tmp_path / "lost"
    before = {path: Path(path).stat().st_mtime_ns for path in ("/etc", "/etc/hostname", "/etc/passwd")}
    try:
        with started(
            *("sh", "-c", INSIDE, "sh", str(kept), str(lost)),
            stdin=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "GIVEN": "a b"},
            umask=0o027,
        ) as run:
            out, err = run.communicate(b"x" * 200_000, timeout=LONG)
        expected = f"out\n\0\udcff{tmp_path}\na b\n0027\n".encode(errors="surrogateescape")
        assert out == expected + b"x" * 200_000
        first, version, zeros = err.split(b"\n", 2)
        assert (first, zeros) == (b"err", bytes(300_000))
        assert version.decode() in os.listdir("/usr/lib/uml/modules")  # noqa: PTH208
        assert run.returncode == 3
        assert kept.read_text() == "hello\n"
        assert not lost.exists()
        assert not Path("/var/lib/of-the-run").exists()
        assert {path: Path(path).stat().st_mtime_ns for path in before} == before
        assert not kernels(run)
    finally:
        kept.unlink(missing_ok=True)


THREADS = """
import concurrent.futures, hashlib
data = bytes(range(256)) * 40_000
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print({*pool.map(lambda _: hashlib.sha512(data).hexdigest(), range(32))})
"""


def test_threads_keep_their_registers():
    """They work in vector registers, and share one process of the machine: the kernel saves what each has."""
    with started("/usr/bin/python3", "-c", THREADS) as run:
        out, err = run.communicate(timeout=LONG)
    digest = hashlib.sha512(bytes(range(256)) * 40_000).hexdigest()
    assert (out.decode(), run.returncode) == (f"{ {digest} }\n", 0), err


NESTED = r"""
"$0" --probe && "$0" ip xfrm state && "$0" sh -c 'exit 7'; echo $?
"$0" --timeout 0.2 sleep 60; echo $?
"$0" /nowhere/command; echo $?
"$0" /etc/fstab; echo $?
kill -9 $$
"""


def test_where_the_kernel_has_esp_the_command_is_run_as_it_is():
    """Inside, the program finds ESP and becomes the command; one that is killed has status 128 and more."""
    with started("sh", "-c", NESTED, str(PROGRAM), stdin=subprocess.DEVNULL) as run:
        out, err = run.communicate(timeout=LONG)
    assert out.decode().splitlines() == [
        "here: this kernel has ESP with AES-GCM, for IPv4 and IPv6",
        *("7", "124", "127", "126"),
    ]
    assert b"with-esp: /nowhere/command: No such file or directory" in err
    assert run.returncode == 128 + signal.SIGKILL


def test_a_command_that_is_not_there():
    with started("/nowhere/command", stdin=subprocess.DEVNULL) as run:
        out, err = run.communicate(timeout=LONG)
    assert (run.returncode, out) == (127, b"")
    assert err == b"with-esp: /nowhere/command: No such file or directory\n"


TRAPS = "trap 'echo stopped; exit 9' INT TERM; echo ready; while :; do sleep 0.1; done"


def test_ctrl_c_reaches_the_command_and_ends_all():
    """As a terminal does it: the signal goes to the whole group of processes."""
    with started("sh", "-c", TRAPS, stdin=subprocess.DEVNULL, start_new_session=True) as run:
        wait_for_line(run, b"ready\n")
        assert kernels(run)
        os.killpg(run.pid, signal.SIGINT)
        out, _ = run.communicate(timeout=LONG)
    assert (out, run.returncode) == (b"stopped\n", 9)
    assert not kernels(run)


def test_ctrl_c_ends_a_command_that_minds_nothing():
    with started("sh", "-c", "echo ready; exec sleep 600", stdin=subprocess.DEVNULL) as run:
        wait_for_line(run, b"ready\n")
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=LONG)
    assert run.returncode == 128 + signal.SIGINT
    assert not kernels(run)


@pytest.mark.parametrize("script", [TRAPS, "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
def test_the_time_limit_counts_from_the_start_of_the_command(script):
    """The command is asked to end, has a moment for it, and is then ended: 124, as timeout says."""
    with started("--timeout", "1", "sh", "-c", script, stdin=subprocess.DEVNULL) as run:
        wait_for_line(run, b"ready\n")
        began = time.monotonic()
        out, _ = run.communicate(timeout=LONG)
    assert (out, run.returncode) == (b"stopped\n" if script == TRAPS else b"", 124)
    assert time.monotonic() - began < 30
    assert not kernels(run)


def test_a_killed_run_takes_its_kernel_along():
    """Even SIGKILL, which nobody can handle, leaves no kernel behind."""
    with started("sh", "-c", "echo ready; exec sleep 600", stdin=subprocess.DEVNULL) as run:
        wait_for_line(run, b"ready\n")
        assert kernels(run)
        run.kill()
        run.communicate()
        end = time.monotonic() + LONG
        while kernels(run) and time.monotonic() < end:
            time.sleep(0.05)
        assert not kernels(run)
        for path in left_of(run):  # it had no chance to take these away
            subprocess.run(["rm", "-r", str(path)], check=True)
