"""A pair in ``require`` ends by a word of the operator, never by a slip in a label or a rule that went."""

from __future__ import annotations

import copy

import pytest

import fleets
from hostipsec.apply import run
from hostipsec.errors import PillarError, Problem
from hostipsec.fleet import fleetplan, foreseen, planwords
from hostipsec.model import Fleet
from hostipsec.pillar import membership, parts, pillar
from hostipsec.store import record

HOST, GONE = "cp1001.eqiad.example", "cp3002.esams.example"
WRONG = f"no rule pairs this host with {GONE} any more, and 'require' was their stage"


def given(stage: str = "require") -> dict:
    """Return the example, its first rule at a stage."""
    data = copy.deepcopy(fleets.example())
    data.pop("expect")
    data["rules"][0]["stage"] = stage
    return data


def edited(change, stage: str = "require") -> dict:
    data = given(stage)
    change(data)
    return data


def slip(data: dict) -> None:
    data["hosts"][GONE]["cluster"] = "txet"


def slip_in_the_rule(data: dict) -> None:
    data["rules"][0]["between"] = {"id": ["cp3001*", "cp3020*"]}


def ended(data: dict) -> None:
    data["hosts"][GONE]["cluster"] = "other"
    data["rules"].append({"name": "ended", "between": {"cluster": "other"}, "and": {"cluster": "text"}})
    data["rules"][-1]["stage"] = "off"


def alone(data: dict) -> None:
    data["hosts"][GONE].update(cluster="other", alone=True)


def left(data: dict) -> None:
    del data["hosts"][GONE]


def rests(data: dict) -> None:
    data["hosts"][GONE]["maintenance"] = True


def earlier(data: dict) -> None:
    data["rules"][0]["stage"] = "start"


def found(change, stage: str = "require") -> list[str]:
    """Return what a host says of an edit that runs the example at a stage."""
    old, new = membership.read(given(stage), HOST), membership.read(edited(change, stage), HOST)
    wrong = new.unpaired(old.guarded)
    return [problem.found for problem in wrong]


@pytest.mark.parametrize("change", [slip, slip_in_the_rule])
def test_a_slip_ends_no_pair_in_require(change):
    assert found(change) == [WRONG]


@pytest.mark.parametrize("change", [ended, alone, left, rests, earlier])
def test_what_the_operator_says_ends_it(change):
    assert found(change) == []


@pytest.mark.parametrize("stage", ["passive", "start"])
def test_of_an_earlier_stage_a_pair_goes_as_the_pillar_says(stage):
    assert found(slip, stage) == []


def test_a_peer_in_maintenance_is_no_other_matter():
    old = membership.read(edited(rests), HOST)
    new = membership.read(edited(slip), HOST)
    wrong = new.unpaired(old.guarded)
    assert [problem.found for problem in wrong] == [WRONG]


def test_where_nothing_is_left_clean_is_the_word():
    old, new = membership.read(given(), GONE), membership.read(edited(slip), GONE)
    assert new.connections == ()
    assert new.unpaired(old.guarded) == ()


def by_part(change, refused=False) -> tuple[Fleet, dict]:
    """Return the whole fleet of an edit, and what a host that reads its part plans."""
    old, data = membership.read(given(), HOST), edited(change)
    whole = pillar.read(data)
    fleet = parts.read(parts.Whole(data, whole).part(HOST))
    new = membership.of(fleet, HOST)
    assert bool(new.unpaired(old.guarded)) is refused
    return whole, fleetplan.answer(fleetplan.MEMBER, new.connections, old.connections, {}, configured=6)


def test_a_part_does_not_know_who_is_there_and_the_master_does():
    """By a plain state.apply a host takes it, as docs/promises.md says."""
    whole, found = by_part(slip)
    plan = fleetplan.join(whole, {HOST: found})
    assert plan.status == fleetplan.FAILED
    assert [WRONG in one for one in plan.objections] == [True]
    assert any(one.startswith(f"{HOST}: ipsec:rules: {WRONG}") for one in planwords.lines(plan))


@pytest.mark.parametrize("change", [ended, alone, left, rests, earlier])
def test_what_the_operator_says_ends_it_by_a_part_too(change):
    whole, found = by_part(change)
    assert fleetplan.join(whole, {HOST: found}).objections == ()


# A family of a pair -----------------------------------------------------------------------------

