"""Which connections the keeper starts, by stage, end and what charon has."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from hostipsec.health.repair import INITIATORS_TURN, WINDOW, absent, surplus, useless
from hostipsec.health.report import ConnectionHealth
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, LoadedConnection
from hostipsec.programs.keeper import SURPLUS, Repair

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
