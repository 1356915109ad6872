"""What may not be meant in a pillar: what of it is an error, and what a warning that stops nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import fleets
from hostipsec.errors import PillarError
from hostipsec.fleet import checked, fleetplan, planwords
from hostipsec.pillar import doubts, pillar, spelling


def rule(name: str, one: object, other: object, **more: object) -> dict:
    return {"name": name, "between": {"site": one}, "and": {"site": other}, **more}


def warned(**edit: object) -> list[str]:
    """Return the warnings on the example with some of its keys edited."""
    return [str(one) for one in doubts.warnings(pillar.read({**fleets.example(), **edit}))]


def refused(**edit: object) -> list[str]:
    with pytest.raises(PillarError) as caught:
        pillar.read({**fleets.example(), **edit})
    return [str(problem) for problem in caught.value.problems]


def hosts(**more: dict) -> dict:
    return {**fleets.example()["hosts"], **{f"{name}.example": one for name, one in more.items()}}


def test_the_example_leaves_no_doubt():
    assert warned() == []


def test_a_value_of_a_host_one_slip_from_what_rules_name_is_a_warning():
    """By a rule for all but some it may pair otherwise, and out of stage require, without a word."""
    odd = hosts(cp1009={"site": "eqiat", "cluster": "text", "ipv4": "10.64.0.19"})
    every = [*fleets.example()["rules"], rule("others", {"not": "esams"}, "esams", same="cluster")]
    (said,) = [one for one in warned(hosts=odd, rules=every) if "cp1009" in one]
    assert said == (
        "ipsec:hosts:cp1009.example:site: found eqiat, which no rule names; allowed: did you mean 'eqiad'?"
    )


def test_a_short_name_is_no_id():
    """Beside one that fits it took a host's pairs away, without a word."""
    ids = {"id": ["cp1001.eqiad.example", "cp1002"]}
    every = [*fleets.example()["rules"], {"name": "some", "between": ids, "and": {"site": "esams"}}]
    told = "ipsec:rules:2:between:id: no host has id cp1002; allowed: did you mean 'cp1002.eqiad.example'?"
    assert told in refused(rules=every)


# Rules that fit nobody ------------------------------------------------------------------------


def test_a_rule_whose_last_host_left_is_a_warning_and_no_error_for_the_whole_fleet():
    every = [*fleets.example()["rules"], rule("drmrs", "drmrs", ["eqiad", "codfw"])]
    assert warned(rules=every) == [
        "ipsec:rules:2: rule 'drmrs' matches no pair: no host has site drmrs; "
        "allowed: labels that at least two hosts fit; or no such rule",
        "ipsec:rules:2:between:site: no host has site drmrs; allowed: codfw, eqiad, esams",
    ]


def test_a_rule_by_a_label_that_no_host_has_any_more_is_a_warning():
    every = [*fleets.example()["rules"], rule("shards", "eqiad", "codfw", same="shard")]
    assert warned(rules=every)[0].startswith(
        "ipsec:rules:2: rule 'shards' matches no pair: no host has the label 'shard'"
    )


def test_the_only_rule_whose_last_host_left_is_a_warning():
    """Hosts without peers keep what they have: nothing empty comes over it."""
    said = warned(rules=[rule("all", "eqsin", "ulsfo")], expect=[])
    assert said[0].startswith("ipsec:rules:0: rule 'all' matches no pair: no host has site eqsin")


def test_a_rule_whose_last_own_host_left_is_a_warning_where_earlier_ones_fit_the_rest():
    """One site that goes stopped the fleet; which rules before it fit the rest is told."""
    edges, core = fleets.example()["rules"]
    late = rule("text", {"not": "drmrs"}, ["eqiad", "drmrs"], same="cluster", different="site")
    there = hosts(cp6001={"site": "drmrs", "cluster": "text", "ipv4": "10.136.0.11"})
    said = warned(rules=[edges, core, late], hosts=there, expect=[])
    assert [one for one in said if "decides for no pair" in one] == []
    assert (
        "ipsec:rules:2: rule 'text' decides for no pair: rules before it, as 'edge-to-core', fit all that it "
        "fits now; allowed: that, where hosts have left; or a place before those rules"
    ) in warned(rules=[edges, core, late])


def test_an_expectation_that_is_not_met_is_told_with_the_rule_that_may_be_why():
    edges, core = fleets.example()["rules"]
    said = refused(rules=[{**edges, "same": ["rack"]}, core])
    assert [line.partition(": ")[0] for line in said] == [
        "ipsec:expect:0",
        "ipsec:expect:1",
        "ipsec:rules:0",
        "ipsec:rules:0:same",
    ]


# Values that nobody has -----------------------------------------------------------------------


def test_a_value_that_no_host_has_is_told_beside_ones_that_fit():
    edges, core = fleets.example()["rules"]
    said = warned(rules=[{**edges, "between": {"site": ["esams", "drmrs"]}}, core])
    assert said == ["ipsec:rules:0:between:site: no host has site drmrs; allowed: codfw, eqiad, esams"]


