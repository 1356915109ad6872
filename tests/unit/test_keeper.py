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
from hostipsec.health.repair import INITIATORS_TURN, WINDOW, absent, surplus, useless
from hostipsec.health.report import ConnectionHealth
from hostipsec.kernel import guard
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, LoadedConnection
from hostipsec.programs.keeper import SURPLUS, Keeper, Repair
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


def test_what_is_too_many_only_for_a_moment_is_charons_own_affair():
    now = [100.0]
    repair = Repair(lambda: now[0])
    assert repair._lasting({NAME: (2,)}) == {}
    now[0] += SURPLUS - 1
    assert repair._lasting({NAME: (3,)}) == {}  # others by now
    now[0] += SURPLUS - 1
    assert repair._lasting({NAME: (3,)}) == {}
    now[0] += 1
    assert repair._lasting({NAME: (3,)}) == {NAME: (3,)}


# A pass --------------------------------------------------------------------------------------

STATES = "ip -s xfrm state list nokeys"
POLICIES = "ip -s xfrm policy list"
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
    machine.done.clear()
    keeper.once()  # what the kernel has lost was seen before
    assert machine.done[:7] == [
        *("look", STATES, POLICIES),
        *("update", "terminate [1]", "terminate [3]", "initiate ['cp3002_v4']"),
    ]
    assert machine.done[7:9] == ["ip -batch", ROUTES[0]]  # the guard, and routes


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
    assert machine.done.count(f"initiate ['{NAME}']") == 2
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
    taken = iter([(), *[(Hold("ada", NOW, "T195365"),)] * 9])
    monkeypatch.setattr(holdfile, "read", lambda: next(taken))
    monkeypatch.setattr(guard.kernel, "set_policies", lambda *_: pytest.fail("the guard blocks what is held"))
    Keeper().once()
    assert machine.done == ["look", STATES, POLICIES]


def test_a_hold_that_is_over_is_lifted(machine):
    machine.record(ONE)
    machine.hold(until=NOW - timedelta(seconds=1))
    Keeper().once()
    assert not machine.here.hold.exists()
    assert machine.done == ["look", STATES, POLICIES, "update"]
