"""The part of a host: whatever a host takes from the pillar follows from it as from the whole."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from test_foreseen import EACH_KEY, edited
from test_generated_fleets import FULL, PILLARS, SOME, masked

import fleets
from hostipsec.apply import hostplan
from hostipsec.errors import HostIPsecError, PillarError
from hostipsec.pillar import addressed, doubts, membership, parts, pillar, topology
from hostipsec.pillar.found import Found
from hostipsec.store.record import Place
from hostipsec.strongswan import sections

HUB, SPOKE = "cp1001.eqiad.example", "cp3001.esams.example"
STAGES = ("passive", "start", "require")


def no_mine(*_):
    raise AssertionError("the mine was asked")


def part_of(data, host, resolved=None):
    """Return the part of a host as it comes out of Salt: through bytes, in containers of its own."""
    found = parts.Whole(data, pillar.read(data, resolved)).part(host)
    return masked(json.loads(json.dumps(found)))


def of_part(data, host, resolved=None):
    return addressed.member(part_of(data, host, resolved), host, no_mine)


def overruled(member: membership.Membership) -> tuple[str, ...]:
    """Return what is told of rules that leave pairs of the host to others."""
    fleet = member.fleet
    if fleet.part:
        return doubts.told(fleet)
    every = topology.fitting(fleet).items()
    mine = {pair: rules for pair, rules in every if member.host.id in pair}
    known = {member.host.id, *(peer.id for peer, _ in topology.peers(fleet, member.host, maintenance=True))}
    others = {host.id for host in fleet.hosts} - known
    return tuple(parts.veiled(str(one), others.__contains__) for one in doubts.overruled(fleet, mine))


def said(member: membership.Membership, before=()) -> dict:
    """Return all that a host takes from the pillar."""
    return {
        "connections": member.connections,
        "barred": member.barred,
        "resting": member.resting,
        "place": Place(member.site, member.host.id, member.sites),
        "settings": member.fleet.settings,
        "meant": sections.meant(member.fleet.settings),
        "warnings": (member.lost, overruled(member), member.lonely),
        "subject": member.subject,
        "host": member.host._replace(labels={}),
        "absent": hostplan.absent(member),
        "limited": [member.limited(stage, before) for stage in STAGES],
    }


def comparable(found: dict) -> dict:
    limited = [(one.connections, one.barred) for one in found["limited"]]
    return {**found, "limited": limited}


def same(data, resolved=None, before=()) -> None:
    fleet = pillar.read(data, resolved)
    for host in fleet.hosts:
        if host.lost or not host.managed:
            with pytest.raises(HostIPsecError) as whole:
                membership.of(fleet, host.id)
            with pytest.raises(HostIPsecError) as part:
                of_part(data, host.id, resolved)
            assert str(part.value) == str(whole.value)
            continue
        if not host.managed:
            continue
        there = of_part(data, host.id, resolved)
        assert comparable(said(there, before)) == comparable(said(membership.of(fleet, host.id), before))
        assert {one.id for one in there.fleet.hosts} <= {host.id, *others(fleet, host)}


def others(fleet, host):
    deciding = ((one.id, topology.rule_for(fleet, host, one)) for one in fleet.hosts)
    return {one for one, rule in deciding if rule and rule.stage != "off"}


@SOME
@given(PILLARS)
def test_any_host_takes_the_same_from_its_part_as_from_the_whole(data):
    """Also in a roll-out that has come to any stage, over what the pillar gave before that."""
    same(data)


def peers_of_all_kinds(stage: str) -> dict:
    """Return a pillar with hosts behind a NAT, one with a subject of its own, and one that is not managed."""
    behind = {"nat": "vpc", "site": "cloud"}
    hosts = {
        "dc.example": {"site": "dc", "ipv4": "192.0.2.1", "subject": "@dc.example.org"},
        "one.example": {**behind, "ipv4": "198.51.100.1", "local_ipv4": "10.0.0.1"},
        "two.example": {**behind, "ipv4": "198.51.100.2", "local_ipv4": "10.0.0.2"},
        "gw.example": {
            "managed": False,
            "site": "partner",
            "ipv4": "203.0.113.1",
            "subject": "@gw.example",
            "ca": "/etc/ssl/partner.pem",
        },
    }
    every = {"id": sorted(hosts)}
    rules = [{"name": "all", "between": every, "and": every, "stage": stage}]
    return {"hosts": hosts, "rules": rules, "labels": ["site"], "certificates": {"subject": "ip:{ipv4}"}}


@pytest.mark.parametrize("stage", ["start", "require"])
def test_peers_of_all_kinds_give_the_same(stage):
    same(peers_of_all_kinds(stage))


@pytest.mark.parametrize(
    "data", [fleets.example(), fleets.production_2018(), FULL], ids=["example", "2018", "full"]
)
def test_real_fleets_give_the_same(data):
    same(data)


RICH = {
    "labels": ["rack"],
    "hosts": {
        "rdb1.eqiad.example": {"site": "eqiad", "shard": ["s1", "s2"], "ipv4": "10.1.0.1", "rack": "a1"},
        "rdb2.codfw.example": {"site": "codfw", "shard": ["s2"], "ipv4": "10.2.0.2", "name": "second"},
        "rdb3.codfw.example": {"site": "codfw", "shard": "s1", "ipv4": "10.2.0.3", "ipv6": "2001:db8::3"},
        "rdb4.eqiad.example": {
            "site": "eqiad",
            "shard": "s1",
            "ipv4": "10.1.0.4",
            "ipv6": "2001:db8::4",
            "subject": "O=Example, CN=rdb4",
            "maintenance": "in-the-clear",
        },
        "cloud1.example": {"site": "cloud", "ipv4": "192.0.2.5", "local_ipv4": "10.9.0.5"},
        "gate.partner.example": {
            "site": "partner",
            "ipv4": "192.0.2.6",
            "managed": False,
            "subject": "CN=gate",
            "ca": "/etc/ssl/partner.pem",
        },
        "alone.example": {"site": "eqiad", "ipv4": "10.1.0.9", "alone": True},
    },
    "rules": [
        {
            "name": "redis",
            "between": {"id": "rdb*"},
            "and": {"shard": ["s1", "s2"]},
            "same": ["shard"],
            "different": ["site"],
            "stage": "require",
            "mtu": 1400,
            "ike": "aes256gcm16-prfsha384-ecp384bp!",
            "margintime": "5m",
        },
        {"name": "never", "between": {"site": "cloud"}, "and": {"id": "rdb2.*"}, "stage": "off"},
        {"name": "cloud", "between": {"site": "cloud"}, "and": {"site": {"not": ["partner", "eqiad"]}}},
        {"name": "partner", "between": {"site": "partner"}, "and": {"site": "cloud"}},
        {"name": "inside", "between": {"site": "cloud"}, "and": {"id": "rdb[14]*"}, "encapsulation": "udp"},
    ],
}


def test_every_key_of_a_host_and_of_a_rule_gives_the_same():
    same(RICH)


@pytest.mark.parametrize("key", EACH_KEY)
def test_an_edit_of_each_key_gives_the_same(key):
    same(edited(EACH_KEY[key]))


def test_the_part_of_a_host_is_the_same_however_many_hosts_are_no_peers_of_its():
    """So what a host does with its part takes no longer in a fleet of thousands."""
    data = fleets.example()
    others = {
        f"x{number}.other.example": {"site": "other", "cluster": f"x{number}", "ipv4": f"10.99.0.{number}"}
        for number in range(1, 200)
    }
    more = {**data, "hosts": {**data["hosts"], **others}}
    for host in data["hosts"]:
        assert part_of(more, host) == part_of(data, host)


def looked_up(data, host, *addresses, wrong=()):
    """Return the pillar without a host's addresses, and what was found of it elsewhere."""
    labels = {key: value for key, value in data["hosts"][host].items() if key not in ("ipv4", "ipv6")}
    bare = {**data, "addresses": "mine", "hosts": {**data["hosts"], host: labels}}
    return bare, {host: Found(tuple(map(ip_address, addresses)), tuple(wrong))}


