"""Properties of any fleet, and of any pillar that went wrong."""

from __future__ import annotations

import copy
import itertools
import random
from fnmatch import fnmatchcase

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fleets
from edits import answers, rendered, texts
from hostipsec.errors import PillarError
from hostipsec.fleet import fleetplan, planwords
from hostipsec.pillar import pillar, topology

SITES = ("eqiad", "codfw", "esams", "drmrs")
CLUSTERS = ("text", "upload")
STAGES = ("off", "passive", "start", "require")
# short names at two domains, some without one: clashes are frequent
NAMES = (*(f"cp{n}.{domain}.example" for n in range(5) for domain in "ab"), *(f"cp{n}" for n in range(7)))
MANY = settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
SOME = settings(MANY, max_examples=500)  # where each takes long

SELECTORS = (
    *({"site": site} for site in SITES),
    *({"cluster": cluster} for cluster in CLUSTERS),
    *({"site": list(some)} for size in (2, 3, 4) for some in itertools.combinations(SITES, size)),
    *({"site": [site], "cluster": cluster} for site in SITES for cluster in CLUSTERS),
    *({"id": name} for name in NAMES),
    *({"id": pattern} for pattern in ("cp[0-2]*", "*.a.example", {"not": "cp?"})),
    *({"site": {"not": site}} for site in SITES[:2]),
    *({"rack": rack} for rack in (1, {"not": [1, 3]})),
)
OWN = (  # what a rule says of the connections of its pairs
    {},
    {"lifetime": "30m", "mtu": 1400},
    {"esp": "chacha20poly1305-ecp384!", "encapsulation": "udp", "type": "tunnel"},
)
RULES = st.tuples(
    st.sampled_from(SELECTORS),
    st.sampled_from(SELECTORS),
    # equal labels, labels that differ, stage, options
    st.sampled_from(list(itertools.product(([], ["cluster"], ["rack"]), ([], ["site"]), STAGES, OWN))),
)
# site, cluster, rack, has the second family as well, maintenance
RACKS = (None, 1, 2, [1, 2], ["2", 3])
LABELS = list(itertools.product(SITES, CLUSTERS, RACKS, (True, False), (False, False, False, True)))
HOSTS = st.tuples(st.sampled_from(NAMES), st.sampled_from(LABELS))
PILLARS = st.builds(
    lambda hosts, rules, first: fleet_of(hosts, rules, first),
    st.lists(HOSTS, min_size=2, max_size=9, unique_by=lambda host: host[0]),
    st.lists(RULES, max_size=3),
    st.sampled_from(("ipv4", "ipv6")),
)


def fleet_of(drawn: list, rules: list, first: str) -> dict:
    """Return a valid pillar: all hosts share a family, and rules that decide for no pair are left out."""
    hosts = {}
    for index, (name, (site, cluster, rack, both, maintenance)) in enumerate(drawn, 1):
        addresses = {"ipv4": f"10.0.0.{index}", "ipv6": f"2001:db8::{index:x}"}
        chosen = addresses if both else {first: addresses[first]}
        labels = {"site": site, "cluster": cluster, **({"rack": rack} if rack else {})}
        hosts[name] = {**labels, **chosen, **({"maintenance": True} if maintenance else {}), **called(name)}
    plain = [
        {
            "name": f"rule{index}",
            "between": one,
            "and": other,
            "same": same,
            "different": different,
            "stage": stage,
            **own,
        }
        for index, (one, other, (same, different, stage, own)) in enumerate(rules)
    ]
    fits = deciding(plain, hosts)
    return {
        "labels": "rack",
        "hosts": hosts,
        "rules": fits or [{"name": "all", "between": everywhere(), "and": everywhere()}],
    }


def called(name: str) -> dict:
    """Return what its connections are called: hosts of two domains have the short name of a third."""
    short, _, domain = name.partition(".")
    return {"": {}, "a.example": {"name": name}, "b.example": {"name": f"{short}B_v4"}}[domain]


