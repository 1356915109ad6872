"""A comeback on a host in memory: who starts what, when, and what of it ends again."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from clocks import Clock
from hostipsec.charon.reasons import Message
from hostipsec.emergency import comeback
from hostipsec.emergency.comeback import AGAIN, KNOCK, TURN
from hostipsec.emergency.host import Host
from hostipsec.errors import HostIPsecError
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, Kernel, LoadedConnection
from hostipsec.store.hold import Command, Scope

NOW = datetime(2026, 11, 24, 4, 50, 12, tzinfo=timezone.utc)
COMMAND = Command("up", NOW.timestamp(), "ada")
ENDS = (ip_address("10.0.0.1"), ip_address("10.0.0.2"), "CN=left", "CN=right")


def connection(initiator):
    return Connection("cp2_v4", "cp2", "v4", *ENDS, initiator, "start")


class Machine(Clock, Host):
    """A host whose only peer ``answers`` after so many seconds; never by default."""

    def __init__(self, answers=1e9):
        super().__init__()
        self.time, self.answers, self.sas, self.done, self.ids = 0.0, answers, [], [], 0
        self.wrong, self.away, self.cut = None, {}, False

    def now(self):
        return NOW

    def observe(self, timeout=0):
        up = self.time >= self.answers
        child = (ChildSA("cp2_v4", "INSTALLED", "TRANSPORT"),) if up else ()
        state = "ESTABLISHED" if up else "CONNECTING"
        sas = tuple(one._replace(state=state, children=child) for one in self.sas)
        return Charon("6.0.1", "vici", 1000, connections=(LoadedConnection("cp2_v4"),), ike_sas=sas)

    glance = observe

    def initiate(self, names, timeout=0):
        for name in names:
            self.ids += 1
            self.done.append(("start", round(self.time)))
            sa = IkeSA(name, self.ids, "", "10.0.0.1", "10.0.0.2", initiator=True)
            self.sas.append(sa._replace(responder_spi="0" * 16))
        return {}

    def terminate(self, ids, force=False, timeout=0):
        for number in ids:
            self.done.append(("end", round(self.time)))
            self.sas = [one for one in self.sas if one.uniqueid != number]
        return {}

    def starting(self):
        return contextlib.nullcontext(True)

    def pids(self, *names):
        return (1,)

    def update(self, timeout=0):
        pass

    def follow(self, log, timeout):
        pass

    def kernel(self, timeout=0):
        return Kernel()

    def guard(self, connections):
        pass

    def absent(self, connections):
        return dict(self.away)

    def unrouted(self, connections):
        return {one.name: "no route" for one in connections if self.cut}

    def holds(self):
        return ()

    def lift(self, lift, connections, command):
        if self.wrong:
            raise self.wrong
        return ()


def up(machine, initiator, command=None, deadline=15.0):
    return comeback.up((connection(initiator),), Scope(), "ada", deadline, True, command, machine)


def test_what_this_host_is_to_start_goes_on():
    machine = Machine()
    up(machine, True)
    assert machine.done == [("start", 0)]


def test_whoever_calls_by_the_peer_s_address_and_gets_no_further_holds_nothing_up():
    """Anybody can send that: `up` waited for it until its deadline."""
    machine = Machine()
    call = IkeSA("(unnamed)", 99, "CONNECTING", "10.0.0.1", "10.0.0.2")
    plain = machine.observe
    machine.observe = machine.glance = lambda timeout=0: plain()._replace(ike_sas=(*plain().ike_sas, call))
    up(machine, True)
    assert machine.done == [("start", KNOCK)]


@pytest.mark.parametrize("command", [None, COMMAND])
def test_in_the_stead_of_a_peer_it_knocks_and_leaves_nothing_half_open(command):
    """Left half open, it came up beside the SA of the peer once both reached each other."""
    machine = Machine()
    up(machine, False, command)
    assert machine.done == [("start", TURN), ("end", TURN + KNOCK)]
    assert machine.sas == []


def test_a_peer_that_answers_the_knock_is_up():
    """The keeper of a peer asks a host that was held every few minutes only: the knock is its sign."""
    machine = Machine(TURN + 1)
    up(machine, False, COMMAND)
    assert machine.done == [("start", TURN)]
    assert len(machine.sas) == 1


def test_no_knock_is_begun_that_the_deadline_would_cut_short():
    """Left half open, it met the peer's own attempt when the line was whole again: one end forgot its SA."""
    machine = Machine()
    up(machine, False, COMMAND, TURN + 1)
    assert machine.done == []