def test_addresses_that_the_master_looked_up_are_in_the_part():
    data, found = looked_up(fleets.example(), HUB, "10.64.0.11", "2001:db8:1::11")
    same(data, found)
    assert of_part(data, SPOKE, found).connections == membership.read(fleets.example(), SPOKE).connections


def test_a_peer_whose_address_is_not_known_keeps_the_one_that_it_had():
    data, found = looked_up(fleets.example(), HUB, wrong=[("the Salt mine: found none", "one")])
    same(data, found)
    before = membership.read(fleets.example(), SPOKE)
    part = part_of(data, SPOKE, found)
    after = addressed.member(part, SPOKE, no_mine, before=lambda: before.guarded)
    assert after.connections == before.connections
    assert [line for line in after.lost if HUB in line and "the Salt mine: found none" in line]


def test_a_part_says_nothing_of_hosts_that_are_no_peers_nor_of_labels():
    data = fleets.example()
    for host in data["hosts"]:
        text = json.dumps(part_of(data, host))
        peers = {*membership.read(data, host).peers, host}
        assert not [other for other in data["hosts"] if other not in peers and other in text]
        assert "cluster" not in text
        assert "expect" not in text


def test_a_part_names_no_host_from_which_a_rule_keeps_it():
    """A rule of stage off, before others, was told with the id of the host that is no peer."""
    data = fleets.example()
    off = {"name": "apart", "between": {"id": SPOKE}, "and": {"id": HUB}, "stage": "off"}
    data["rules"].insert(0, off)
    data["expect"] = []
    text = json.dumps(part_of(data, SPOKE))
    assert HUB not in text
    assert "with another host" in text or "another host with" in text


