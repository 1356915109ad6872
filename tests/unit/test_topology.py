"""Pairs and connections: production's of 2018, and what single rules and hosts lead to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

import fleets
from hostipsec.errors import PillarError
from hostipsec.model import Choice, Rule
from hostipsec.pillar import covering, doubts, faults, membership, pillar, topology
from hostipsec.store import record
from hostipsec.store.record import Record


def test_production_of_2018_has_1049_pairs_and_2098_connections():
    fleet = pillar.read(fleets.production_2018())
    per_host = {host.id: len(topology.connections(fleet, host.id)) for host in fleet.hosts}
    assert len(fleet.hosts) == 92
    assert len(topology.pairs(fleet)) == 1049
    assert sum(per_host.values()) == 2 * 2098  # each connection stands at both of its ends
    assert max(per_host.values()) == 70


def twins(x=None, y=None, **more):
    """Return a pillar with two hosts ``b1``, and what they are to be called in connections."""
    data = {
        "hosts": {
            "a1.x.example": {"ipv4": "10.0.0.1"},
            "b1.x.example": {"ipv4": "10.0.0.2", **({"name": x} if x else {})},
            "b1.y.example": {"ipv4": "10.0.0.3", **({"name": y} if y else {})},
            **more,
        },
        "rules": [
            {"name": "r", "between": {"id": "a1.x.example"}, "and": {"id": ["b1.x.example", "b1.y.example"]}}
        ],
    }
    return [item.name for item in topology.connections(pillar.read(data), "a1.x.example")]


def test_short_names_that_clash_are_an_error_that_says_what_settles_it():
    """They were written in full, and so a host that joined renamed the connections of another one."""
    with pytest.raises(PillarError) as caught:
        twins()
    here, there = caught.value.problems
    assert here.path == "ipsec:hosts:b1.x.example:name"
    assert here.found == "found 'b1' as what its connections are called, as those of b1.y.example are"
    assert "'name: b1.x.example': at the host that joins, or, where they have been here" in here.allowed
    assert there.path == "ipsec:hosts:b1.y.example:name"


def test_a_fleet_of_before_says_the_whole_ids_and_no_connection_is_renamed():
    assert twins("b1.x.example", "b1.y.example") == ["b1.x.example_v4", "b1.y.example_v4"]


def test_the_host_that_joins_gets_a_name_and_the_one_that_is_there_keeps_its_own():
    assert twins(y="b1y") == ["b1_v4", "b1y_v4"]


@pytest.mark.parametrize("name", ["b1", "a1", "b1_v4.x"])
def test_a_name_that_the_pillar_gives_can_clash_too(name):
    other = {"b1_v4.x": {"ipv4": "10.0.0.4", "name": "b1_v4.x"}}
    with pytest.raises(PillarError, match="as what its connections are called"):
        twins("b1" if name == "b1_v4.x" else name, name, **other)


def test_ids_that_look_like_names_of_connections_make_none_of_another_host():
    """The family is what a name ends with, whatever the id is: no two make one."""
    ids = ["x", "x_v4", "x_v4_v4", "x_v6_v4", "x__v4", "x_.example", "x-.example", "x-v4"]
    hosts = {name: {"ipv4": f"10.0.1.{at}", "ipv6": f"2001:db8::{at}"} for at, name in enumerate(ids, 1)}
    rule = {"name": "r", "between": {"id": "*"}, "and": {"id": "*"}}
    fleet = pillar.read({"hosts": hosts, "rules": [rule]})
    for host in ids:
        names = [item.name for item in topology.connections(fleet, host)]
        assert len({*names}) == len(names) == 2 * (len(ids) - 1)


@pytest.mark.parametrize("name", ["_x", "x_", "-x", "x-", ".x", "x.", "_"])
def test_an_id_begins_and_ends_with_a_letter_or_digit(name):
    data = fleets.star(1)
    data["hosts"][name] = data["hosts"].pop("hub.core.example")
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    (found,) = [one for one in caught.value.problems if one.path == f"ipsec:hosts:{name}"]
    assert found.found == f"found {name!r}"
    assert found.allowed.endswith("with a letter or digit first and last")


@pytest.mark.parametrize("name", ["", "b 1", "-b", "b1\n", "b{1}", 1, 1.5, True, None, ["b1"], "x" * 254])
def test_a_name_is_one_that_all_files_take(name):
    data = fleets.star(1)
    data["hosts"]["hub.core.example"]["name"] = name
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    (problem,) = caught.value.problems
    assert problem.path == "ipsec:hosts:hub.core.example:name"
    assert "letters, digits" in problem.allowed


def test_a_host_and_one_whose_name_ends_like_a_family_are_two():
    """``a_v4_v4`` is the connection with ``a_v4``, and none of ``a``."""
    data = fleets.star(3)
    names = ("a_v4", "a", "a_v4_v6")
    for name, host in zip(names, [*data["hosts"].values()][:3]):
        host["name"] = name
    found = [one.name for one in topology.connections(pillar.read(data), "hub.core.example")]
    assert found == sorted({f"{name}_{family}" for name in names for family in ("v4", "v6")})


def test_the_first_rule_that_matches_gives_the_stage():
    data = fleets.example()
    data["rules"].insert(
        0,
        {
            "name": "canary",
            "between": {"id": "cp1001.eqiad.example"},
            "and": {"id": "cp2001.codfw.example"},
            "stage": "require",
        },
    )
    stages = {
        connection.name: connection.stage
        for connection in topology.connections(pillar.read(data), "cp1001.eqiad.example")
    }
    assert stages["cp2001_v4"] == "require"
    assert stages["cp3001_v4"] == "start"


def test_different_pairs_only_hosts_that_both_have_the_label():
    data = {
        "hosts": {
            "rdb1.x": {"role": "redis", "site": "x", "shard": 1, "ipv4": "10.0.0.1"},
            "rdb2.y": {"role": "redis", "site": "y", "shard": 1, "ipv4": "10.0.0.2"},
            "rdb3.y": {"role": "redis", "site": "y", "shard": 2, "ipv4": "10.0.0.3"},
            "rdb4": {"role": "redis", "shard": 1, "ipv4": "10.0.0.4"},
        },
        "rules": [
            {
                "name": "redis-shards",
                "between": {"role": "redis"},
                "and": {"role": "redis"},
                "same": ["shard"],
                "different": ["site"],
            }
        ],
    }
    assert list(topology.pairs(pillar.read(data))) == [("rdb1.x", "rdb2.y")]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_one_family_at_one_end_gives_one_connection(family):
    data = fleets.example()
    other = "ipv6" if family == "ipv4" else "ipv4"
    del data["hosts"]["cp2001.codfw.example"][other]
    connections = topology.connections(pillar.read(data), "cp1001.eqiad.example")
    assert [item.name for item in connections if item.peer.startswith("cp2001")] == [f"cp2001_v{family[-1]}"]


def test_labels_that_are_numbers_match_as_text():
    data = fleets.star(2)
    for host in data["hosts"].values():
        host["shard"] = 1
    data["rules"][0].update({"between": {"shard": 1}, "and": {"shard": ["1", 2]}})
    assert len(topology.pairs(pillar.read(data))) == 3


def test_a_host_without_the_label_of_same_is_never_joined_by_it():
    data = fleets.star(3)
    data["rules"][0]["same"] = ["cluster"]
    data["hosts"]["hub.core.example"]["cluster"] = "text"
    data["hosts"]["edge0002.edge.example"]["cluster"] = "text"
    assert list(topology.pairs(pillar.read(data))) == [("edge0002.edge.example", "hub.core.example")]


def test_maintenance_at_one_place_takes_a_host_out_of_every_peer():
    data = fleets.star(3)
    data["hosts"]["edge0002.edge.example"]["maintenance"] = True
    fleet = pillar.read(data)
    assert {item.peer for item in topology.connections(fleet, "hub.core.example")} == {
        "edge0001.edge.example",
        "edge0003.edge.example",
    }
    assert topology.connections(fleet, "edge0002.edge.example") == ()
    assert len(topology.pairs(fleet, maintenance=True)) == 3


def test_the_stage_off_before_another_rule_takes_a_pair_out():
    data = fleets.star(2)
    data["rules"].insert(
        0,
        {
            "name": "not-yet",
            "between": {"id": "edge0001.edge.example"},
            "and": {"site": "core"},
            "stage": False,
        },
    )
    assert list(topology.pairs(pillar.read(data))) == [("edge0002.edge.example", "hub.core.example")]


def test_the_id_that_sorts_first_starts_the_pair():
    fleet = pillar.read(fleets.star(1))
    (edge, _), (hub, _) = (
        topology.connections(fleet, name) for name in ("edge0001.edge.example", "hub.core.example")
    )
    assert (edge.name, edge.initiator) == ("hub_v4", True)
    assert (hub.name, hub.initiator) == ("edge0001_v4", False)


def test_a_host_that_is_not_in_the_pillar_has_no_connections():
    assert topology.connections(pillar.read(fleets.star(1)), "elsewhere.example") == ()


def of_families(*families: str) -> dict:
    """Return a pillar in which every host pairs with every other; each has the families named."""
    hosts = {
        f"h{number:04d}.example": {
            "role": "all",
            **({"ipv4": f"10.0.{number // 256}.{number % 256}"} if "4" in which else {}),
            **({"ipv6": f"2001:db8::{number:x}"} if "6" in which else {}),
        }
        for number, which in enumerate(families, 1)
    }
    return {"hosts": hosts, "rules": [{"name": "r", "between": {"role": "all"}, "and": {"role": "all"}}]}


def test_every_pair_without_a_common_family_is_found_once():
    with pytest.raises(PillarError) as error:
        pillar.read(of_families("4", "6", "46", "6"))
    assert [(problem.path, problem.found) for problem in error.value.problems] == [
        (
            "ipsec:hosts:h0001.example",
            f"no address family in common with h000{peer}.example, its peer by rule 'r'",
        )
        for peer in (2, 4)
    ]


def looks(number, work, **rule):
    """Return how often a host is looked at, of so many of one family and one site."""
    data = of_families(*["4"] * number)
    for host in data["hosts"].values():
        host["site"] = "eqiad"
    fleet = pillar.read(data)
    assert not work(fleets.counted(fleet._replace(rules=(fleet.rules[0]._replace(**rule),))))
    return fleets.Counted.looks / number


def familyless(fleet):
    return [*faults._familyless_pairs(fleet)]


def test_a_fleet_of_one_family_is_checked_without_comparing_all_pairs():
    """3,000 hosts with IPv4 only took 6 seconds: each was compared with each other one."""
    assert looks(80, familyless) <= looks(20, familyless)


@pytest.mark.parametrize("rule", [{"same": ("shard",)}, {"different": ("site",)}, {"different": ("shard",)}])
def test_hosts_that_a_rule_never_joins_are_not_compared_with_each_other(rule):
    """Those without the label of ``same`` were, and those of one site where sites have to differ."""
    assert looks(80, topology.pairs, **rule) <= looks(20, topology.pairs, **rule)


def staged(stage, peers=2):
    star = fleets.star(peers)
    star["rules"][0]["stage"] = stage
    return topology.connections(pillar.read(star), "hub.core.example")


@pytest.mark.parametrize(
    ("wanted", "limit", "before", "stage"),
    [
        ("start", "passive", None, "passive"),  # a new pair starts later
        ("start", "passive", "passive", "passive"),
        ("start", "passive", "start", "start"),  # one that is there is left alone
        ("require", "start", None, "start"),
        ("require", "start", "require", "require"),
        ("require", "require", "start", "require"),
        ("passive", "require", "require", "passive"),  # down to what the pillar says at once
    ],
)
def test_a_step_of_a_roll_out_limits_the_stage(wanted, limit, before, stage):
    there = staged(before) if before else ()
    assert {one.stage for one in topology.limited(staged(wanted), limit, there)} == {stage}


@pytest.mark.parametrize(
    "other",
    [
        {"name": "edge0001.edge.example_v4"},  # the pillar gives it a name
        {"right": ip_address("10.192.0.99")},
        {"left": ip_address("10.64.0.99")},
        {"peer": "old.edge.example", "name": "old_v4"},
    ],
    ids=["renamed", "the peer moved", "this host moved", "the peer has another id"],
)
def test_a_pair_in_require_stays_there_whatever_else_is_edited(other):
    """Once a roll-out knew it by its name and addresses, and took it down to passive."""
    now = staged("require")
    before = [one._replace(**other) for one in now if one.name == "edge0001_v4"]
    assert before
    found = {one.name: one.stage for one in topology.limited(now, "passive", before)}
    assert (found["edge0001_v4"], found["edge0001_v6"]) == ("require", "passive")


def test_a_peer_that_gets_another_name_takes_no_pair_down():
    """By the pillar, as a roll-out has it: what the host has on record, and its first step after the edit."""
    star = required()
    had = Record(membership.read(star, HUB).connections)
    recorded = record.parse(record.render(had))
    assert {one.name for one in recorded.guarded} > {"edge0001_v4", "edge0001_v6"}
    star["hosts"][EDGE]["name"] = EDGE
    renamed = membership.read(star, HUB).limited("passive", recorded.guarded)
    stages = {one.name: one.stage for one in renamed.connections if one.peer == EDGE}
    assert stages == {f"{EDGE}_v4": "require", f"{EDGE}_v6": "require"}
    assert {one.stage for one in renamed.connections} == {"require"}


def test_a_pair_in_require_goes_down_where_its_stage_is_edited():
    assert {one.stage for one in topology.limited(staged("start"), "require", staged("require"))} == {"start"}


def test_a_pair_with_another_address_is_new():
    there = [one._replace(right=one.left) for one in staged("start")]
    assert {one.stage for one in topology.limited(staged("start"), "passive", there)} == {"passive"}


# What is blocked beside connections -----------------------------------------------------------

HUB, EDGE = "hub.core.example", "edge0001.edge.example"


def required(stage="require", **edge):
    """Return what the hub's pillar says, with an edge that is edited."""
    star = fleets.star(2)
    star["rules"][0]["stage"] = stage
    star["hosts"][EDGE] = {**star["hosts"][EDGE], **edge}
    return star


