"""Edits that production made, over years, of its caches and memcached: each pair after each edit.

Which pairs an edit is for is reckoned here by sites, clusters and names alone.
"""

from __future__ import annotations

from itertools import combinations

import pytest

import fleets
from hostipsec.errors import PillarError
from hostipsec.pillar import doubts, pillar, topology

CORE, EDGES = ("codfw", "eqiad"), ("eqsin", "esams", "ulsfo")
CANARY = ("cp1052.eqiad.wmnet", "cp4027.ulsfo.wmnet")  # both of cluster text


def history(**more):
    """Return the caches of 2018, and four hosts of memcached in two shards, with rules of their own."""
    data = fleets.production_2018()
    for site, number in (("eqiad", 1), ("codfw", 2)):
        for shard in (1, 2):
            address = {"ipv4": f"10.9.{number}.{shard}", "ipv6": f"2001:db8:9:{number}::{shard}"}
            labels = {"site": site, "cluster": "memcached", "shard": f"shard{shard}"}
            data["hosts"][f"mc{number}00{shard}.{site}.wmnet"] = {**labels, **address}
    shards = {"name": "shards", "between": {"site": "eqiad"}, "and": {"site": "codfw"}, "same": ["shard"]}
    core = {**data["rules"][1], "between": {"site": "eqiad", "cluster": {"not": "memcached"}}}
    return {**data, "rules": [shards, data["rules"][0], core], **more}


def before(rule, **more):
    """Return it with a rule before the others."""
    data = history(**more)
    return {**data, "rules": [rule, *data["rules"]]}


def meant():
    """Return all pairs of them."""
    hosts = history()["hosts"]
    return {
        (one, other)
        for one, other in combinations(sorted(hosts), 2)
        if hosts[one]["cluster"] == hosts[other]["cluster"]
        and hosts[one].get("shard") == hosts[other].get("shard")
        and {hosts[one]["site"], hosts[other]["site"]} & {*CORE}
        and hosts[one]["site"] != hosts[other]["site"]
    }


def said(data):
    """Return what is said of each pair: stage and locked MTU, which are the same at both ends."""
    fleet = pillar.read(data)
    found: dict[tuple[str, str], set[tuple[str, int | None]]] = {}
    for host in fleet.hosts:
        for one in topology.connections(fleet, host.id):
            pair = (min(host.id, one.peer), max(host.id, one.peer))
            found.setdefault(pair, set()).add((one.stage, one.mtu or fleet.settings.mtu))
    assert {len(every) for every in found.values()} == {1}
    return {pair: every.pop() for pair, every in found.items()}


def with_mtu(found):
    return {pair for pair, (_, mtu) in found.items() if mtu == 1450}


def at(*sites):
    """Return the pairs of caches with a host at one of these sites."""
    there = tuple(f".{site}.wmnet" for site in sites)
    caches = (pair for pair in meant() if pair[0].startswith("cp"))
    return {pair for pair in caches if any(host.endswith(there) for host in pair)}


def test_the_mesh_is_that_of_2018_and_two_shards():
    found = said(history())
    assert {*found} == meant()
    assert len(found) == 1049 + 2
    assert {*found.values()} == {("start", None)}


def test_the_mtu_is_locked_at_one_site_first_then_for_all_caches_and_not_for_memcached_then_for_all():
    """`Start with ulsfo`, then `only cp*, not mc*`; nobody's pairs and stages change meanwhile."""
    ulsfo = {
        "name": "mtu",
        "between": {"site": "ulsfo"},
        "and": {"site": [*CORE]},
        "same": "cluster",
        "mtu": 1450,
    }
    esams = {**ulsfo, "between": {"site": ["ulsfo", "esams"]}}
    shards, *rules = history()["rules"]
    caches = [{**rule, "between": {**rule["between"], "id": "cp*"}, "mtu": 1450} for rule in rules]
    steps = {
        1: (before(ulsfo), at("ulsfo")),
        2: (before(esams), at("ulsfo", "esams")),
        3: (history(rules=[shards, *caches]), at(*CORE)),
        4: (history(mtu=1450), meant()),
    }
    for data, expected in steps.values():
        found = said(data)
        assert with_mtu(found) == expected
        assert {pair: stage for pair, (stage, _) in found.items()} == dict.fromkeys(meant(), "start")
    assert [len(expected) for _, expected in steps.values()] == [228, 623, 1049, 1051]


def test_a_trap_for_one_pair_and_its_undoing_the_same_day_touch_no_other_pair():
    """A trap for all cut off peers that had no strongSwan yet."""
    one, other = CANARY
    rule = {"name": "canary", "between": {"id": one}, "and": {"id": other}, "stage": "require"}
    found = said(before(rule))
    assert {pair for pair, (stage, _) in found.items() if stage == "require"} == {CANARY}
    assert {*found} == meant()
    assert said(before({**rule, "stage": "start"})) == said(history())


def test_a_host_that_is_dead_leaves_its_peers_at_one_place_and_comes_back():
    """Lists were edited by hand at each site, and every other host alarmed."""
    data, dead = history(), CANARY[1]
    data["hosts"][dead]["maintenance"] = True
    assert {*said(data)} == {pair for pair in meant() if dead not in pair}
    assert {*topology.pairs(pillar.read(data), maintenance=True)} == meant()


@pytest.mark.parametrize("site", EDGES)
def test_a_site_that_is_not_there_yet_or_not_any_more_is_no_error(site):
    """The rules name it all the same."""
    data = history()
    data["hosts"] = {host: one for host, one in data["hosts"].items() if one["site"] != site}
    assert {*said(data)} == {pair for pair in meant() if not any(f".{site}." in host for host in pair)}
    (told,) = map(str, doubts.warnings(pillar.read(data)))
    assert f"no host has site {site}" in told


def test_the_retransmissions_that_were_misspelt_for_six_years_are_refused():
    with pytest.raises(
        PillarError, match=r"unknown key 'retramsmit_tries'; allowed: did you mean 'retransmit_tries'"
    ):
        pillar.read(history(charon={"retramsmit_tries": 15}))  # codespell:ignore


def test_two_hosts_of_one_short_name_say_which_key_settles_it():
    data = history()
    data["hosts"]["cp1052.drmrs.wmnet"] = {"site": "drmrs", "cluster": "text", "ipv4": "10.7.0.1"}
    data["rules"][1]["between"]["site"].append("drmrs")
    with pytest.raises(
        PillarError, match=r"cp1052.drmrs.wmnet:name: found 'cp1052' as .* 'name: cp1052.drmrs.wmnet'"
    ):
        pillar.read(data)
    data["hosts"]["cp1052.drmrs.wmnet"]["name"] = "cp1052-drmrs"
    assert len(said(data)) > len(meant())