def test_a_host_without_peers_is_told_so():
    data = fleets.example()
    data["hosts"]["alone.eqiad.example"] = {"site": "nowhere", "ipv4": "10.9.9.9"}
    assert "no rule pairs it" in of_part(data, "alone.eqiad.example").lonely
    assert parts.Whole(data, pillar.read(data)).part("stranger.example") == {}


def test_the_part_of_another_host_is_refused():
    with pytest.raises(HostIPsecError, match=f"{SPOKE} is not there"):
        addressed.member(part_of(fleets.example(), HUB), SPOKE, no_mine)


EDITS = {
    "another pillar's host": lambda part: part["hosts"].update({"x.example": {"ipv4": "10.9.9.9"}}),
    "another address": lambda part: part["hosts"][HUB].update(ipv4="10.9.9.9"),
    "a peer less": lambda part: part["hosts"].pop(HUB),
    "another pillar's key": lambda part: part.update(mtu=1400),
    "no mark": lambda part: part["part"].pop("mark"),
    "nothing in it": lambda part: part.update(part=None),
    "a word in it": lambda part: part.update(part="x"),
    "no host": lambda part: part["part"].pop("of"),
    "only itself": lambda part: [part.pop(key) for key in [*part] if key != "part"],
}


@pytest.mark.parametrize("kind", EDITS)
def test_a_part_that_is_not_as_the_master_gave_it_is_refused(kind):
    part = json.loads(json.dumps(parts.Whole(fleets.example(), pillar.read(fleets.example())).part(SPOKE)))
    EDITS[kind](part)
    with pytest.raises(PillarError, match=r"ipsec:part: .*as the master's ext_pillar gives it"):
        addressed.member(part, SPOKE, no_mine)


