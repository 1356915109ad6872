"""What a rule says of the connections of its pairs: read, checked, written, judged."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from test_encrypted import MEANT, with_child
from test_judge import KERNEL, SA, WEST_V4, charon, row

import fleets
from hostipsec.errors import PillarError
from hostipsec.health.judge import evaluate
from hostipsec.kernel import cleartext, guard, routes
from hostipsec.model import KernelPolicy
from hostipsec.pillar import membership as memberships
from hostipsec.pillar import pillar, selection, topology
from hostipsec.proof import packets
from hostipsec.store import record
from hostipsec.strongswan import difference, parse, render, sections
from hostipsec.strongswan.sections import Secret

MANUAL = (Path(__file__).parents[2] / "docs/pillar.md").read_text()
CHACHA = "chacha20poly1305-ecp384!"


HUB = sorted(fleets.star(1)["hosts"])[0]


def pair(**own):
    """Return the pillar of two hosts whose rule says so much."""
    data = fleets.star(1)
    return {**data, "rules": [{**data["rules"][0], **own}]}


def connection(data):
    """Return the first connection of the first host."""
    return topology.connections(pillar.read(data), HUB)[0]


def wrong(data):
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    return {problem.path: problem for problem in caught.value.problems}


def written(data, host):
    """Return what a host of a pillar shall run, and its ipsec.conf."""
    fleet = pillar.read(data)
    secret = Secret("RSA", "x.pem")
    value = sections.configuration(topology.connections(fleet, host), fleet.settings, "x.pem", secret)
    return value, render.ipsec_conf(value)


# Read --------------------------------------------------------------------------------------------


def manual(number=0):
    """Return one of the examples of the manual."""
    text = MANUAL.partition("## options of a rule\n")[2].partition("\n## ")[0]
    some = "\n".join(line[4:] if line.startswith("    ") else "---" for line in text.splitlines() if line)
    return [one for one in yaml.safe_load_all(some) if one][number]


def test_the_example_of_an_exception():
    roles = ("database", "database", "application")
    hosts = {f"h{n}": {"role": role, "ipv4": f"10.0.0.{n}"} for n, role in enumerate(roles, 1)}
    (rule,) = manual(1)["rules"]
    fleet = pillar.read({"hosts": hosts, "rules": [rule]})
    found = topology.connections(fleet, "h1")
    assert [(one.peer, one.stage, one.clear) for one in found] == [
        ("h2", "require", ("tcp/22",)),
        ("h3", "require", ("tcp/22",)),
    ]


def test_of_a_pair_with_exceptions_all_else_is_counted():
    made = cleartext.changes([WEST_V4._replace(clear=("tcp/22",))], cleartext.Table())
    assert f"out4 {{ type ipv4_addr; counter; elements = {{ {WEST_V4.right} }}" in made
    assert f"elements = {{ {WEST_V4.right} . 6 . 22 }}" in made


def test_the_example_of_the_manual():
    sites = ("eqiad", "codfw", "ulsfo", "cloud", "esams")
    hosts = {f"{site}1": {"site": site, "ipv4": f"10.0.0.{n}"} for n, site in enumerate(sites, 1)}
    fleet = pillar.read({"hosts": hosts, **manual()})
    found = {one.peer: (dict(one.options), one.mtu) for one in topology.connections(fleet, "eqiad1")}
    assert found == {
        "ulsfo1": ({"esp": CHACHA, "lifetime": "4h"}, 1400),
        "cloud1": ({"forceencaps": "yes", "dpddelay": "10s"}, None),
        "codfw1": ({}, None),
        "esams1": ({}, None),
    }


def test_the_first_rule_that_fits_decides_all_of_it():
    data = fleets.example()
    first, *others = data["rules"]
    one = {**first, "name": "one", "and": {"site": "codfw"}, "esp": CHACHA}
    data["rules"] = [one, {**first, "lifetime": "30m", "mtu": 1400}, *others]
    found = {item.peer: (dict(item.options), item.mtu) for item in connections(data, "cp3001.esams.example")}
    assert found["cp2001.codfw.example"] == ({"esp": CHACHA}, None)
    assert found["cp1001.eqiad.example"] == ({"lifetime": "30m"}, 1400)


def connections(data, host):
    return topology.connections(pillar.read(data), host)


@pytest.mark.parametrize(
    ("own", "key", "said"),
    [
        ({"esp": "aes128gcm61"}, "esp", "aes128gcm61"),
        ({"esp": "3des-md5"}, "esp", "broken by its age"),
        ({"ike": "null-sha256-ecp384!"}, "ike", "encrypts nothing"),
        ({"type": "pass"}, "type", "encrypt nothing"),
        ({"lifetime": "20m"}, "lifetime", "margintime"),
        ({"margintime": "2h"}, "margintime", "2h"),
        ({"rekeyfuzz": "500%"}, "rekeyfuzz", "500%"),
        ({"lifebytes": 2**30}, "marginbytes", "nothing"),
        ({"dpddelay": 0}, "dpddelay", "0"),
        ({"compress": "maybe"}, "compress", "maybe"),
        ({"encapsulation": "gre"}, "encapsulation", "udp"),
        ({"encapsulation": True}, "encapsulation", "udp"),
        ({"mtu": 100}, "mtu", "1280 to 65535"),
        ({"mtu": True}, "mtu", "1280 to 65535"),
        ({"clear": "tcp/0"}, "clear", "'tcp/0'; allowed: a protocol and a port, as tcp/22"),
        ({"clear": ["tcp/22", "tcp/65536"]}, "clear", "tcp/65536"),
        ({"clear": ["icmp"]}, "clear", "icmp"),
        ({"clear": [22]}, "clear", "22"),
        ({"clear": {"tcp": 22}}, "clear", "a list"),
        ({"epsilon": 1}, "epsilon", "unknown key"),
        ({"rightsubnet": "10.0.0.0/8"}, "rightsubnet", "unknown key"),
    ],
)
def test_what_is_wrong_is_an_error_at_its_key(own, key, said):
    found = wrong(pair(**own))
    assert set(found) == {f"ipsec:rules:0:{key}"}
    assert said in str(found[f"ipsec:rules:0:{key}"])


def test_what_is_wrong_of_all_connections_is_told_once():
    data = {**pair(esp=CHACHA), "connection": {"margintime": "2h"}}
    assert set(wrong(data)) == {"ipsec:connection:margintime"}


def test_lifetimes_are_checked_with_those_of_all():
    short = {**pair(margintime="20m"), "connection": {"lifetime": "30m", "margintime": "5m"}}
    assert set(wrong(short)) == {"ipsec:rules:0:margintime"}
    assert dict(connection({**short, "connection": {"lifetime": "2h"}}).options) == {"margintime": "20m"}


def test_what_is_weak_needs_its_word():
    assert set(wrong(pair(ike="3des-sha256-ecp384!"))) == {"ipsec:rules:0:ike"}
    assert connection({**pair(ike="3des-sha256-ecp384!"), "weak": ["3des"]}).options


def test_settings_of_one_connection():
    data = {**pair(esp=CHACHA, mtu=1400), "mtu": 1450, "connection": {"lifetime": "2h"}}
    member = memberships.read(data, HUB)
    ((settings, family),) = selection.families(member, member.peers[0], "v4").values()
    assert (family, settings.mtu, settings.connection) == ("v4", 1400, {"lifetime": "2h", "esp": CHACHA})
    assert sections.esp_of(member.connections, member.fleet.settings) == (CHACHA,)


# Written -----------------------------------------------------------------------------------------


def test_they_come_into_that_connection_alone():
    data = fleets.example()
    plain, _ = written(data, "cp1001.eqiad.example")
    data["rules"][0].update(esp=CHACHA, encapsulation="udp", mtu=1400)
    value, text = written(data, "cp1001.eqiad.example")
    assert (value.defaults, value.strongswan) == (plain.defaults, plain.strongswan)
    touched = {name for name, options in value.connections.items() if options != plain.connections[name]}
    assert touched == {"cp3001_v4", "cp3001_v6", "cp3002_v4", "cp3002_v6"}
    for name in touched:
        more = {"esp": CHACHA, "forceencaps": "yes", "leftgroups": "hostipsec-64bb1df3"}
        assert value.connections[name] == {**plain.connections[name], **more}
    assert parse.configuration(text).connections == value.connections


def test_both_ends_are_told_the_same():
    data = fleets.example()
    data["rules"][0].update(esp=CHACHA, lifetime="30m", type="tunnel", compress="yes")
    ends = [
        written(data, host)[0].connections[name]
        for host, name in (
            ("cp1001.eqiad.example", "cp3001_v6"),
            ("cp3001.esams.example", "cp1001_v6"),
        )
    ]
    for key in ("esp", "lifetime", "type", "compress"):
        assert ends[0][key] == ends[1][key]


def test_a_value_that_means_the_same_is_no_change():
    old, new = (written(pair(lifetime=text), HUB)[0] for text in ("1h", "3600s"))
    assert difference.between(old, new).empty
    other = written(pair(lifetime="2h"), HUB)[0]
    changes = {"leftgroups": (None, "hostipsec-5d51fd76"), "lifetime": ("1h", "2h")}
    assert [*difference.between(old, other).changed.values()] == [changes] * 2


# On record ---------------------------------------------------------------------------------------


def test_the_record_has_them_and_is_as_before_without():
    plain, own = connection(pair()), connection(pair(esp=CHACHA, mtu=1400))
    assert "options" not in record.render(record.Record((plain,)))
    text = record.render(record.Record((own,)))
    assert record.parse(text).connections == (own,)
    assert json.loads(text)["connections"][0]["options"] == {"esp": CHACHA}


@pytest.mark.parametrize(
    "damage", [{"options": ["esp"]}, {"options": {"esp": 1}}, {"options": {"esp": "a\nb"}}, {"mtu": "1400"}]
)
def test_a_record_with_other_things_there_is_not_believed(damage):
    entry = {"name": "a_v4", **connection(pair(esp=CHACHA)).as_dict(), **damage}
    with pytest.raises(record.HostIPsecError):
        record.parse(json.dumps({"connections": [entry]}) + "\n")


def test_ipsec_conf_tells_of_them(here):
    value, text = written(pair(esp=CHACHA, type="tunnel"), HUB)
    here.conf.parent.mkdir(parents=True, exist_ok=True)
    here.conf.write_text(text)
    assert {one.options for one in record.of_conf().connections} == {(("esp", CHACHA), ("type", "tunnel"))}
    assert len(record.of_conf().connections) == len(value.connections)


# Judged ------------------------------------------------------------------------------------------


def judged(one, **child):
    return row(evaluate((one,), charon(with_child(**child)), KERNEL, meant=MEANT))


OWN = WEST_V4._replace(options=(("esp", CHACHA),))


def test_an_sa_is_judged_by_the_options_of_its_own_connection():
    chacha = "CHACHA20_POLY1305"
    assert judged(OWN, proposal=chacha).severity == "ok"
    assert "configured is esp=aes128gcm16" in judged(WEST_V4, proposal=chacha).reason
    assert f"configured is esp={CHACHA}" in judged(OWN, proposal="AES_GCM_16_128").reason
    assert judged(WEST_V4, proposal="AES_GCM_16_128").severity == "ok"


def test_mode_and_ike_of_its_own():
    tunnel = WEST_V4._replace(options=(("type", "tunnel"),))
    assert "in mode TRANSPORT, configured is TUNNEL" in judged(tunnel, mode="TRANSPORT").reason
    ike = WEST_V4._replace(options=(("ike", "aes256gcm16-prfsha384-ecp384!"),))
    sa = SA._replace(proposal="AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384")
    found = row(evaluate((ike,), charon(sa), KERNEL, meant=MEANT))
    assert "configured is ike=aes256gcm16" in found.reason


def test_what_is_weak_is_well_where_the_rule_has_it():
    weak = WEST_V4._replace(options=(("ike", "3des-sha256-ecp384!"),))
    sa = SA._replace(proposal="3DES_CBC/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_384")
    assert row(evaluate((weak,), charon(sa), KERNEL, meant=MEANT)).severity == "ok"
    assert row(evaluate((WEST_V4,), charon(sa), KERNEL, meant=MEANT)).state == "not encrypted"


# Routes ------------------------------------------------------------------------------------------


def test_each_peer_has_the_mtu_of_its_rule():
    table = routes.Table((routes.Entry(*ENTRY),))
    ends = [ip_address(f"10.0.0.{number}") for number in (5, 6, 7)]
    first, second, third = (WEST_V4._replace(name=str(end), right=end) for end in ends)
    some = (first._replace(mtu=1400), second._replace(mtu=1300), third)
    assert [route.mtu for route in routes.wanted(some, 1450, table).routes] == [1400, 1300, 1450]
    assert [route.mtu for route in routes.wanted(some, None, table).routes] == [1400, 1300]
    assert routes.wanted((third,), None, table) == routes.Wanted()


ENTRY = (
    routes.ipaddress.ip_network("0.0.0.0/0"),
    *("unicast", "static", 0, 1, routes.Way((routes.Hop("eth0", "10.0.0.254"),)), None),
)


# Exceptions --------------------------------------------------------------------------------------


CLEAR = WEST_V4._replace(clear=("tcp/22",))
NEAR, FAR = f"{WEST_V4.left}/32", f"{WEST_V4.right}/32"
LET_BY = {  # the port of either end, both ways
    guard.Policy(*ends, ports=f"proto 6 {side} 22")
    for side in ("sport", "dport")
    for ends in ((NEAR, FAR, "out"), (FAR, NEAR, "in"))
}


def listed(policies):
    """Return policies as the kernel shows them, by names or by numbers of protocols."""
    return [
        KernelPolicy(one.src, one.dst, one.direction, guard.PASS, narrow=one.ports.replace("proto 6", name))
        for one, name in zip(sorted(policies), ("proto tcp", "proto 6") * len(policies))
    ]


def test_exceptions_are_the_same_at_both_ends_and_on_record():
    one = connection(pair(clear=["udp/53", "tcp/22", "tcp/22"]))
    assert one.clear == ("tcp/22", "udp/53")
    assert connection(pair(clear="tcp/22")).clear == ("tcp/22",)
    (other,) = (item for item in connections(pair(clear="tcp/22"), "hub.core.example") if item.family == "v4")
    assert other.clear == ("tcp/22",)
    text = record.render(record.Record((one,)))
    assert record.parse(text).connections == (one,)
    assert {"clear": ["tcp/22", "udp/53"]}.items() <= json.loads(text)["connections"][0].items()


@pytest.mark.parametrize("damage", ["tcp/22", ["tcp/99999"], [22], 5, {"tcp/22\nx": 1}])
def test_exceptions_of_a_damaged_record_are_not_believed(damage):
    entry = {"name": "a_v4", **connection(pair(clear="tcp/22")).as_dict(), "clear": damage}
    with pytest.raises(record.HostIPsecError):
        record.parse(json.dumps({"connections": [entry]}) + "\n")


def test_exceptions_are_refused_where_charon_does_esp():
    own = {"charon": {"plugins": {"kernel-libipsec": {"load": True}}}}
    assert set(wrong({**pair(clear="tcp/22"), **own})) == {"ipsec:rules:0:clear"}


def test_the_guard_lets_exceptions_by_at_any_stage():
    assert guard.wanted([CLEAR]) == LET_BY
    required = CLEAR._replace(stage="require")
    assert guard.wanted([required]) - guard.wanted([required._replace(clear=())]) == LET_BY
    lines = guard.batch(LET_BY, ()).splitlines()
    wanted = f"xfrm policy update src {NEAR} dst {FAR} proto 6 dport 22 dir out action allow priority 73"
    assert wanted in lines
    assert len(lines) == 4


def test_exceptions_are_found_again_in_the_kernel():
    there = listed(LET_BY)
    assert guard.present(there) == LET_BY
    assert guard.difference([CLEAR], there) == (frozenset(), frozenset())
    assert guard.difference([WEST_V4], there) == (frozenset(), LET_BY)
    others = [one._replace(priority=74) for one in there] + [one._replace(action="block") for one in there]
    assert guard.present(others) == frozenset()


def test_a_barred_address_keeps_its_exceptions_whatever_address_this_host_has():
    barred = CLEAR._replace(left=ip_address("0.0.0.0"))
    assert {one.src for one in guard.wanted([barred]) if one.direction == "out"} == {"0.0.0.0/0"}


def excepted(one, policies, **more):
    seen = KERNEL._replace(policies=(*KERNEL.policies, *policies))
    return row(evaluate((one,), charon(SA), seen, meant=MEANT, **more))


def test_a_pair_is_well_with_the_exceptions_of_its_rule_and_says_so():
    found = excepted(CLEAR, listed(LET_BY))
    assert (found.state, found.severity) == ("established", "ok")
    assert found.reason.endswith("; in the clear by its rule: tcp/22")


def test_an_exception_that_no_rule_has_is_not_encrypted():
    assert excepted(WEST_V4, listed(LET_BY)).state == "not encrypted"
    other = CLEAR._replace(clear=("tcp/23",))
    assert excepted(other, listed(LET_BY)).state == "not encrypted"
    wide = [one._replace(narrow="proto tcp") for one in listed(LET_BY)]
    assert excepted(CLEAR, wide).state == "not encrypted"


def test_an_exception_that_the_kernel_lacks_is_a_warning():
    found = excepted(CLEAR, listed(LET_BY)[1:])
    assert (found.state, found.severity) == ("established", "warning")
    assert found.reason.endswith("no policy that leaves tcp/22 in the clear")


def test_a_captured_packet_tells_its_ports():
    head = bytes.fromhex("450000280001000040060000") + CLEAR.left.packed + CLEAR.right.packed
    packet = packets.parse(head + (22).to_bytes(2, "big") + (51234).to_bytes(2, "big") + bytes(16))
    assert (packet.kind, packet.ports) == ("clear", ("tcp/22", "tcp/51234"))
