"""Hosts behind a NAT: their own address at their end, the public one at their peers'."""

from __future__ import annotations

import pytest

from hostipsec.errors import PillarError
from hostipsec.fleet import fleetplan
from hostipsec.kernel import guard
from hostipsec.pillar import doubts, membership, pillar, topology

DC, ONE, TWO, OTHER = "dc1.example", "vpc1.example", "vpc2.example", "west1.example"


def data(stage="start", **hosts):
    """Return a pillar: a data centre, two in one cloud, one in another with the same addresses."""
    default = {
        DC: {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"},
        ONE: {"ipv4": "198.51.100.1", "local_ipv4": "10.0.0.1", "nat": "east", "ipv6": "2001:db8:1::1"},
        TWO: {"ipv4": "198.51.100.2", "local_ipv4": "10.0.0.2", "nat": "east"},
        OTHER: {"ipv4": "203.0.113.9", "local_ipv4": "10.0.0.1", "nat": "west"},
    }
    every = {**default, **hosts}
    rule = {"name": "all", "between": {"id": sorted(every)}, "and": {"id": sorted(every)}, "stage": stage}
    return {"hosts": every, "rules": [rule]}


def ends(host, found=None):
    fleet = pillar.read(found or data())
    return {one.name: (str(one.left), str(one.right)) for one in topology.connections(fleet, host)}


def test_the_local_address_at_its_end_the_public_one_at_its_peers():
    assert ends(ONE)["dc1_v4"] == ("10.0.0.1", "192.0.2.1")
    assert ends(DC)["vpc1_v4"] == ("192.0.2.1", "198.51.100.1")
    assert ends(ONE)["west1_v4"] == ("10.0.0.1", "203.0.113.9")
    assert ends(OTHER)["vpc1_v4"] == ("10.0.0.1", "198.51.100.1")


def test_behind_one_nat_by_local_addresses_at_both_ends():
    assert ends(ONE)["vpc2_v4"] == ("10.0.0.1", "10.0.0.2")
    assert ends(TWO)["vpc1_v4"] == ("10.0.0.2", "10.0.0.1")


def test_ipv6_and_identities_stay():
    fleet = pillar.read(data())
    assert ends(DC)["vpc1_v6"] == ("2001:db8::1", "2001:db8:1::1")
    assert {one.leftid for one in topology.connections(fleet, ONE)} == {f"CN={ONE}"}
    assert {one.rightid for one in topology.connections(fleet, DC) if one.peer == ONE} == {f"CN={ONE}"}


def test_require_blocks_every_address_by_which_packets_can_come():
    fleet = pillar.read(data("require"))

    def blocked(host):
        wanted = guard.wanted(membership.of(fleet, host).guarded)
        return {policy.dst for policy in wanted if policy.direction == "out"}

    assert {"198.51.100.1/32", "198.51.100.2/32", "203.0.113.9/32"} < blocked(DC)
    assert not {"10.0.0.1/32", "10.0.0.2/32"} & blocked(DC)
    # by the NAT's own way round as well: the connection is by the local address
    assert {"10.0.0.2/32", "198.51.100.2/32", "203.0.113.9/32", "192.0.2.1/32"} < blocked(ONE)


def test_a_peer_in_maintenance_is_blocked_by_both_of_its_addresses():
    resting = {**data()["hosts"][TWO], "maintenance": True}
    fleet = pillar.read(data("require", **{TWO: resting}))
    assert {str(one.right) for one in topology.barred(fleet, ONE) if one.peer == TWO} == {
        "10.0.0.2",
        "198.51.100.2",
    }


def test_nat_is_a_label_that_rules_can_use():
    found = data()
    found["rules"][0]["different"] = ["nat"]
    assert "vpc2_v4" not in ends(ONE, found) and "west1_v4" in ends(ONE, found)


WRONG = [
    ({ONE: {"local_ipv4": "10.0.0.1", "ipv6": "2001:db8:1::1"}}, ONE, "local_ipv4", "without 'ipv4'"),
    ({ONE: {"ipv4": "198.51.100.1", "local_ipv4": "198.51.100.1"}}, ONE, "local_ipv4", "as 'ipv4' is"),
    ({ONE: {"ipv4": "198.51.100.1", "nat": "east"}}, ONE, "nat", "without 'local_ipv4'"),
    (
        {ONE: {"ipv4": "198.51.100.1", "local_ipv4": "2001:db8::9", "nat": "e"}},
        ONE,
        "local_ipv4",
        "IPv6 address",
    ),
    ({ONE: {"ipv4": "198.51.100.1", "local_ipv4": "10.0.0", "nat": "e"}}, ONE, "local_ipv4", "'10.0.0'"),
    (
        {ONE: {"ipv4": "198.51.100.1", "local_ipv4": "192.0.2.1", "nat": "e"}},
        ONE,
        "local_ipv4",
        f"192.0.2.1, which {DC} has too",
    ),
    (
        {TWO: {"ipv4": "198.51.100.2", "local_ipv4": "10.0.0.1", "nat": "east"}},
        TWO,
        "local_ipv4",
        f"10.0.0.1, which {ONE} has too",
    ),
    ({OTHER: {"ipv4": "203.0.113.9", "local_ipv4": "10.0.0.9"}}, OTHER, "nat", "whether behind the same"),
    ({ONE: {"ipv4": "198.51.100.1", "local_ipv4": "10.0.0.1", "nat": "a b"}}, ONE, "nat", "'a b'"),
]


def test_several_hosts_behind_one_public_address_are_refused_with_the_reason():
    two = {"ipv4": "198.51.100.1", "local_ipv4": "10.0.0.2", "nat": "east"}
    with pytest.raises(PillarError) as caught:
        pillar.read(data(**{TWO: two}))
    assert [str(one) for one in caught.value.problems] == [
        f"ipsec:hosts:{TWO}:ipv4: found 198.51.100.1, which {ONE} has too; allowed: a public address of its "
        "own: several hosts behind one cannot be told apart by peers (1:1 NAT, or IPv6)"
    ]


def test_an_address_of_ipv6_behind_a_nat_is_refused_with_the_reason():
    with pytest.raises(
        PillarError, match="A NAT of IPv6 is not done here: 'ipv6' is what the host has itself"
    ):
        pillar.read(data(**{ONE: {"ipv6": "2001:db8::1", "local_ipv6": "fd00::1"}}))


def test_a_private_address_as_the_public_one_is_a_warning():
    swapped = {"ipv4": "10.0.0.7", "local_ipv4": "198.51.100.1", "nat": "east"}
    assert [*map(str, doubts.warnings(pillar.read(data(**{ONE: swapped}))))] == [
        f"ipsec:hosts:{ONE}:ipv4: found 10.0.0.7, a private address, beside local_ipv4 198.51.100.1, "
        "which is none; allowed: the public address; 'local_ipv4' is the host's own"
    ]
    both = {"ipv4": "10.0.0.7", "local_ipv4": "192.168.0.1", "nat": "east"}  # a NAT between private networks
    assert doubts.warnings(pillar.read(data(**{ONE: both}))) == ()


def test_a_word_for_a_network_that_is_a_slip_away_from_others_is_a_warning():
    """Two hosts of one network reached each other by their public addresses, in silence."""
    third = {"ipv4": "198.51.100.3", "local_ipv4": "10.0.0.3", "nat": "easst"}
    assert [*map(str, doubts.warnings(pillar.read(data(**{"vpc3.example": third}))))] == [
        "ipsec:hosts:vpc3.example:nat: found easst, which no other host has; allowed: did you mean 'east'?"
    ]
    other = {**third, "nat": "eu-1"}
    assert doubts.warnings(pillar.read(data(**{"vpc3.example": other}))) == ()


WAY = "ipsec:hosts:vm.example:ipv4: found 10.0.0.9"
NO_WAY = (
    "a private address, and its peer vpc1.example has a public one by a NAT, which does not lead there; "
    "allowed: the public address, 'local_ipv4' beside it and 'nat' where that is the same; or 'ipv6' alone"
)


@pytest.mark.parametrize(
    ("hosts", "rule", "told"),
    [
        # beside the others in the cloud, without a public address: they come to it from their own
        ({"vm.example": {"ipv4": "10.0.0.9"}}, {}, [f"{WAY}, {NO_WAY}"]),
        (
            {"vm.example": {"ipv4": "10.0.0.9"}, "vn.example": {"ipv4": "10.0.0.8"}},
            {},
            [f"{WAY} (and 1 host more), {NO_WAY}"],
        ),
        ({"vm.example": {"ipv4": "10.0.0.9"}}, {"between": {"id": DC}}, []),  # no pair of the two
        ({"vm.example": {"ipv6": "2001:db8::9"}, TWO: {}, OTHER: {}}, {}, []),
        ({ONE: {"ipv4": "10.1.0.1", "local_ipv4": "10.0.0.1"}, "vm.example": {"ipv4": "10.2.0.9"}}, {}, []),
    ],
)
def test_a_private_address_with_peers_behind_a_nat_to_public_ones_is_a_warning(hosts, rule, told):
    """Such a pair never came up: each end waits for an address from which nothing comes."""
    found = data(**{TWO: {}, OTHER: {}, **hosts})
    found["hosts"] = {name: entry for name, entry in found["hosts"].items() if entry}
    found["rules"][0].update({"between": {"id": "*"}, "and": {"id": "*"}, **rule})
    warned = [str(one) for one in doubts.warnings(pillar.read(found)) if one.path.endswith(":ipv4")]
    assert warned == told


@pytest.mark.parametrize("key", ["nat", "local_ipv4", "ipv4", "maintenance"])
def test_a_key_of_hosts_in_another_place_is_told_where_it_belongs(key):
    found = data()
    for entry in (found, found["rules"][0]):
        entry[key] = "east"
    with pytest.raises(PillarError) as caught:
        pillar.read(found)
    assert [(one.path, one.allowed) for one in caught.value.problems] == [
        (f"{path}:{key}", f"no such key here: {key!r} is a key of hosts")
        for path in ("ipsec", "ipsec:rules:0")
    ]


@pytest.mark.parametrize(("hosts", "host", "key", "said"), WRONG)
def test_what_does_not_fit_is_refused(hosts, host, key, said):
    with pytest.raises(PillarError) as caught:
        pillar.read(data(**hosts))
    found = [one for one in caught.value.problems if one.path == f"ipsec:hosts:{host}:{key}"]
    assert found and all(said in one.found for one in found), caught.value.problems


def test_one_host_behind_a_nat_needs_no_word_for_it():
    hosts = {ONE: {"ipv4": "198.51.100.1", "local_ipv4": "10.0.0.1"}, DC: {"ipv4": "192.0.2.1"}}
    rule = {"name": "all", "between": {"id": ONE}, "and": {"id": DC}}
    assert ends(ONE, {"hosts": hosts, "rules": [rule]}) == {"dc1_v4": ("10.0.0.1", "192.0.2.1")}


def planned(fleet, host):
    member = membership.of(fleet, host)
    return fleetplan.answer(
        "enters",
        member.connections,
        (),
        {"ipsec.configured": {"connections": {"added": [one.name for one in member.connections]}}},
    )


def test_both_ends_agree_in_a_plan_though_they_have_other_addresses():
    fleet = pillar.read(data())
    plan = fleetplan.join(fleet, {host.id: planned(fleet, host.id) for host in fleet.hosts})
    assert len(plan.rows) == 7 and plan.misfits == ()


def test_a_plan_says_where_the_pillar_of_one_end_has_another_public_address():
    fleet = pillar.read(data())
    old = pillar.read(data(**{ONE: {**data()["hosts"][ONE], "ipv4": "198.51.100.77"}}))
    answers = {host.id: planned(old if host.id == DC else fleet, host.id) for host in fleet.hosts}
    misfits = fleetplan.join(fleet, answers).misfits
    assert [(row.one, row.other, row.family) for row in misfits] == [(DC, ONE, "v4")]
