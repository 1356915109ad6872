"""The parts of ``lab/with-esp`` that need no kernel: frames, options, memory, streams, requests."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from uml import cli, frames, kernel, machine, provision
from uml.errors import UmlError

GIB = 1 << 30


# Frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_frames_come_whole_however_the_bytes_come(piece):
    sent = [(frames.STDOUT, b"hello\0\xff"), (frames.STDERR, b""), (frames.STDIN, b"x" * 500)]
    data = b"".join(frames.frame(*one) for one in sent) + frames.number(frames.STATUS, 130)
    reader, found = frames.Reader(), []
    for start in range(0, len(data), piece):
        found += reader.feed(data[start : start + piece])
    assert found == [*sent, (frames.STATUS, b"130")]
    assert reader.feed(frames.frame(frames.STDOUT, b"half")[:-1]) == []


def test_a_request_survives_bytes_that_are_no_text():
    asked = {"argv": ["echo", os.fsdecode(b"\xff\xfe"), "ä"], "env": {"A": "1"}}
    assert frames.decode_request(frames.encode_request(asked)) == asked


def test_every_kind_of_frame_is_one_byte_of_its_own():
    kinds = [value for name, value in vars(frames).items() if name.isupper() and isinstance(value, bytes)]
    assert len(kinds) == len(set(kinds)) == 11
    assert {len(kind) for kind in kinds} == {1}


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512 << 20), ("512M", 512 << 20), ("2g", 2 * GIB), ("9K", 9 << 10)]
)
def test_sizes(text, size):
    assert cli.size(text) == size


@pytest.mark.parametrize("text", ["", "M", "2T", "-1G", "1.5G", "two"])
def test_what_is_no_size(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no size: give for example 2G"):
        cli.size(text)


def test_options_end_where_the_command_begins():
    found = cli.parser().parse_args(["--timeout", "5", "--uml", "make", "--timeout", "9"])
    assert (found.timeout, found.uml, found.command) == (5.0, True, ["make", "--timeout", "9"])


def test_no_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["with-esp", "--uml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "which command?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reason", "status", "said"),
    [
        (None, 0, "here: this kernel has ESP with AES-GCM, for IPv4 and IPv6\n"),
        ("esp4: Error: no", 1, "User Mode Linux: esp4: Error: no\n"),
    ],
)
def test_probe_says_which_way_and_why(monkeypatch, capsys, reason, status, said):
    monkeypatch.setattr("sys.argv", ["with-esp", "--probe"])
    monkeypatch.setattr(kernel, "why_not", lambda: reason)
    assert (cli.main(), capsys.readouterr().out) == (status, said)


def test_what_goes_wrong_before_the_command_is_status_125(monkeypatch, capsys):
    def refuse():
        raise UmlError("no memory")

    monkeypatch.setattr("sys.argv", ["with-esp", "--uml", "true"])
    monkeypatch.setattr(provision, "ready", refuse)
    assert cli.main() == 125
    assert capsys.readouterr().err == "with-esp: no memory\n"


# Whether this kernel can -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", None),
        ("echo one >&2; echo 'Error: type not found' >&2; exit 2", "esp4: Error: type not found"),
        ("exit 1", "esp4: no reason given"),
    ],
)
def test_why_the_kernel_cannot(monkeypatch, script, why):
    monkeypatch.setattr(kernel, "probe_argv", lambda prefix: ["sh", "-c", script])
    assert kernel.why_not() == why


def test_only_ipv6_is_missing(monkeypatch):
    monkeypatch.setattr(kernel, "probe_argv", lambda prefix: ["false" if ":" in prefix else "true"])
    assert kernel.why_not() == "esp6: no reason given"


def test_a_machine_without_the_programs(monkeypatch):
    monkeypatch.setattr(kernel, "probe_argv", lambda prefix: ["/nowhere/unshare"])
    assert kernel.why_not() == "/nowhere/unshare is not installed"


def test_an_sa_is_added_where_it_hurts_nobody():
    argv = kernel.probe_argv("192.0.2.")
    assert argv[:2] == ["unshare", "--net"]
    assert "aead 'rfc4106(gcm(aes))'" in argv[-1]


# Memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "free", "given"),
    [
        (64 * GIB, 64 * GIB, 6 * GIB),
        (4 * GIB, 64 * GIB, 3 * GIB),
        (64 * GIB, 2 * GIB, 2 * GIB * 9 // 10),
        (GIB // 4, GIB // 4, GIB // 2),
    ],
)
def test_memory_by_what_the_machine_has(available, free, given):
    assert provision.default_memory(available, free) == given


def test_the_first_place_with_room_or_the_largest(tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("small", "large", "larger")]
    for place in places:
        place.mkdir()
    sizes = dict(zip(places, (GIB // 4, 2 * GIB, 9 * GIB)))
    monkeypatch.setattr(provision, "free", sizes.__getitem__)
    assert provision.memory_place([str(place) for place in places]) == places[1]
    sizes.update(dict.fromkeys(places[1:], 10))
    assert provision.memory_place([str(place) for place in places]) == places[0]


def test_no_place_from_which_programs_run(monkeypatch, tmp_path):
    with pytest.raises(UmlError, match="set TMPDIR to one that is not noexec"):
        provision.memory_place([str(tmp_path / "none")])


def test_without_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UmlError, match="needs root"):
        provision.ready()


def test_a_processor_whose_registers_the_kernel_knows_needs_no_library(tmp_path):
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f amx\n")
    assert provision.preload(tmp_path / "cpuinfo") is None


def test_the_library_for_a_processor_with_more_is_made_once(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f amx_tile amx_int8\n")
    monkeypatch.setattr(provision, "HOME", tmp_path)
    monkeypatch.setattr(provision, "BUILD", tmp_path)
    made = provision.preload(tmp_path / "cpuinfo")
    assert made.read_bytes()[:4] == b"\x7fELF"
    before = made.stat()
    assert provision.preload(tmp_path / "cpuinfo") == made
    assert made.stat() == before


# The kernel as a process ---------------------------------------------------------------------


def test_all_of_it_runs_on_one_processor_and_ends_with_its_first_process():
    argv = machine.linux_argv(2 * GIB, 7, "run-1")
    processor = argv[argv.index("--cpu-list") + 1]
    assert argv[: argv.index(str(provision.LINUX))] == [
        *("setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", processor),
        *("unshare", "--pid", "--fork", "--kill-child"),
    ]
    assert int(processor) in os.sched_getaffinity(0)
    assert {"mem=2048M", "ssl0=fd:7", "umid=run-1", "panic=-1"} <= {*argv}


def test_a_request_has_all_that_the_command_would_have_here(tmp_path):
    before = os.umask(0o027)
    try:
        found = machine.request(["id"], "/tmp", {"A": "b"}, tmp_path)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (found["argv"], found["cwd"], found["env"], found["umask"]) == (["id"], "/tmp", {"A": "b"}, 0o027)
    assert Path(found["build"]).name == ".build"


def test_output_that_nobody_reads_any_more():
    reader, writer = os.pipe()
    output = machine.Output(writer, frames.STDOUT)
    output.add(b"x" * 5000)
    assert output.write()
    assert (len(output.bytes), os.read(reader, 9999)) == (904, b"x" * 4096)
    os.close(reader)
    assert not output.write()
    output.add(b"more")
    assert (output.closed, output.bytes) == (True, b"")
    os.close(writer)


def test_the_program_can_be_asked_for_help():
    program = Path(cli.__file__).parents[1] / "with-esp"
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--timeout SECONDS" in done.stdout