OF_PEER = f"no ipv6 of {GONE}, by which they have connections with this host in 'require'"


def without(host, family="ipv6"):
    return lambda data: data["hosts"][host].pop(family)


def moved(data: dict) -> None:
    data["hosts"][HOST]["ipv6"] = "2001:db8:1::7777"
    data["hosts"][GONE]["ipv4"] = "10.20.0.77"


def below(data: dict) -> None:
    data["rules"][0]["stage"] = "start"
    without(GONE)(data)


def rests_in_the_clear(data: dict) -> None:
    data["hosts"][GONE]["maintenance"] = "in-the-clear"
    without(GONE)(data)


def rests_without(data: dict) -> None:
    rests(data)
    without(GONE)(data)


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (without(GONE), "ipsec:hosts", OF_PEER),
        (without(GONE, "ipv4"), "ipsec:hosts", OF_PEER.replace("v6", "v4")),
        (
            without(HOST),
            f"ipsec:hosts:{HOST}:ipv6",
            "no address, and 'require' is the stage of its IPv6 with ",
        ),
        (rests_without, "ipsec:hosts", OF_PEER),
    ],
)
def test_a_family_of_a_pair_in_require_ends_by_its_stage_alone(change, path, said):
    """Its guard was gone, and packets over IPv6 went in the clear, without a word."""
    old, new = membership.read(given(), HOST), membership.read(edited(change), HOST)
    (wrong,) = new.unpaired(old.guarded)
    assert (wrong.path, wrong.found[: len(said)]) == (path, said)
    assert "'stage: start'" in wrong.allowed
    whole, plans = by_part(change, refused=True)
    (told,) = fleetplan.join(whole, {HOST: plans}).objections
    assert told.startswith(f"{HOST}: {path}: {said}")
    plan = foreseen.plan(pillar.read(given()), pillar.read(edited(change)))
    assert any(one.startswith(f"{HOST}: {path}: {said}") for one in plan.objections)


@pytest.mark.parametrize("change", [moved, below, rests, rests_in_the_clear, earlier, ended, alone, left])
def test_an_address_that_changes_and_what_is_no_more_required_ends_it(change):
    assert found(change) == []
    assert foreseen.plan(pillar.read(given()), pillar.read(edited(change))).objections == ()


@pytest.mark.parametrize("stage", ["passive", "start"])
def test_of_an_earlier_stage_a_family_goes_as_the_pillar_says(stage):
    assert found(without(HOST), stage) == found(without(GONE), stage) == []


def test_what_a_peer_has_and_this_host_never_had_is_no_pair_of_theirs():
    """It is barred, as a connection of that family."""
    old = membership.read(edited(without(HOST)), HOST)
    assert {one.family for one in old.barred} == {"v6"}
    assert (
        membership.read(edited(lambda data: (without(HOST)(data), without(GONE)(data))), HOST).unpaired(
            old.guarded
        )
        == ()
    )


def test_a_peer_that_is_lost_keeps_what_it_has():
    old, new = membership.read(given(), HOST), membership.read(given(), HOST)
    problem = Problem("ipsec:hosts", "found nothing", "an address")
    hosts = tuple(
        one._replace(ipv4=None, ipv6=None, lost=(problem,)) if one.id == GONE else one
        for one in new.fleet.hosts
    )
    assert membership.of(new.fleet._replace(hosts=hosts), HOST).unpaired(old.guarded) == ()


def test_the_host_reads_no_such_pillar(here):
    old = membership.read(given(), HOST)
    here.record.write_text(record.render(record.Record(old.connections, barred=old.barred)))
    with pytest.raises(PillarError, match=f"ipsec:rules: {WRONG}; allowed: a rule that fits such a pair"):
        assert run.Reading(edited(slip), HOST, pytest.fail).member
    for change in (ended, alone, left):
        assert run.Reading(edited(change), HOST, pytest.fail).member.connections


def test_an_edit_that_hosts_would_refuse_is_told_before_any_is_asked():
    plan = foreseen.plan(pillar.read(given()), pillar.read(edited(slip)))
    lines = planwords.lines(plan)
    assert any(line.startswith(f"{HOST}: ipsec:rules: {WRONG}; allowed") for line in lines), lines
    assert plan.status == fleetplan.FAILED
    plan = foreseen.plan(pillar.read(given()), pillar.read(edited(ended)))
    assert plan.objections == ()
