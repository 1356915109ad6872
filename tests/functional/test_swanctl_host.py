"""A host that runs by swanctl: states and verbs as elsewhere, with a real charon-systemd and no starter.

There is no systemd in a namespace: a script takes its orders for the unit ``strongswan.service``.
"""

from __future__ import annotations

import os

import pytest
import strongswan
import yaml
from minions import NOW, ROOT, Remote
from strongswan import line, wait_for

import authorities
from hostipsec.strongswan import swanctl

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

A, B, C = "a.one.example", "b.two.example", "c.two.example"
ADDRESSES = {A: "10.0.0.1", B: "10.0.0.2", C: "10.0.0.3"}
SITES = {A: "one", B: "two", C: "two"}
SERVICE, CONF = "strongswan", "etc/swanctl/conf.d/hostipsec.conf"
FILES = (CONF, "etc/strongswan.d/hostipsec.conf", "var/lib/hostipsec/mesh.json")
PACKAGES = (
    *("charon-systemd", "libcharon-extra-plugins", "libstrongswan", "libstrongswan-standard-plugins"),
    *("strongswan-libcharon", "strongswan-swanctl"),
)
# What systemd does for strongswan.service: charon-systemd, then swanctl; where that fails, charon is stopped
SYSTEMCTL = """#!/bin/sh
verb= unit=
for word; do
    case $word in -*) ;; *) if [ "$verb" ]; then unit=${word%.service}; else verb=$word; fi ;; esac
done
stop() {
    pkill -x charon-systemd
    while pgrep -r D,R,S -x charon-systemd >/dev/null; do sleep 0.05; done
}
start() {
    setsid /usr/sbin/charon-systemd >/dev/null 2>&1 </dev/null &
    while ! /usr/sbin/swanctl --stats >/dev/null 2>&1; do sleep 0.05; done
    /usr/sbin/swanctl --load-all --noprompt >/tmp/loaded.log 2>&1 || { stop; exit 1; }
}
case $verb:$unit in
is-active:*)
    if [ "$unit" = strongswan ] && pgrep -r D,R,S -x charon-systemd >/dev/null; then echo active; exit 0; fi
    echo inactive; exit 3 ;;
start:strongswan) pgrep -r D,R,S -x charon-systemd >/dev/null || start ;;
stop:strongswan) stop ;;
restart:strongswan) stop; start ;;
*) case "$*" in --version) echo "systemd 252" ;; esac ;;
esac
"""
SYSTEMD_RUN = '#!/bin/sh\nshift\nexec "$@"\n'  # --scope
LOGGED = "charon-systemd {\n filelog {\n  charon {\n   path = /tmp/charon.log\n   default = 1\n  }\n }\n}\n"


def unpacked():
    """Return the tree of the machine's release with charon-systemd, and without starter and stroke."""
    return strongswan.tree("swanctl", PACKAGES, strongswan.without_lib)


def pillar_of(stage="start", **more):
    plane = yaml.safe_load((ROOT / "lab/pillar/plane-charon.sls").read_text())["ipsec"]
    return {
        **plane,
        "hosts": {host: {"site": SITES[host], "ipv4": address} for host, address in ADDRESSES.items()},
        "rules": [{"name": "all", "between": {"site": "one"}, "and": {"site": "two"}, "stage": stage}],
        "certificates": {
            "source": "files",
            "certificate": "/etc/pki/host.pem",
            "key": "/etc/pki/host.key",
            "ca": "/etc/pki/ca.pem",
            "crl": "/etc/pki/crl.pem",
        },
        "backend": "swanctl",
        **more,
    }


