"""Real charons, asked and steered by vici and by stroke: both say and do the same."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest
from strongswan import STRONGSWAN_CONF, Host, line, unpacked, wait_for

import authorities
import recordings
from hostipsec.charon import charon
from hostipsec.charon.stroke import StrokeBackend
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.errors import CharonError
from hostipsec.health import judge
from hostipsec.model import Connection, Load

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

EAST = {"v4": "10.9.0.1", "v6": "fd00::1"}
WEST = {"v4": "10.9.0.2", "v6": "fd00::2"}
SECRETS = ': PSK "tests only"\n'
CONN = """
conn {name}
    left={left}
    right={right}
    leftid="CN={me}.example"
    rightid="CN={peer}.example"
    authby=psk
    keyexchange=ikev2
    ike=aes128gcm16-prfsha384-ecp384bp!
    esp=aes128gcm16-ecp384bp-noesn!
    reauth=no
    mobike=no
    auto={auto}
"""
BACKENDS = ("vici", "stroke")


def conn(me, peer, family, left, right, auto):
    return CONN.format(name=f"{peer}_{family}", left=left, right=right, me=me, peer=peer, auto=auto)


OF_EAST = "".join(conn("east", "west", family, EAST[family], WEST[family], "add") for family in EAST)
OF_WEST = "".join(conn("west", "east", family, WEST[family], EAST[family], "add") for family in EAST)
GONE = conn("east", "gone", "v4", EAST["v4"], "10.9.0.9", "add")
TRAP = conn("east", "trap", "v4", EAST["v4"], "10.9.0.8", "route")
EXPECTED = tuple(
    Connection(f"west_{f}", "west", f, ip_address(EAST[f]), ip_address(WEST[f]), "", "", True, "start")
    for f in EAST
)


def apart(look):
    """Return what of a look differs neither by who asks nor from one moment to the next."""
    return look._replace(workers_idle=None, load=Load())


class Pair:
    """Two hosts on one line; what is asked is asked of east."""

    def __init__(self, place):
        self.east = Host("east", place / "east", over=unpacked())
        self.west = Host("west", place / "west", over=unpacked())
        both = [[f"{end['v4']}/24", f"{end['v6']}/64"] for end in (EAST, WEST)]
        line(self.east, self.west, *both)

    def start(self, strongswan_conf=STRONGSWAN_CONF):
        self.west.start(OF_WEST, SECRETS)
        self.east.start(OF_EAST + GONE + TRAP, SECRETS, strongswan_conf)

    @property
    def backends(self):
        return {"vici": ViciBackend(self.east.vici), "stroke": StrokeBackend(self.east.process)}

    @property
    def look(self):
        return self.backends["vici"].observe()

    def states(self):
        return {row.name: row.state for row in judge.evaluate(EXPECTED, self.look).managed}

    def up(self):
        """Have west_v4 and west_v6 established, each once, and nothing else."""
        backend = self.backends["vici"]
        ids = [sa.uniqueid for sa in backend.observe().ike_sas]
        backend.terminate(ids, force=True)
        wait_for(lambda: not self.look.ike_sas, "end of all SAs")
        backend.initiate(["west_v4", "west_v6"])
        self.wait_for({"west_v4": "established", "west_v6": "established"})
        return {sa.name: sa for sa in self.look.ike_sas}

    def wait_for(self, states):
        wait_for(lambda: self.states() == states, f"{states}")

    def agree(self):
        """Ask both ways until the answers are of one second; return what vici said."""
        end = time.monotonic() + 10
        while True:
            vici, text = (self.backends[name].observe() for name in BACKENDS)
            wanted, found = map(apart, (recordings.as_text_says(vici), text))
            if wanted == found or time.monotonic() > end:
                assert found == wanted
                return vici

    def stop(self):
        self.east.stop()
        self.west.stop()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("pair"))
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def pair(started):
    started.up()
    return started


# Looking -------------------------------------------------------------------------------------


def test_both_ways_show_the_same(pair):
    found = pair.agree()
    assert [sa.state for sa in found.ike_sas] == ["ESTABLISHED"] * 2
    assert [connection.name for connection in found.connections] == [
        "west_v4",
        "west_v6",
        "gone_v4",
        "trap_v4",
    ]
    assert found.routed == ("trap_v4",)


def test_traffic_is_counted_the_same(pair):
    for _ in range(3):
        pair.east.run("bash", "-c", f"echo hello >/dev/udp/{WEST['v4']}/9")
    found = {sa.name: sa.children[0] for sa in pair.agree().ike_sas}
    assert found["west_v4"].packets_out >= 3
    assert found["west_v4"].use_out is not None
    assert found["west_v6"].bytes_out == 0


def test_one_that_is_connecting(pair):
    pair.backends["vici"].initiate(["gone_v4"])
    found = pair.agree().ike_sas
    assert [(sa.name, sa.state) for sa in found if sa.name == "gone_v4"] == [("gone_v4", "CONNECTING")]


# Steering ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_a_child_is_rekeyed(pair, name):
    before = {sa.name: sa for sa in pair.look.ike_sas}
    (old,) = before["west_v4"].children
    assert pair.backends[name].rekey_children([old.uniqueid]) == {}

    def rekeyed():
        (sa,) = (sa for sa in pair.look.ike_sas if sa.name == "west_v4")
        return any(child.state == "INSTALLED" and child.uniqueid != old.uniqueid for child in sa.children)

    wait_for(rekeyed, "new CHILD SA")
    found = {sa.name: sa for sa in pair.agree().ike_sas}
    assert found["west_v4"].uniqueid == before["west_v4"].uniqueid
    assert found["west_v4"].children[-1].proposal == "AES_GCM_16_128/ECP_384_BP"
    assert pair.states() == {"west_v4": "established", "west_v6": "established"}


def test_an_ike_sa_is_rekeyed(pair):
    before = {sa.name: sa for sa in pair.look.ike_sas}
    old = before["west_v4"].uniqueid
    with pair.east.vici(60) as session:
        session.request("rekey", {"ike-id": str(old)})
    wait_for(lambda: old not in [sa.uniqueid for sa in pair.look.ike_sas], "new IKE SA")
    found = {sa.name: sa for sa in pair.agree().ike_sas}
    assert [child.uniqueid for child in found["west_v4"].children] == [
        child.uniqueid for child in before["west_v4"].children
    ]
    assert pair.states() == {"west_v4": "established", "west_v6": "established"}


def test_both_ends_start_at_once(pair):
    """Two IKE SAs or one, as it happens: both ways say which."""
    pair.backends["vici"].terminate([sa.uniqueid for sa in pair.look.ike_sas], force=True)
    wait_for(
        lambda: not pair.look.ike_sas and not ViciBackend(pair.west.vici).observe().ike_sas, "end of all SAs"
    )
    ViciBackend(pair.west.vici).initiate(["east_v4"])
    pair.backends["vici"].initiate(["west_v4"])
    wait_for(lambda: pair.states()["west_v4"] in ("established", "duplicate"), "SA")
    state = judge.evaluate(EXPECTED, pair.agree()).connections[0].state
    assert state in ("established", "duplicate")


@pytest.mark.parametrize("name", BACKENDS)
def test_sas_are_ended(pair, name):
    ids = {sa.name: sa.uniqueid for sa in pair.look.ike_sas}
    assert pair.backends[name].terminate([ids["west_v6"]]) == {}
    pair.wait_for({"west_v4": "established", "west_v6": "down"})
    assert {sa.name: sa.uniqueid for sa in pair.agree().ike_sas} == {"west_v4": ids["west_v4"]}


@pytest.mark.parametrize("name", BACKENDS)
def test_what_does_not_exist(pair, name):
    backend = pair.backends[name]
    assert [*backend.initiate(["west_v4x"])] == ["west_v4x"]
    assert backend.terminate([99999]) == {}


def test_one_that_connects_to_nobody_ends_at_once_by_force(pair):
    backend = pair.backends["vici"]
    backend.initiate(["gone_v4"])
    wait_for(lambda: any(sa.name == "gone_v4" for sa in pair.look.ike_sas), "gone_v4")
    ids = [sa.uniqueid for sa in pair.look.ike_sas if sa.name == "gone_v4"]
    assert backend.terminate(ids, force=True) == {}
    wait_for(lambda: not any(sa.name == "gone_v4" for sa in pair.look.ike_sas), "end of gone_v4")


def test_an_update_leaves_alone_what_is_equal(pair):
    before = [sa.uniqueid for sa in pair.look.ike_sas]
    more = conn("east", "more", "v4", EAST["v4"], "10.9.0.7", "add")
    pair.east.write("/etc/ipsec.conf", OF_EAST + TRAP + more)
    StrokeBackend(pair.east.process).update()
    names = {"west_v4", "west_v6", "trap_v4", "more_v4"}
    try:
        wait_for(
            lambda: {one.name for one in pair.look.connections} == names, "the connections of the new file"
        )
        assert [sa.uniqueid for sa in pair.agree().ike_sas] == before
    finally:
        pair.east.write("/etc/ipsec.conf", OF_EAST + GONE + TRAP)
        StrokeBackend(pair.east.process).update()
        wait_for(
            lambda: "gone_v4" in {one.name for one in pair.look.connections}, "the connections of before"
        )


def test_files_are_reread(pair):
    ca = authorities.authority("CN=Reread CA", datetime.now(timezone.utc))
    pair.east.write("/etc/ipsec.d/cacerts/reread.pem", ca.pem.decode())
    assert "CN=Reread CA" not in pair.east.run("ipsec", "listcacerts")
    StrokeBackend(pair.east.process).reread()
    assert "CN=Reread CA" in pair.east.run("ipsec", "listcacerts")


def test_settings_are_reread(pair):
    pair.backends["vici"].reload_settings()
    pair.agree()


# A charon that is not there, or not well -----------------------------------------------------


def test_a_charon_that_hangs_costs_the_deadline_and_no_more(pair):
    pid = pair.east.run("cat", "/run/charon.pid").strip()
    pair.east.run("kill", "-STOP", pid)
    try:
        for name in BACKENDS:
            start = time.monotonic()
            with pytest.raises(CharonError, match=f"charon did not answer within 0.5 s over {name}"):
                pair.backends[name].observe(timeout=0.5)
            assert time.monotonic() - start < 3
    finally:
        pair.east.run("kill", "-CONT", pid)
    pair.agree()


@pytest.fixture
def alone(tmp_path):
    """Return a function that starts a host of its own with this strongswan.conf."""
    hosts = []

    def start(strongswan_conf):
        hosts.append(Host("alone", tmp_path / "alone", over=unpacked()))
        hosts[0].start(OF_EAST, SECRETS, strongswan_conf)
        return hosts[0]

    yield start
    for host in hosts:
        host.stop()


def backends_of(host):
    return (ViciBackend(host.vici), StrokeBackend(host.process))


def test_a_host_without_vici(alone):
    host = alone(STRONGSWAN_CONF.replace("vici { load = yes }", "vici { load = no }"))
    found = charon.observe(backends=backends_of(host))
    assert (found.backend, "vici" in found.plugins) == ("stroke", False)
    assert [connection.name for connection in found.connections] == ["west_v4", "west_v6"]
    assert charon.initiate(["west_v4"], backends=backends_of(host)) == {}
    wait_for(lambda: charon.observe(backends=backends_of(host)).ike_sas != (), "an IKE SA")
    (sa,) = charon.observe(backends=backends_of(host)).ike_sas
    assert (sa.name, sa.state) == ("west_v4", "CONNECTING")
    assert charon.terminate([sa.uniqueid], backends=backends_of(host)) == {}


def test_a_charon_that_was_killed(alone):
    host = alone(STRONGSWAN_CONF)
    starter = host.run("cat", "/run/starter.charon.pid").strip()
    pid = host.run("cat", "/run/charon.pid").strip()
    host.run("kill", "-KILL", starter, pid)
    wait_for(lambda: "charon is not running" in why_silent(host), "word that charon is not running")


def why_silent(host):
    try:
        return charon.observe(backends=backends_of(host)).version
    except CharonError as error:
        return str(error)
