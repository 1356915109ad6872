"""The hosts' plans brought together: each thing told once, and what is wrong named."""

from __future__ import annotations

import copy

import pytest

import fleets
from edits import NOTHING, answer, answers, rendered
from hostipsec.answer import counted
from hostipsec.fleet import fleetplan, planwords
from hostipsec.fleet.hostnames import ranges
from hostipsec.pillar import addressed, pillar

CP1001, CP1002, CP2001 = "cp1001.eqiad.example", "cp1002.eqiad.example", "cp2001.codfw.example"
CP3001, CP3002, DB1001 = "cp3001.esams.example", "cp3002.esams.example", "db1001.eqiad.example"
BEFORE = fleets.example()
RUNNING = rendered(pillar.read(BEFORE))
RULE = "rule edge-to-core"


@pytest.fixture
def data():
    return copy.deepcopy(BEFORE)


def enters(data):
    """Give the host that has no peers some by its label."""
    host = data["hosts"][DB1001]
    host["cluster"] = "text"
    del host["alone"]


def planned(data, missing=(), said=None):
    fleet = pillar.read(data)
    return fleetplan.join(fleet, said or answers(RUNNING, fleet), missing)


def lines(data, **more):
    return planwords.lines(planned(data, **more))


def test_the_same_pillar_is_nothing_to_do(data):
    assert planned(data).status == 0
    assert lines(data) == [
        "nothing to do: 5 hosts run what the pillar says, 16 connections of 8 pairs",
        "2 assertions of `expect` hold",
    ]


def test_an_option_of_all_connections_is_one_line(data):
    """2,098 connections of 92 hosts changed one option: that was 2,098 lines."""
    old = fleets.production_2018()
    fleet = pillar.read({**old, "connection": {"margintime": "5m"}})
    plan = fleetplan.join(fleet, answers(rendered(pillar.read(old)), fleet))
    first, second = planwords.lines(plan)
    assert (
        first
        == "92 of 92 hosts to change; connections: 0 added, 0 removed, 0 changed; charon restarted on none"
    )
    assert second.startswith("all connections: margintime 13m -> 5m: 2,098 connections, 92 hosts: cp[")
    assert second.endswith(" more")
    assert plan.status == 3


def test_a_host_that_enters_is_told_by_name_and_its_connections_once(data):
    enters(data)
    assert lines(data)[1:-1] == [
        f"1 host enters: {DB1001}",
        "6 connections added of 3 pairs",
        "  codfw - eqiad     2 of 1 pair  rule core-to-core",
        f"  eqiad - esams     4 of 2 pairs  {RULE}",
        "strongswan.conf: sizes that follow from the number of peers change, taken up at charon's next "
        f"start: 3 hosts: {CP2001}, cp[3001-3002].esams.example",
    ]
    row = planned(data).as_dict()["added"][0]
    assert (row["one"], row["other"], row["ends"]) == (CP2001, DB1001, [CP2001, DB1001])


def test_a_host_that_is_gone_from_the_pillar(data):
    """While its minion is accepted it says that it leaves; later only its peers have something to do."""
    del data["hosts"][CP3002]
    data["expect"] = []
    found = lines(data)
    assert (
        found[1] == f"1 host leaves: {CP3002}; 6 connections of ours stay there until ipsec.clean is applied"
    )
    told = [
        "6 connections removed of 3 pairs",
        "  codfw - gone     2 of 1 pair  no longer in the pillar",
        "  eqiad - gone     4 of 2 pairs  no longer in the pillar",
        f"  no longer in the pillar: {CP3002}",
    ]
    assert found[2:6] == told
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    del said[CP3002]
    assert lines(data, said=said)[1:5] == told
    assert planned(data, said=said).misfits == ()


def test_a_host_in_maintenance_is_left_as_it_is(data):
    data["hosts"][CP3002]["maintenance"] = True
    data["expect"] = []
    found = lines(data)
    assert f"1 host in maintenance, kept as configured: {CP3002}" in found
    assert "  eqiad - esams     4 of 2 pairs  in maintenance" in found
    assert not any("one end only" in line for line in found)


def test_an_address_is_told_once_for_both_ends(data):
    data["hosts"][CP3002]["ipv4"] = "10.20.0.99"
    (line,) = [line for line in lines(data) if "10.20.0.99" in line]
    assert line == f"3 connections changed of 3 pairs: address v4 of {CP3002} 10.20.0.12 -> 10.20.0.99"


def by_mine(data, *addresses):
    """Return the fleet where a host has what its own mine says."""
    for family in ("ipv4", "ipv6"):
        data["hosts"][CP3002].pop(family, None)
    asked = {key: {CP3002: [*addresses]} for key in ("network.ip_addrs", "network.ip_addrs6")}
    return addressed.fleet({**data, "addresses": "mine"}, lambda *_: asked)


