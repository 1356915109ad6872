"""Configuration files: made as values, written as text, read back as the same values."""

from __future__ import annotations

import copy
import ipaddress
import re

import pytest

import fleets
from hostipsec import model
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import difference, parse, render, sections
from hostipsec.strongswan.sections import Configuration, Secret

KEY = Secret("ECDSA", "cp1001.pem")
CERTIFICATES = model.Certificates("puppet", "/c/{id}.pem", "/k/{id}.pem", "/ca.pem", "CN={id}")


def connection(stage: str = "start", initiator: bool = True) -> model.Connection:
    return model.Connection(
        name="cp3001_v4",
        peer="cp3001.esams.example",
        family="v4",
        left=ipaddress.ip_address("10.64.0.11"),
        right=ipaddress.ip_address("10.20.0.11"),
        leftid="CN=cp1001.eqiad.example",
        rightid="CN=cp3001.esams.example",
        initiator=initiator,
        stage=stage,
    )


def test_ipsec_conf_of_one_connection():
    settings = model.Settings(
        CERTIFICATES,
        connection={"lifetime": "8h"},
        setup={"uniqueids": "never"},
        charondebug={"dmn": 2, "cfg": 2},
    )
    assert render.ipsec_conf(sections.configuration([connection()], settings, "cp1001.pem", KEY)) == (
        render.HEADER
        + """
config setup
    charondebug="cfg 2, dmn 2"
    uniqueids=never

conn %default
    esp=aes128gcm16-ecp384bp-noesn!
    ike=aes128gcm16-prfsha384-ecp384bp!
    keyexchange=ikev2
    keyingtries=%forever
    leftgroups=hostipsec-0ec703a6
    leftsendcert=always
    lifetime=8h
    margintime=13m
    mobike=no
    reauth=no
    replay_window=128
    type=transport

conn cp3001_v4
    auto=add
    dpdaction=restart
    left=10.64.0.11
    leftcert=cp1001.pem
    leftid="CN=cp1001.eqiad.example"
    right=10.20.0.11
    rightid="CN=cp3001.esams.example"
"""
    )


@pytest.mark.parametrize(
    ("stage", "initiator", "auto", "dpdaction"),
    [
        ("start", True, "add", "restart"),
        ("start", False, "add", "clear"),
        ("passive", True, "add", "clear"),
        ("passive", False, "add", "clear"),
        ("require", True, "route", "restart"),
        ("require", False, "route", "clear"),
    ],
)
def test_the_stage_decides_what_each_end_does(stage, initiator, auto, dpdaction):
    one = connection(stage, initiator)
    assert sections.auto(one) == auto
    assert sections.options(one, "x.pem", auto)["dpdaction"] == dpdaction


def test_the_starter_starts_what_no_keeper_does():
    """With the keeper, a changed option or certificate gives no pair a second IKE SA."""
    ends = [connection(stage, initiator) for stage in ("start", "passive") for initiator in (True, False)]
    assert [sections.auto(one, keeper=False) for one in ends] == ["start", "add", "add", "add"]


def test_no_debug_levels_give_no_option():
    text = render.ipsec_conf(sections.configuration([], model.Settings(CERTIFICATES), "x.pem", KEY))
    assert "charondebug" not in text
    assert "config setup\n\n" in text


def test_secrets_name_the_key_and_hold_none():
    assert render.ipsec_secrets(Configuration(secret=KEY)) == f'{render.HEADER}\n: ECDSA "cp1001.pem"\n'


def test_strongswan_conf_nests_sections_and_quotes_what_must_be():
    charon = {"threads": "99", "filelog": {"main": {"path": "/x", "time_format": "%b %e, %T"}}}
    settings = model.Settings(CERTIFICATES, charon=charon)
    text = render.strongswan_conf(Configuration(strongswan={"charon": sections.charon_settings(3, settings)}))
    assert "\n    threads = 99\n" in text
    assert (
        '\n    filelog {\n        main {\n            path = /x\n            time_format = "%b %e, %T"\n'
        in text
    )
    assert text.count("{") == text.count("}") == 5  # with processor and priority_threads


def test_settings_of_the_pillar_lie_over_the_defaults():
    under = {"a": "1", "plugins": {"vici": {"load": "yes"}, "gcm": {"load": "yes"}}}
    over = {"plugins": {"vici": {"load": "no"}}, "b": "2"}
    assert sections.merged(under, over) == {
        "a": "1",
        "b": "2",
        "plugins": {"vici": {"load": "no"}, "gcm": {"load": "yes"}},
    }
    assert under["plugins"]["vici"] == {"load": "yes"}


def test_the_same_fleet_gives_the_same_bytes():
    fleet = pillar.read(fleets.example())
    connections = topology.connections(fleet, "cp1001.eqiad.example")
    one, other = (
        render.ipsec_conf(sections.configuration(found, fleet.settings, "x.pem", KEY))
        for found in (connections, tuple(reversed(connections)))
    )
    assert one == other


