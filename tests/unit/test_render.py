"""The text of the configuration files."""

from __future__ import annotations

import ipaddress

import pytest

import fleets
from hostipsec import model
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import render

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
    assert render.ipsec_conf([connection()], settings, "cp1001.pem") == (
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
    options = render.connection_options(connection(stage, initiator), "x.pem")
    assert (options["auto"], options["dpdaction"]) == (auto, dpdaction)


def test_the_starter_starts_what_no_keeper_does():
    """With the keeper, a changed option or certificate gives no pair a second IKE SA."""
    ends = [connection(stage, initiator) for stage in ("start", "passive") for initiator in (True, False)]
    assert [render.auto(one, kept=False) for one in ends] == ["start", "add", "add", "add"]


def test_no_debug_levels_give_no_option():
    text = render.ipsec_conf([], model.Settings(CERTIFICATES), "x.pem")
    assert "charondebug" not in text
    assert "config setup\n\n" in text


def test_secrets_name_the_key_and_hold_none():
    assert render.ipsec_secrets("ECDSA", "cp1001.pem") == f'{render.HEADER}\n: ECDSA "cp1001.pem"\n'


def test_strongswan_conf_nests_sections_and_quotes_what_must_be():
    charon = {"threads": "99", "filelog": {"main": {"path": "/x", "time_format": "%b %e, %T"}}}
    text = render.strongswan_conf(3, model.Settings(CERTIFICATES, charon=charon))
    assert "\n    threads = 99\n" in text
    assert (
        '\n    filelog {\n        main {\n            path = /x\n            time_format = "%b %e, %T"\n'
        in text
    )
    assert text.count("{") == text.count("}") == 5  # with processor and priority_threads


def test_settings_of_the_pillar_lie_over_the_defaults():
    under = {"a": "1", "plugins": {"vici": {"load": "yes"}, "gcm": {"load": "yes"}}}
    over = {"plugins": {"vici": {"load": "no"}}, "b": "2"}
    assert render.merged(under, over) == {
        "a": "1",
        "b": "2",
        "plugins": {"vici": {"load": "no"}, "gcm": {"load": "yes"}},
    }
    assert under["plugins"]["vici"] == {"load": "yes"}


def test_the_same_fleet_gives_the_same_bytes():
    fleet = pillar.read(fleets.example())
    connections = topology.connections(fleet, "cp1001.eqiad.example")
    one = render.ipsec_conf(connections, fleet.settings, "x.pem")
    assert one == render.ipsec_conf(tuple(reversed(connections)), fleet.settings, "x.pem")


def test_lines_of_another_hand_are_set_apart():
    text = (
        "include /etc/o.conf\nca mine\n    cacert=x.pem\nconn a\n    left = 10.0.0.1  # here\n# auto=start\n"
    )
    assert render.parse_ipsec_conf(text) == {
        "other": {"include /etc/o.conf": "", "ca mine": "", "cacert": "x.pem"},
        "a": {"left": "10.0.0.1"},
    }


def test_a_file_of_the_package_reads_as_nothing():
    assert render.parse_strongswan_conf("charon {\n\n    # threads = 16\n\n}\n") == {"charon": {}}