@pytest.mark.parametrize("site", ["esmas", "esam", "esamss", "esans", "Esams", "ESAMS", {"not": "eqaid"}])
def test_a_value_that_may_be_misspelt_is_a_warning_that_names_the_nearest(site):
    """Of two values that are alike (test, text) one may be gone with its last host."""
    edges, core = fleets.example()["rules"]
    several = site if isinstance(site, dict) else ["esams", site] if site == "esams" else ["codfw", site]
    said = warned(rules=[core, {**edges, "between": {"site": several}}], expect=[])
    assert len([line for line in said if "did you mean '" in line and "no host has site" in line]) == 1


@pytest.mark.parametrize(
    ("gone", "there"),
    [("rack", "track"), ("redis_role", "redis_tier"), ("subsite", "site"), ("role", "roles")],
)
def test_a_label_whose_last_host_left_is_a_warning_though_another_is_near(gone, there):
    """It was an error for the whole fleet."""
    data = {f"h{number}": {"ipv4": f"192.0.2.{number}", there: "one"} for number in (1, 2)}
    rules = [
        {"name": "first", "between": {gone: "one"}, "and": {there: "one"}},
        {"name": "second", "between": {there: "one"}, "and": {there: "one"}},
    ]
    found = [str(one) for one in doubts.warnings(pillar.read({"hosts": data, "rules": rules}))]
    assert any(f"ipsec:rules:0:between: no host has the label {gone!r}" in one for one in found)


@pytest.mark.parametrize(
    ("value", "told"), [("txet", 1), ("Text", 1), ("text2", 0), ("upload", 0), ("test", 1)]
)
def test_a_value_of_same_that_one_host_has_and_others_nearly_is_a_warning(value, told):
    """The host lost its pairs of that rule, and where another one fitted it nobody was told."""
    data = hosts()
    data["cp2001.codfw.example"]["cluster"] = value
    whole = {"name": "whole", "between": {"id": "cp1*"}, "and": {"site": "codfw"}}
    edges, core = fleets.example()["rules"]
    said = warned(hosts=data, rules=[edges, core, whole], expect=[])
    words = f"ipsec:hosts:cp2001.codfw.example:cluster: found {value}, which no other host has; "
    assert len([one for one in said if words in one and "did you mean 'text'?" in one]) == told


def test_a_value_beside_which_its_like_stands_is_not_misspelt():
    """Of two sites that are named alike, one was given up: its rule names both."""
    edges, core = fleets.example()["rules"]
    (said,) = warned(rules=[{**edges, "between": {"site": ["esams", "esamz"]}}, core])
    assert said.startswith("ipsec:rules:0:between:site: no host has site esamz")


def test_a_pattern_that_fits_no_id_is_told():
    edges, core = fleets.example()["rules"]
    said = warned(rules=[{**edges, "between": {"id": ["cp3*", "cp9*"]}}, core])
    assert said == [
        "ipsec:rules:0:between:id: no host has id cp9*; allowed: " + said[0].partition("allowed: ")[2]
    ]


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("eqiat", {"eqiad", "codfw"}, "eqiad"),
        ("clutser", {"cluster"}, "cluster"),  # codespell:ignore
        ("Text", {"text"}, "text"),
        ("cp1O01.x", {"cp1001.x"}, "cp1001.x"),
        ("row1", {"row2"}, None),
        ("rdb3", {"rdb4", "rdb33"}, None),
        ("row-a", {"row-b"}, None),
        ("db1a", {"db1b"}, None),
        ("cp1001.eqiad", {"cp1002.eqiad"}, None),
        ("us-east", {"us-west"}, None),
        ("eqiad", {"eqsin"}, None),
        ("db", {"dba"}, None),
        ("x" * 300, {"y" * 300}, None),
        ("", {"a"}, None),
    ],
)
def test_a_slip_is_told_from_another_thing(word, known, meant):
    assert spelling.meant(word, known) == meant


# Hosts that no rule fits ----------------------------------------------------------------------


def test_a_host_that_no_rule_fits_is_a_warning_unless_it_is_marked():
    new = {"site": "esams", "cluster": "txet", "ipv4": "10.20.0.9"}
    said = (
        "ipsec:hosts: no rule fits new.example; allowed: a rule that pairs it up; or 'alone: true' at a host"
    )
    assert warned(hosts=hosts(new=new))[0].startswith(said)
    assert warned(hosts=hosts(new={**new, "alone": True})) == []
    assert warned(hosts=hosts(new={**new, "maintenance": True})) == []


