"""What an edit of the pillar means, from both pillars alone: the same words as a plan of the hosts' own."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml

import fleets
from hostipsec.fleet import checked, filecheck, fleetplan, foreseen, planwords
from hostipsec.pillar import pillar, schema, topology
from hostipsec.programs import pillarcheck

GONE = "cp3002.esams.example"


def edited(change) -> dict:
    """Return the example as an edit leaves it, without what it expects."""
    data = copy.deepcopy(fleets.example())
    data.pop("expect")
    data["hosts"]["db1001.eqiad.example"].pop("alone")
    change(data)
    return data


def plan(change) -> fleetplan.FleetPlan:
    """Return what an edit of the example means."""
    return foreseen.plan(pillar.read(edited(lambda _: None)), pillar.read(edited(change)))


def rules(**more):
    return lambda data: data["rules"][1].update(more)


def host(name: str, /, **more):
    return lambda data: data["hosts"][name].update(more)


def leaves(data: dict) -> None:
    del data["hosts"][GONE]


def joins(data: dict) -> None:
    data["hosts"]["cp3003.esams.example"] = {"site": "esams", "cluster": "text", "ipv4": "10.20.0.13"}


EDITS = [
    leaves,
    joins,
    rules(stage="require"),
    rules(stage="off"),
    host(GONE, maintenance=True),
    host(GONE, ipv4="10.20.0.99"),
    host(GONE, cluster="db"),
    host("db1001.eqiad.example", cluster="text"),
    lambda data: data["hosts"]["cp2001.codfw.example"].pop("ipv6"),
]


def test_no_edit_means_nothing():
    found = plan(lambda _: None)
    assert (found.status, found.rows, found.hosts_to_change) == (fleetplan.NOTHING, (), ())


def every(data: dict) -> dict:
    """Return all connections of a fleet, by pair and family."""
    fleet = pillar.read(data)
    return {
        (one.id, of.peer, of.family): of._replace(name="")
        for one in fleet.hosts
        for of in topology.connections(fleet, one.id)
        if of.initiator
    }


@pytest.mark.parametrize("change", EDITS)
def test_what_is_added_removed_and_changed_is_what_differs(change):
    found, old, new = plan(change), every(edited(lambda _: None)), every(edited(change))
    said = {
        kind: {(row.one, row.other, row.family) for row in found.of(kind)} for kind in ("added", "removed")
    }
    assert said == {"added": {*new} - {*old}, "removed": {*old} - {*new}}
    assert {(row.one, row.other, row.family) for row in found.of("changed")} == {
        key for key in {*old} & {*new} if old[key] != new[key]
    }
    assert [row.disagree for row in found.rows if row.disagree] == []
    assert found.status == fleetplan.SOMETHING
    assert found.missing == ()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (leaves, f"1 host leaves: {GONE}; 6 connections of ours stay there until ipsec.clean is applied"),
        (joins, "1 host enters: cp3003.esams.example"),
        (host(GONE, maintenance=True), f"1 host in maintenance, kept as configured: {GONE}"),
        (rules(clear=["tcp/6379"]), "tcp/6379 will be in the clear on 3 hosts: "),
        (rules(stage="require"), "48 policies of the guard added on 3 hosts"),
        (
            lambda data: data.update(connection={"margintime": "5m"}),
            "all connections: margintime 13m -> 5m: 16 connections, 5 hosts",
        ),
        (lambda data: data.update(charon={"threads": 40}), "its tunnels end and come back"),
        (lambda data: data.update(mtu=1400), "32 routes with a locked MTU added (mtu 1400) on 5 hosts: "),
        (lambda data: data.update(existing="keep"), "ipsec:existing unset -> keep: 5 hosts"),
        (
            lambda data: data.update(certificates={"source": "puppet", "warn_days": 9}),
            "ipsec:certificates:warn_days 30 -> 9: 5 hosts",
        ),
        (
            lambda data: data.update(certificates={"source": "puppet", "ssldir": "/etc/ssl/p"}),
            "ipsec:certificates:ca {ssldir}/certs/ca.pem -> /etc/ssl/p/certs/ca.pem; what is in that file, "
            "salt-run ipsec.plan asks: 5 hosts",
        ),
        (
            lambda data: data.update(sysctl={"net.core.xfrm_acq_expires": 9}),
            "sysctl net.core.xfrm_acq_expires",
        ),
        (lambda data: data.update(packages=["tcpdump"]), "packages installed: tcpdump: 5 hosts"),
    ],
)
def test_it_is_said_as_a_plan_says_it(change, line):
    lines = planwords.lines(plan(change))
    assert any(line in one for one in lines), lines


@pytest.mark.parametrize(
    "change",
    [
        lambda data: [
            data["hosts"][GONE].update(site="other"),
            data["rules"][0]["between"]["site"].append("other"),
        ],
        lambda data: data["hosts"].pop("cp3001.esams.example"),
    ],
)
def test_what_hosts_keep_on_record_alone_is_no_edit_that_means_nothing(change):
    """Another site of a peer, and one that leaves while it rests, were told as nothing."""

    def rests(data: dict) -> None:
        data["hosts"]["cp3001.esams.example"]["maintenance"] = True

    old, new = pillar.read(edited(rests)), pillar.read(edited(lambda data: [rests(data), change(data)]))
    found = foreseen.plan(old, new)
    assert found.rows == ()
    assert {str(one["changes"]) for one in found.answers.values() if one["changes"]} == {
        "{'ipsec.configured': {'mesh.json': 'rewritten'}}"
    }
    assert {"cp1001.eqiad.example", "cp2001.codfw.example"} <= {*found.hosts_to_change}


# Addresses that are looked up ----------------------------------------------------------------


def looked_up(*names: str, change=lambda _: None):
    """Return the example whose hosts, or these, have no address in the pillar, as an edit leaves it."""

    def bare(data: dict) -> None:
        change(data)
        data["addresses"] = "mine"
        for name in names or data["hosts"]:
            for key in ("ipv4", "ipv6"):
                data["hosts"][name].pop(key)

    return checked.compiled(edited(bare)).fleet


@pytest.mark.parametrize(
    "change", [rules(stage="require"), rules(mtu=1400), rules(stage="off"), host(GONE, cluster="db"), leaves]
)
def test_an_edit_means_the_same_where_addresses_are_looked_up(change):
    """It was told that nothing changes, or that hosts leave."""
    known, found = plan(change), foreseen.plan(looked_up(), looked_up(change=change))
    assert (found.status, found.strangers) == (known.status, ())
    assert found.hosts_to_change == known.hosts_to_change
    assert (found.standing(fleetplan.LEAVES), found.misfits) == (known.standing(fleetplan.LEAVES), ())
    assert {(row.one, row.other, row.change) for row in found.rows} == {
        (row.one, row.other, row.change) for row in known.rows
    }


def test_whose_addresses_are_to_be_looked_up_from_now_on_keeps_them():
    old, new = pillar.read(edited(lambda _: None)), looked_up(GONE)
    assert foreseen.plan(old, new).status == foreseen.plan(new, old).status == fleetplan.NOTHING
    assert foreseen.unknown(old, new) == (GONE,)


def test_how_addresses_that_are_looked_up_count_is_said(tmp_path):
    asked = {"site": "esams", "cluster": "text", "addresses": "dns"}
    for name, change in (("old", lambda _: None), ("new", lambda data: data["hosts"].update({GONE: asked}))):
        (tmp_path / name).write_text(yaml.safe_dump({"ipsec": edited(change)}))
    said = filecheck.check([str(tmp_path / "new")], [str(tmp_path / "old")])
    assert list(said.lines[-2:]) == [
        "  nothing: to each host both pillars mean the same",
        "  addresses that are looked up count as staying, and in both families: cp3002.esams.example",
    ]
    assert said.data["plan"]["lines"] == [line[2:] for line in said.lines[-2:]]


def test_the_mtu_of_a_rule_is_that_of_its_pairs():
    (line,) = [one for one in planwords.lines(plan(rules(mtu=1400))) if "MTU" in one]
    assert line.startswith("8 routes with a locked MTU added (mtu 1400) on 3 hosts")


def test_another_mtu_is_told_with_the_one_of_before():
    """A plan told of routes, and not of their size."""
    old, new = (pillar.read(edited(lambda data, mtu=mtu: data.update(mtu=mtu))) for mtu in (1400, 1450))
    lines = planwords.lines(foreseen.plan(old, new))
    assert any("32 routes with a locked MTU replaced (mtu 1400 -> 1450) on 5 hosts: " in one for one in lines)
    lines = planwords.lines(foreseen.plan(new, pillar.read(edited(lambda _: None))))
    assert any("32 routes with a locked MTU deleted (mtu 1450) on 5 hosts: " in one for one in lines)


def test_an_option_of_a_rule_changes_its_pairs_at_both_ends():
    found = plan(rules(lifetime="50m", margintime="5m"))
    assert {(row.change, row.disagree, len(row.ends)) for row in found.rows} == {("changed", "", 2)}
    assert len(found.rows) == 4


MANUAL = (Path(__file__).parents[2] / "docs/changing-the-fleet.md").read_text()


def test_ciphers_are_changed_pair_by_pair_as_the_manual_has_it():
    """The rule before the others changes its own pairs, and at both ends alike."""
    (rule,) = yaml.safe_load(MANUAL.partition("```yaml\n")[2].partition("```")[0])["rules"]
    found = plan(lambda data: data["rules"].insert(0, rule))
    assert {(row.one, row.other, row.change) for row in found.rows} == {
        ("cp1001.eqiad.example", f"cp300{number}.esams.example", "changed") for number in (1, 2)
    }
    assert [row.disagree for row in found.rows if row.disagree] == []
    assert {option for row in found.rows for of in row.options.values() for option in of} == {
        *("esp", "ike", "leftgroups")
    }


def test_what_salt_does_not_manage_has_no_plan():
    gateway = {"ipv4": "198.51.100.1", "subject": "@gw.example", "managed": False, "cluster": "text"}

    def partner(data: dict) -> None:
        data["hosts"]["gw.example"] = {**gateway, "site": "esams"}

    found = plan(partner)
    assert "gw.example" not in found.answers
    assert {row.one for row in found.rows} | {row.other for row in found.rows} > {"gw.example"}
    assert [row.disagree for row in found.rows if row.disagree] == []
    assert found.missing == ()


def test_the_ca_of_a_peer_that_salt_does_not_manage_is_that_of_its_members():
    gateway = {"ipv4": "198.51.100.1", "subject": "@gw.example", "managed": False, "cluster": "text"}

    def partner(**more):
        return edited(lambda data: data["hosts"].update({"gw.example": {**gateway, "site": "esams", **more}}))

    old, new = (pillar.read(partner(**more)) for more in ({}, {"ca": "/etc/ssl/gw.pem"}))
    found = foreseen.plan(old, new)
    (line,) = [one for one in planwords.lines(found) if one.startswith("ipsec:hosts:gw.example")]
    assert line.startswith(
        "ipsec:hosts:gw.example:ca unset -> /etc/ssl/gw.pem; what is in that file, salt-run ipsec.plan asks: "
    )
    assert found.hosts_to_change == ("cp1001.eqiad.example", "cp1002.eqiad.example", "cp2001.codfw.example")


CORE, EDGE = "cp1001.eqiad.example", "cp3001.esams.example"
OF_NO_HOST = {"hosts", "rules", "labels", "addresses", "hosts:*:addresses", "hosts:*:alone", "rules:*:name"}
EACH_KEY = {
    "certificates": lambda data: data.update(certificates={"source": "puppet", "ssldir": "/etc/p"}),
    "connection": lambda data: data.update(connection={"lifetime": "2h"}),
    "weak": lambda data: data.update(weak=["modp1024"]),
    "setup": lambda data: data.update(setup={"charondebug": {"ike": 2}}),
    "charon": lambda data: data.update(charon={"retransmit_tries": 10}),
    "sysctl": lambda data: data.update(sysctl={"net.core.xfrm_acq_expires": 10}),
    "packages": lambda data: data.update(packages=["tcpdump"]),
    "vici": lambda data: data.update(vici=False),
    "mtu": lambda data: data.update(mtu=1450),
    "existing": lambda data: data.update(existing="keep"),
    "metrics": lambda data: data.update(metrics={"clear_text": True}),
    "backend": lambda data: data.update(backend="auto"),
    "hosts:*:backend": host(CORE, backend="swanctl"),
    "hosts:*:ipv4": host(CORE, ipv4="10.64.0.99"),
    "hosts:*:ipv6": host(CORE, ipv6="2001:db8:1::99"),
    "hosts:*:maintenance": host(CORE, maintenance=True),
    "hosts:*:name": host(CORE, name="first"),
    "hosts:*:subject": host(CORE, subject="@cp1001.example"),
    "hosts:*:local_ipv4": host(CORE, local_ipv4="192.168.0.7"),
    "hosts:*:nat": lambda data: [
        data["hosts"][name].update(local_ipv4=f"192.168.0.{number}", nat="vpc")
        for number, name in enumerate(sorted(data["hosts"]), 1)
    ],
    "hosts:*:managed": host(EDGE, managed=False, subject="@cp3001"),
    "rules:*:between": lambda data: data["rules"][1].update(between={"site": "codfw"}),
    "rules:*:and": lambda data: data["rules"][0].update({"and": {"site": "eqiad"}}),
    "rules:*:same": lambda data: data["rules"][0].update(same=["id"]),
    "rules:*:different": lambda data: data["rules"][0].update(different=["cluster"]),
    "rules:*:stage": rules(stage="passive"),
    "rules:*:ike": rules(ike="aes256gcm16-prfsha384-ecp384!"),
    "rules:*:esp": rules(esp="aes256gcm16-ecp384!"),
    "rules:*:lifetime": rules(lifetime="4h"),
    "rules:*:ikelifetime": rules(ikelifetime="9h"),
    "rules:*:lifebytes": rules(lifebytes=10**9, marginbytes=10**8),
    "rules:*:lifepackets": rules(lifepackets=10**9, marginpackets=10**8),
    "rules:*:margintime": rules(margintime="5m"),
    "rules:*:marginbytes": rules(lifebytes=10**9, marginbytes=10**7),
    "rules:*:marginpackets": rules(lifepackets=10**9, marginpackets=10**7),
    "rules:*:rekeyfuzz": rules(rekeyfuzz="50%"),
    "rules:*:dpddelay": rules(dpddelay="10s"),
    "rules:*:compress": rules(compress=True),
    "rules:*:type": rules(type="tunnel"),
    "rules:*:encapsulation": rules(encapsulation="udp"),
    "rules:*:clear": rules(clear=["tcp/22"]),
    "rules:*:only": rules(only=["tcp/22"]),
    "rules:*:mtu": rules(mtu=1400),
}
SEEN_ELSEWHERE = {"hosts:*:ca"}  # above


def test_every_key_is_looked_at():
    """Whoever adds a key says here what an edit of it means."""
    others = ("expect", "certificates:", "metrics:", "connection:", "setup:")
    known = {key.path for key in schema.KEYS if not key.path.startswith(others)}
    assert {*EACH_KEY} | OF_NO_HOST | SEEN_ELSEWHERE == known


@pytest.mark.parametrize("key", EACH_KEY)
def test_an_edit_of_each_key_means_something(key):
    """An edit of the partner's CA was told as none."""
    found = plan(EACH_KEY[key])
    assert found.status == fleetplan.SOMETHING
    assert [row.disagree for row in found.rows if row.disagree] == []


