"""Fleets as their owners would write them, with the connections that each of their hosts has to get."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from edits import value_of
from hostipsec.fleet import checked
from hostipsec.model import Fleet
from hostipsec.pillar import parts, pillar, topology
from hostipsec.strongswan import parse, render

DATA = Path(__file__).parent / "data/fleets"
FLEETS = sorted(path.stem for path in DATA.glob("*.sls"))


def data_of(name: str) -> dict:
    return yaml.safe_load((DATA / f"{name}.sls").read_text())["ipsec"]


def read(name: str) -> Fleet:
    return pillar.read(data_of(name))


@pytest.mark.parametrize("name", FLEETS)
def test_each_host_gets_the_connections_that_its_owner_expects(name):
    fleet = read(name)
    found = {host.id: [one.name for one in topology.connections(fleet, host.id)] for host in fleet.hosts}
    assert found == yaml.safe_load((DATA / f"{name}.expected.yaml").read_text())


@pytest.mark.parametrize("name", FLEETS)
def test_the_check_has_nothing_to_say_of_them(name):
    found = checked.of(read(name))
    assert (found.errors, [str(one.problem) for one in found.warnings]) == ((), [])


@pytest.mark.parametrize("name", FLEETS)
def test_both_ends_mirror_and_what_is_written_reads_back(name):
    fleet = read(name)
    hosts = {host.id: host for host in fleet.hosts}
    mesh = {host: topology.connections(fleet, host) for host in hosts}
    for host, connections in mesh.items():
        for one in (each for each in connections if hosts[each.peer].managed):
            (theirs,) = [each for each in mesh[one.peer] if (each.peer, each.family) == (host, one.family)]
            assert (one.leftid, one.rightid, one.stage) == (theirs.rightid, theirs.leftid, theirs.stage)
            assert one.initiator is not theirs.initiator
        value = value_of(fleet, host, connections)
        texts = render.ipsec_conf(value), render.ipsec_secrets(value), render.strongswan_conf(value)
        assert parse.configuration(*texts) == value


@pytest.mark.parametrize("name", FLEETS)
def test_a_host_gets_the_same_from_its_own_part(name):
    data, fleet = data_of(name), read(name)
    whole = parts.Whole(copy.deepcopy(data), fleet)
    for host in (one for one in fleet.hosts if one.managed):
        part = parts.read(whole.part(host.id))
        assert topology.connections(part, host.id) == topology.connections(fleet, host.id)


def connection(name: str, host: str, called: str):
    (found,) = [one for one in topology.connections(read(name), host) if one.name == called]
    return found


def test_behind_the_nat_of_a_cloud_each_end_has_the_address_that_it_can_use():
    here = connection("sites_and_clouds", "app-eu1.example.org", "kafka-fra1_v4")
    there = connection("sites_and_clouds", "kafka-fra1.example.org", "app-eu1_v4")
    assert (str(here.left), str(here.right)) == ("10.0.0.7", "198.51.100.11")
    assert (str(there.left), str(there.right)) == ("198.51.100.11", "198.18.0.7")


def test_stages_are_those_of_the_first_rule_that_fits():
    stages = {one.name: one.stage for one in topology.connections(read("stages"), "db1.south.example")}
    assert stages == {
        "log1_v4": "passive",
        "log1_v6": "passive",
        "web1_v4": "require",
        "web1_v6": "require",
        "web2_v4": "start",
        "web2_v6": "start",
    }


def test_a_site_has_another_cipher_and_one_rule_other_lifetimes():
    fleet = read("slow_site")
    host = "store01.main.example"
    text = render.ipsec_conf(value_of(fleet, host, topology.connections(fleet, host)))
    sections = {part.split("\n")[0]: part for part in text.split("conn ")[1:]}
    barn, backup = sections["pi01_v4"], sections["app01_v4"]
    assert "esp=chacha20poly1305-x25519-noesn!" in barn
    assert "lifetime=8h" not in barn  # the first rule that fits says all of it
    assert "lifetime=8h" in backup
    assert "chacha20" not in backup


def test_a_partner_that_salt_does_not_manage_is_started_from_here_by_its_own_ca():
    here = connection("sites_and_clouds", "kafka-ams1.example.org", "gw_v4")
    assert (here.initiator, here.rightid, str(here.right)) == (True, "@gw.partner.example", "203.0.113.200")