def deciding(rules: list, hosts: dict) -> list:
    """Return the rules that decide for some pair."""
    found, left = [], {(one, other) for one in hosts for other in hosts}
    for rule in rules:
        decided = {pair for pair in left if joins(rule, hosts, *pair)}
        found += [rule] if decided else []
        left -= decided
    return found


def everywhere() -> dict:
    return {"site": list(SITES)}


# What the rules mean, said a second time and in another way ----------------------------------------


def matches(selector: dict, host: dict) -> bool:
    return all(chosen(value, values(host, key)) for key, value in selector.items())


def chosen(wanted: object, has: set[str]) -> bool:
    if isinstance(wanted, dict):
        return bool(has) and not chosen(wanted["not"], has)
    return any(fnmatchcase(one, str(each)) for each in listed(wanted) for one in has)


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def values(host: dict, key: str) -> set[str]:
    return {str(value) for value in listed(host.get(key)) if value is not None}


def joins(rule: dict, hosts: dict, one: str, other: str) -> bool:
    mine, theirs = hosts[one], hosts[other]
    sides = [({**mine, "id": one}, {**theirs, "id": other}), ({**theirs, "id": other}, {**mine, "id": one})]
    return (
        one != other
        and any(matches(rule["between"], left) and matches(rule["and"], right) for left, right in sides)
        and all(values(mine, key) & values(theirs, key) for key in rule.get("same", ()))
        and all(
            key in mine and key in theirs and not values(mine, key) & values(theirs, key)
            for key in rule.get("different", ())
        )
    )


def expected_peers(data: dict, one: str) -> dict[str, tuple]:
    """Return what the first rule that fits says of stage, SAs and MTU, by peer of one host."""
    hosts = data["hosts"]
    found = {}
    for other in hosts:
        fitting = [rule for rule in data["rules"] if joins(rule, hosts, one, other)]
        in_service = not hosts[one].get("maintenance") and not hosts[other].get("maintenance")
        if fitting and fitting[0].get("stage") != "off" and in_service:
            rule = fitting[0]
            udp = {"forceencaps": "yes"} if "encapsulation" in rule else {}
            options = {**udp, **{key: rule[key] for key in ("esp", "lifetime", "type") if key in rule}}
            found[other] = (rule.get("stage", "start"), options, rule.get("mtu"))
    return found


def shuffled(data: dict, seed: int) -> dict:
    """Return the same pillar with everything whose order means nothing in another order."""
    chance = random.Random(seed)

    def mix(value: object) -> object:
        if isinstance(value, dict):
            return {key: mix(value[key]) for key in chance.sample(list(value), len(value))}
        return chance.sample(value, len(value)) if isinstance(value, list) else value

    return {**data, "rules": [mix(rule) for rule in data["rules"]], "hosts": mix(data["hosts"])}


# Any fleet -----------------------------------------------------------------------------------------


@MANY
@given(PILLARS, st.integers(0, 10**6))
def test_any_fleet_is_a_mesh_that_both_ends_agree_on(data, seed):
    fleet = pillar.read(data)
    mesh = {host.id: topology.connections(fleet, host.id) for host in fleet.hosts}
    for local, connections in mesh.items():
        check_host(data, local, connections)
        for mine in connections:
            check_pair(local, mine, mesh[mine.peer])
    again = pillar.read(shuffled(data, seed))
    assert mesh == {host.id: topology.connections(again, host.id) for host in again.hosts}
    assert {*topology.pairs(fleet)} == {
        (min(local, item.peer), max(local, item.peer)) for local in mesh for item in mesh[local]
    }
    assert len({texts_of_all(fleet, connections, local) for local, connections in mesh.items()}) == 1