def both(data):
    found = membership.read(data, HUB)
    return {one.name: one.stage for one in found.connections}, {one.name: one.stage for one in found.barred}


def test_a_family_that_this_host_does_not_have_is_blocked_at_a_peer_in_require():
    """Its packets went in the clear, though the pillar knows whose address that is."""
    data = required()
    del data["hosts"][HUB]["ipv6"]
    connections, barred = both(data)
    assert set(connections) == {"edge0001_v4", "edge0002_v4"}
    assert barred == {"edge0001_v6": "require", "edge0002_v6": "require"}
    data["rules"][0]["stage"] = "start"
    assert both(data)[1] == {}


def test_a_peer_in_maintenance_is_blocked_where_it_was_required():
    """``maintenance: true`` took the guard away at every peer, and plain packets went."""
    connections, barred = both(required(maintenance=True))
    assert set(connections) == {"edge0002_v4", "edge0002_v6"}
    assert set(barred) == {"edge0001_v4", "edge0001_v6"}
    assert both(required("start", maintenance=True))[1] == {}


def test_a_word_in_the_pillar_lets_packets_of_a_peer_in_maintenance_go_in_the_clear():
    connections, barred = both(required(maintenance="in-the-clear"))
    assert set(connections) == {"edge0002_v4", "edge0002_v6"}
    assert barred == {}


