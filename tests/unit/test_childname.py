"""The name of CHILD options: by it charon tells two connections apart whose options of IKE are the same."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.fleet import foreseen, planwords
from hostipsec.pillar import membership, pillar
from hostipsec.strongswan import childname, defaults, parse, render, sections, shared, swanctl
from hostipsec.strongswan.sections import Configuration, Secret

ME = "cp1001.eqiad.example"
# option of all connections -> another value than that where nothing is said, as a text; of CHILD SAs
OTHERS = {
    "closeaction": "clear",
    "compress": "yes",
    "esp": "aes256gcm16-ecp384!",
    "leftfirewall": "yes",
    "lefthostaccess": "yes",
    "leftupdown": "/bin/true",
    "lifebytes": "1000000000",
    "lifepackets": "1000000000",
    "lifetime": "2h",
    "marginbytes": "1000000",
    "marginpackets": "1000000",
    "replay_window": "64",
    "reqid": "77",
    "sha256_96": "yes",
    "tfc": "%mtu",
    "type": "tunnel",
}
OF_IKE = {
    "dpddelay": "10s",
    "forceencaps": "yes",
    "ike": "aes256gcm16-prfsha384-ecp384!",
    "ikelifetime": "9h",
    "margintime": "5m",
    "rekeyfuzz": "50%",
}


def value(common=(), own=()) -> Configuration:
    """Return what a host runs of a pillar with options of all connections, and of its first rule."""
    data = {**fleets.example(), "connection": dict(common)}
    data["rules"][0].update(own)
    member = membership.read(data, ME)
    return sections.configuration(member.connections, member.fleet.settings, "f.pem", Secret("RSA", "f.pem"))


def names(found: Configuration) -> set:
    """Return the names that connections of a host have, whether their own or that of all."""
    return {{**found.defaults, **one}.get("leftgroups") for one in found.connections.values()}


def told(**options: str) -> str:
    return childname.told({**defaults.CONNECTION, **options}).get("leftgroups", "")


def test_where_the_pillar_sets_none_there_is_no_name():
    """Hosts of the release before, which had none, have nothing to change."""
    assert "leftgroups" not in render.ipsec_conf(value(common=OF_IKE))
    assert names(value(common={"lifetime": "60m", "type": "transport", "replay_window": 128})) == {None}


def test_each_set_of_options_has_another_name():
    found = [told(**{key: other}) for key, other in OTHERS.items()]
    assert len({"", *found, told(**OTHERS)}) == len(OTHERS) + 2


def test_an_option_of_ike_has_none_and_one_meaning_one():
    assert told(**OF_IKE) == ""
    assert told(lifetime="2h") == told(lifetime="7200", compress="no", tfc="0", **OF_IKE)
    assert told(esp="aes128gcm16!") == told(esp="aes128gcm!")


def test_it_stays_from_release_to_release():
    assert told(lifetime="2h") == "hostipsec-5d51fd76"


def test_each_option_of_a_rule_is_of_ike_or_has_another_name():
    assert {*shared.OF_A_RULE} <= {*OTHERS, *OF_IKE}


def test_each_option_that_swanctl_has_at_a_child_has_another_name():
    """But those that follow from stage and role, and those that have one value."""
    of_children = {key for key, option in swanctl.OPTIONS.items() if option.name.startswith("child.")}
    assert of_children - {"auto", "dpdaction", "inactivity", "installpolicy"} <= {*OTHERS}


def test_what_a_rule_says_names_its_connections_and_no_others():
    plain, ruled = value(), value(own={"type": "tunnel"})
    named = {name for name, one in ruled.connections.items() if "leftgroups" in one}
    assert named == {name for name in ruled.names if ruled.connections[name] != plain.connections[name]}
    assert len(named) == 4 < len(ruled.names)


def test_a_rule_that_takes_back_what_all_have_has_another_name():
    """None would be the name of all."""
    common, back = {"lifetime": "2h"}, {"lifetime": "1h"}
    assert len(names(value(common, back))) == 2
    assert names(value(common, back)) > names(value(common))


def test_what_only_some_packets_are_encrypted_of_has_another_name():
    assert len(names(value(own={"only": ["tcp/6379"]}))) > 2


@pytest.mark.parametrize("own", [{}, {"lifetime": "3h"}])
def test_it_is_read_back_of_the_files_of_either_back_end(own):
    found = value({"lifetime": "2h"}, own)
    assert names(parse.configuration(render.ipsec_conf(found))) == names(found)
    assert names(swanctl.settled(found)) == names(found)


def lines(common=(), own=()) -> list[str]:
    """Return the plan of an edit."""
    data = {**fleets.example(), "connection": dict(common)}
    data["rules"][0].update(own)
    return planwords.lines(foreseen.plan(pillar.read(fleets.example()), pillar.read(data)))


def test_a_plan_of_an_edit_does_not_speak_of_it():
    found = [*lines(common={"lifetime": "2h"}), *lines(own={"type": "tunnel"})]
    assert any("lifetime unset -> 2h" in one for one in found)
    assert any(one.endswith("type unset -> tunnel") for one in found)
    assert not any("leftgroups" in one for one in found)


def test_a_plan_speaks_of_it_where_it_is_all_that_changes():
    """As at hosts of the release before, which had none."""
    assert childname.untold({"leftgroups": 1}) == {"leftgroups": 1}
    assert childname.untold({"leftgroups": 1, "esp": 2}) == {"esp": 2}