@SOME
@given(PILLARS, HOSTS, st.integers(0, 10**6))
def test_a_host_that_joins_or_leaves_never_renames_the_connections_of_others(data, joins, leaves):
    def named(data):
        fleet = pillar.read({**data, "rules": deciding(data["rules"], data["hosts"]) or data["rules"]})
        return {
            (host.id, one.peer, one.family): one.name
            for host in fleet.hosts
            for one in topology.connections(fleet, host.id)
        }

    (id_, labels), addresses = joins, {"ipv4": "10.9.9.9", "ipv6": "2001:db8:9::9"}
    joined = fleet_of([(id_, labels)], [], "ipv4")["hosts"][id_]
    before = named(data)
    after = named({**data, "hosts": {id_: {**joined, **addresses}, **data["hosts"]}})
    assert before.items() <= after.items()
    gone = sorted(data["hosts"])[leaves % len(data["hosts"])]
    fewer = {**data, "hosts": {key: host for key, host in data["hosts"].items() if key != gone}}
    try:
        after = named(fewer)
    except PillarError:  # nobody is left whom a rule fits
        return
    assert after.items() <= before.items()


def check_host(data: dict, local: str, connections: tuple) -> None:
    names = [item.name for item in connections]
    assert names == sorted(set(names))
    said = {item.peer: (item.stage, dict(item.options), item.mtu) for item in connections}
    assert said == expected_peers(data, local)
    families = {
        (peer, key[2:])
        for peer in expected_peers(data, local)
        for key in ("ipv4", "ipv6")
        if key in data["hosts"][local] and key in data["hosts"][peer]
    }
    assert {(item.peer, item.family) for item in connections} == {(peer, key) for peer, key in families}
    assert len(connections) == len(families)


def check_pair(local: str, mine: object, of_peer: tuple) -> None:
    assert mine.peer != local
    (theirs,) = [item for item in of_peer if item.peer == local and item.family == mine.family]
    assert (mine.left, mine.right) == (theirs.right, theirs.left)
    assert (mine.leftid, mine.rightid) == (theirs.rightid, theirs.leftid)
    assert mine.left.version == mine.right.version == int(mine.family[1])
    assert mine.leftid != mine.rightid
    assert mine.initiator is not theirs.initiator
    assert (mine.stage, mine.options, mine.mtu) == (theirs.stage, theirs.options, theirs.mtu)


def texts_of_all(fleet, connections, local) -> tuple:
    """Return what the written ipsec.conf offers to all peers."""
    value = texts(fleet, local, connections).configuration
    assert value.names == {item.name for item in connections}
    return tuple(value.defaults.items())


# Any pillar that went wrong ------------------------------------------------------------------------


class Masked(dict):
    """A mapping as Salt 3008 gives it: asking for its text is our fault."""

    def __str__(self) -> str:
        raise AssertionError("the text of a container of the pillar was asked for")

    __repr__ = __str__


class MaskedList(list):
    """A list as Salt 3008 gives it."""

    __str__ = __repr__ = Masked.__str__


PLAIN = fleets.example()
FULL = {
    **PLAIN,
    "rules": [{**rule, **own} for rule, own in itertools.zip_longest(PLAIN["rules"], OWN[1:], fillvalue={})],
    "certificates": {"source": "files", "certificate": "/c/{id}.pem", "key": "/k/{id}.key", "ca": "/ca.pem"},
    "connection": {"ike": "aes128gcm16-prfsha384-ecp384bp!", "lifetime": "4h", "replay_window": 256},
    "setup": {"charondebug": {"cfg": 2}, "uniqueids": "never"},
    "charon": {"threads": 32, "plugins": {"vici": {"load": True}}},
    "sysctl": {"net.core.xfrm_larval_drop": 0},
    "packages": ["strongswan-swanctl"],
    "vici": False,
    "mtu": 1450,
}
WORDS = (
    *(
        "esams",
        "cp1001.eqiad.example",
        "10.64.0.11",
        "2001:db8:1::11",
        "yes",
        "off",
        "start",
        "13m",
        "1.5h",
        "0",
    ),
    *("aes128gcm16", "CN={id}", "CN=x", "/x", "{name}", "include x", "a\nb", "puppet", "files", "id", "site"),
    *("hosts", "rules", "ipv4", "ipv6", "auto", "threads", "load", "", "%forever", "-1"),
)
SCALARS = st.one_of(
    st.sampled_from((None, True, False, 0, 1, -1, 1500, 2**70, 1.5, float("nan"), float("inf"), b"x")),
    st.sampled_from(WORDS),
    st.text(max_size=6),
)
KEYS = st.sampled_from(WORDS) | st.sampled_from((None, True, 1, 1.5, ("a", "b")))
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(MaskedList, st.lists(inner, max_size=2))
        | st.builds(Masked, st.dictionaries(KEYS, inner, max_size=2))
    ),
    max_leaves=3,
)