def test_a_host_in_maintenance_bars_nothing_anew_and_keeps_what_it_has():
    data = required()
    data["hosts"][HUB]["maintenance"] = True
    assert both(data) == ({}, {})


def test_a_roll_out_bars_a_peer_once_one_connection_of_it_is_required():
    data = required()
    del data["hosts"][HUB]["ipv6"]
    member = membership.read(data, HUB)
    assert member.limited("start", ()).barred == ()
    before = [one for one in member.connections if one.name == "edge0001_v4"]
    assert [one.name for one in member.limited("passive", before).barred] == ["edge0001_v6"]
    assert member.limited("require", ()).barred == member.barred


def test_a_peer_that_comes_back_from_maintenance_or_gets_a_family_stays_required_in_a_roll_out():
    before = membership.read(required(maintenance=True), HUB).guarded
    found = membership.read(required(), HUB).limited("passive", before)
    assert {one.stage for one in found.connections} == {"require"}
    data = required()
    del data["hosts"][HUB]["ipv6"]
    found = membership.read(required(), HUB).limited("passive", membership.read(data, HUB).guarded)
    assert {one.stage for one in found.connections} == {"require"}


def test_a_peer_that_goes_to_maintenance_stays_blocked_in_each_step_of_a_roll_out():
    before = membership.read(required(), HUB).guarded
    found = membership.read(required(maintenance=True), HUB).limited("passive", before)
    assert {one.name for one in found.barred} == {"edge0001_v4", "edge0001_v6"}