def test_the_program_says_it_of_files(tmp_path, capsys):
    old, new = tmp_path / "old.sls", tmp_path / "new.sls"
    old.write_text(yaml.safe_dump({"ipsec": edited(lambda _: None)}))
    new.write_text(yaml.safe_dump({"ipsec": edited(leaves)}))
    assert pillarcheck.main([str(new), "--against", str(old)]) == 0
    assert (
        "what it changes:\n  3 of 4 hosts to change; connections: 0 added, 6 removed"
        in capsys.readouterr().out
    )
    assert pillarcheck.main([str(new), "--against", str(old), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["plan"]
    assert (len(found["removed"]), found["leave"]) == (6, [GONE])
    assert pillarcheck.main([str(old), "--against", str(old)]) == 0
    assert capsys.readouterr().out.endswith("  nothing: to each host both pillars mean the same\n")


def test_against_a_pillar_that_is_wrong_the_new_one_counts(tmp_path, capsys):
    old, new = tmp_path / "old.sls", tmp_path / "new.sls"
    old.write_text("ipsec: {}\n")
    new.write_text(yaml.safe_dump({"ipsec": edited(lambda _: None)}))
    assert pillarcheck.main([str(new), "--against", str(old)]) == 0
    assert "since the old pillar has 2 errors" in capsys.readouterr().out
    assert pillarcheck.main([str(new), "--against", str(new), str(tmp_path / "gone.sls")]) == 0
    assert "since the old pillar has 1 error:" in (said := capsys.readouterr().out)
    assert "gone.sls: error: ipsec: cannot be opened" in said
    assert pillarcheck.main([str(old), "--against", str(new)]) == 2
    assert "what it changes" not in capsys.readouterr().out
