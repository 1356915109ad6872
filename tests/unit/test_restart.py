"""One connection begun anew: what is ended, what is started, and what keeps from it; a charon in memory."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from clocks import Clock
from hostipsec.charon.reasons import Message
from hostipsec.emergency import host as adapter
from hostipsec.emergency import restart
from hostipsec.errors import HostIPsecError
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, Kernel, LoadedConnection
from hostipsec.store import record
from hostipsec.store.record import Record

NAME = "cp3001_v4"
HERE, THERE = "10.0.0.5", "10.0.0.9"


def connection(initiator=True, stage="start"):
    ends = (ip_address(HERE), ip_address(THERE), "CN=left", "CN=right")
    return Connection(NAME, "cp3001.esams.example", "v4", *ends, initiator, stage)


def sa(number, name=NAME, there=THERE, children=True):
    child = ChildSA(name, "INSTALLED", "TRANSPORT", number + 10)
    return IkeSA(name, number, "ESTABLISHED", HERE, there, children=(child,) if children else ())


class Host(Clock, adapter.Host):
    """A charon that ends what it is told, by force where the peer is gone, and starts where it answers."""

    def __init__(self, *sas, gone=False, answers=True):
        self.sas, self.gone, self.answers = [*sas], gone, answers
        self.time, self.events, self.holds_at = 0.0, [], None

    def now(self):
        return datetime(2026, 11, 26, tzinfo=timezone.utc)

    def observe(self, timeout=5.0):
        loaded = LoadedConnection(NAME, (HERE,), (THERE,), children=(NAME,))
        return Charon(
            "5.9.8", "vici", connections=(loaded,), ike_sas=tuple(self.sas), plugins=("kernel-libipsec",)
        )

    glance = observe

    def kernel(self, timeout=5.0):
        return Kernel()

    def held(self, connections, now):
        held = self.holds_at is not None and self.time >= self.holds_at
        return {NAME: "since 10:00 by ada because T1"} if held else {}

    def starting(self):
        return contextlib.nullcontext(True)

    def follow(self, log, timeout):
        log.add(Message(NAME, "received NO_PROPOSAL_CHOSEN notify error"))

    def terminate(self, ids, force=False, timeout=5.0):
        ids = sorted(ids)
        self.events.append(("force" if force else "end", *ids))
        if force or not self.gone:
            self.sas = [one for one in self.sas if one.uniqueid not in ids]
        return {}

    def initiate(self, names, timeout=5.0):
        self.events.append(("start", *names))
        self.sas += [sa(100)] if self.answers else []
        return {}


@pytest.fixture
def anew(monkeypatch, here):
    def run(host, ids, one=None, deadline=20):
        monkeypatch.setattr(record, "read", lambda: Record((one or connection(),)))
        return restart.ordered(NAME, ids, deadline, host)

    return run


def test_what_was_seen_is_ended_and_it_is_started(anew):
    host = Host(sa(7))
    found = anew(host, [7])
    assert host.events == [("end", 7), ("start", NAME)]
    assert (found.ok, found.ended, found.up) == (True, (7,), True)
    assert found.answer().connections[NAME] == {
        "peer": "cp3001.esams.example",
        "family": "v4",
        "initiator": True,
        "ok": True,
        "ended": [7],
        "up": True,
        "reason": "",
    }


def test_a_peer_that_is_gone_delays_it_by_seconds_only(anew):
    host = Host(sa(7), gone=True)
    assert anew(host, [7]).up
    assert host.events == [("end", 7), ("force", 7), ("start", NAME)]
    assert host.time < 5


@pytest.mark.parametrize("other", [sa(8), sa(7, name="other"), sa(7, there="10.0.0.7")])
def test_what_nobody_saw_or_is_another_s_is_not_ended(anew, other):
    host = Host(other)
    anew(host, [7])
    assert host.events[0] == ("end",)
    assert other in host.sas


def test_the_end_that_answers_ends_and_starts_nothing(anew):
    host = Host(sa(7))
    found = anew(host, [7], connection(initiator=False))
    assert (host.events, found.ok, found.up) == ([("end", 7)], True, False)


@pytest.mark.parametrize(
    ("one", "held", "why"),
    [
        (connection(), 0.0, "held since 10:00 by ada because T1; nothing was done"),
        (connection(stage="passive"), None, "nobody starts a passive one; nothing was done"),
    ],
)
def test_what_is_held_or_passive_is_left_alone(anew, one, held, why):
    host = Host(sa(7))
    host.holds_at = held
    found = anew(host, [7], one)
    assert (host.events, found.ok, found.reason) == ([], False, why)


def test_a_hold_that_comes_meanwhile_counts(anew):
    host = Host(sa(7), answers=False)
    host.holds_at = 1.0
    found = anew(host, [7])
    assert found.reason == "held since 10:00 by ada because T1 meanwhile"
    assert host.events.count(("start", NAME)) == 1


def test_what_does_not_come_up_is_told_with_charon_s_reason(anew):
    host = Host(sa(7), answers=False)
    found = anew(host, [7])
    assert (found.ok, found.up) == (False, False)
    assert "the peer refused (NO_PROPOSAL_CHOSEN)" in found.reason
    assert 3 <= host.events.count(("start", NAME)) <= 5


@pytest.mark.parametrize("ids", [None, "7", 7, ["7"], [True], [1.5], {7: 7}])
def test_ids_that_are_none(anew, ids):
    host = Host(sa(7))
    with pytest.raises(HostIPsecError, match="allowed: a list of ids of IKE SAs"):
        anew(host, ids)
    assert host.events == []


def test_a_connection_that_there_is_not(anew, monkeypatch, here):
    monkeypatch.setattr(record, "read", lambda: Record((connection(),)))
    with pytest.raises(
        HostIPsecError, match="no connection has the name cp9_v4; nothing was done; there are"
    ):
        restart.ordered("cp9_v4", [], None, Host())
