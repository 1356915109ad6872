"""What the keeper starts and ends, and what a pass of it costs: its looks, its forks, in which order."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from hostipsec.charon import charon as charons
from hostipsec.charon.vicisession import UnavailableError
from hostipsec.emergency import loglevel, starting
from hostipsec.health import observation
from hostipsec.health.look import Look, judged
from hostipsec.health.repair import (
    INITIATORS_TURN,
    MOMENT,
    WINDOW,
    absent,
    crossed,
    forgotten,
    overtaken,
    surplus,
    useless,
)
from hostipsec.health.report import ConnectionHealth
from hostipsec.kernel import guard
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, Kernel, LoadedConnection
from hostipsec.programs.keeper import Keeper
from hostipsec.programs.parts import SURPLUS, UNANSWERED, Repair, Start
from hostipsec.store import hold, holdfile, record
from hostipsec.store.hold import Hold
from hostipsec.store.record import Record
from hostipsec.strongswan import render, sections
from hostipsec.system import processes

NAME = "cp3001_v4"
JUST, LONG = INITIATORS_TURN + 1, WINDOW + 1  # seconds since charon started


def connection(stage, initiator):
    ends = (ip_address("10.0.0.1"), ip_address("10.0.0.2"), "CN=left", "CN=right")
    return Connection(NAME, "cp3001.esams.example", "v4", *ends, initiator, stage)


def charon(uptime=LONG, loaded=True, up=False):
    sas = (IkeSA(NAME, 1, "ESTABLISHED", "10.0.0.1", "10.0.0.2"),) if up else ()
    connections = (LoadedConnection(NAME),) if loaded else ()
    return Charon("5.9.8", "vici", uptime, connections=connections, ike_sas=sas)


@pytest.mark.parametrize("stage", ["start", "require"])
@pytest.mark.parametrize(
    ("initiator", "uptime", "starts"),
    [
        (True, 0, True),
        (True, LONG, True),
        (False, INITIATORS_TURN - 1, False),
        (False, JUST, True),  # its peer sends into an SA of before, which has no other end
        (False, LONG, False),
        (False, None, False),
    ],
)
def test_the_initiator_starts_what_is_missing_and_the_responder_once(stage, initiator, uptime, starts):
    found = absent([connection(stage, initiator)], charon(uptime))
    assert found == ((NAME,) if starts else ())


@pytest.mark.parametrize("stage", ["start", "require"])
def test_what_is_there_or_not_loaded_or_held_is_left_alone(stage):
    one = connection(stage, True)
    assert absent([one], charon(up=True)) == ()
    assert absent([one], charon(loaded=False)) == ()
    assert absent([one], charon(), held={NAME}) == ()


@pytest.mark.parametrize("stage", ["passive", "off"])
def test_a_pair_that_starts_nothing(stage):
    assert absent([connection(stage, True)], charon(JUST)) == ()


def row(state="no xfrm", name=NAME, ids=(7,), packets_in=5, initiator=True):
    return ConnectionHealth(
        *(name, "cp3001.esams.example", "v4", "start", state, "critical", "", initiator),
        ike_ids=ids,
        packets_in=packets_in,
    )


def test_what_the_kernel_has_lost_twice_is_ended():
    assert useless({NAME: row()}, [row()]) == (row(),)


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        (None, row()),  # seen once: an SA may just be rekeyed
        (row("established"), row()),
        (row(), row("established")),
        (row(ids=(6,)), row()),  # another SA by now
        (row(), row(packets_in=6)),  # packets come in, so it is the look that is wrong
        (row("down"), row("down")),
    ],
)
def test_everything_else_is_left_alone(earlier, now):
    assert useless({NAME: earlier} if earlier else {}, [now]) == ()


def test_few_are_ended_at_a_time():
    """Self-healing that trusted a bad probe once removed every SA of a fleet."""
    rows = [row(name=f"cp{number}_v4") for number in range(70)]
    assert len(useless({one.name: one for one in rows}, rows)) == 7


def sas(*found):
    """A charon with IKE SAs of one connection: id, state, age in seconds, state of its CHILD SA."""
    return Charon(
        *("5.9.8", "vici"),
        ike_sas=tuple(
            IkeSA(
                *(NAME, number, state, "10.0.0.1", "10.0.0.2"),
                established=age,
                children=(ChildSA(NAME, child, "TRANSPORT"),) if child else (),
            )
            for number, state, age, child in found
        ),
    )


@pytest.mark.parametrize(
    ("found", "ended"),
    [
        ([(2, "ESTABLISHED", 60, "INSTALLED"), (7, "ESTABLISHED", 60, "INSTALLED")], (2,)),
        ([(2, "ESTABLISHED", 30, "INSTALLED"), (7, "ESTABLISHED", 60, "INSTALLED")], (7,)),
        ([(2, "ESTABLISHED", 60, "INSTALLED"), (7, "ESTABLISHED", 60, "")], (7,)),  # it carries nothing
        ([(2, "ESTABLISHED", 60, "INSTALLED"), (7, "CONNECTING", None, "")], None),
        ([(2, "REKEYED", 60, "INSTALLED"), (7, "ESTABLISHED", 1, "INSTALLED")], None),
    ],
)
def test_of_two_ike_sas_the_newest_that_carries_packets_is_kept(found, ended):
    rows = [row("duplicate", ids=(2, 7))]
    assert surplus(rows, sas(*found)) == ({NAME: ended} if ended else {})


TWO = [(2, "ESTABLISHED", 60, "INSTALLED"), (7, "ESTABLISHED", 60, "INSTALLED")]


@pytest.mark.parametrize(
    "one", [row("duplicate", ids=(2, 7), initiator=False), row("established", ids=(2, 7))]
)
def test_the_other_end_leaves_duplicates_to_the_initiator(one):
    assert surplus([one], sas(*TWO)) == {}


@pytest.mark.parametrize(
    ("asking", "ended"),
    [
        ((), None),
        ((2,), (2,)),
        ((7,), (7,)),  # the newest, which the initiator would have kept
        ((2, 7), None),  # the peer answers for none: it is away, or the line is cut
    ],
)
@pytest.mark.parametrize("sign", [{"tasks": ("IKE_DPD",)}, {"state": "DELETING"}], ids=["asks", "ends"])
@pytest.mark.parametrize("initiator", [True, False])
def test_of_two_ike_sas_that_one_is_ended_which_the_peer_has_forgotten(asking, ended, sign, initiator):
    two = sas(*TWO).ike_sas
    found = Charon(
        "5.9.8", "vici", ike_sas=tuple(sa._replace(**sign) if sa.uniqueid in asking else sa for sa in two)
    )
    doubled = row("duplicate", ids=(2, 7), initiator=initiator)
    assert forgotten([doubled], found) == ({NAME: ended} if ended else {})
    assert forgotten([], found) == {}  # it is held


def test_an_ike_sa_that_carries_nothing_is_no_proof_that_the_peer_has_forgotten_another():
    two = sas((2, "ESTABLISHED", 60, "INSTALLED"), (7, "ESTABLISHED", 60, ""))
    asking = two._replace(ike_sas=(two.ike_sas[0]._replace(tasks=("IKE_DPD",)), two.ike_sas[1]))
    assert forgotten([row("duplicate", ids=(2, 7))], asking) == {}


def test_what_is_too_many_only_for_a_moment_is_charons_own_affair():
    now = [100.0]
    repair = Repair(lambda: now[0])
    assert repair._lasting({NAME: (2,)}, {}) == {}
    now[0] += SURPLUS - 1
    assert repair._lasting({NAME: (3,)}, {}) == {}  # others by now
    now[0] += SURPLUS - 1
    assert repair._lasting({NAME: (3,)}, {}) == {}
    now[0] += 1
    assert repair._lasting({NAME: (3,)}, {}) == {NAME: (3,)}


def test_a_peer_that_has_not_answered_yet_has_forgotten_nothing():
    now = [100.0]
    repair = Repair(lambda: now[0])
    assert repair._lasting({}, {NAME: (2,)}) == {}
    now[0] += UNANSWERED - 1
    assert repair._lasting({}, {}) == {}  # it has
    assert repair._lasting({NAME: (2,)}, {NAME: (7,)}) == {}
    now[0] += UNANSWERED
    assert repair._lasting({NAME: (2,)}, {NAME: (7,)}) == {NAME: (7,)}


# Both ends have begun ------------------------------------------------------------------------


def attempt(number=7, answered=False, **more):
    spi = "8c07eb5f7bd1f4a1" if answered else "0" * 16
    ends = (NAME, number, "CONNECTING", "10.0.0.1", "10.0.0.2")
    return IkeSA(*ends, initiator=True, initiator_spi="b0e7", responder_spi=spi)._replace(**more)


def of_peer(number=9, **more):
    child = ChildSA(NAME, "INSTALLED", "TRANSPORT")
    return IkeSA(NAME, number, "ESTABLISHED", "10.0.0.1", "10.0.0.2", children=(child,))._replace(**more)


def seen(*sas):
    return charon()._replace(ike_sas=sas)


def test_an_attempt_that_nobody_answered_ends_once_the_peer_itself_has_begun():
    """A host came back, and began: then it answered a retransmission as well. 11 of 51 pairs had two."""
    assert overtaken([connection("start", True)], seen(attempt(), of_peer())) == (7,)
    assert overtaken([connection("start", False)], seen(attempt(), of_peer())) == (7,)


@pytest.mark.parametrize(
    "sas",
    [
        (attempt(),),
        (attempt(answered=True), of_peer()),  # the peer may have it: ended here, it would be nobody's
        (attempt(responder_spi=""), of_peer()),  # not told
        (attempt(initiator=False), of_peer()),
        (attempt(state="ESTABLISHED"), of_peer()),
        (attempt(), of_peer(state="CONNECTING", name="(unnamed)")),  # anybody can send that
        (attempt(), of_peer(children=())),
        (attempt(), of_peer(initiator=True)),
        (attempt(), of_peer(remote_host="10.0.0.9")),  # another peer's
        (attempt(name="vpn", remote_host="10.0.0.9"), of_peer()),  # another's
    ],
)
def test_otherwise_an_attempt_goes_on(sas):
    assert overtaken([connection("start", True)], seen(*sas)) == ()


def one_of_two(number, initiator, age, use=None, **more):
    """An IKE SA that is up, and since when this end last sent by it."""
    child = ChildSA(NAME, "INSTALLED", "TRANSPORT", use_out=use)
    ends = (NAME, number, "ESTABLISHED", "10.0.0.1", "10.0.0.2")
    return IkeSA(*ends, initiator=initiator, established=age, children=(child,))._replace(**more)


@pytest.mark.parametrize(
    ("own", "theirs", "ended"),
    [
        ((7, True, 3), (9, False, 3), 9),  # in the same second: its own was the last here
        ((9, True, 3), (7, False, 3), 7),
        ((7, True, 3, 0), (9, False, 3, 2), 9),
        ((7, True, 3, 2), (9, False, 3, 0), 7),
        ((7, True, 3), (9, False, 4, 3), 9),  # it sent before both were there, which tells nothing
        ((7, True, 1), (9, False, 1 + MOMENT), 9),
    ],
)
def test_of_two_that_both_ends_began_that_one_stays_by_which_this_host_sends(own, theirs, ended):
    two = seen(one_of_two(*own), one_of_two(*theirs))
    assert crossed([connection("start", True)], two) == {NAME: (ended,)}
    assert crossed([connection("start", False)], two) == {}  # that is left to the other end


@pytest.mark.parametrize(
    "second",
    [
        one_of_two(9, True, 3),  # it replaces the other
        one_of_two(9, False, 4 + MOMENT),
        one_of_two(9, False, 2),  # begun once the other was up: the peer may have forgotten that
        one_of_two(9, False, 3, children=()),
        one_of_two(9, False, 3, state="DELETING"),
        one_of_two(9, False, 3, remote_host="10.0.0.9"),  # of before the peer moved
        one_of_two(9, False, 3, name="vpn"),
    ],
)
def test_otherwise_two_stay_for_a_while(second):
    assert crossed([connection("start", True)], seen(one_of_two(7, True, 3), second)) == {}


# A pass --------------------------------------------------------------------------------------

STATES = "ip -s xfrm state list nokeys"
POLICIES = "ip -s xfrm policy list"
COUNT = "ip xfrm state count"
ROUTES = [
    "ip -j -d -4 route show table main",
    "ip -j -d -6 route show table main",
    "ip -d -o -4 route show table main proto 73",
    "ip -d -o -6 route show table main proto 73",
]
WAY = [{"dst": "default", "gateway": "10.0.0.254", "dev": "eth0"}]
OURS = {
    "dst": "10.0.0.2",
    "gateway": "10.0.0.254",
    "dev": "eth0",
    "protocol": "73",
    "metrics": [{"mtu": 1450}],
}
NOW = datetime.now(timezone.utc)


class Machine:
    """A host whose charon and ``ip`` are played: each call of either is noted, in its order."""

    def __init__(self, here):
        self.here, self.done = here, []
        self.charon = charon(up=True)
        locked = "unicast 10.0.0.2 via 10.0.0.254 dev eth0 proto 73 mtu lock 1450"
        self.said = {ROUTES[0]: json.dumps([*WAY, OURS]), ROUTES[2]: locked}
        self.broken = {}  # command of ip -> what it complains of

    def record(self, *connections, mtu=None):
        self.here.record.write_text(record.render(Record(connections, mtu)))
        os.utime(self.here.record, (0, 0))

    def hold(self, why="T195365", **more):
        self.here.conf.write_text(f"{render.HEADER}conn {NAME}\n    auto=add\n")
        self.here.hold.write_text(hold.render([Hold("ada", NOW, why, **more)]))

    def ip(self, argv, input=b"", **_):
        command = " ".join(argv[:2]) if "-batch" in argv else " ".join(argv)
        self.done.append(command)
        wrong = self.broken.get(command, "")
        said = self.said.get(command, "[]" if "-j" in argv else "")
        return SimpleNamespace(returncode=int(bool(wrong)), stdout=said.encode(), stderr=wrong.encode())

    # as a back end of charon: each call is a session
    def observe(self, timeout):
        self.done.append("look")
        if self.charon is None:
            raise UnavailableError("no vici")
        return self.charon

    def counters(self, timeout):
        return {"ike-init-in-req": 3}

    def certificates(self, timeout):
        return frozenset()

    def glance(self, timeout):
        return self.charon

    def terminate(self, ids, force, timeout):
        self.done.append(f"terminate {ids}")
        return {}

    def initiate(self, names, timeout):
        self.done.append(f"initiate {names}")
        return {}

    def update(self, timeout):
        self.done.append("update")


@pytest.fixture
def machine(here, monkeypatch, told):
    found = Machine(here)
    monkeypatch.setattr(starting, "SEEN", 0)
    for name in ("ViciBackend", "StrokeBackend"):
        monkeypatch.setattr(charons, name, lambda: found)
    monkeypatch.setattr(
        processes, "subprocess", SimpleNamespace(run=found.ip, TimeoutExpired=subprocess.TimeoutExpired)
    )
    return found


ONE = connection("start", True)


def test_a_pass_looks_once(machine, monkeypatch):
    """It parsed the record five times, asked charon twice and forked ``ip`` three times, every 5 s."""
    parsed, parse = [], record.parse
    monkeypatch.setattr(record, "parse", lambda text: parsed.append(text) or parse(text))
    machine.record(ONE)
    Keeper().once()
    assert machine.done == ["look", STATES, POLICIES]
    assert len(parsed) == 1


def test_a_pass_where_an_mtu_is_locked(machine):
    machine.record(ONE, mtu=1450)
    Keeper().once()
    assert machine.done == ["look", STATES, POLICIES, *ROUTES]


def test_while_an_attempt_is_not_answered_the_keeper_looks_in_between(machine):
    """A pass is too late: the peer answers the next retransmission as soon as it is back."""
    machine.record(ONE)
    keeper = Keeper()
    keeper.overtaken.glance()
    machine.charon = seen(attempt())
    keeper.once()
    machine.done.clear()
    keeper.overtaken.glance()
    assert machine.done == []
    machine.charon = seen(attempt(), of_peer())
    keeper.overtaken.glance()
    assert machine.done == ["terminate [7]"]
    machine.charon = seen(of_peer())
    keeper.once()
    machine.charon, machine.done = None, []
    keeper.overtaken.glance()
    assert machine.done == []


def test_without_a_record_there_is_no_look(machine):
    Keeper().once()
    assert machine.done == []


def test_the_hold_comes_first_and_each_part_takes_the_same_look(machine):
    other = connection("require", True)._replace(name="cp3002_v4", right=ip_address("10.0.0.3"))
    lost = connection("start", False)._replace(name="cp3003_v4", right=ip_address("10.0.0.4"))
    machine.record(ONE, other, lost, mtu=1450)
    machine.hold(scope=hold.Scope(connection=NAME))
    child = ChildSA("cp3003_v4", "INSTALLED", "TRANSPORT", spi_in="0000000a", spi_out="0000000b")
    machine.charon = Charon(
        *("5.9.8", "vici", LONG),
        connections=tuple(map(LoadedConnection, (NAME, "cp3002_v4", "cp3003_v4"))),
        ike_sas=(
            IkeSA(NAME, 1, "ESTABLISHED", "10.0.0.1", "10.0.0.2"),
            IkeSA("cp3003_v4", 3, "ESTABLISHED", "10.0.0.1", "10.0.0.4", children=(child,)),
        ),
    )
    keeper = Keeper()
    keeper.once()
    assert machine.done[5:8] == ["look", "initiate ['cp3002_v4']", "ip -batch"]
    machine.done.clear()
    keeper.once()  # what the kernel has lost was seen before; what was started is not, so soon
    assert machine.done[:6] == [
        *("look", STATES, POLICIES),
        *("update", "terminate [1]", "terminate [3]"),
    ]
    assert machine.done[6:8] == ["ip -batch", ROUTES[0]]  # the guard, and routes


def test_where_charon_does_not_answer_hold_guard_and_routes_go_on(machine, told):
    machine.charon = None
    machine.record(connection("require", True), mtu=1450)
    Keeper().once()
    assert machine.done == ["look", "look", STATES, POLICIES, "ip -batch", *ROUTES]  # vici, then stroke
    machine.done.clear()
    machine.hold()
    Keeper().once()
    assert f"auto={sections.HELD}" in machine.here.conf.read_text()
    assert machine.done == ["look", "look", STATES, POLICIES, *ROUTES]
    assert [said for said in told.messages if "vici" in said] == []  # charon's own unit says so


def test_a_kernel_that_cannot_be_read_is_told_once_and_changes_nothing(machine, told):
    machine.broken[STATES] = "Operation not permitted"
    machine.charon = charon()
    machine.record(connection("require", True), mtu=1450)
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert [one for one in machine.done if one.startswith(("terminate", "ip -batch"))] == []
    assert machine.done.count(f"initiate ['{NAME}']") == 1
    assert [said for said in told.messages if "Operation not permitted" in said] == [
        f"{STATES}: status 1, Operation not permitted; needs root and iproute2"
    ]


def test_a_part_that_fails_is_told_once_and_stops_no_other(machine, told):
    machine.broken["ip -batch"] = "RTNETLINK answers: No such device"
    machine.record(connection("require", True), mtu=1450)
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert machine.done.count(ROUTES[-1]) == 2
    assert told.messages == ["the kernel's policies cannot be set: RTNETLINK answers: No such device"]
    machine.broken.clear()
    keeper.once()
    machine.broken["ip -batch"] = "RTNETLINK answers: No such device"
    keeper.once()
    assert told.messages.count("the kernel's policies cannot be set: RTNETLINK answers: No such device") == 2


def test_a_hold_counts_at_once_also_between_the_look_and_the_start(machine, monkeypatch):
    """An emergency stop must not find that the keeper brought back, a moment later, what it had ended."""
    machine.charon = charon()
    machine.record(connection("require", True))
    taken = iter([holdfile.Found(), *[holdfile.Found((Hold("ada", NOW, "T195365"),))] * 9])
    monkeypatch.setattr(holdfile, "found", lambda: next(taken))
    monkeypatch.setattr(guard.kernel, "set_policies", lambda *_: pytest.fail("the guard blocks what is held"))
    Keeper().once()
    assert machine.done == ["look", STATES, POLICIES, "look"]


def test_a_hold_that_is_over_is_lifted(machine):
    machine.record(ONE)
    machine.hold(until=NOW - timedelta(seconds=1))
    Keeper().once()
    assert holdfile.held([ONE], datetime.now(timezone.utc)) == {}
    assert "auto=start" in machine.here.conf.read_text()
    assert machine.done == ["look", STATES, POLICIES, "update"]


def test_a_hold_that_is_over_by_a_clock_that_was_wrong_for_a_moment_still_holds(machine):
    """The keeper wrote hold.json without it: with the clock right again nothing was held any more."""
    until = NOW + timedelta(hours=2)
    machine.record(ONE)
    machine.hold(until=until)
    assert holdfile.enforce([ONE], NOW)
    assert holdfile.enforce([ONE], NOW + timedelta(days=1))
    assert "auto=start" in machine.here.conf.read_text()
    Keeper().once()
    assert f"auto={sections.HELD}" in machine.here.conf.read_text()
    assert [*holdfile.held([ONE], NOW)] == [NAME]


@pytest.mark.parametrize("text", ["", "{", "\x00", '{"holds": [{}]}'])
def test_a_hold_that_cannot_be_read_changes_nothing_and_is_shouted_about(machine, told, text):
    """It was read as "all held": the guard was lifted and SAs were ended, for good."""
    up = connection("require", True)._replace(name="cp3002_v4", right=ip_address("10.0.0.3"))
    machine.record(ONE, up)
    conf = f"{render.HEADER}conn {NAME}\n    auto=ignore\nconn cp3002_v4\n    auto=route\n"
    machine.here.conf.write_text(conf)
    machine.here.hold.write_text(text)
    machine.charon = Charon("5.9.8", "vici", LONG, connections=(LoadedConnection("cp3002_v4"),))
    Keeper().once()
    assert machine.here.conf.read_text() == conf
    assert machine.here.hold.read_text() == text
    assert [one for one in machine.done if one.startswith(("update", "terminate"))] == []
    assert "initiate ['cp3002_v4']" in machine.done  # down is what ipsec.conf keeps down, and no more
    assert [one for one in told.messages if "hold.json cannot be read" in one] != []


@pytest.mark.parametrize("content", [b"# gr\xfc\xdfe\n", b"\xff\xfe\x00", b"conn \xe4\n  auto=\x85\n"])
def test_bytes_that_are_no_text_stop_neither_the_keeper_nor_a_hold(machine, content):
    """A Latin-1 byte in ipsec.conf ended the keeper, again and again, and no hold was kept."""
    machine.record(ONE)
    machine.hold()
    machine.here.conf.write_bytes(content + machine.here.conf.read_bytes())
    machine.here.secrets.write_bytes(content)
    machine.here.command.write_bytes(content)
    Keeper().once()
    assert b"auto=ignore" in machine.here.conf.read_bytes()
    assert machine.here.conf.read_bytes().startswith(content)
    assert "terminate [1]" in machine.done


def test_what_nobody_thought_of_stops_no_other_part(machine, told, monkeypatch):
    machine.charon = charon()
    machine.record(ONE)
    monkeypatch.setattr(holdfile, "enforce", lambda *_: 1 / 0)
    machine.hold()
    machine.here.conf.write_text("")
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert [one for one in told.messages if "ZeroDivisionError" in one] == [
        "this is a fault of hostipsec: ZeroDivisionError('division by zero')"
    ]
    monkeypatch.setattr(record, "found", lambda: 1 / 0)
    keeper.once()
    assert told.messages[-1] == "this is a fault of hostipsec: ZeroDivisionError('division by zero')"


# What is refused ---------------------------------------------------------------------------------


def attempts(keeping, look, clock, until):
    """Return the seconds at which something was started, with a pass every five."""
    found = []
    while clock[0] < until:
        if keeping(look()):
            found.append(clock[0])
        clock[0] += 5
    return found


@pytest.fixture
def refused(machine):
    """Return a part that starts, its clock, and a look at a host whose only peer refuses."""
    machine.record(ONE)
    machine.charon = charon()
    clock = [0.0]

    def look():
        return Look((ONE,), datetime.now(timezone.utc), machine.charon, Kernel(), holds=holdfile.read())

    return Start(lambda: clock[0]), clock, look


def test_who_refuses_is_asked_ever_more_seldom(refused):
    """30 peers that were held got 21,600 exchanges an hour, and the log as many lines."""
    part, clock, look = refused
    found = attempts(part, look, clock, 3600)
    assert found[:4] == [0, 5, 15, 35]
    assert len(found) <= 20
    assert max(later - one for one, later in zip(found, found[1:])) <= 305


@pytest.mark.parametrize("sign", ["configuration", "certificate", "operator", "charon", "peer", "up"])
def test_and_at_once_again_on_a_sign(refused, machine, sign):
    part, clock, look = refused
    attempts(part, look, clock, 3600)
    if sign == "configuration":
        machine.here.conf.write_text("")
    elif sign == "certificate":
        (machine.here.ipsec_d / "certs").mkdir(parents=True)
    elif sign == "operator":
        machine.here.command.write_text("")
    elif sign == "charon":
        machine.here.charon_pid.write_text("7")
    else:
        children = (ChildSA(NAME, "INSTALLED", "TRANSPORT"),) if sign == "up" else ()
        sa = IkeSA(NAME, 1, "ESTABLISHED", "10.0.0.1", "10.0.0.2", initiator=sign == "up", children=children)
        machine.charon = machine.charon._replace(ike_sas=(sa,))
        part(look())
        machine.charon = machine.charon._replace(ike_sas=())
    clock[0] += 1
    assert part(look()) == (NAME,)
    assert attempts(part, look, clock, clock[0] + 20)[0] < 3700


def test_who_does_not_answer_does_not_refuse(refused, machine):
    """Once charon gives up on such a peer it is asked anew at once: the line may be whole again."""
    part, clock, look = refused
    assert attempts(part, look, clock, 600)[-1] >= 300
    half = IkeSA(NAME, 1, "CONNECTING", "10.0.0.1", "10.0.0.2", initiator=True)
    (began,) = attempts(part, look, clock, clock[0] + 60)[-1:]
    machine.charon = charon()._replace(ike_sas=(half,))
    clock[0] = began + 13
    assert part(look()) == ()
    machine.charon = charon()
    clock[0] += 1
    assert part(look()) == (NAME,)


def test_whoever_calls_by_a_peer_s_address_keeps_nobody_from_starting_it(refused, machine):
    """One packet with a forged source, every half minute, and the connection was never started again."""
    part, clock, look = refused
    call = IkeSA("(unnamed)", 9, "CONNECTING", "10.0.0.1", "10.0.0.2")
    machine.charon = charon()._replace(ike_sas=(call,))
    begun = attempts(part, look, clock, 600)
    assert begun[0] == 20  # a peer that does call has its name by then
    named = machine.charon._replace(ike_sas=(call, call._replace(uniqueid=8, name=NAME, state="CONNECTING")))
    assert absent([ONE], named, vain=[NAME]) == ()  # it got further meanwhile
    assert len(begun) < 10  # and it is no sign: what refuses is asked as seldom as ever
    machine.charon = charon()
    part(look())
    machine.charon = charon()._replace(ike_sas=(call._replace(uniqueid=10),))
    clock[0] += 400
    assert part(look()) == ()


def test_half_an_sa_of_ours_is_no_sign(refused, machine):
    part, clock, look = refused
    clock[0] = attempts(part, look, clock, 3600)[-1] + 1
    half = IkeSA(NAME, 1, "CONNECTING", "10.0.0.1", "10.0.0.2", initiator=True)
    machine.charon = machine.charon._replace(ike_sas=(half,))
    part(look())
    machine.charon = machine.charon._replace(ike_sas=())
    clock[0] += 1
    assert part(look()) == ()


def test_the_other_end_leaves_it_to_its_initiator(refused, machine):
    """What both ends begin while neither reaches the other makes two IKE SAs once they do."""
    part, clock, _ = refused
    answers = connection("start", False)
    machine.record(answers)

    def look():
        return Look((answers,), datetime.now(timezone.utc), machine.charon, Kernel())

    machine.charon = charon(loaded=False)
    assert attempts(part, look, clock, 100) == []
    machine.charon = charon()
    assert attempts(part, look, clock, 1000) == []


def test_the_other_end_knocks_after_a_change_that_its_initiator_cannot_see(refused, machine):
    """A hold lifted there, a connection that came later: the initiator asks every five minutes only."""
    part, clock, _ = refused
    answers = connection("start", False)
    machine.record(answers)

    def look():
        return Look((answers,), datetime.now(timezone.utc), machine.charon, Kernel())

    assert 9 <= min(attempts(part, look, clock, 100)) <= 14  # a keeper that starts is news as well
    machine.here.hold.write_text("")
    changed = clock[0]
    found = attempts(part, look, clock, 1000)
    assert found
    assert min(found) - changed >= 9
    assert max(found) - changed <= 40
    assert len(found) <= 3


def test_what_another_started_since_the_look_is_not_started_again(refused, machine):
    """The keeper and a command of the fleet both found it missing: a fifth of the pairs had two IKE SAs."""
    part, _, look = refused
    before = look()
    machine.charon = charon(up=True)
    assert part(before) == ()
    assert [one for one in machine.done if one.startswith("initiate")] == []


# A flush -----------------------------------------------------------------------------------------

MANY = 70


@pytest.fixture
def flushed(machine):
    """Return a host with many connections, all up in charon, whose kernel has lost every state."""
    ends = [(f"cp{number}_v4", ip_address(f"10.0.1.{number}")) for number in range(MANY)]
    ones = [connection("start", True)._replace(name=name, right=right) for name, right in ends]
    machine.record(*ones)
    child = ChildSA("", "INSTALLED", "TRANSPORT", spi_in="0000000a", spi_out="0000000b")
    machine.charon = Charon(
        *("5.9.8", "vici", LONG),
        connections=tuple(LoadedConnection(one.name) for one in ones),
        ike_sas=tuple(
            IkeSA(
                *(one.name, number, "ESTABLISHED", "10.0.0.1", str(one.right)),
                children=(child._replace(name=one.name),),
            )
            for number, one in enumerate(ones)
        ),
    )
    machine.said[POLICIES] = "".join(
        f"src 10.0.0.1/32 dst {one.right}/32 \n\tdir out action allow index 9 priority 367231 ptype main\n"
        f"\ttmpl src 10.0.0.1 dst {one.right}\n\t\tproto esp spi 0xc1 reqid 1 mode transport\n"
        for one in ones
    )
    machine.said[COUNT] = "\t SAD count 0\n"
    return machine


def ended(machine):
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    (found,) = [one for one in machine.done if one.startswith("terminate")]
    return found.count(",") + 1, keeper


def test_what_a_flush_took_is_ended_all_at_once(flushed):
    """Seven at a time it took 50 s until 70 connections were back."""
    number, keeper = ended(flushed)
    assert number == MANY
    assert keeper.repair.ended


@pytest.mark.parametrize(
    "fault", ["the kernel counts others", "no policies either", "one is there", "no count"]
)
def test_where_anything_contradicts_it_few_are_ended(flushed, fault):
    """Self-healing that trusted a bad probe once removed every SA of a fleet."""
    if fault == "the kernel counts others":
        flushed.said[COUNT] = "\t SAD count 140\n"
    elif fault == "no policies either":
        flushed.said[POLICIES] = ""
    elif fault == "no count":
        flushed.said[COUNT] = "what?"
    else:
        flushed.said[STATES] = (
            "src 10.0.0.1 dst 10.0.1.0\n\tproto esp spi 0x0000000b reqid 1 mode transport\n"
            "src 10.0.1.0 dst 10.0.0.1\n\tproto esp spi 0x0000000a reqid 1 mode transport\n"
        )
    assert ended(flushed)[0] == 7


# The record is damaged -----------------------------------------------------------------------


def damaged(machine, content="{"):
    """Have the record read well once, so that there is a copy; then damage it."""
    Keeper().once()
    assert machine.here.record_copy.read_text() == machine.here.record.read_text()
    machine.here.record.write_text(content)
    machine.done.clear()


@pytest.mark.parametrize("content", ["", "{", None])
def test_with_a_damaged_record_the_keeper_goes_on_by_the_copy(machine, told, content):
    """It looked at nothing any more: what a flush took was gone for good."""
    machine.record(connection("require", True))
    damaged(machine, content or "")
    if content is None:
        machine.here.record.unlink()
    machine.charon = charon()
    Keeper().once()
    assert f"initiate ['{NAME}']" in machine.done
    assert "ip -batch" in machine.done  # the guard is set again
    assert any("its copy counts meanwhile" in said for said in told.messages)


def test_without_a_copy_the_guard_is_made_of_ipsec_conf_and_nothing_else(machine, told):
    machine.record(connection("require", True))
    machine.here.record.write_text("")
    machine.here.conf.write_text(
        f"{render.HEADER}conn {NAME}\n    left=10.0.0.1\n    right=10.0.0.2\n    auto=route\n"
    )
    Keeper().once()
    assert machine.done == [POLICIES, "ip -batch"]
    assert any("what ipsec.conf tells counts meanwhile" in said for said in told.messages)


def test_with_a_damaged_record_the_keeper_lifts_nothing(machine):
    machine.record(connection("start", True))
    machine.said[POLICIES] = (
        "src 0.0.0.0/0 dst 10.0.0.9/32 uid 0\n"
        "\tdir out action block index 9 priority 2000073 ptype main share any flag  (0x00000000)\n"
    )
    Keeper().once()
    assert "ip -batch" in machine.done  # of no connection: lifted
    damaged(machine)
    Keeper().once()
    assert "ip -batch" not in machine.done


def test_every_verdict_says_that_the_record_is_damaged(machine):
    machine.record(ONE)
    damaged(machine)
    report = judged(observation.observe())
    assert [one.name for one in report.managed] == [NAME]
    assert "mesh.json cannot be read" in report.warnings[0]
    assert "its copy counts meanwhile" in report.warnings[0]


# What goes in the clear, and more in the log --------------------------------------------------


LISTED = "nft -j list table inet hostipsec"


def test_what_goes_in_the_clear_is_counted_where_the_record_says_so(machine, told):
    """Where it cannot be, that is said once, the sample says it, and all else goes on."""
    machine.broken[LISTED] = "nft: Operation not permitted"
    machine.here.record.write_text(record.render(Record((ONE,), clear_text=True)))
    os.utime(machine.here.record, (0, 0))
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert machine.done.count(LISTED) == 2
    assert len([said for said in told.messages if "cannot be counted" in said]) == 1
    sample = json.loads(machine.here.sample.read_text())
    assert "Operation not permitted" in sample["unread"]["clear text"]
    assert sample["connections"][0]["clear_in"] is None


def test_a_log_level_that_is_over_is_undone_in_a_pass(machine, monkeypatch, told):
    done = iter([True, False])
    monkeypatch.setattr(loglevel, "expire", lambda: next(done))
    machine.record(ONE)
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert [said for said in told.messages if "log" in said] == ["charon has its usual log levels again"]