def test_ids_that_differ_by_case_alone_are_told_at_the_host():
    """As two identities that are one they are an error, told at the certificates' key before."""
    new = {"site": "esams", "cluster": "text", "ipv4": "10.20.0.9", "name": "other"}
    every = {**hosts(), "CP3001.esams.example": new}
    told = (
        "ipsec:hosts:cp3001.esams.example: differs from CP3001.esams.example by upper and lower case alone; "
        "allowed: one entry a host, with the id that the minion has"
    )
    assert told in refused(hosts=every)
    every["CP3001.esams.example"] = {**new, "subject": "@other.example"}
    assert told in warned(hosts=every, expect=[])


def test_a_host_that_a_rule_of_stage_off_fits_is_meant_to_have_no_peers():
    off = rule("not-yet", "drmrs", "eqiad", stage="off")
    new = {"site": "drmrs", "cluster": "text", "ipv4": "10.136.0.9"}
    assert warned(hosts=hosts(new=new), rules=[off, *fleets.example()["rules"]]) == []


def test_many_hosts_are_a_sentence():
    more = {f"new{number}": {"site": "drmrs", "ipv4": f"10.136.0.{number + 1}"} for number in range(9)}
    (said,) = warned(hosts=hosts(**more))
    assert (
        "no rule fits new0.example, new1.example, new2.example, new3.example, new4.example and 4 more" in said
    )


# Where it is told -----------------------------------------------------------------------------


def test_the_plan_and_the_check_say_it():
    new = {"site": "drmrs", "ipv4": "10.20.0.9"}
    fleet = pillar.read({**fleets.example(), "hosts": hosts(new=new)})
    (said,) = map(str, doubts.warnings(fleet))
    plan = fleetplan.join(fleet, {})
    assert said in planwords.lines(plan)
    assert plan.as_dict()["doubts"] == [said]
    assert said in [str(one.problem) for one in checked.of(fleet).warnings]


# What YAML made of it -------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(7, "08"), ([6, 7], ["08"]), ("01", 3)])
def test_numbers_of_which_yaml_took_the_nought_from_some_are_an_error(values):
    edges, core = fleets.example()["rules"]
    data = hosts()
    for host, value in zip(data.values(), values):
        host["rack"] = value
    (said,) = refused(hosts=data, rules=[{**edges, "same": "cluster"}, core], labels="rack")
    assert "beside numbers, as YAML reads 07; allowed: all values of 'rack' in quotes" in said


def test_numbers_and_texts_without_a_nought_are_what_they_were():
    data = hosts()
    for host, value in zip(data.values(), (7, "8", [9, "10"])):
        host["rack"] = value
    assert pillar.read({**fleets.example(), "hosts": data, "labels": "rack"})


class Several(Sequence):
    """A list as Salt has one that nobody can change."""

    def __init__(self, *items: object) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_a_list_of_salts_own_kind_is_one():
    data = hosts()
    data["cp1001.eqiad.example"]["rack"] = Several("x", "y")
    fleet = pillar.read({**fleets.example(), "hosts": data, "labels": Several("rack")})
    assert fleet.host("cp1001.eqiad.example").labels["rack"] == ("x", "y")
    data["cp1001.eqiad.example"]["rack"] = Several()
    assert any("an empty list" in one for one in refused(hosts=data, labels=Several("rack")))
    data["cp1001.eqiad.example"]["rack"] = Several(7, "08")
    assert any("beside numbers" in one for one in refused(hosts=data, labels=Several("rack")))


def test_a_key_that_is_a_number_and_a_text_is_told_with_the_key():
    one = {"ipv4": "10.0.0.9"}
    said = refused(hosts={**hosts(), 7: one, "7": one})
    assert any(
        "ipsec:hosts:7: found the key 7 both as it is and in quotes; allowed: each key once" in x
        for x in said
    )


@pytest.mark.parametrize(("key", "read"), [(True, "yes, on and true"), (False, "no, off"), (1.1, "1.10")])
def test_a_host_that_yaml_made_another_thing_of_is_told(key, read):
    said = refused(hosts={**hosts(), key: {"ipv4": "10.0.0.9", "site": "esams", "cluster": "text"}})
    assert any(f"found the key {key!r}, as YAML reads {read}" in one and "in quotes" in one for one in said)


@pytest.mark.parametrize(
    ("setup", "charon", "paths"),
    [
        ({"charondebug": {"ike": 4, "cfg": 3}}, {}, ["setup:charondebug:ike"]),
        (
            {},
            {"filelog": {"main": {"path": "/var/log/charon", "default": 4}}},
            ["charon:filelog:main:default"],
        ),
        ({}, {"syslog": {"daemon": {"ike": 4, "default": 1, "map_level": 4}}}, ["charon:syslog:daemon:ike"]),
        ({"charondebug": {"ike": 3}}, {"ikesa_table_size": 4}, []),
    ],
)
def test_a_level_that_writes_keys_into_the_log(setup, charon, paths):
    found = doubts.warnings(pillar.read({**fleets.star(1), "setup": setup, "charon": charon}))
    assert [one.path for one in found if "writes keys" in str(one)] == [f"ipsec:{path}" for path in paths]