def test_of_its_own_attempt_and_the_peers_that_came_up_the_own_one_ends():
    """A peer that comes back knocks, and answers the next retransmission as well: two IKE SAs."""
    machine = Machine()
    plain = machine.observe

    def observe(timeout=0):
        found = plain(timeout)
        if machine.time < 3 or not machine.sas:
            return found
        child = ChildSA("cp2_v4", "INSTALLED", "TRANSPORT")
        back = IkeSA("cp2_v4", 9, "ESTABLISHED", "10.0.0.1", "10.0.0.2", children=(child,))
        return found._replace(ike_sas=(*found.ike_sas, back))

    machine.observe = observe
    up(machine, True)
    assert machine.done[:2] == [("start", 0), ("end", 3)]


CALL = IkeSA("(unnamed)", 99, "CONNECTING", "10.0.0.1", "10.0.0.2")


def called(machine, since, call=CALL):
    """Have the peer call, from a moment on."""
    plain = machine.observe

    def observe(timeout=0):
        found = plain(timeout)
        return found._replace(ike_sas=(*found.ike_sas, call)) if machine.time >= since else found

    machine.observe = machine.glance = observe


def test_a_knock_ends_as_soon_as_the_peer_turns_out_to_have_begun_itself():
    """Its call was on the way: two IKE SAs."""
    machine = Machine()
    called(machine, TURN + 0.5)
    up(machine, False, COMMAND)
    assert machine.done[:2] == [("start", TURN), ("end", TURN + 1)]


@pytest.mark.parametrize(
    ("initiator", "since", "call"),
    [
        (False, TURN - KNOCK - 0.5, CALL),  # anybody can send that, again and again
        (False, TURN + 0.5, CALL._replace(remote_host="10.0.0.9")),  # of another peer
        (True, 0.5, CALL),  # it is for the peer to give way
    ],
)
def test_otherwise_what_this_host_began_goes_on(initiator, since, call):
    machine = Machine()
    called(machine, since, call)
    up(machine, initiator, COMMAND)
    begun = TURN if not initiator else 0
    assert ("start", begun) == machine.done[0]
    assert ("end", begun) not in machine.done and ("end", begun + 1) not in machine.done


@pytest.mark.parametrize("deadline", [TURN + KNOCK + 1, TURN + KNOCK + 0.5])
def test_a_knock_that_the_peer_has_answered_goes_on(deadline):
    """Ended between its answer and its SA, the peer would have an SA that nobody owns, for minutes."""
    machine = Machine()
    plain = machine.initiate

    def initiate(names, timeout=0):
        plain(names, timeout)
        machine.sas = [one._replace(responder_spi="8c07eb5f7bd1f4a1") for one in machine.sas]
        return {}

    machine.initiate = initiate
    up(machine, False, COMMAND, deadline)
    assert [what for what, _ in machine.done] == ["start"]


def test_what_is_refused_is_started_again():
    machine = Machine()
    machine.observe = lambda timeout=0: Charon("6.0.1", "vici", connections=(LoadedConnection("cp2_v4"),))
    machine.glance = machine.observe
    up(machine, True)
    assert [at for _, at in machine.done] == [0, *(pytest.approx(AGAIN * n, abs=1) for n in (1, 2))]


def test_a_hold_that_cannot_be_lifted_is_said_and_charon_is_not_blamed():
    """With a full disk it said of every connection that charon does not answer."""
    machine = Machine(0)
    machine.wrong = HostIPsecError("no space left")
    machine.sas = [IkeSA("cp2_v4", 1, "", "10.0.0.1", "10.0.0.2")]
    found = up(machine, True)
    assert (found.ok, found.problems) == (False, ("no space left",))
    assert "does not answer" not in str(found.connections)


def test_an_address_that_this_host_does_not_have_is_the_reason_and_not_the_silence_of_the_peer():
    """charon: "giving up after 5 retransmits", since all that it sent was "Network is unreachable"."""
    machine = Machine()
    machine.away = {ENDS[0]: "no interface here has 10.0.0.1"}
    machine.follow = lambda log, timeout: log.add(Message("cp2_v4", "giving up after 5 retransmits"))
    found = up(machine, True)
    ((state, reason),) = [(row.state, row.reason) for row in found.connections]
    assert (found.ok, state) == (False, "no address")
    assert reason == "no interface here has 10.0.0.1, which this connection is from"


def test_no_route_is_the_reason_and_not_the_silence_of_the_peer():
    """charon names no connection with "Network is unreachable", and tells of retransmits as of any peer."""
    machine = Machine()
    machine.cut = True
    machine.follow = lambda log, timeout: log.add(Message("cp2_v4", "giving up after 5 retransmits"))
    assert [row.reason for row in up(machine, True).connections] == ["no route"]


def test_an_address_that_comes_meanwhile_is_no_reason_any_more():
    machine = Machine(answers=3.0)
    machine.away = {ENDS[0]: "no interface here has 10.0.0.1"}
    machine.follow = lambda log, timeout: machine.away.clear()
    assert [row.state for row in up(machine, True).connections] != ["no address"]
