"""One charon, told of its connections by ipsec.conf and by swanctl's file: it has the same of both."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest
from strongswan import Host, unpacked, wait_for

import authorities
import fleets
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import render, sections, swanctl
from hostipsec.strongswan.sections import Secret

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

MINION, HUB = "cp1001.eqiad.example", "hub.core.example"
CONF = "/etc/swanctl/conf.d/hostipsec.conf"
PRINT = "0123456789abcdef"
EMPTY = "config setup\n"


FLEETS = {
    "example": fleets.example(),
    "star": {**fleets.star(60), "certificates": {"source": "puppet"}},
}
OPTIONS = {
    "ours": {},
    "times": {"lifetime": "8h", "ikelifetime": "1d", "margintime": "20m", "rekeyfuzz": "33%"},
    "amounts": {"lifebytes": 10**12, "marginbytes": 10**9, "lifepackets": 10**8, "marginpackets": 10**6},
    "again": {"reauth": "yes", "dpddelay": "7s", "keyingtries": "5", "fragmentation": "force"},
    "tunnel": {"type": "tunnel", "compress": "yes", "forceencaps": "yes", "ikedscp": "101110", "tfc": "%mtu"},
    "ends": {"leftsendcert": "ifasked", "rightsendcert": "yes", "leftikeport": 4500,
             "rightikeport": 4500, "replay_window": 1024, "sha256_96": "yes"},
    "keys": {"leftauth": "ecdsa-384-sha384", "rightauth": "ecdsa-256-sha256", "rightcertpolicy": "1.2.3.4"},
    "charon's own": {"ike": "aes128gcm16-prfsha384-ecp384bp", "esp": "aes128gcm16-ecp384bp,aes256gcm16"},
}  # fmt: skip
STAGES = ("start", "require", "passive")


class Charon:
    """A charon that both can tell."""

    def __init__(self, place):
        self.host = Host("east", place / "east", over=unpacked())
        now = datetime.now(timezone.utc)
        ca = authorities.authority("CN=Fleet CA", now)
        for directory in ("ipsec.d/cacerts", "swanctl/x509ca"):
            self.host.write(f"/etc/{directory}/{swanctl.authority_file(PRINT)}", ca.pem.decode())
        for minion in (MINION, HUB):
            issued = authorities.host(f"CN={minion}", now, ca)
            for directory in ("ipsec.d/certs", "swanctl/x509"):
                self.host.write(f"/etc/{directory}/{minion}.pem", issued.pem.decode())
            for directory in ("ipsec.d", "swanctl"):
                self.host.write(f"/etc/{directory}/private/{minion}.pem", issued.key_pem().decode())
        self.files = {swanctl.authority_file(PRINT): ca.pem}
        for minion in (MINION, HUB):
            self.files[f"{minion}.pem"] = (self.host.root / f"etc/swanctl/x509/{minion}.pem").read_bytes()
        self.host.start(EMPTY, "".join(f': ECDSA "{minion}.pem"\n' for minion in (MINION, HUB)))

    def listed(self):
        """Return what charon has, by name."""
        with self.host.vici(60) as session:
            return {name: one for found in session.list_conns() for name, one in found.items()}

    def by_ipsec_conf(self, value):
        self.host.write("/etc/ipsec.conf", render.ipsec_conf(value))
        self.host.run("ipsec", "update")
        wanted = {name for name, one in value.connections.items() if one["auto"] != sections.HELD}
        wait_for(lambda: {*self.listed()} == wanted, "connections of ipsec.conf")
        found = self.listed()
        self.host.write("/etc/ipsec.conf", EMPTY)
        self.host.run("ipsec", "update")
        wait_for(lambda: not self.listed(), "end of the connections")
        return found

    def by_swanctl(self, value):
        self.load(swanctl.conf(value))
        found = self.listed()
        self.load("")
        assert self.listed() == {}
        return found

    def by_vici(self, value):
        backend, names = ViciBackend(self.host.vici), sorted(value.names)
        sections = {name: swanctl.section(value, name, self.files) for name in names}
        assert backend.load(sections) == {}
        found = self.listed()
        assert backend.unload(names) == {}
        return found

    def load(self, text):
        self.host.write(CONF, text)
        said = self.host.process(["swanctl", "--load-all", "--noprompt"], 60)
        assert said.status == 0, said.text

    def stop(self):
        self.host.stop()


@pytest.fixture(scope="module")
def charon(tmp_path_factory):
    started = Charon(tmp_path_factory.mktemp("swanctl"))
    try:
        yield started
    finally:
        started.stop()


def value_of(data, options, stage, held=()):
    rules = [{**rule, "stage": stage} for rule in data["rules"]]
    fleet = pillar.read({**data, "rules": rules, "connection": options})
    minion = MINION if MINION in data["hosts"] else HUB
    file, binding = f"{minion}.pem", {"rightca": "CN=Fleet CA", "rightca2": PRINT}
    given = (fleet.settings, file, Secret("ECDSA", file), held)
    return sections.configuration(topology.connections(fleet, minion), *given, binding=binding)


def plain(found):
    """Return it in no order, and without what IKEv1 alone has, which vici leaves at another default."""
    if not isinstance(found, dict):
        return found
    return {key: plain(item) for key, item in found.items() if key != "dpd_timeout"}


@pytest.mark.parametrize("name", OPTIONS)
def test_charon_has_the_same_options_of_both(charon, name):
    value = value_of(FLEETS["example"], OPTIONS[name], STAGES[len(name) % 3])
    told = charon.by_ipsec_conf(value)
    assert {*told} == {*value.names}
    assert plain(charon.by_swanctl(value)) == plain(told)
    assert plain(charon.by_vici(value)) == plain(told)


def test_charon_has_the_same_connections_of_both(charon):
    value = value_of(FLEETS["star"], {}, "start")
    assert plain(charon.by_swanctl(value)) == plain(charon.by_ipsec_conf(value))


def test_a_dot_in_a_name_would_unload_everything(charon):
    """The renderer refuses it: swanctl takes the whole file for empty, and ends with status 0."""
    text = swanctl.conf(value_of(FLEETS["example"], {}, "start"))
    charon.load(text)
    assert charon.listed()
    charon.load(text.replace("cp3001_v4 :", "cp3001.esams_v4 :"))
    assert charon.listed() == {}


def test_charon_is_not_given_what_is_held(charon):
    names = sorted(value_of(FLEETS["example"], {}, "require").names)
    value = value_of(FLEETS["example"], {}, "require", held=names[:2])
    told = charon.by_swanctl(value)
    assert sorted(told) == names[2:]
    assert plain(charon.by_ipsec_conf(value)) == plain(told)


def test_charon_has_the_key_that_the_file_names(charon):
    charon.load(swanctl.conf(value_of(FLEETS["example"], {}, "start")))
    with charon.host.vici(60) as session:
        found = [one for one in session.list_certs({"type": "x509"}) if one.get("has_privkey")]
    assert len(found) == 2  # all that are below /etc/swanctl/private
    charon.load("")
