"""Where the kernel knows no way to a peer, that is the reason and not the peer's silence."""

from __future__ import annotations

from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from hostipsec.health import observation
from hostipsec.health.judge import evaluate
from hostipsec.health.look import Look
from hostipsec.kernel.reach import unrouted
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, LoadedConnection
from hostipsec.system.processes import Result

# iproute2 6.1
SAID = """RTNETLINK answers: Network is unreachable
Command failed -:2
RTNETLINK answers: No route to host
Command failed -:3
RTNETLINK answers: Permission denied
Command failed -:4
RTNETLINK answers: Invalid argument
Command failed -:5
"""


def connection(number, stage="start"):
    ends = ip_address("10.0.0.1"), ip_address(f"10.0.0.{number}")
    return Connection(f"cp{number}_v4", f"cp{number}", "v4", *ends, "CN=a", "CN=b", True, stage)


PEERS = [connection(number) for number in range(2, 7)]
NO_WAY = {
    "cp3_v4": "no route to the peer's address",
    "cp4_v4": "a route of this host calls the peer's address unreachable",
    "cp5_v4": "a route of this host prohibits the peer's address",
}


def test_one_call_tells_of_all():
    asked = []

    def run(argv, timeout, stdin=""):
        asked.append((" ".join(argv), stdin))
        return Result(1, "", SAID)

    assert unrouted(PEERS, run=run) == NO_WAY
    assert asked == [
        (
            "ip -force -batch -",
            "".join(f"route get 10.0.0.{number} from 10.0.0.1\n" for number in range(2, 7)),
        )
    ]


@pytest.mark.parametrize(
    "said",
    ["", "ip: not found", "Command failed -:2\n", SAID.replace(":2", ":99").replace(":3", ":0")[:90], "\x00"],
)
def test_what_is_answered_in_another_way_is_not_said(said):
    assert unrouted(PEERS, run=lambda *_, **__: Result(1, "", said)) == {}


def test_nobody_is_asked_for_nothing():
    assert unrouted([], run=None) == {}


CHILD = ChildSA("cp2_v4", 1, "INSTALLED", "TRANSPORT")


def looked(charon, *connections):
    return Look(connections, datetime(2026, 11, 26, tzinfo=timezone.utc), charon)


def sa(number, *children):
    state = "ESTABLISHED" if children else "CONNECTING"
    return IkeSA(f"cp{number}_v4", number, state, "10.0.0.1", f"10.0.0.{number}", children=children)


def test_only_what_carries_nothing_costs_a_call():
    """A look costs nothing more while all is well; an emergency stop holds first."""
    trap = connection(3, "require")
    well = Charon("5.9.8", "vici", ike_sas=(sa(2, CHILD),), routed=("cp3_v4",))
    assert observation._idle(looked(well, PEERS[0], trap, connection(4, "passive"))) == ()
    assert observation._idle(looked(None, *PEERS)) == ()
    tried = well._replace(ike_sas=(*well.ike_sas, sa(3)))
    assert observation._idle(looked(tried, PEERS[0], trap, PEERS[2])) == (trap, PEERS[2])


@pytest.mark.parametrize("begun", [True, False])
def test_it_is_a_reason_and_decides_nothing(begun):
    there = LoadedConnection("cp3_v4", ("10.0.0.1",), ("10.0.0.3",))
    charon = Charon("5.9.8", "vici", connections=(there,), ike_sas=(sa(3),) if begun else ())
    rows = {}
    for told in ({}, NO_WAY):
        (row,) = evaluate([PEERS[1]], charon, unrouted=told).connections
        rows[bool(told)] = row
    assert rows[True]._replace(reason="") == rows[False]._replace(reason="")
    reason = "IKE SA 3 is CONNECTING: {}" if begun else "loaded, but no SA; this host starts it; {}"
    assert rows[True].reason == reason.format(NO_WAY["cp3_v4"])


def test_what_is_up_is_not_asked_about():
    there = LoadedConnection("cp2_v4", ("10.0.0.1",), ("10.0.0.2",))
    charon = Charon("5.9.8", "vici", connections=(there,), ike_sas=(sa(2, CHILD),))
    told = evaluate([PEERS[0]], charon, unrouted={"cp2_v4": "no route"}).connections
    assert told == evaluate([PEERS[0]], charon).connections
