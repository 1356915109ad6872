"""Both ends of every pair, brought together."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleets
from hostipsec.errors import Problem
from hostipsec.fleet import ends, joined
from hostipsec.health import judge, report
from hostipsec.model import STAGES, Charon, ChildSA, IkeSA, Kernel, KernelState, LoadedConnection
from hostipsec.pillar import pillar, topology

ONE, OTHER = "cp1001.eqiad.example", "cp3001.esams.example"
FLEET = pillar.read(fleets.example())


def answers(fleet=FLEET):
    """Return what every host says of a fleet where all is up."""
    return {
        host.id: {
            one.name: {"state": "established", "reason": ""} for one in topology.connections(fleet, host.id)
        }
        for host in fleet.hosts
    }


def found(said, fleet=FLEET, **more):
    """Return the row of the pair, its IPv4."""
    view = joined.join(fleet, said, **more)
    (row,) = [one for one in view.rows if (one.one, one.other, one.family) == (ONE, OTHER, "v4")]
    return row


def test_all_is_up():
    view = joined.join(FLEET, answers())
    assert view.ok
    assert dict(view.counts) == {"up": 16}
    assert {sites: dict(counts) for sites, counts in view.sites.items()} == {
        ("codfw", "eqiad"): {"up": 4},
        ("codfw", "esams"): {"up": 4},
        ("eqiad", "esams"): {"up": 8},
    }
    assert view.lines()[0] == "16 connections of 8 pairs: 16 up"
    assert view.trouble == ()


def test_connections_with_a_host_of_which_no_address_is_known_are_seen_as_long_as_a_host_has_them():
    hosts = tuple(
        host._replace(ipv4=None, ipv6=None, lost=(Problem("x", "y", "z"),)) if host.id == OTHER else host
        for host in FLEET.hosts
    )
    lost = FLEET._replace(hosts=hosts)
    assert joined.join(lost, answers()) == joined.join(FLEET, answers())
    assert not [row for row in joined.join(lost, {}).rows if OTHER in (row.one, row.other)]


def test_each_pair_is_there_once_the_initiator_first():
    rows = joined.join(FLEET, answers()).rows
    assert len({(row.one, row.other, row.family) for row in rows}) == len(rows)
    for row in rows:
        (mine,) = [one for one in topology.connections(FLEET, row.one) if one.peer == row.other
                   and one.family == row.family]  # fmt: skip
        assert mine.initiator


@pytest.mark.parametrize(
    ("here", "there", "state", "reason"),
    [
        ("established", "established", "up", ""),
        ("established", "down", "ends disagree", f"{ONE} has it; {OTHER} says down: because"),
        ("down", "established", "ends disagree", f"{ONE} says down: because; {OTHER} has it"),
        ("established", None, "ends disagree", f"{ONE} has it; {OTHER} does not know it"),
        ("down", None, "ends disagree", f"{ONE} says down: because; {OTHER} does not know it"),
        ("down", "connecting", "down", "because"),
        ("no xfrm", "established", "ends disagree", f"{ONE} says no xfrm: because; {OTHER} has it"),
        ("held", "down", "held", f"{ONE} because"),
        ("held", "held", "held", "both because"),
        ("one-way", "established", "one-way", f"{ONE} says one-way: because; {OTHER} has it"),
        ("duplicate", "established", "duplicate", f"{ONE} says duplicate: because; {OTHER} has it"),
        ("duplicate", "one-way", "one-way", f"{ONE} says duplicate: because; {OTHER} says one-way: because"),
    ],
)
def test_states(here, there, state, reason):
    said = answers()
    for host, name, value in ((ONE, "cp3001_v4", here), (OTHER, "cp1001_v4", there)):
        if value is None:
            del said[host][name]
        else:
            said[host][name] = {"state": value, "reason": "" if value == "established" else "because"}
    row = found(said)
    assert (row.state, row.reason) == (state, reason)
    assert row.ok == (state == "up")


def test_a_host_that_does_not_answer():
    said = answers()
    del said[OTHER]
    row = found(said)
    assert row.state == "not answering"
    assert row.reason == f"{OTHER} does not answer; {ONE} has it"
    assert not joined.join(FLEET, said).ok


def test_two_hosts_that_do_not_answer():
    assert found({}).reason == f"{ONE} does not answer; {OTHER} does not answer"


def test_maintenance_is_no_trouble():
    data = copy.deepcopy(fleets.example())
    data["hosts"][OTHER]["maintenance"] = True
    fleet = pillar.read(data)
    row = found(answers(fleet), fleet)
    assert (row.state, row.reason, row.ok) == ("maintenance", f"{OTHER} in maintenance", True)


def test_a_passive_connection_may_be_down():
    data = copy.deepcopy(fleets.example())
    for rule in data["rules"]:
        rule["stage"] = "passive"
    fleet = pillar.read(data)
    said = answers(fleet)
    said[ONE]["cp3001_v4"] = said[OTHER]["cp1001_v4"] = {"state": "down", "reason": "passive"}
    assert found(said, fleet).ok
    for row in (said[ONE]["cp3001_v4"], said[OTHER]["cp1001_v4"]):
        row.update(severity="ok", stage="passive")
    assert found(said, fleet).ok


def test_what_no_pillar_gives_is_trouble():
    view = joined.join(FLEET, answers(), {ONE: ["old_v4"]})
    assert not view.ok
    assert view.lines()[-1] == f"{ONE}: old_v4 is not in the pillar"


def big():
    """Return a fleet whose trouble fits no screen."""
    return pillar.read(fleets.star(40))


def test_trouble_that_fits_no_screen_is_told_in_groups():
    fleet = big()
    said = answers(fleet)
    for host in said.values():
        for row in host.values():
            row.update(state="held", reason="held since then by ada because T1")
    said["edge0001.edge.example"]["hub_v4"].update(state="down", reason="because")
    said["hub.core.example"]["edge0001_v4"].update(state="down", reason="because")
    lines = joined.join(fleet, said).lines()
    assert lines == [
        "80 connections of 40 pairs: 1 down, 79 held",
        "  core - edge    80: 1 down, 79 held",
        "79 connections held: both held since then by ada because T1; at hub.core.example",
        "edge0001.edge.example - hub.core.example v4: down: because",
        "each connection: --out=json, or host=, site=, state=",
    ]


def test_the_hosts_that_explain_the_trouble():
    fleet = big()
    said = answers(fleet)
    del said["hub.core.example"], said["edge0007.edge.example"]
    found = joined.culprits(joined.join(fleet, said).trouble)
    assert [(host, len(rows)) for host, rows in found] == [("hub.core.example", 80)]


def test_filters():
    view = joined.join(FLEET, answers(), {ONE: ["old_v4"]})
    assert view.only() == view
    assert all(OTHER in (row.one, row.other) for row in view.only(host=OTHER).rows)
    assert len(view.only(host=OTHER).rows) == 6
    part = view.only(within=["eqiad", "codfw"])
    assert {row.sites for row in part.rows} == {("codfw", "eqiad")}
    assert part.stray == ()
    assert view.only(state="held").rows == ()


# The verdicts of both ends, as the judge of each host gives them -------------------------------


def of_stage(stage):
    data = copy.deepcopy(fleets.example())
    for rule in data["rules"]:
        rule["stage"] = stage
    return pillar.read(data)


def charon(fleet, host, routed=False, up=False):
    """Return a charon that has loaded all, with all of them up or none."""
    wanted = topology.connections(fleet, host)
    sas = [
        IkeSA(
            one.name, number, "ESTABLISHED", str(one.left), str(one.right),
            children=(ChildSA(one.name, "INSTALLED", "TRANSPORT", number),),
        )
        for number, one in enumerate(wanted, 1)
    ]  # fmt: skip
    return Charon(
        "5.9.8",
        "vici",
        connections=tuple(LoadedConnection(one.name, children=(one.name,)) for one in wanted),
        ike_sas=tuple(sas) if up else (),
        routed=tuple(one.name for one in wanted) if routed else (),
    )


def says(fleet, host, look, kernel=None, why=None):
    """Return what a host says, all of it held where there is a reason."""
    wanted = topology.connections(fleet, host)
    held = dict.fromkeys((one.name for one in wanted), why) if why else {}
    return {row.name: row._asdict() for row in judge.evaluate(wanted, look, kernel, held).managed}


def both(fleet, **look):
    """Return the verdict on the pair, all hosts with the same sight."""
    said = {host.id: says(fleet, host.id, charon(fleet, host.id, **look)) for host in fleet.hosts}
    return found(said, fleet)


def test_a_held_connection_that_still_has_sas_is_critical():
    """Both hosts said critical, and the fleet said up, and OK."""
    fleet = of_stage("start")
    said = {
        one.id: says(fleet, one.id, charon(fleet, one.id, up=True), why="since noon") for one in fleet.hosts
    }
    row = found(said, fleet)
    assert (row.state, row.severity, row.ok) == ("up", "critical", False)
    said = "says established: held since noon, yet it has SAs: TRANSPORT, INSTALLED"
    assert row.reason == f"{ONE} {said}; {OTHER} {said}"


def test_a_held_connection_with_sas_in_one_kernel_is_critical():
    """It was held by both, as the fleet said; that one of them failed to end it was not told."""
    fleet = of_stage("start")
    away = {one.id: charon(fleet, one.id)._replace(connections=()) for one in fleet.hosts}
    said = {host: says(fleet, host, look, why="since noon") for host, look in away.items()}
    here, there = str(fleet.host(ONE).ipv4), str(fleet.host(OTHER).ipv4)
    left = Kernel((KernelState(here, there, "c0000001", "transport", 1, algorithm="gcm"),))
    said[ONE] = says(fleet, ONE, away[ONE], left, "since noon")
    row = found(said, fleet)
    assert (row.state, row.severity) == ("held", "critical")
    assert row.reason == (
        f"{ONE} says down: held since noon, yet it has SAs: charon has not loaded this connection; "
        f"the kernel still holds 1 SA(s) of it; {OTHER} held since noon"
    )


def test_a_held_connection_that_one_charon_has_loaded_is_critical():
    """It was held by both, as the fleet said; that one of them would answer its peer was not told."""
    fleet = of_stage("start")
    looks = {one.id: charon(fleet, one.id) for one in fleet.hosts}
    looks[OTHER] = looks[OTHER]._replace(connections=())
    row = found({host: says(fleet, host, look, why="since noon") for host, look in looks.items()}, fleet)
    assert (row.state, row.severity) == ("held", "critical")
    assert row.reason == (
        f"{ONE} held since noon, yet charon has it loaded: the peer can bring it up; {OTHER} held since noon"
    )


def test_require_without_its_trap_is_a_warning():
    """Both hosts warned, and the fleet said OK."""
    row = both(of_stage("require"), up=True)
    assert (row.state, row.severity, row.ok) == ("up", "warning", False)
    assert row.reason.count("no trap: without an SA its traffic goes in the clear") == 2


def test_a_dead_charon_at_both_ends_of_a_passive_pair_is_critical():
    """A passive pair that was down was OK whatever the reason."""
    fleet = of_stage("passive")
    row = found({host.id: says(fleet, host.id, None) for host in fleet.hosts}, fleet)
    assert (row.state, row.severity, row.ok) == ("down", "critical", False)
    assert row.reason == "charon does not answer"
    assert both(fleet).ok


def test_an_idle_pair_in_require_is_well():
    """Each host said OK, its trap waits for a packet; to the fleet it was trouble."""
    row = both(of_stage("require"), routed=True)
    assert (row.state, row.severity, row.ok) == ("down", "ok", True)
    assert row.reason == "no traffic yet: the trap waits for the first packet"


def test_held_at_one_end_and_established_at_the_other_disagree():
    """The other end sends into an SA that nobody has: that was told as held."""
    said = answers()
    said[ONE]["cp3001_v4"] = {"state": "held", "severity": "warning", "reason": "held since noon"}
    row = found(said)
    assert (row.state, row.severity) == ("ends disagree", "critical")
    assert row.reason == f"{ONE} says held: held since noon; {OTHER} has it"


@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [
        ({"stage": "start"}, {"stage": "require"}, f"stage start at {ONE}, require at {OTHER}"),
        ({"initiator": True}, {"initiator": True}, "each end is to start it"),
        ({"initiator": False}, {"initiator": False}, "neither end is to start it"),
    ],
)
def test_ends_that_are_configured_otherwise(here, there, reason):
    said = answers()
    said[ONE]["cp3001_v4"].update(here)
    said[OTHER]["cp1001_v4"].update(there)
    row = found(said)
    assert (row.state, row.severity, row.reason) == ("up", "warning", reason)


def test_an_end_that_has_a_pair_in_maintenance_and_is_not_well_counts():
    """Its pillar does not know of the maintenance yet: it said critical, and the fleet said OK."""
    data = copy.deepcopy(fleets.example())
    data["hosts"][OTHER]["maintenance"] = True
    fleet, said = pillar.read(data), answers()
    assert found(said, fleet).ok
    said[ONE]["cp3001_v4"] = {"state": "down", "severity": "critical", "reason": "no SA"}
    row = found(said, fleet)
    assert (row.state, row.severity) == ("maintenance", "critical")
    assert row.reason == f"{OTHER} in maintenance; {ONE} says down: no SA"


def test_a_silent_host_is_as_bad_as_its_peer_says_at_least():
    said = answers()
    del said[OTHER]
    assert found(said).severity == "warning"
    said[ONE]["cp3001_v4"] = {"state": "down", "severity": "critical", "reason": "no SA"}
    assert found(said).severity == "critical"
    assert found({}).severity == "critical"


def test_the_view_is_as_bad_as_its_worst():
    said = answers()
    assert joined.join(FLEET, said).severity == "ok"
    assert joined.join(FLEET, said, {ONE: ["old_v4"]}).severity == "warning"
    said[ONE]["cp3001_v4"]["state"] = "down"
    assert joined.join(FLEET, said).severity == "critical"


SAID = st.one_of(
    st.none(),  # does not answer
    st.just({}),  # does not know it
    st.fixed_dictionaries(
        {"state": st.sampled_from((*report.STATES, "of a later version"))},
        optional={
            "severity": st.sampled_from(report.SEVERITIES),
            "reason": st.sampled_from(("", "because", "therefore")),
            "stage": st.sampled_from(STAGES),
            "initiator": st.sampled_from((True, False, None)),
            "held": st.booleans(),
        },
    ),
)


def an_end(host, said, stage):
    rows = None if said is None else {"x_v4": said} if said else {}
    return ends.end(host, rows, "x_v4", stage)


@settings(max_examples=1000)
@given(SAID, SAID, st.sampled_from(STAGES), st.booleans())
def test_a_pair_is_never_better_than_its_ends(here, there, stage, resting):
    one, other = an_end(ONE, here, stage), an_end(OTHER, there, stage)
    heard = [end for end in (one, other) if end.known]
    found = joined.at_rest([OTHER], one, other) if resting else joined.judged(one, other)
    assert found.state in joined.STATES
    rank = report.SEVERITIES.index
    assert all(rank(found.severity) >= rank(end.severity) for end in heard)
    assert resting or found.severity != "ok" or len(heard) == 2
    assert found.severity == "ok" or found.said


@given(SAID, SAID, st.sampled_from(STAGES))
def test_it_does_not_matter_which_end_is_named_first(here, there, stage):
    one, other = an_end(ONE, here, stage), an_end(OTHER, there, stage)
    assert joined.judged(one, other)[:2] == joined.judged(other, one)[:2]


# Work in proportion ---------------------------------------------------------------------------


def looks(number):
    """Return how often hosts are looked at for each connection of a fleet of so many."""
    fleet = pillar.read(fleets.sites(number))
    counted = fleets.counted(fleet)
    rows = joined.join(counted, answers(fleet)).rows
    assert len(rows) > number
    return fleets.Counted.looks / len(rows)


def test_each_pair_looks_at_its_own_hosts_only():
    """All hosts were looked through for each pair: 800 of them took 20 s."""
    assert looks(80) <= looks(20)


class Row:
    """A row that counts how often it is looked at."""

    looks = 0

    def __init__(self, one, other):
        self.ends = (one, other)

    @property
    def one(self):
        Row.looks += 1
        return self.ends[0]

    @property
    def other(self):
        return self.ends[1]


def test_culprits_are_found_without_looking_at_all_rows_for_each():
    def looked(number):
        rows = [Row(f"a{one}", f"b{other}") for one in range(number) for other in range(number)]
        Row.looks = 0
        assert len(joined.culprits(rows)) == number
        return Row.looks / len(rows)

    assert looked(40) <= looked(10)


def slowly(rows):
    """Return the culprits as their docstring says it."""
    left, found = list(rows), []
    while left:
        count = Counter(host for row in left for host in row.ends)
        worst = min(count, key=lambda host: (-count[host], host))
        found.append((worst, tuple(row for row in left if worst in row.ends)))
        left = [row for row in left if worst not in row.ends]
    return found


PAIRS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=2, unique=True), max_size=40)


@given(PAIRS)
def test_culprits_are_the_hosts_with_most_rows_left(pairs):
    rows = [Row(*pair) for pair in pairs]
    assert joined.culprits(rows) == slowly(rows)