def test_the_address_that_a_required_peer_had_stays_blocked_until_the_last_step_of_a_roll_out():
    """A host that has the new address sends nothing in the clear to the peer that has not moved yet."""
    before = membership.read(required(), HUB).guarded
    (old,) = (one.right for one in before if one.name == "edge0001_v4")
    member = membership.read(required(ipv4="10.200.0.1"), HUB)
    for stage in ("passive", "start"):
        found = member.limited(stage, before)
        assert [one.right for one in found.barred] == [old]
        before = found.guarded
    assert member.limited("require", before).barred == ()
    lower = membership.read(required("start", ipv4="10.200.0.1"), HUB)
    assert lower.limited("passive", before).barred == ()


# Two rules fit a pair -------------------------------------------------------------------------


def ruled(*rules):
    """Return a hub with three edges or more; a rule is its name, its stage, and the edges that it is for."""
    edges = max(number for _, _, *numbers in rules for number in (3, *numbers))
    data = fleets.star(edges)
    ids = {number: f"edge000{number}.edge.example" for number in range(1, edges + 1)}
    data["rules"] = [
        {
            "name": name,
            "stage": stage,
            "between": {"id": [ids[one] for one in numbers]},
            "and": {"site": "core"},
        }
        for name, stage, *numbers in rules
    ]
    return data