def test_a_part_is_no_pillar_for_whoever_has_the_whole():
    """A release before refuses it so, too: with a sentence, and changes nothing."""
    with pytest.raises(PillarError, match="unknown key 'part'"):
        pillar.read(part_of(fleets.example(), SPOKE))


def refused_part(problems, *hosts):
    with pytest.raises(PillarError) as told:
        addressed.member(masked(parts.refused(problems, SPOKE, hosts)), SPOKE, no_mine)
    return str(told.value)


def test_why_there_is_no_part_is_told_to_the_host():
    problems = [pillar.Problem(f"ipsec:rules:{number}", "found x", "y") for number in range(30)]
    told = refused_part(PillarError([*problems, pillar.Problem(f"ipsec:hosts:{SPOKE}:ipv4", "found z", "y")]))
    assert "ipsec:rules:0: found x; allowed: y" in told
    assert "11 errors more; allowed: see salt-run ipsec.check" in told
    with pytest.raises(PillarError, match="the mine is gone"):
        addressed.member(parts.refused(HostIPsecError("the mine is gone"), SPOKE), SPOKE, no_mine)


def test_what_is_wrong_at_others_is_not_told_to_a_host():
    """Every minion of the master read names and addresses of the fleet, once the pillar was wrong."""
    problems = [
        pillar.Problem("ipsec:hosts:db1.example:ipv4", "found '10.0.0.300'", "y"),
        pillar.Problem(f"ipsec:hosts:{SPOKE}:ipv4", "found 10.0.0.1, which db1.example has too", "its own"),
        pillar.Problem(
            "ipsec:certificates:subject", f"gives 'CN=db1.example' to db1.example and {SPOKE}", "y"
        ),
    ]
    told = refused_part(PillarError(problems), SPOKE, "db1.example")
    assert "db1" not in told
    assert "0.300" not in told
    assert "found 10.0.0.1, which another host has too" in told
    assert f"gives 'CN=another host' to another host and {SPOKE}" in told
    assert "1 error more" in told


def test_a_mine_is_no_oracle_for_the_addresses_of_others():
    """A minion that gave itself an address read whose it is."""
    data = fleets.example()
    stranger = next(
        name for name in data["hosts"] if name not in {SPOKE, *membership.read(data, SPOKE).peers}
    )
    address = pillar.read(data).host(stranger).ipv4
    data["hosts"][SPOKE] = {
        **{key: one for key, one in data["hosts"][SPOKE].items() if key not in ("ipv4", "ipv6")},
        "addresses": "mine",
    }
    fleet = pillar.read(data, {SPOKE: Found((address,))})
    part = parts.Whole(data, fleet).part(SPOKE)
    assert stranger not in json.dumps(part)
    assert f"found {address}, which another host has too" in json.dumps(part)


def test_an_address_that_goes_to_a_host_that_is_no_peer_stays_blocked_on_the_way():
    """A part knows no address of others: the safe side, told in docs/large-fleets.md."""
    data = fleets.example()
    data["rules"] = [{**rule, "stage": "require"} for rule in data["rules"]]
    before = membership.read(data, SPOKE).connections
    old = data["hosts"][HUB]["ipv4"]
    moved = {**data["hosts"], HUB: {**data["hosts"][HUB], "ipv4": "10.64.0.99"}}
    gone = addressed.member(part_of({**data, "hosts": moved}, SPOKE), SPOKE, no_mine)
    same({**data, "hosts": moved}, before=before)
    assert old in [str(one.right) for one in gone.limited("start", before).barred]
    taken = {**moved, "new.eqiad.example": {"site": "eqiad", "ipv4": old, "alone": True}}
    part = addressed.member(part_of({**data, "hosts": taken}, SPOKE), SPOKE, no_mine)
    whole = membership.read({**data, "hosts": taken}, SPOKE)
    assert old in [str(one.right) for one in part.limited("start", before).barred]
    assert old not in [str(one.right) for one in whole.limited("start", before).barred]
    assert part.limited("require", before).barred == whole.limited("require", before).barred