class Member:
    """A host with charon-systemd installed and not configured, a certificate, and a minion."""

    def __init__(self, identifier, place, ca):
        self.id, self.name = identifier, identifier.partition(".")[0]
        self.host = strongswan.Host(self.name, place / self.name, over=unpacked())
        own = authorities.host(f"CN={identifier}", NOW, ca)
        self.certificate = own.certificate
        authorities.write(self.host.root / "etc/pki", own.pem, own.key_pem(), ca.pem)
        for path in ("run/systemd/system", "usr/lib/systemd/system"):
            (self.host.root / path).mkdir(parents=True, exist_ok=True)
        self.host.write("/usr/lib/systemd/system/strongswan.service", "", 0o644)
        for name, script in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            (self.host.root / "usr/bin" / name).unlink(missing_ok=True)
            self.host.write(f"/usr/bin/{name}", script, 0o755)
        self.host.write("/etc/strongswan.d/zz-test.conf", LOGGED, 0o644)
        log = place / f"{self.name}.log"
        self.minion = Remote(self.host.argv, log, place="/tmp/minion", identifier=identifier)

    def settle(self, data):
        """Bring the host to what a pillar says, as the states do."""
        self.minion.pillar(data)
        copied = self.minion.state("ipsec.certificate_reused", "/etc/swanctl")
        assert copied["result"] is True, copied["comment"]
        found = self.minion.state("ipsec.configured", SERVICE)
        assert found["result"] is True, found["comment"]
        return found

    def would(self, data):
        self.minion.pillar(data)
        return self.minion.state("ipsec.configured", SERVICE, test=True)

    def status(self):
        return self.minion.call("ipsec.status")

    def states(self):
        return {name: row["state"] for name, row in self.status()["connections"].items()}

    def wait(self, **states):
        wait_for(lambda: self.states() == states, f"{self.name}: {states}, but {self.states()}")

    @property
    def conf(self):
        return (self.host.root / CONF).read_text()

    @property
    def pid(self):
        return self.host.run(
            "pgrep", "--ns", "1", "--nslist", "net", "-r", "D,R,S", "-x", "charon-systemd"
        ).split()

    @property
    def running(self):
        return "active" in self.host.process(["systemctl", "is-active", "strongswan"], 60).stdout.split()

    @property
    def loaded(self):
        with self.host.vici(60) as session:
            return sorted(name for found in session.list_conns() for name in found)

    @property
    def sas(self):
        with self.host.vici(60) as session:
            listed = [sa for found in session.list_sas({"ike": "b_v4"}) for sa in found.values()]
        return sorted(int(sa["uniqueid"]) for sa in listed)

    def contents(self):
        return {name: (self.host.root / name).read_bytes() for name in FILES}

    def stop(self):
        self.minion.stop()
        self.host.stop()


@pytest.fixture(scope="module")
def authority():
    return authorities.authority("CN=Fleet CA", NOW)


@pytest.fixture(scope="module")
def members(tmp_path_factory, authority):
    """Return a and b, as the packages leave them."""
    place, found = tmp_path_factory.mktemp("swanctl"), []
    try:
        for identifier in (A, B):
            found.append(Member(identifier, place, authority))
        line(*(one.host for one in found), *([f"{ADDRESSES[one.id]}/24"] for one in found))
        yield found
    finally:
        for one in found:
            one.stop()


@pytest.fixture(scope="module")
def pair(members):
    """Return both with the pillar applied, the second while the package's charon runs; c is not there."""
    members[1].host.run("systemctl", "start", "strongswan")
    for one in members:
        one.settle(pillar_of())
    return members