def test_an_address_that_a_host_changed_in_its_mine_is_told(data):
    """Whoever can write a mine could have its peers' connections moved, and nobody saw it beforehand."""
    host = BEFORE["hosts"][CP3002]
    had = [host[family] for family in ("ipv4", "ipv6") if family in host]
    fleet = by_mine(data, *had)
    assert fleetplan.join(fleet, answers(RUNNING, fleet)).status == 0
    fleet = by_mine(data, "10.20.0.99", *had[1:])
    found = planwords.lines(fleetplan.join(fleet, answers(RUNNING, fleet)))
    (line,) = [one for one in found if "10.20.0.99" in one]
    assert line == f"3 connections changed of 3 pairs: address v4 of {CP3002} 10.20.0.12 -> 10.20.0.99"


def test_a_stage_is_told_in_the_words_of_the_pillar_and_with_its_options(data):
    data["rules"][1]["stage"] = "passive"
    (line,) = [line for line in lines(data) if "stage" in line]
    assert line == (
        "4 connections changed of 2 pairs, codfw - eqiad: stage start -> passive; "
        "dpdaction restart -> clear; keyingtries unset -> 1"
    )


def test_a_restart_is_said_beforehand_with_its_reason(data):
    data["setup"] = {"uniqueids": "never"}
    assert lines(data)[0].endswith("charon restarted on 5")
    (line,) = [line for line in lines(data) if line.startswith("charon")]
    assert line.startswith("charon restarted (setup uniqueids: unset -> never) on 5 hosts: ")
    assert set(planned(data).as_dict()["restart"]) == {*RUNNING}


def test_a_name_that_is_another_host_s_now(data):
    """Two hosts named cp3002; one goes, and the pillar gives the other its name: connections are renamed."""
    twin = "cp3002.eqsin.example"
    other = {"name": twin, "ipv4": "10.132.0.1", "ipv6": "2001:db8:9::1"}
    data["hosts"][twin] = {**data["hosts"][CP3002], **other}
    data["expect"] = []
    both = rendered(pillar.read(data))
    del data["hosts"][CP3002], data["hosts"][twin]["name"]
    fleet = pillar.read(data)
    plan = fleetplan.join(fleet, answers(both, fleet))
    renamed = {(row.one, row.other) for row in plan.of(fleetplan.RENAMED)}
    assert renamed == {(CP1001, twin), (CP1002, twin), (CP2001, twin)}
    assert {row.other for row in plan.of(fleetplan.REMOVED)} == {CP3002}
    assert any(line.endswith("their SAs end and come back") for line in planwords.lines(plan))


def test_where_one_end_is_so_already_it_is_said(data):
    enters(data)
    fleet = pillar.read(data)
    new = rendered(fleet)
    now = {**RUNNING, CP3001: new[CP3001]}
    said = answers(now, fleet)
    (line,) = [line for line in lines(data, said=said) if "one end only" in line]
    assert line == "6 connections added of 3 pairs; 2 of them at one end only, the other is so already"


def test_a_host_that_does_not_answer_leaves_ends_that_may_disagree(data):
    enters(data)
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    del said[CP3001]
    plan = planned(data, missing=[CP3001], said=said)
    assert plan.status == 1
    assert f"THE ENDS MAY DISAGREE about 2 connections: {CP3001} gave no plan" in planwords.lines(plan)


def test_a_host_of_another_fleet_is_named(data):
    """Runners see the fleet of one pillar; nobody said that some minions have another."""
    fleet = pillar.read(data)
    said = {**answers(RUNNING, fleet), "cp9001.esams.example": answers(RUNNING, fleet)[CP3001]}
    assert "of another fleet by their pillar, and told here as well: cp9001.esams.example" in lines(
        data, said=said
    )


def test_a_host_with_another_pillar_is_named(data):
    """Its top.sls gives it none, or an older one: what it would do does not fit what its peers would."""
    enters(data)
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    said[DB1001] = answer(NOTHING, None, fleet, DB1001)
    plan = planned(data, said=said)
    assert plan.status == 1
    found = planwords.lines(plan)
    assert f"their own pillar does not make them members, the master's does: {DB1001}" in found
    assert any(f"has {DB1001} as a peer, that of {DB1001} does not have" in line for line in found)
    moved = copy.deepcopy(data)
    moved["hosts"][CP3001]["ipv4"] = "10.20.0.99"
    said = answers(RUNNING, fleet)
    said[CP3001] = answers(RUNNING, pillar.read(moved))[CP3001]
    assert f"{CP1001} and {CP3001} have pillars that differ: right" in "\n".join(lines(data, said=said))