def test_a_rule_that_can_never_decide_is_an_error():
    """A broader one before it won in silence: what was required went in the clear."""
    with pytest.raises(PillarError) as caught:
        pillar.read(ruled(("all", "start", 1, 2, 3), ("strict", "require", 1, 2)))
    (problem,) = caught.value.problems
    assert problem.path == "ipsec:rules:1"
    assert problem.found == "rule 'strict' never decides: rules before it, as 'all', fit all of its pairs"


def test_a_rule_that_several_before_it_shadow_is_one_too():
    with pytest.raises(PillarError, match="'c' never decides"):
        pillar.read(ruled(("a", "start", 1), ("b", "start", 2), ("c", "require", 1, 2)))


def chosen(**labels):
    """Return one side of a rule; of a list of a list is meant all but these."""
    return tuple(
        (label, Choice(frozenset(value[0]), but=True) if isinstance(value[0], list) else choice(value))
        for label, value in labels.items()
    )


def choice(values):
    patterns = tuple(one for one in values if "*" in one)
    return Choice(frozenset(values) - {*patterns}, patterns=patterns)


def a_rule(one, other, same=(), different=()):
    return Rule("r", chosen(**one), chosen(**other), same, different)


ANY = {"id": ["*"]}
ESAMS, EQIAD, BOTH = {"site": ["esams"]}, {"site": ["eqiad"]}, {"site": ["eqiad", "esams"]}
A, B = {"shard": ["a"]}, {"shard": ["b"]}


