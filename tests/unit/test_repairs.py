"""Repair on request: which connections are begun anew, by what both ends say, and in which order."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.errors import HostIPsecError
from hostipsec.fleet.asking import Asking
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.fleet.ledger import Ledger
from hostipsec.fleet.repairs import RESTART, Repair
from hostipsec.pillar import pillar

FLEET = pillar.read(fleets.example())
HUB, SPOKE = "cp1001.eqiad.example", "cp3001.esams.example"
NAME, ANSWERED = "cp3001_v4", "cp1001_v4"
UP = {"state": "established", "severity": "ok", "reason": "", "ike_ids": [7]}
DOWN = {"state": "down", "severity": "critical", "reason": "no SA", "ike_ids": []}
HELD = {"state": "held", "severity": "warning", "reason": "since 10:00", "held": True, "ike_ids": []}
RESTARTED = {"ok": True, "sentence": "up in 1 s", "connections": {}}


class Fleet:
    """Hosts in memory; what is begun anew at its initiator is up at both ends then, unless it is stubborn."""

    def __init__(self, **ends):
        self.rows = {host.id: self.well(host.id) for host in FLEET.hosts}
        self.own = {}
        self.silent, self.stubborn, self.asked, self.looks = set(), set(), [], []
        self.change = {}  # number of a question for status -> what happens before

    @staticmethod
    def well(host):
        return fleets.rows(FLEET, host, **UP)

    def set(self, hub=UP, spoke=UP, name=NAME, answered=ANSWERED):
        """Say what the end that starts, and the one that answers, say of a connection."""
        self.rows[HUB][name].update(hub)
        self.rows[SPOKE][answered].update(spoke)

    def returns(self, hosts, function, arguments):
        if function == "ipsec.status":
            self.looks.append(list(hosts))
            self.change.get(len(self.looks), lambda: None)()
            yield from ((host, self.status(host)) for host in hosts if host not in self.silent)
            return
        (host,) = hosts
        self.asked.append((host, arguments["connection"], arguments["ids"]))
        yield host, self.restart(host, arguments["connection"])

    def restart(self, host, name):
        row = self.rows[host][name]
        why = "no answer from the peer" if name in self.stubborn and row["initiator"] else ""
        if row["initiator"] and not why:
            self.set(name=name, answered=name.replace("cp3001", "cp1001"))
        told = {name: {"peer": row["peer"], "family": row["family"], "ok": not why, "reason": why}}
        return {**RESTARTED, "ok": not why, "connections": told}

    def status(self, host):
        return {
            "connections": {name: dict(row) for name, row in self.rows[host].items()},
            "unmanaged": {},
            "summary": {"sentence": "words", "severity": "ok"},
            "backend": "vici",
            **self.own.get(host, {}),
        }

    def say(self, text):
        pass

    def clock(self):
        return 0.0

    def sleep(self, seconds):
        pass

    def repair(self, budget=5, **chosen):
        return Repair(Asking(self), FLEET, Filter(**chosen), budget, 30.0)


@pytest.fixture
def hosts():
    return Fleet()


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


NO_CHILD = {
    "state": "no child",
    "severity": "critical",
    "reason": "an IKE SA without a CHILD SA",
    "ike_ids": [8],
}


@pytest.mark.parametrize(
    ("hub", "spoke", "orders", "would"),
    [
        (UP, DOWN, [(HUB, NAME, [7])], f"end IKE SA 7 at {HUB}, start {NAME} at {HUB}"),
        (
            DOWN,
            UP,
            [(SPOKE, ANSWERED, [7]), (HUB, NAME, [])],
            f"end IKE SA 7 at {SPOKE}, start {NAME} at {HUB}",
        ),
        (
            NO_CHILD,
            NO_CHILD,
            [(SPOKE, ANSWERED, [8]), (HUB, NAME, [8])],
            f"end IKE SA 8 at {SPOKE}, end IKE SA 8 at {HUB}, start {NAME} at {HUB}",
        ),
        (DOWN, DOWN, [(HUB, NAME, [])], f"start {NAME} at {HUB}"),
    ],
)
def test_what_both_ends_say_is_broken_is_begun_anew(hosts, ledger, hub, spoke, orders, would):
    """The end that answers ends its SAs first; the other then starts it."""
    hosts.set(hub, spoke)
    found = hosts.repair().foresee().as_dict()
    assert (found["retcode"], [one["would"] for one in found["broken"]], hosts.asked) == (3, [would], [])
    assert (
        found["lines"][0] == "1 connection would be begun anew; nothing was done yet: dry_run=False does it"
    )
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert (found["retcode"], hosts.asked) == (0, orders)
    assert found["lines"][0] == "1 of 1 connection begun anew and up at both ends"
    assert [(one["done"], one["why"]) for one in found["broken"]] == [(True, "")]


REFUSING = {
    "authentication": {
        "chain": [{"key": "a", "name": "A"}],
        "trusts": [{"key": "a", "name": "A"}],
        "fault": "",
    }
}
STRANGE = {
    "authentication": {
        "chain": [{"key": "b", "name": "B"}],
        "trusts": [{"key": "b", "name": "B"}],
        "fault": "",
    }
}


@pytest.mark.parametrize(
    ("hub", "spoke", "own", "why"),
    [
        (HELD, DOWN, {}, f"held at {HUB}"),
        (UP, HELD, {}, f"held at {SPOKE}"),
        (DOWN, {**UP, "held": True}, {}, f"held at {SPOKE}"),
        (
            UP,
            {**DOWN, "reason": "charon does not answer"},
            {SPOKE: {"backend": None}},
            f"charon of {SPOKE} does not",
        ),
        (DOWN, {**DOWN, "stage": "passive"}, {}, f"stage passive at {SPOKE}"),
        (DOWN, {**DOWN, "initiator": True}, {}, "the ends do not agree which of them starts it"),
        (DOWN, {**DOWN, "state": "no address"}, {}, f"{SPOKE} says no address: no new start cures that"),
        ({**DOWN, "state": "not encrypted"}, UP, {}, f"{HUB} says not encrypted: no new start cures that"),
        ({**UP, "state": "duplicate", "severity": "warning"}, UP, {}, "up at both ends"),
        (UP, DOWN, {HUB: REFUSING, SPOKE: STRANGE}, "the two would refuse each other"),
    ],
)
def test_what_is_left_alone(hosts, ledger, hub, spoke, own, why):
    hosts.set(hub, spoke)
    hosts.own = own
    found = hosts.repair(site="esams").carry_out(ledger, "root").as_dict()
    alone = [
        one["why"]
        for one in (*found["left"], *found["resting"])
        if (one["one"], one["other"]) == (HUB, SPOKE)
    ]
    assert [text for text in alone if text.startswith(why)]
    assert (found["broken"], hosts.asked) == ([], [])
    assert any("left alone: " + why in line for line in found["lines"])


def test_an_end_that_does_not_know_it_is_left_alone(hosts, ledger):
    hosts.rows[SPOKE].pop(ANSWERED)
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert [one["why"] for one in found["left"]] == [
        f"{SPOKE} does not know it: state ipsec is to be applied there"
    ]
    assert (found["retcode"], hosts.asked) == (1, [])


def test_nothing_is_done_by_the_word_of_one_end(hosts, ledger):
    hosts.set(DOWN, DOWN)
    hosts.silent = {SPOKE}
    found = hosts.repair(host=SPOKE).carry_out(ledger, "root").as_dict()
    assert {one["why"] for one in found["left"]} == {
        f"{SPOKE} does not answer: nothing is done by the word of one end"
    }
    assert (found["retcode"], hosts.asked) == (1, [])


@pytest.mark.parametrize("other", [HUB, SPOKE])
def test_a_host_in_maintenance_is_left_alone(hosts, ledger, other):
    data = fleets.example()
    data["hosts"][other]["maintenance"] = True
    hosts.set(DOWN, UP)
    work = Repair(Asking(hosts), pillar.read(data), Filter(), 5, 30.0)
    found = work.carry_out(ledger, "root").as_dict()
    assert (found["broken"], hosts.asked) == ([], [])


def test_what_is_another_one_at_the_second_look_is_left_alone(hosts, ledger):
    hosts.set(UP, DOWN)
    hosts.change = {2: lambda: hosts.set(UP, UP)}
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert (found["broken"], hosts.asked) == ([], [])
    assert [one["why"] for one in found["left"]] == ["is another one at a second look"]
    assert hosts.looks[1] == [HUB, SPOKE]


def test_an_sa_that_came_between_the_looks_is_not_ended(hosts, ledger):
    hosts.set({**UP, "ike_ids": [3, 4]}, DOWN)
    hosts.change = {2: lambda: hosts.set({**UP, "ike_ids": [4, 9]}, DOWN)}
    hosts.repair().carry_out(ledger, "root")
    assert hosts.asked == [(HUB, NAME, [4])]


def test_more_than_the_budget_is_not_done_in_part(hosts, ledger):
    """A probe that was wrong made self-healing end every SA of a fleet."""
    for family in ("v4", "v6"):
        hosts.set(DOWN, DOWN, f"cp3001_{family}", f"cp1001_{family}")
    found = hosts.repair(budget=1).carry_out(ledger, "root").as_dict()
    assert (found["retcode"], hosts.asked) == (1, [])
    assert found["lines"][0].startswith(
        "2 connections to begin anew, and the budget is 1: nothing was done; "
    )
    assert hosts.repair(budget=1).foresee().as_dict()["retcode"] == 1
    found = hosts.repair(budget=2).carry_out(ledger, "root").as_dict()
    assert (found["retcode"], len(hosts.asked)) == (0, 2)


def test_what_does_not_come_up_is_told_and_stops_no_other(hosts, ledger):
    for family in ("v4", "v6"):
        hosts.set(DOWN, DOWN, f"cp3001_{family}", f"cp1001_{family}")
    hosts.stubborn = {NAME}
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert found["retcode"] == 1
    assert found["lines"][:2] == [
        "1 of 2 connections begun anew and up at both ends",
        f"{HUB} - {SPOKE} v4: {HUB}: no answer from the peer",
    ]
    assert [one["done"] for one in found["broken"]] == [False, True]


def test_an_end_that_refuses_to_end_keeps_the_other_from_starting(hosts, ledger):
    hosts.set(DOWN, UP)
    hosts.restart = lambda host, name: {"error": "held since 10:00"}
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert [host for host, *_ in hosts.asked] == [SPOKE]
    assert found["broken"][0]["why"] == f"{SPOKE}: held since 10:00"


def test_a_host_with_older_modules_says_so(hosts, ledger):
    hosts.set(UP, DOWN)
    hosts.restart = lambda host, name: f"'{RESTART}' is not available."
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert "run saltutil.sync_all there" in found["broken"][0]["why"]


def test_not_beside_a_roll_out(hosts, ledger):
    hosts.set(UP, DOWN)
    with ledger.lease("ipsec.rollout by ada"), pytest.raises(HostIPsecError, match="rollout by ada"):
        hosts.repair().carry_out(Ledger(ledger._place.parent), "root")
    assert hosts.asked == []


def test_where_all_is_well_nothing_is_done(hosts, ledger):
    found = hosts.repair().carry_out(ledger, "root").as_dict()
    assert (found["retcode"], found["broken"], found["left"], len(hosts.looks)) == (0, [], [], 1)
