"""What loading connections does to those that are up: by vici just what differs, and swanctl's own traps."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest
from strongswan import Host, line, unpacked, wait_for

import authorities
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import difference, sections, swanctl
from hostipsec.strongswan.sections import Secret

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

HOSTS = {"east.one.example": "10.9.0.1", "west.two.example": "10.9.0.2", "gone.two.example": "10.9.0.9"}
EAST, WEST, _ = HOSTS
CONF = "/etc/swanctl/conf.d/hostipsec.conf"
BINDING = {"rightca": "CN=Fleet CA", "rightca2": "0123456789abcdef"}


def value_of(minion, **options):
    data = {
        "hosts": {host: {"site": host.split(".")[1], "ipv4": address} for host, address in HOSTS.items()},
        "rules": [{"name": "all", "between": {"site": "one"}, "and": {"site": "two"}}],
        "connection": {"type": "tunnel", **options},
    }
    fleet = pillar.read(data)
    given = (fleet.settings, f"{minion}.pem", Secret("PKCS8", f"{minion}.pem"))
    return sections.configuration(topology.connections(fleet, minion), *given, binding=BINDING)


class Member:
    """A host whose charon is told by swanctl and by vici; ESP is charon's own."""

    def __init__(self, minion, place, ca):
        self.minion, self.host = minion, Host(minion.split(".")[0], place / minion, over=unpacked())
        own = authorities.host(f"CN={minion}", datetime.now(timezone.utc), ca)
        self.files = {f"{minion}.pem": own.pem, swanctl.authority_file(BINDING["rightca2"]): ca.pem}
        for directory, name in zip(("x509", "x509ca"), self.files, strict=True):
            self.host.write(f"/etc/swanctl/{directory}/{name}", self.files[name].decode())
        self.host.write(f"/etc/swanctl/private/{minion}.pem", own.key_pem().decode())

    @property
    def backend(self):
        return ViciBackend(self.host.vici)

    def start(self):
        self.host.start("config setup\n", "")
        assert self.swanctl("--load-creds").status == 0
        self.load(value_of(self.minion))

    def swanctl(self, what, text=None):
        if text is not None:
            self.host.write(CONF, text)
        return self.host.process(["swanctl", what], 60)

    def load(self, value, names=None):
        """Load connections by vici, all or some."""
        chosen = value.names if names is None else names
        found = {name: swanctl.section(value, name, self.files) for name in sorted(chosen)}
        assert self.backend.load(found) == {}

    @property
    def listed(self):
        with self.host.vici(60) as session:
            return {name: one for found in session.list_conns() for name, one in found.items()}

    @property
    def sas(self):
        """Return IKE and CHILD SAs that are up, by number."""
        found = self.backend.observe().ike_sas
        return [
            (sa.uniqueid, [child.uniqueid for child in sa.children])
            for sa in found
            if sa.state == "ESTABLISHED"
        ]

    def up(self):
        """Have one IKE SA with west, by what is loaded now; return it."""
        ids = [sa.uniqueid for sa in self.backend.observe().ike_sas]
        assert self.backend.terminate(ids, force=True) == {}
        assert self.backend.initiate(["west_v4"]) == {}
        wait_for(lambda: [len(children) for _, children in self.sas] == [1], "one IKE SA with one CHILD SA")
        return self.sas


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    place, ca = (
        tmp_path_factory.mktemp("traps"),
        authorities.authority("CN=Fleet CA", datetime.now(timezone.utc)),
    )
    found = []
    try:
        for minion in (EAST, WEST):
            found.append(Member(minion, place, ca))
        line(*(one.host for one in found), *([f"{HOSTS[one.minion]}/24"] for one in found))
        for one in found:
            one.start()
        yield found
    finally:
        for one in found:
            one.host.stop()


@pytest.fixture
def east(members):
    """Return the initiator, with all connections as the pillar says, and the one with west up."""
    member = members[0]
    member.load(value_of(EAST))
    member.up()
    return member