@pytest.mark.parametrize(
    ("before", "late", "covered"),
    [
        ([], a_rule(ESAMS, EQIAD), False),
        ([a_rule(ANY, ANY)], a_rule(ESAMS, EQIAD), True),
        ([a_rule(EQIAD, ESAMS)], a_rule(ESAMS, EQIAD), True),
        ([a_rule(BOTH, BOTH)], a_rule(ESAMS, EQIAD), True),
        ([a_rule(ESAMS, EQIAD)], a_rule(BOTH, BOTH), False),
        ([a_rule(ESAMS, EQIAD), a_rule(BOTH, BOTH, same=("site",))], a_rule(BOTH, BOTH), True),
        ([a_rule(ANY, ANY, different=("site",))], a_rule(ESAMS, EQIAD), True),
        ([a_rule(ANY, ANY, different=("shard",))], a_rule(A, B), False),  # both may be in both
        ([a_rule(ANY, ANY, same=("shard",))], a_rule(A, A), True),
        ([a_rule(ANY, ANY, same=("shard",))], a_rule(A, B), False),
        ([a_rule({"shard": [["b"]]}, ANY)], a_rule(A, ANY), False),  # one may be in a and in b
        ([a_rule({"site": [["eqiad"]]}, ANY)], a_rule(ESAMS, ANY), True),
        ([a_rule({"site": [["eqiad"]]}, ANY)], a_rule({"site": [["eqiad", "codfw"]]}, ANY), True),
        ([a_rule({"site": [["eqiad", "codfw"]]}, ANY)], a_rule({"site": [["eqiad"]]}, ANY), False),
        ([a_rule({"site": [["eqiad"]]}, ANY)], a_rule(ANY, ANY), False),
        ([a_rule({"id": ["cp3*"]}, ANY)], a_rule({"id": ["cp3001", "cp3002"]}, ESAMS), True),
        ([a_rule({"id": ["cp3*"]}, ANY)], a_rule({"id": ["cp*"]}, ESAMS), False),
        ([a_rule(ESAMS, ANY)], a_rule({"cluster": ["text"]}, EQIAD), False),  # whoever of it is at esams now
    ],
)
def test_whether_rules_fit_all_that_another_fits_is_told_without_the_hosts(before, late, covered):
    """A site that goes makes no rule one that never decides."""
    assert covering.covered(late, before) is covered


@pytest.mark.parametrize("number", [20, 400, 5000])
def test_hundreds_of_values_are_no_recursion_without_end(number):
    """One at a time was taken off: 400 ids were a RecursionError."""
    ids = [f"cp{one}" for one in range(number)]
    late = a_rule({"id": ids}, {"id": ids, "site": ["esams", "eqiad"]})
    assert not covering.covered(late, [a_rule({"id": ids[:-1]}, {"id": ids})])
    assert covering.covered(late, [a_rule({"id": ids}, {"id": ids})])


@pytest.mark.parametrize("stage", ["off", "passive", "start"])
def test_a_rule_partly_shadowed_by_an_earlier_stage_is_a_warning_that_names_the_pairs(stage):
    data = ruled(("some", stage, 1, 2), ("strict", "require", 2, 3))
    assert doubts.told(pillar.read(data)) == (
        f"ipsec:rules:1: rule 'strict' (require) does not decide for 1 pair, since rule 'some' ({stage}) "
        f"comes first: edge0002.edge.example with {HUB}; "
        "allowed: a place before that rule, where it is to decide",
    )


