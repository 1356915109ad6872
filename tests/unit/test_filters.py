"""What an operator names and no connection has, and a host of which nothing is recorded."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from hostipsec.emergency import comeback, stop, verbs
from hostipsec.emergency.host import Host
from hostipsec.errors import HostIPsecError, NothingMeantError
from hostipsec.model import Charon, Connection, IkeSA, Kernel, KernelState
from hostipsec.programs import ipsec_global
from hostipsec.store import hold, holdfile, record
from hostipsec.store.hold import Hold, Scope
from hostipsec.store.record import Record

NOW = datetime(2026, 11, 24, 4, 50, 12, tzinfo=timezone.utc)
NOBODY = Scope(peer="cp30001*")
ENDS = (ip_address("10.0.0.1"), ip_address("10.0.0.2"), "CN=left", "CN=right")
ONE = Connection("cp3001_v4", "cp3001.esams.example", "v4", *ENDS, True, "start")
STRANGER = IkeSA("vpn", 1, "ESTABLISHED", "10.0.0.1", "10.0.0.99")


class Machine(Host):
    """A host in memory, whose holds are on disk."""

    def __init__(self, sas=(), states=()):
        super().__init__()
        self.charon, self.states, self.done = Charon("6.0.1", "vici", ike_sas=tuple(sas)), tuple(states), []

    def observe(self, timeout=0):
        return self.charon

    glance = observe

    def kernel(self, timeout=0):
        return Kernel(self.states)

    def terminate(self, ids, force=False, timeout=0):
        self.done += [*ids]
        return {}

    def update(self, timeout=0):
        pass

    def start(self, timeout=0):
        raise AssertionError("there is nothing to start")

    def guard(self, connections):
        pass

    def pids(self, *names):
        return ()


@pytest.fixture
def machine(here, monkeypatch):
    """Return a host with one peer."""
    here.record.write_text(record.render(Record((ONE,))))
    found = Machine()
    for module in (stop, comeback):
        monkeypatch.setattr(module, "Host", lambda: found)
    monkeypatch.setattr(ipsec_global.os, "geteuid", lambda: 0)
    return found


def order(*more, reason="", peer=None):
    named = {"peer": peer, "connection": None, "who": "ada", "expires": None, "wait": True, "asked": None}
    return verbs.down(more, reason, None, hold=True, now=NOW, **named)


@pytest.mark.parametrize("word", ["cp3001.esams.example", "cp3*", "cp3001", "cp3001_v4", "*_v4"])
def test_a_word_without_a_name_that_peers_are_called_ends_nothing(machine, here, word):
    """It was taken for the reason: whoever typed ipsec.down 'cp3*' had every connection of the host ended."""
    with pytest.raises(HostIPsecError, match="peers or connections here are called so; say peer="):
        order(word)
    assert not here.hold.exists()
    assert order(reason=word).held  # named it is one


@pytest.mark.parametrize("word", ["T195365", "*", "cp4001", 5])
def test_any_other_word_without_a_name_is_the_reason(machine, here, word):
    assert f"because {word}" in order(word).held


def test_two_words_without_names_end_nothing(machine, here):
    for more, named in ((("T1", 5), ""), (("T1",), "T2")):
        with pytest.raises(HostIPsecError, match="which argument is it"):
            order(*more, reason=named)
    assert not here.hold.exists()


def test_a_damaged_record_is_no_obstacle_to_a_reason_without_a_name(machine, here):
    here.record.write_text("{")
    assert holdfile.read() == () and "because T1" in order("T1").held


def test_a_stop_of_a_peer_that_there_is_not_is_an_error(machine, here):
    """It said that all was well, "0 of 0 connections down", and took a hold."""
    with pytest.raises(NothingMeantError) as caught:
        stop.down_host(NOBODY, Hold("ada", NOW, "x", scope=NOBODY))
    assert str(caught.value) == (
        "no connection has peer cp30001*; nothing was done; there are peers: cp3001.esams.example; "
        "connections: cp3001_v4"
    )
    assert not here.hold.exists()


def test_so_is_a_comeback(machine):
    for scope in (NOBODY, Scope(connection="cp3001"), Scope("cp3001*", "*_v6"), Scope(peer="")):
        with pytest.raises(NothingMeantError):
            comeback.up((ONE,), scope, "ada")


def test_a_hold_of_a_peer_that_has_left_can_be_lifted(machine, here):
    holdfile.take(Hold("ada", NOW, "x", scope=NOBODY), (ONE,), NOW)
    machine.start = lambda *_: None
    comeback.up((ONE,), NOBODY, "ada", deadline=0)
    assert not here.hold.exists()


@pytest.mark.parametrize("action", ["down", "up", "status"])
def test_the_command_line_is_wrong_then(machine, here, capsys, action):
    status = ipsec_global.main([action, "--peer", "cp30001*"])
    assert status == ipsec_global.Exit.USAGE
    said = capsys.readouterr()
    assert (said.out, "no connection has peer cp30001*" in said.err) == ("", True)
    assert not here.hold.exists()


@pytest.mark.parametrize("span", ["999999999d", "9999999d", "soon", "0", "-1h", "1w", "²h"])
def test_a_time_that_cannot_be_is_a_sentence_before_anything_is_done(machine, here, capsys, span):
    """It was a traceback, and no tunnel was ended."""
    with pytest.raises(SystemExit) as caught:
        ipsec_global.main(["down", f"--for={span}"])
    assert caught.value.code == ipsec_global.Exit.USAGE
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"ipsec-global: error: --for: {span!r} is no time such as 30m, 2h or 1d")
    assert not here.hold.exists()


# Nothing is recorded -------------------------------------------------------------------------


def test_a_host_that_is_no_member_says_that_it_takes_a_hold(machine, here):
    """It took one without a word, and held the host once it was a member."""
    here.record.unlink()
    found = stop.down_host(Scope(), Hold("ada", NOW, "x"))
    assert (found.ok, found.held != "") == (True, True)
    assert found.notes[-1].startswith("no connections are recorded on this host: ")
    assert found.notes[-1].endswith("whatever it gets to have stays down until ipsec-global up")
    assert [*holdfile.held((ONE,), NOW)] == ["cp3001_v4"]


def test_and_lifts_it_again(machine, here):
    """It failed with "no service on this host"."""
    holdfile.take(Hold("ada", NOW, "x"), (), NOW)
    found = comeback.up((), Scope(), "ada")
    assert (found.ok, found.lifted, found.problems) == (True, True, ())
    assert found.notes[0].startswith("no connections are recorded on this host: ")
    assert not here.hold.exists()


@pytest.mark.parametrize("text", [record.render(Record()), None, ""], ids=["empty", "none", "nothing in it"])
def test_a_lost_record_while_charon_has_sas_is_not_well(machine, here, text):
    """The stop said "0 of 0 connections down" while they went on."""
    machine.charon = machine.charon._replace(ike_sas=(STRANGER,))
    machine.states = (KernelState("10.0.0.1", "10.0.0.99", "c1", "transport", 1),)
    here.record.unlink() if text is None else here.record.write_text(text)
    for found in (stop.down_host(Scope(), Hold("ada", NOW, "x")), comeback.up((), Scope(), "ada")):
        assert not found.ok
        assert found.problems[0].startswith("found 1 IKE SA (vpn) and 1 SA in the kernel: none was ended")
    assert machine.done == []


def test_who_logs_in_reads_that_a_hold_cannot_be_read(machine, here, capsys):
    here.hold.write_text("{")
    assert ipsec_global.main(["hold"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("*** IPsec of this host: hold.json cannot be read (")
    here.hold.write_text(hold.render((Hold("ada", NOW, "x\x1b[2J"),)))
    ipsec_global.main(["hold"])
    assert "by ada because x\N{REPLACEMENT CHARACTER}[2J" in capsys.readouterr().out


def test_down_as_json_is_one_shape(machine, here, capsys):
    here.record.unlink()
    assert ipsec_global.main(["down", "--json"]) == ipsec_global.Exit.NO_RECORD
    assert json.loads(capsys.readouterr().out)["ok"] is True


# The terminal ---------------------------------------------------------------------------------


class Unread(io.TextIOWrapper):
    """A pipe that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError


def terminal(monkeypatch, kind, encoding):
    found = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", kind(found, encoding=encoding))
    return found


@pytest.mark.parametrize("action", ["hold", "down", "status"])
def test_what_a_terminal_cannot_show_is_no_traceback(machine, here, monkeypatch, action):
    """A dash of a reason ended the program in a terminal of Latin-1, at each login."""
    holdfile.take(Hold("ada", NOW, "T1 \u2013 \ufffd"), (ONE,), NOW)
    shown = terminal(monkeypatch, io.TextIOWrapper, "iso-8859-1")
    ipsec_global.main([action])
    assert b"T1 \\u2013 \\ufffd" in shown.getvalue()


def test_who_reads_no_more_ends_nothing_and_changes_no_exit_status(machine, here, monkeypatch):
    terminal(monkeypatch, Unread, "utf-8")
    assert ipsec_global.main(["down"]) == ipsec_global.Exit.OK
    assert holdfile.read()
