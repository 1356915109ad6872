"""Real fleets of production, written as pillars without a rule by ``id``: each of their pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hostipsec.pillar import doubts, expected, pillar, topology

DATA = Path(__file__).parent / "data/topologies"
REDIS = [
    {
        "name": "redis-shards",
        "between": {"site": "eqiad"},
        "and": {"site": "codfw"},
        "same": ["role", "shard"],
    }
]
CACHES = [
    {
        "name": "edge-to-core",
        "between": {"site": {"not": ["eqiad", "codfw"]}},
        "and": {"site": ["eqiad", "codfw"]},
        "same": "cluster",
    },
    {"name": "core-to-core", "between": {"site": "eqiad"}, "and": {"site": "codfw"}, "same": "cluster"},
]
FLEETS = {"2016-10-redis": (REDIS, 41, 22), "2019-05-caches-upload-ats": (CACHES, 72, 800)}


def written(name: str) -> tuple[dict, dict]:
    """Return a fleet as data, and as a pillar: what one end alone had as a peer is in maintenance."""
    data = yaml.safe_load((DATA / f"{name}.yaml").read_text())
    both = {host for pair in data["pairs_mutual"] for host in pair}
    hosts = {}
    for number, (host, said) in enumerate(data["hosts"].items(), 1):
        labels = {key: value for key, value in said.items() if key != "groups"}
        shards = {"shard": said["groups"]} if "groups" in said else {}
        rests = {} if host in both else {"maintenance": True}
        hosts[host] = {"ipv4": f"10.0.{number // 250}.{number % 250 + 1}", **labels, **shards, **rests}
    return data, {"hosts": hosts, "rules": FLEETS[name][0]}


@pytest.mark.parametrize("name", FLEETS)
def test_the_pairs_are_those_of_production(name):
    data, plain = written(name)
    fleet = pillar.read(plain)
    found = topology.pairs(fleet)
    assert (len(fleet.hosts), len(found)) == FLEETS[name][1:]
    assert {*found} == {(min(pair), max(pair)) for pair in data["pairs_mutual"]}
    for host in fleet.hosts:
        assert {one.peer for one in topology.connections(fleet, host.id)} == {
            other for pair in found if host.id in pair for other in pair if other != host.id
        }
    assert doubts.warnings(fleet) == ()


def test_what_one_end_alone_had_as_a_peer_pairs_again_once_it_is_in_service():
    data, plain = written("2019-05-caches-upload-ats")
    found = {*topology.pairs(pillar.read(plain), maintenance=True)}
    one_way = {(min(pair), max(pair)) for pair in data["one_directional"]}
    assert found == {(min(pair), max(pair)) for pair in data["pairs_mutual"]} | one_way


def test_a_host_in_two_shards_pairs_with_both_and_is_counted_by_its_rule():
    _, plain = written("2016-10-redis")
    assert plain["hosts"]["r-10-192-0-34"]["shard"] == ["shard01", "shard17"]
    peers = ("r-10-64-0-180", "r-10-64-48-95")
    expect = [{"host": "r-10-192-0-34", "pairs_with": peer} for peer in peers]
    expect += [{"host": "r-10-192-0-34", "peers": 2}, {"rule": "redis-shards", "pairs": 22}]
    expect += [{"host": "r-10-192-0-34", "not_pairs_with": "r-10-64-0-181"}]
    fleet = pillar.read({**plain, "expect": expect})
    assert [*expected.problems(fleet)] == []


def small(**hosts: dict) -> dict:
    """Return hosts at two sites with labels of their own."""
    return {
        name: {"ipv4": f"10.0.0.{number}", "role": "redis", "site": name[0], **labels}
        for number, (name, labels) in enumerate(sorted(hosts.items()), 1)
    }


def pairs(rule: dict, **hosts: dict) -> set[str]:
    everyone = {"name": "r", "between": {"role": "redis"}, "and": {"role": "redis"}}
    fleet = pillar.read({"labels": "role", "hosts": small(**hosts), "rules": [{**everyone, **rule}]})
    by_pair = topology.pairs(fleet)
    assert {*by_pair} == {
        (one.id, other.id)
        for one in fleet.hosts
        for other in fleet.hosts
        if one.id < other.id and topology.rule_for(fleet, one, other)
    }
    return {f"{one}-{other}" for one, other in by_pair}


def test_same_means_that_two_hosts_share_a_value_and_different_that_they_share_none():
    hosts = {"a1": [1, 2], "b1": [2, 3], "b2": [3], "c1": [1, 2, 3], "c2": 4}
    labels = {name: {"shard": shard} for name, shard in hosts.items()}
    assert pairs({"same": "shard"}, **labels) == {"a1-b1", "a1-c1", "b1-b2", "b1-c1", "b2-c1"}
    assert pairs({"different": "shard"}, **labels) == {
        "a1-b2",
        *(f"{one}-c2" for one in ("a1", "b1", "b2", "c1")),
    }
    assert pairs({"same": "shard", "different": "site"}, **labels) == {"a1-b1", "a1-c1", "b1-c1", "b2-c1"}


def test_a_side_means_a_host_of_which_one_value_fits_and_all_but_one_of_which_none_does():
    labels = {"a1": {"shard": ["x", "y"]}, "b1": {"shard": "y"}, "b2": {"shard": "z"}, "c1": {}}
    assert pairs({"between": {"shard": "x"}}, **labels) == {"a1-b1", "a1-b2", "a1-c1"}
    assert pairs({"between": {"shard": {"not": "y"}}}, **labels) == {"a1-b2", "b1-b2", "b2-c1"}
    # a host without the label is neither
    assert pairs({"between": {"shard": {"not": ["x", "q"]}}, "and": {"shard": {"not": "x"}}}, **labels) == {
        "b1-b2"
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a*", {"a1-b1", "a1-b2", "a1-c1"}),
        ("?1", {"a1-b1", "a1-c1", "b1-c1", "a1-b2", "b1-b2", "b2-c1"}),
        ({"not": "[ab]*"}, {"a1-c1", "b1-c1", "b2-c1"}),
        (["b2", "c*"], {"a1-b2", "a1-c1", "b1-b2", "b1-c1", "b2-c1"}),
    ],
)
def test_ids_may_be_patterns(wanted, found):
    assert pairs({"between": {"id": wanted}}, a1={}, b1={}, b2={}, c1={}) == found


def test_a_pair_that_shares_two_values_comes_once():
    rule = {"name": "r", "between": {"site": "a"}, "and": {"site": "b"}, "same": ["shard", "role"]}
    both = {"shard": ["x", "y"], "role": ["redis", "db"]}
    fleet = pillar.read({"hosts": small(a1=both, b1=both), "rules": [rule]})
    assert [(one.id, other.id) for one, other in topology.rule_pairs(fleet.rules[0], fleet.hosts)] == [
        ("a1", "b1")
    ]
