"""Which connections the keeper starts, by stage, end and what charon has."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from hostipsec.keeper import GRACE, WINDOW, absent
from hostipsec.model import Charon, Connection, IkeSA, LoadedConnection

NAME = "cp3001_v4"
JUST, LONG = GRACE + 1, WINDOW + 1  # seconds since charon started


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
        (False, GRACE - 1, False),
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
