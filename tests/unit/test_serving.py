"""The program that serves metrics: by file, over HTTP, to Graphite; each goes on without the others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from test_metrics import read

from hostipsec import paths
from hostipsec.errors import HostIPsecError
from hostipsec.faces import exposition
from hostipsec.health.sample import plain
from hostipsec.pillar.metrics import Endpoint
from hostipsec.programs import metrics as program
from hostipsec.system import webpage
from samples import sample

UTILS = Path(__file__).parents[2] / "_utils"
DEADLINE = 60.0


@pytest.fixture
def left(here):
    """Return what leaves a sample as the keeper does: of so many connections, so many seconds ago."""

    def write(number: int, ago: float = 0.0) -> None:
        here.locks.mkdir(exist_ok=True)
        here.sample.write_text(json.dumps(plain(sample(number)._replace(time=time.time() - ago))))

    return write


@pytest.fixture
def said():
    found: list[tuple[str, str]] = []
    return found


@pytest.fixture
def told(said):
    return program.Told(lambda *what: said.append(what))


def within(happened) -> None:
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


# What there is to tell -------------------------------------------------------------------------


def test_whoever_asks_within_a_second_gets_the_same(left, said):
    left(1)
    clock = iter([0.0, 0.5, 1.0])
    told = program.Told(lambda *what: said.append(what), lambda: next(clock))
    first = told()
    left(2)
    assert told() is not None
    assert told._read[1:] == first
    assert len(told()[0].sample.connections) == 2
    assert said == [("the keeper's sample", "")] * 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no sample"),
        ("", "state.json: cannot be read"),
        ("[" * 100_000, "state.json: cannot be read"),
        (json.dumps(plain(sample(9)))[:1000], "state.json: cannot be read"),
        ('{"schema": 9}', "schema 9"),
        ({"errors": 5}, "the sample cannot be read"),
    ],
)
def test_a_sample_that_cannot_be_read_is_said_and_nothing_of_connections(here, told, said, content, why):
    if isinstance(content, dict):
        content = json.dumps({**plain(sample(1)), "time": time.time(), **content})
    if content is not None:
        here.locks.mkdir()
        here.sample.write_text(content)
    names = {name for name, _ in read(told.page().decode())}
    assert names == {"ipsec_source_up", "ipsec_run_timestamp_seconds"}
    assert why in said[0][1]


def test_however_many_scrape_the_text_is_written_once(left, told, monkeypatch):
    left(3)
    written = []
    text = exposition.prometheus
    monkeypatch.setattr(exposition, "prometheus", lambda found: written.append(found) or text(found))
    assert len({told.page() for _ in range(20)}) == 1
    assert len(written) == 1
    told._read = None
    told.page()
    assert len(written) == 2


def test_one_that_is_too_old(left, told, said):
    """It was said again each second, as the seconds were in the words."""
    left(1, ago=100)
    assert "ipsec_connection_up" not in told.page().decode()
    told._read = None
    assert told.page()
    assert said[0] == said[1]
    assert re.match(r"the keeper has not looked since 20..-..-.. ..:..:.. UTC$", said[0][1])


def test_a_pipe_in_its_place_hangs_nobody(here, told, said):
    here.locks.mkdir()
    os.mkfifo(here.sample)
    assert b'ipsec_source_up{site="",source="keeper"} 0\n' in told.page()
    assert "pipe" in said[0][1]


def test_what_is_wrong_is_said_once_and_its_end(caplog, monkeypatch):
    monkeypatch.setattr(program.log, "propagate", False)  # Salt's handler would print it
    monkeypatch.setattr(program.log, "handlers", [caplog.handler])
    monkeypatch.setattr(program.log, "level", 20)
    say = program.Saying()
    for wrong in ("", "away", "away", "refused", "", ""):
        say("graphite", wrong)
    assert caplog.messages == ["graphite: away", "graphite: refused", "graphite: well again"]


# node_exporter's file --------------------------------------------------------------------------


def test_the_file_is_whole_and_for_all_to_read(left, told, tmp_path):
    left(2)
    program.write(str(tmp_path), told)
    (found,) = tmp_path.glob("*.prom")
    assert (found.name, found.stat().st_mode & 0o777) == ("hostipsec.prom", 0o644)
    assert len(read(found.read_text())) > 40


def test_a_full_disk_leaves_the_file_of_before_and_says_so(left, told, tmp_path, monkeypatch):
    left(2)
    program.write(str(tmp_path), told)
    before = (tmp_path / "hostipsec.prom").read_text()
    left(1)
    told._read = None

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert "No space left on device" in program.complaint(lambda: program.write(str(tmp_path), told))
    assert (tmp_path / "hostipsec.prom").read_text() == before
    assert len([*tmp_path.glob("*hostipsec.prom*")]) == 1


def test_a_directory_that_is_gone_is_said(left, told, tmp_path):
    left(1)
    said = program.complaint(lambda: program.write(str(tmp_path / "gone"), told))
    assert said.startswith(f"{tmp_path}/gone/hostipsec.prom: cannot be written: No such file")


# HTTP ------------------------------------------------------------------------------------------


@pytest.fixture
def server(left, told):
    left(50)
    with webpage.Server("127.0.0.1", 0, told.page, exposition.CONTENT_TYPE) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def url(server, path="/metrics"):
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def scraped(server):
    with urllib.request.urlopen(url(server), timeout=DEADLINE) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["Server"] == "hostipsec "
        return answer.read().decode()


def test_a_scrape(server):
    assert len(read(scraped(server))) > 1000
    with urllib.request.urlopen(urllib.request.Request(url(server), method="HEAD"), timeout=9) as answer:
        assert (answer.status, answer.read()) == (200, b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/../etc/passwd", "GET", 404), ("/metrics", "POST", 501)],
)
def test_nothing_else_is_there(server, path, method, status):
    request = urllib.request.Request(
        url(server, path), method=method, data=b"x" if method == "POST" else None
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=DEADLINE)
    assert caught.value.code == status
    caught.value.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET", b"\x16\x03\x01\x02\x00\x01", b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 5000]
)
def test_clients_that_are_slow_or_hostile_hurt_nobody(server, sent, capfd):
    clients = []
    for _ in range(3 * webpage.MOST):
        clients.append(socket.create_connection(server.server_address, timeout=DEADLINE))
        with contextlib.suppress(OSError):
            clients[-1].sendall(sent)
    assert "ipsec_connection_up" in scraped(server)
    assert len(server._open) <= webpage.MOST
    for client in clients:
        client.close()
    assert "Traceback" not in capfd.readouterr().err


def test_one_that_never_ends_is_ended(server, monkeypatch):
    monkeypatch.setattr(webpage, "DEADLINE", 0.2)
    with socket.create_connection(server.server_address, timeout=DEADLINE) as client:
        assert client.recv(1) == b""
    within(lambda: not server._open)


def test_one_that_reads_nothing_is_ended(server, monkeypatch):
    monkeypatch.setattr(webpage, "DEADLINE", 0.2)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.server_address)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        within(lambda: not server._open)
    assert "ipsec_connection_up" in scraped(server)


def test_a_port_that_is_taken_is_said(server, told):
    where = Endpoint("127.0.0.1", server.server_address[1])
    with pytest.raises(HostIPsecError, match=r"127\.0\.0\.1 port \d+: Address already in use"):
        program.serve(where, told, lambda: pytest.fail("it listens"))


def test_all_of_ipv6_is_all_of_ipv4_as_well(told, here):
    with webpage.Server("::", 0, told.page, "text/plain") as found:
        threading.Thread(target=found.handle_request).start()
        with socket.create_connection(("127.0.0.1", found.server_address[1]), timeout=DEADLINE) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.0 200"


# Graphite --------------------------------------------------------------------------------------


def test_a_push(left, told):
    left(2)
    with socket.create_server(("127.0.0.1", 0)) as carbon:
        thread = threading.Thread(target=program.push, args=(Endpoint(*carbon.getsockname()), told))
        thread.start()
        taken, _ = carbon.accept()
        with taken, taken.makefile() as lines:
            found = dict(line.split(" ", 1) for line in lines)
        thread.join()
    assert found["ipsec.cp1001_eqiad_example.connection_up.cp0001_codfw_example.v4"].startswith("1 1")


@pytest.mark.parametrize("kind", ["closed", "no such name", "deaf"])
def test_graphite_that_is_away_is_said_and_nothing_grows(kind, left, told, monkeypatch):
    left(1)
    monkeypatch.setattr(program, "GRAPHITE_DEADLINE", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        where = Endpoint(
            "no.such.name.invalid" if kind == "no such name" else "127.0.0.1", deaf.getsockname()[1]
        )
        if kind == "deaf":  # takes a connection and never reads
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.listen()
            left(3000)
            told._read = None
        said = program.complaint(lambda: program.push(where, told))
    assert said.startswith(f"{where.host} port {where.port}: ")
    assert "fault of hostipsec" not in said


def test_the_waits_for_graphite_grow_to_ten_minutes(told, said, monkeypatch):
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 6:
            raise KeyboardInterrupt

    answers = iter([OSError(111, "Connection refused")] * 5)

    def push(*_):
        if (error := next(answers, None)) is not None:
            raise HostIPsecError(str(error))

    monkeypatch.setattr(program, "push", push)
    monkeypatch.setattr(program.time, "sleep", sleep)
    monkeypatch.setattr(program.random, "uniform", lambda *_: 1)
    with pytest.raises(KeyboardInterrupt):
        program.pushing(Endpoint("g", 1), told, lambda *what: said.append(what))
    assert waits == [120, 240, 480, 600, 600, 60]
    assert said[-1] == ("graphite", "")


# The process -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "nothing to serve"),
        (("--http=9815",), "found '9815'; allowed: ADDRESS:PORT"),
        (("--graphite=a b:1",), "allowed: HOST:PORT"),
        (("--textfile=../x",), "allowed: an absolute path"),
    ],
)
def test_a_command_line_that_is_wrong(given, words, capsys):
    with pytest.raises(SystemExit) as caught:
        program.main(given)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_its_file_goes_with_it(left, here):
    """node_exporter told for ever what a program that was gone had written."""
    left(1)
    directory = here.root / "prom"
    directory.mkdir()
    code = (
        "from hostipsec import paths; from hostipsec.programs import metrics\n"
        f"paths.here = paths.Paths({str(here.root)!r})\n"
        "metrics.places.directory = str\n"
        f"metrics.main(['--textfile={directory}'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", code],
        env={**os.environ, "PYTHONPATH": str(UTILS)},
        stderr=subprocess.PIPE,
    )
    within((directory / "hostipsec.prom").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert [*directory.iterdir()] == []
    assert process.stderr.read() == b""
    process.stderr.close()
    assert paths.here is here