def test_a_fresh_host_is_set_up(pair):
    a, _ = pair
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.pid
    root = a.host.root / "etc/swanctl"
    (key,) = (root / "private").glob("*.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    assert not (a.host.root / "etc/ipsec.conf").exists()
    assert swanctl.intact(a.conf)
    assert a.status()["backend"] == "vici"


def test_a_second_run_changes_nothing(pair):
    a, _ = pair
    before, pid = a.contents(), a.pid
    assert (a.would(pillar_of())["result"], a.would(pillar_of())["changes"]) == (True, {})
    assert a.settle(pillar_of())["changes"] == {}
    assert (a.contents(), a.pid) == (before, pid)


def test_the_pair_comes_up_and_goes_down_and_stays_down(pair):
    a, b = pair
    found = a.minion.call("ipsec.up", peer=B)
    assert found["ok"], found
    assert a.states()["b_v4"] == b.states()["a_v4"] == "established"
    down = a.minion.call("ipsec.down", peer=B, reason="a test")
    assert down["ok"], down
    assert a.loaded == ["c_v4"]
    assert a.states()["b_v4"] == "held"
    a.host.run("systemctl", "restart", "strongswan")
    assert a.loaded == ["c_v4"]
    assert a.settle(pillar_of())["changes"] == {}
    up = a.minion.call("ipsec.up", peer=B)
    assert up["ok"], up
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.states()["b_v4"] == "established"


def test_an_edit_loads_just_what_differs_and_ends_nothing(pair):
    a, _ = pair
    a.minion.call("ipsec.up", peer=B)
    before, pid = a.sas, a.pid
    edited = pillar_of(connection={**pillar_of().get("connection", {}), "lifetime": "2h"})
    would = a.would(edited)
    assert would["result"] is None
    did = a.settle(edited)
    assert did["changes"] == would["changes"]
    assert (a.sas, a.pid) == (before, pid)
    assert a.settle(pillar_of())["changes"]
    assert (a.sas, a.pid) == (before, pid)


def test_a_peer_that_goes_is_unloaded_and_comes_back(pair):
    a, _ = pair
    less = pillar_of()
    less["hosts"] = {host: entry for host, entry in less["hosts"].items() if host != C}
    pid = a.pid
    assert a.settle(less)["changes"]["connections"] == {"removed": ["c_v4"]}
    assert a.loaded == ["b_v4"]
    assert a.settle(pillar_of())["changes"]["connections"] == {"added": ["c_v4"]}
    assert (a.loaded, a.pid) == (["b_v4", "c_v4"], pid)


def test_back_to_what_ran_before(pair):
    a, _ = pair
    before = a.contents()
    a.settle(pillar_of(connection={**pillar_of().get("connection", {}), "dpddelay": "7s"}))
    found = a.minion.call("ipsec.rollback")
    assert found["ok"], found
    assert a.contents() == before
    assert a.settle(pillar_of())["changes"] == {}


# Traps of swanctl ----------------------------------------------------------------------------


def damaged(text):
    """What swanctl takes for nothing at all, with status 0."""
    return text[: text.rindex("}\n")]


def refused(text):
    """What swanctl ends with status 22 for: the unit has charon stopped."""
    return text.replace("remote_addrs = ", "mobike = perhaps\n        remote_addrs = ", 1)


@pytest.mark.parametrize(("damage", "runs"), [(damaged, True), (refused, False)])
def test_a_start_with_a_file_that_is_damaged_is_told_and_mended(pair, damage, runs):
    a, _ = pair
    (a.host.root / CONF).write_text(damage(a.conf))
    a.host.process(["systemctl", "restart", "strongswan"], 60)
    assert bool(a.running) == runs
    found = a.status()
    assert not found["ok"]
    assert {*a.states().values()} == {"down"}
    assert a.settle(pillar_of())["changes"]
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.settle(pillar_of())["changes"] == {}


def test_of_a_file_that_is_damaged_nothing_is_loaded_and_down_is_down(pair):
    """`up` and `down` have the file taken up: swanctl itself would unload everything."""
    a, _ = pair
    (a.host.root / CONF).write_text(damaged(a.conf))
    found = a.minion.call("ipsec.up", peer=B)
    assert any("hostipsec.conf is damaged or was edited" in one for one in found["problems"]), found
    assert a.loaded == ["b_v4", "c_v4"]
    assert a.minion.call("ipsec.down", peer=B)["ok"]
    assert a.loaded == ["c_v4"]
    a.settle(pillar_of())
    assert a.loaded == ["c_v4"]
    assert a.minion.call("ipsec.up", peer=B)["ok"]


def test_a_newer_list_of_the_ca_counts_at_once(pair, authority):
    """swanctl's own --load-creds leaves charon with what it has checked already: a revoked peer got in."""
    a, b = pair
    listed = a.host.root / "etc/pki/crl.pem"
    listed.write_bytes(authorities.crl(authority, NOW, number=1))
    assert "warnings" not in a.settle(pillar_of())
    assert a.minion.call("ipsec.up", peer=B)["ok"]
    listed.write_bytes(authorities.crl(authority, NOW, b.certificate, number=2))
    a.settle(pillar_of())
    assert a.states()["b_v4"] == "established"
    assert a.minion.call("ipsec.down", peer=B, hold=False)["ok"]
    assert not a.minion.call("ipsec.up", peer=B, deadline=3)["ok"]
    assert a.states()["b_v4"] != "established"