# Read back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("held", "keeper"), [((), True), (("cp3001_v4", "cp2001_v6"), False)])
def test_what_is_written_reads_back(held, keeper):
    fleet = pillar.read(fleets.example())
    connections = topology.connections(fleet, "cp1001.eqiad.example")
    value = sections.configuration(connections, fleet.settings, "c.pem", KEY, held, keeper)
    written = (render.ipsec_conf(value), render.ipsec_secrets(value), render.strongswan_conf(value))
    assert parse.configuration(*written) == value
    assert value.names == {one.name for one in connections}
    assert value.certificates == ("c.pem",)
    assert value.levels == {"cfg": 2, "dmn": 2}
    assert {name for name, one in value.connections.items() if one["auto"] == sections.HELD} == {*held}


def test_an_ipsec_conf_of_another_hand():
    text = (
        "include /etc/o.conf\nca mine\n    cacert=x.pem\nconfig other\n    x=y\n"
        'conn  a\n    left = 10.0.0.1  # here\n\n    leftid="CN=a # b"\n# auto=start\nconn b\n'
    )
    assert parse.configuration(text) == Configuration(
        connections={"a": {"left": "10.0.0.1", "leftid": "CN=a # b"}, "b": {}},
        foreign=("ca mine", "cacert", "config other", "include /etc/o.conf", "x"),
        ours=False,
    )


def test_no_files_read_as_nothing_of_ours():
    assert parse.configuration(None) == Configuration(ours=False)


def test_levels_that_are_none_are_left_out():
    assert Configuration(setup={"charondebug": "ike 2, net -1,x, cfg y,"}).levels == {"ike": 2, "net": -1}


def test_a_file_of_the_package_reads_as_nothing():
    assert parse.strongswan_conf("charon {\n\n    # threads = 16\n\n}\n") == {"charon": {}}


@pytest.mark.parametrize("levels", [50, 1500, 100_000])
def test_sections_in_one_another_are_read_as_far_as_anybody_writes_them(levels):
    """What walks a tree ended in RecursionError."""
    text = "charon {\n    threads = 16\n" + "x {\n" * levels + "a = 1\n" + "}\n" * levels + "port = 500\n}\n"
    tree = parse.strongswan_conf(text)
    assert {key: tree["charon"][key] for key in ("threads", "port")} == {"threads": "16", "port": "500"}
    found = Configuration(strongswan=tree)
    assert difference.between(found, Configuration(strongswan={"charon": {"threads": "16"}})).charon
    assert parse.strongswan_conf(render.strongswan_conf(found)) == tree
    assert copy.deepcopy(tree) == tree


# Edited in place -----------------------------------------------------------------------------


def test_an_edit_in_place_is_what_would_be_written_of_the_changed_value():
    fleet = pillar.read(fleets.example())
    connections = topology.connections(fleet, "cp1001.eqiad.example")
    free, held = (
        sections.configuration(connections, fleet.settings, "c.pem", KEY, names)
        for names in ((), ("cp3001_v4", "cp3002_v6"))
    )
    for one, other, names in ((free, held, ("cp3001_v4", "cp3002_v6")), (held, free, ())):
        autos = sections.autos(connections, names, True)
        assert parse.with_autos(render.ipsec_conf(one), autos) == render.ipsec_conf(other)


def test_an_edit_in_place_keeps_what_another_hand_wrote():
    text = (
        f"{render.HEADER}# mine\n\tinclude x\nconn a # 1\n  auto = start # 2\n\tleft=%any\n"
        "\n  # auto=start\nconn b\n  also=a\n  auto=start\nca auto\n  auto=add\n<<<<\x00\n  auto=add"
    )
    edited = parse.with_autos(text, {"a": "ignore", "c": "ignore"})
    assert edited == text.replace("  auto = start # 2\n", "    auto=ignore\n")
    assert parse.with_autos(text, {}) == text


@pytest.mark.parametrize(
    "text",
    [
        "conn a\ninclude /etc/ipsec.more\n    auto=add\n",
        'conn a # the "new" one\n    auto=add\n',
        "conn a\n\0\0\0\n    auto=add\n",
        'conn a\n    rightid="CN=a #1" # its "name"\n    auto=add # "x"\n',
    ],
)
def test_a_hold_reaches_a_connection_that_was_edited_by_hand(text):
    """The section was lost at such a line, and with it ``auto=ignore``: starter loaded the connection."""
    assert parse.with_autos(text, {"a": "ignore"}) == re.sub("auto=add.*", "auto=ignore", text)


def test_a_hold_changes_no_other_section():
    text = "conn a\n    auto=add\nca b\n    auto=add\nconn c\n    auto=add\n"
    assert parse.with_autos(text, {"a": "ignore"}) == text.replace("auto=add", "auto=ignore", 1)