def test_just_what_differs_is_loaded_and_what_is_up_stays(east):
    before, sas = east.listed, east.sas
    old, new = swanctl.settled(value_of(EAST)), swanctl.settled(value_of(EAST))
    changed = {**new.connections["gone_v4"], "lifetime": "2h"}
    new = new._replace(connections={**new.connections, "gone_v4": changed})
    differs = difference.between(old, new)
    assert {*differs.changed} == {"gone_v4"}
    east.load(new, differs.changed)
    assert east.sas == sas
    after = east.listed
    assert after["west_v4"] == before["west_v4"]
    assert after["gone_v4"]["children"]["gone_v4"]["rekey_time"] == b"6420"


def test_an_sa_goes_on_with_the_options_of_before(east):
    sas = east.sas
    east.load(value_of(EAST, lifetime="2h", dpddelay="7s"))
    assert east.sas == sas
    (sa,) = east.backend.observe().ike_sas
    assert sa.children[0].life_time <= 3600
    assert east.listed["west_v4"]["dpd_delay"] == b"7"


def test_a_connection_that_is_taken_out_leaves_its_sa(east):
    """Whoever takes it out has to end what is up, or it goes on and is rekeyed for ever."""
    sas = east.sas
    assert east.backend.unload(["west_v4"]) == {}
    assert {*east.listed} == {"gone_v4"}
    assert east.sas == sas


def test_a_start_action_of_start_ends_what_is_up(east):
    """Why no connection of ours has it where the keeper runs: a gap in the clear with each edit."""
    value = value_of(EAST)
    starts = value._replace(connections={"west_v4": {**value.connections["west_v4"], "auto": "start"}})
    east.backend.unload(["west_v4"])
    east.load(starts)
    wait_for(lambda: len(east.sas) >= 1, "the SA")
    (first, *_) = sorted(east.sas)
    edited = starts._replace(defaults={**starts.defaults, "mobike": "yes"})
    east.load(edited)
    wait_for(lambda: first not in east.sas, "end of the SA")
    east.backend.unload(["west_v4"])


def test_what_vici_alone_has_is_gone_with_the_next_load_by_swanctl(east):
    """So what is loaded by vici has to be in the file as well, for the next boot and for any operator."""
    sas = east.sas
    value = value_of(EAST)
    only = value._replace(connections={"west_v4": value.connections["west_v4"]})
    assert east.swanctl("--load-conns", swanctl.conf(only)).status == 0
    assert {*east.listed} == {"west_v4"}
    assert east.sas == sas


def test_a_damaged_file_unloads_everything_and_is_no_error_to_swanctl(east):
    sas, text = east.sas, swanctl.conf(value_of(EAST))
    assert east.swanctl("--load-conns", text).status == 0
    assert {*east.listed} == {"gone_v4", "west_v4"}
    damaged = text[: text.rindex("}\n")]
    assert not swanctl.intact(damaged)
    assert east.swanctl("--load-conns", damaged).status == 0
    assert east.listed == {}
    assert east.sas == sas


def test_one_bad_value_is_refused_and_what_was_there_stays(east):
    """By swanctl's status charon-systemd would be stopped at boot; vici says which connection, and why."""
    text = swanctl.conf(value_of(EAST))
    assert east.swanctl("--load-conns", text).status == 0
    before = east.listed
    bad = text.replace("remote_addrs = 10.9.0.9", "remote_addrs = 10.9.0.9\n        mobike = perhaps")
    assert east.swanctl("--load-conns", bad).status == 22
    assert east.listed == before
    value = value_of(EAST)
    section = {**swanctl.section(value, "gone_v4", east.files), "mobike": "perhaps"}
    good = swanctl.section(value_of(EAST, dpddelay="7s"), "west_v4", east.files)
    refused = east.backend.load({"gone_v4": section, "west_v4": good})
    assert refused == {"gone_v4": "invalid value for: mobike, config discarded"}
    assert east.listed["gone_v4"] == before["gone_v4"]
    assert east.listed["west_v4"]["dpd_delay"] == b"7"
