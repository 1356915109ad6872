"""What changes from one configuration to the next, in terms of connections."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.pillar import membership, pillar, topology
from hostipsec.strongswan import difference, render

HUB = "hub.core.example"


def texts(data: dict, host: str = HUB) -> dict[str, str]:
    member = membership.read(data, host)
    settings = member.fleet.settings
    return {
        "conf": render.ipsec_conf(member.connections, settings, f"{host}.pem"),
        "secrets": render.ipsec_secrets("RSA", f"{host}.pem"),
        "strongswan": render.strongswan_conf(len(member.peers), settings),
    }


def with_settings(data: dict, **more: object) -> dict:
    return {**data, **more}


def test_the_same_pillar_differs_in_nothing():
    old = texts(fleets.star(3))
    assert difference.between(old, texts(fleets.star(3))).empty


def test_a_new_host_has_all_connections_added_and_no_list_of_options():
    default_file = {
        "conf": "# ipsec.conf - strongSwan IPsec configuration file\n",
        "secrets": None,
        "strongswan": None,
    }
    found = difference.between(default_file, texts(fleets.star(2)))
    assert found.new
    assert found.as_changes() == {
        "connections": {"added": ["edge0001_v4", "edge0001_v6", "edge0002_v4", "edge0002_v6"]},
        "configuration": "new",
    }


def test_a_removed_peer_is_removed_and_restarts_nothing():
    found = difference.between(texts(fleets.star(40)), texts(fleets.star(3)))
    assert found.removed[:2] == ("edge0004_v4", "edge0004_v6")
    assert len(found.removed) == 74
    assert found.changed == {}
    assert found.charon, "sizes that follow from the number of peers differ"
    assert found.restart_reasons({}) == ()


def test_an_option_that_changes_is_named_with_old_and_new():
    old, new = fleets.star(2), with_settings(fleets.star(2), connection={"margintime": "5m"})
    found = difference.between(texts(old), texts(new))
    assert found.as_changes() == {"all connections": {"margintime": {"old": "13m", "new": "5m"}}}


def test_values_that_mean_the_same_do_not_differ():
    """A pillar that says 780s for 13m touched every connection of a fleet for nothing."""
    new = with_settings(fleets.star(2), connection={"margintime": "780s"})
    assert difference.between(texts(fleets.star(2)), texts(new)).empty


def test_an_address_that_changes_belongs_to_one_connection():
    new = fleets.star(2)
    new["hosts"]["edge0002.edge.example"]["ipv4"] = "10.99.0.2"
    found = difference.between(texts(fleets.star(2)), texts(new))
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
    assert difference.between(texts(fleets.star(2)), texts(new)).restart_reasons(charon) == reasons


def test_lines_of_another_hand_are_shown():
    old = texts(fleets.star(2))
    old["conf"] += "\ninclude /etc/ipsec.more.conf\n"
    found = difference.between(old, texts(fleets.star(2)))
    assert found.as_changes() == {"removed lines": ["include /etc/ipsec.more.conf"]}


def test_what_is_rendered_reads_back():
    fleet = pillar.read(fleets.example())
    connections = topology.connections(fleet, "cp1001.eqiad.example")
    sections = render.parse_ipsec_conf(render.ipsec_conf(connections, fleet.settings, "c.pem"))
    assert sections["cp3001_v6"] == {
        "auto": "add",
        "dpdaction": "restart",
        "left": "2001:db8:1::11",
        "leftcert": "c.pem",
        "leftid": "CN=cp1001.eqiad.example",
        "right": "2001:db8:3::11",
        "rightid": "CN=cp3001.esams.example",
    }
    tree = render.parse_strongswan_conf(render.strongswan_conf(3, fleet.settings))
    assert tree == {"charon": render.charon_settings(3, fleet.settings)}