def masked(node: object) -> object:
    """Return a pillar as Salt 3008 hands it to a module."""
    if isinstance(node, dict):
        return Masked({key: masked(value) for key, value in node.items()})
    return MaskedList(map(masked, node)) if isinstance(node, list) else node


def places(node: object, at: tuple = ()) -> list:
    """Return the path of every node below the first."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [path for key in keys for path in [(*at, key), *places(node[key], (*at, key))]]


PLACES = places(FULL)
GOOD = rendered(pillar.read(FULL))  # what the hosts run when the damage is done
DAMAGE = st.sampled_from(("replace", "replace", "remove", "rename", "add"))


def damaged(data: dict, at: tuple, kind: str, junk: object, word: object) -> None:
    """Damage a pillar in one place, as far as an earlier damage has left that place."""
    node = data
    for key in at[:-1]:
        if not isinstance(node, (dict, list)) or (isinstance(node, dict) and key not in node):
            return
        if isinstance(node, list) and not (isinstance(key, int) and key < len(node)):
            return
        node = node[key]
    if isinstance(node, list) and isinstance(at[-1], int) and at[-1] < len(node):
        damage_list(node, at[-1], kind, junk)
    elif isinstance(node, dict) and at[-1] in node:
        damage_mapping(node, at[-1], kind, junk, word)


def damage_list(node: list, index: int, kind: str, junk: object) -> None:
    if kind in ("replace", "rename"):
        node[index] = junk
    elif kind == "remove":
        del node[index]
    else:
        node.insert(index, junk)


def damage_mapping(node: dict, key: object, kind: str, junk: object, word: object) -> None:
    if kind == "replace":
        node[key] = junk
    elif kind == "remove":
        del node[key]
    elif kind == "rename":
        node[f"{str(key)[:-1]}{str(word)[:1]}"] = node.pop(key)
    else:
        node[word] = junk


def test_the_whole_pillar_is_valid_before_it_is_damaged():
    assert pillar.read(masked(FULL)) == pillar.read(FULL)


@MANY
@given(st.lists(st.tuples(st.sampled_from(PLACES), DAMAGE, JUNK, KEYS), min_size=1, max_size=3))
def test_a_damaged_pillar_gives_errors_with_places_or_a_fleet(damages):
    data = masked(copy.deepcopy(FULL))
    for damage in damages:
        damaged(data, *damage)
    try:
        fleet = pillar.read(data)
    except PillarError as error:
        assert error.problems
        keys = tuple(f"ipsec:{key}" for key in (*pillar.TOP_KEYS, *data))
        for problem in error.problems:
            assert problem.path == "ipsec" or problem.path.startswith(keys), problem
            assert problem.found and problem.allowed, problem
            assert str(problem) in str(error)
    else:
        for host in fleet.hosts:
            connections = topology.connections(fleet, host.id)
            value = texts(fleet, host.id, connections).configuration
            assert len(value.connections) == len(connections)
            assert value.strongswan
        pillar.unaddressed(data)
        assert planwords.lines(fleetplan.join(fleet, answers(GOOD, fleet)))


@pytest.mark.parametrize(
    "junk", [None, 0, "", "x", 1.5, True, b"x", [], ["x"], {}, {"x": 1}, Masked(), MaskedList()]
)
def test_no_pillar_at_all_is_an_error(junk):
    with pytest.raises(PillarError) as caught:
        pillar.read(junk)
    assert all(problem.path.startswith("ipsec") for problem in caught.value.problems)
    assert pillar.unaddressed(junk) == {}
