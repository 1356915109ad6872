"""What changes from one configuration to the next, in terms of connections."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.pillar import membership
from hostipsec.strongswan import difference, parse, render, sections
from hostipsec.strongswan.sections import Configuration, Secret

HUB = "hub.core.example"


def value(data: dict, host: str = HUB) -> Configuration:
    member = membership.read(data, host)
    secret = Secret("RSA", f"{host}.pem")
    return sections.configuration(member.connections, member.fleet.settings, f"{host}.pem", secret)


def with_settings(data: dict, **more: object) -> dict:
    return {**data, **more}


def test_the_same_pillar_differs_in_nothing():
    old = value(fleets.star(3))
    assert difference.between(old, value(fleets.star(3))).empty


def test_a_new_host_has_all_connections_added_and_no_list_of_options():
    default_file = parse.configuration("# ipsec.conf - strongSwan IPsec configuration file\n")
    found = difference.between(default_file, value(fleets.star(2)))
    assert found.new
    assert found.as_changes() == {
        "connections": {"added": ["edge0001_v4", "edge0001_v6", "edge0002_v4", "edge0002_v6"]},
        "configuration": "new",
    }


def test_a_removed_peer_is_removed_and_restarts_nothing():
    found = difference.between(value(fleets.star(40)), value(fleets.star(3)))
    assert found.removed[:2] == ("edge0004_v4", "edge0004_v6")
    assert len(found.removed) == 74
    assert found.changed == {}
    assert found.charon, "sizes that follow from the number of peers differ"
    assert found.restart_reasons(()) == ()


def test_an_option_that_changes_is_named_with_old_and_new():
    old, new = fleets.star(2), with_settings(fleets.star(2), connection={"margintime": "5m"})
    found = difference.between(value(old), value(new))
    assert found.as_changes() == {"all connections": {"margintime": {"old": "13m", "new": "5m"}}}


def test_values_that_mean_the_same_do_not_differ():
    """A pillar that says 780s for 13m touched every connection of a fleet for nothing."""
    new = with_settings(fleets.star(2), connection={"margintime": "780s"})
    assert difference.between(value(fleets.star(2)), value(new)).empty


def test_an_address_that_changes_belongs_to_one_connection():
    new = fleets.star(2)
    new["hosts"]["edge0002.edge.example"]["ipv4"] = "10.99.0.2"
    found = difference.between(value(fleets.star(2)), value(new))
    assert found.changed == {"edge0002_v4": {"right": ("10.0.0.2", "10.99.0.2")}}


@pytest.mark.parametrize(
    ("charon", "reasons"),
    [
        ({"retransmit_tries": 7}, ()),
        ({"threads": 40}, ("charon.threads: 16 -> 40",)),
        ({"plugins": {"vici": {"load": "no"}}}, ("charon.plugins.vici.load: unset -> no",)),
    ],
)
def test_only_settings_that_are_read_at_start_ask_for_a_restart(charon, reasons):
    new = with_settings(fleets.star(2), charon=charon)
    chosen = difference.flat({"charon": charon})
    assert difference.between(value(fleets.star(2)), value(new)).restart_reasons(chosen) == reasons


def required(stage="require", **more):
    rules = [{**fleets.star(2)["rules"][0], "stage": stage}]
    return value(with_settings(fleets.star(2), rules=rules, **more))


@pytest.mark.parametrize("charon", [{}, {"plugins": {"bypass-lan": {"interfaces_use": "eth0"}}}])
def test_where_a_pair_is_required_bypass_lan_is_not_loaded_whatever_the_hosts_own_file_says(charon):
    """With a file of the host's that loads it, all to hosts of the same link went in the clear."""
    found = required(charon=charon).strongswan["charon"]
    assert found["plugins"]["bypass-lan"] == {**charon.get("plugins", {}).get("bypass-lan", {}), "load": "no"}
    started = difference.flat(required("start", charon=charon).strongswan)
    assert "charon.plugins.bypass-lan.load" not in started


def test_what_keeps_bypass_lan_out_ends_no_sa_but_where_charon_has_it():
    old, new = required("start"), required()
    found = difference.between(old, new)
    key = "charon.plugins.bypass-lan.load"
    assert found.as_changes()["strongswan.conf"] == {key: {"old": None, "new": "no"}}
    assert found.restart_reasons((), ("aes", "vici")) == ()
    assert found.restart_reasons((), ("aes", "bypass-lan")) == (f"{key}: unset -> no",)
    assert difference.between(new, old).restart_reasons((), ("aes", "bypass-lan")) == ()
    loading = required("start", charon={"plugins": {"bypass-lan": {"load": "yes"}}})
    assert difference.between(loading, new).restart_reasons(()) == (f"{key}: yes -> no",)


def test_lines_of_another_hand_are_shown():
    new = value(fleets.star(2))
    conf = render.ipsec_conf(new) + "\ninclude /etc/ipsec.more.conf\n"
    old = parse.configuration(conf, render.ipsec_secrets(new), render.strongswan_conf(new))
    found = difference.between(old, new)
    assert found.as_changes() == {"removed lines": ["include /etc/ipsec.more.conf"]}


@pytest.mark.parametrize("text", [None, "", ': RSA "x.pem"\n', "+"])
def test_secrets_that_are_not_just_ours_are_written_anew(text):
    """What another hand wrote there may be a secret: nothing of it is taken into a value."""
    new = value(fleets.star(2))
    secrets = render.ipsec_secrets(new) + ': PSK "x"\n' if text == "+" else text
    old = parse.configuration(render.ipsec_conf(new), secrets, render.strongswan_conf(new))
    assert old.secret is None
    assert difference.between(old, new).as_changes() == {"ipsec.secrets": "rewritten"}