def test_it_names_five_of_them_and_says_how_many_more_there_are():
    data = ruled(("some", "start", *range(1, 8)), ("strict", "require", *range(1, 9)))
    (said,) = doubts.told(pillar.read(data))
    assert "does not decide for 7 pairs, since" in said
    assert all(f"edge000{number}.edge.example with {HUB}" in said for number in range(1, 6))
    assert "edge0006" not in said
    assert " and 2 more; allowed:" in said


def test_an_exception_with_a_later_stage_before_a_broader_rule_is_no_warning():
    assert doubts.told(pillar.read(ruled(("strict", "require", 2), ("all", "start", 1, 2, 3)))) == ()


def with_terms(late, early=(), stages=("start", "start"), **more):
    """Return what is told of two rules with terms of their own, of which the first fits one pair of three."""
    data = {**ruled(("some", stages[0], 2), ("all", stages[1], 1, 2, 3)), **more}
    for rule, own in zip(data["rules"], (early, late)):
        rule.update(own)
    only = [one for one in doubts.told(pillar.read(data)) if " goes in the clear; " not in one]
    return [one.partition(": ")[2] for one in only]


def test_terms_that_a_rule_before_does_not_have_are_a_warning_with_the_pairs():
    """They were lost without a word: port 22 was to stay open, and was shut for some."""
    late = {"clear": ["tcp/22"], "mtu": 1400, "encapsulation": "udp", "lifetime": "4h"}
    assert with_terms(late) == [
        "rule 'all' does not decide for 1 pair, since rule 'some' comes first, which says nothing of its "
        f"clear, encapsulation, mtu: edge0002.edge.example with {HUB}; "
        "allowed: the same there, or a place before that rule; or that, where it is meant"
    ]
    assert "of its only: " in with_terms({"only": ["tcp/80"]})[0]
    assert "of its mtu: " in with_terms(late, {key: late[key] for key in late if key != "mtu"})[0]
    assert "of its mtu: " in with_terms({"mtu": 1400}, stages=("require", "start"))[0]


@pytest.mark.parametrize(
    ("late", "early", "more"),
    [
        ({}, {"mtu": 1400, "clear": ["tcp/22"]}, {}),  # the common one: an exception, and the rest
        ({"mtu": 1400, "esp": "aes256gcm16-ecp384!"}, {"mtu": 1300, "esp": "aes128gcm16-ecp384!"}, {}),
        ({"clear": ["tcp/22", "tcp/80"]}, {"clear": ["tcp/22"]}, {}),
        ({"clear": ["tcp/22"]}, {"only": ["tcp/80"]}, {}),
        ({"only": ["tcp/80"]}, {"clear": ["tcp/22"]}, {}),
        (
            {"mtu": 1400, "lifetime": "7200"},
            {},
            {"mtu": 1400, "connection": {"lifetime": "2h"}},
        ),  # as for all
        ({"dpddelay": "30s"}, {}, {}),
        ({"lifetime": "4h", "compress": "yes"}, {}, {}),  # no less protected, and as well up
        ({"mtu": 1400}, {}, {"stages": ("off", "off")}),
        ({"mtu": 1400}, {}, {"stages": ("start", "off")}),
    ],
)
def test_terms_that_are_meant_or_the_same_are_no_warning(late, early, more):
    assert with_terms(late, early, **more) == []


def test_terms_of_a_rule_of_a_later_stage_are_told_with_it():
    (said,) = with_terms({"mtu": 1400}, stages=("start", "require"))
    assert "'all' (require)" in said and "mtu" not in said


def after_another(fleet):
    (rule,) = fleet.rules
    first = rule._replace(name="first", between=(("id", Choice(frozenset({fleet.hosts[0].id}))),))
    return [*faults._idle_rules(fleet._replace(rules=(first, rule)))]


def test_whether_a_rule_decides_is_found_without_a_look_at_hosts():
    assert looks(80, after_another) <= looks(20, after_another)