def test_ends_that_would_refuse_each_other_are_told(data):
    """A host whose certificate and CA file come from another CA: its own plan finds them well."""
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    for host, one in said.items():
        ca = {"key": ("2" if host == "cp3001.esams.example" else "1") * 64, "name": "CN=Fleet CA"}
        one["authentication"] = {"chain": [ca], "trusts": [ca], "fault": ""}
    plan = planned(data, said=said)
    assert (plan.status, len(plan.as_dict()["refusals"])) == (1, 6)
    (first, second) = [line for line in planwords.lines(plan) if "next authentication" in line]
    assert first.startswith(
        "cp3001.esams.example would be refused at the next authentication by 3 hosts, cp1001"
    )
    assert second.startswith("cp3001.esams.example would refuse 3 hosts, cp1001")
    said["cp3001.esams.example"]["authentication"] = None
    assert planned(data, said=said).status == 0


def test_an_address_that_a_host_lacks_is_told_though_nothing_else_changes(data):
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    said["cp3001.esams.example"]["absent"] = ["10.20.0.111"]
    plan = planned(data, said=said)
    assert plan.status == 1
    assert any(line.startswith("cp3001.esams.example: no interface there") for line in planwords.lines(plan))


def test_what_else_changes_is_grouped_by_what_it_is(data):
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    for host in (CP1001, CP1002):
        said[host]["changes"] = {
            fleetplan.CONFIGURED: {"SAs ended": ["a_v4"], "ipsec.secrets": "rewritten"},
            fleetplan.CERTIFICATES: {f"/etc/ipsec.d/certs/{host}.pem": "renewed: valid until 2027-01-01"},
            fleetplan.GUARD: {"added": ["src 10.0.0.0/31 dst 10.0.0.9/32 dir out"]},
            fleetplan.SYSCTL: {"net.core.xfrm_larval_drop": {"old": "1", "new": "0"}},
        }
    assert lines(data, said=said)[1:-1] == [
        "2 policies of the guard added on 2 hosts: cp[1001-1002].eqiad.example",
        "SAs ended: a_v4: 2 hosts: cp[1001-1002].eqiad.example",
        "certificate read anew, renewed: valid until 2027-01-01: 2 hosts: cp[1001-1002].eqiad.example",
        "ipsec.secrets rewritten: 2 hosts: cp[1001-1002].eqiad.example",
        "sysctl net.core.xfrm_larval_drop 1 -> 0: 2 hosts: cp[1001-1002].eqiad.example",
    ]


def test_what_hosts_cannot_do_is_told_once_with_who_they_are(data):
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    for host in (CP1001, CP1002):
        said[host]["unable"] = ["ike aes256gcm16-prfsha384-ecp384-ke1_mlkem768 (no ML_KEM_768)"]
    found = planned(data, said=said)
    assert (
        "2 hosts without ike aes256gcm16-prfsha384-ecp384-ke1_mlkem768 (no ML_KEM_768) until strongSwan "
        "there has it: cp[1001-1002].eqiad.example"
    ) in planwords.lines(found)
    assert found.status == 0


def test_whose_silence_matters(data):
    """A host in maintenance may be off; one that left the pillar matters while a peer still has it."""
    data["hosts"][CP3002]["maintenance"] = True
    del data["hosts"][CP1002]
    data["expect"] = []
    fleet = pillar.read(data)
    said = answers(RUNNING, fleet)
    assert fleetplan.concerned(fleet, said) == {CP1001, CP1002, CP2001, CP3001}
    assert fleetplan.concerned(fleet, {}) == {CP1001, CP2001, CP3001}


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), ""),
        (("cp1001.a",), "cp1001.a"),
        (("cp03.a", "cp01.a", "cp02.a", "cp07.a", "cp1.a"), "cp[01-03,07].a, cp1.a"),
        (("db.a", "cp9.a", "cp10.a"), "cp10.a, cp9.a, db.a"),
        ([f"cp{n}.a" for n in range(10, 30, 2)], "cp[10,12,14,16,18,20].a and 4 more"),
        ([f"cp{n:02}.{site}" for site in "ab" for n in range(1, 17)], "cp[01-16].a, cp[01-16].b"),
        ([f"h{letter}" for letter in "abcdefgh"], "ha, hb, hc, hd, he, hf and 2 more"),
    ],
)
def test_names_are_told_as_ranges(names, text):
    assert ranges(names) == text


def test_plurals():
    assert [counted(n, "policy of x") for n in (0, 1, 2098)] == [
        "0 policies of x",
        "1 policy of x",
        "2,098 policies of x",
    ]
