"""The main job on hosts without systemd, whose init runs scripts: Debian 11, 12, 13 with sysvinit-core."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import minimal
import pytest
from members import Member
from minions import Remote
from strongswan import STRONGSWAN_CONF, Host, line, unpacked, wait_for
from sysv import Sysv

import authorities
from hostipsec.store import record
from hostipsec.system import processes

pytestmark = [pytest.mark.whole, pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")]

GLOBAL = "/usr/local/sbin/ipsec-global"
GUARD, KEEPER = "hostipsec-guard", "hostipsec-keeper"
SUITES = {  # and their strongSwan and Python
    "bullseye": ("5.9.1", "3.9"),
    "bookworm": ("5.9.8", "3.11"),
    "trixie": ("6.0.1", "3.13"),
}
RECORD = "/var/lib/hostipsec/mesh.json"
EAST, WEST = "east.example", "west.example"
CERTIFICATES = {"certificate": "/etc/fleet/cert.pem", "key": "/etc/fleet/key.pem", "ca": "/etc/fleet/ca.pem"}
PILLAR = {
    "hosts": {
        EAST: {"ipv4": "10.9.0.1", "ipv6": "fd09::1", "side": "east"},
        WEST: {"ipv4": "10.9.0.2", "ipv6": "fd09::2", "side": "west"},
    },
    "rules": [
        {"name": "tunnels", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "start"},
    ],
    "certificates": {"source": "files", **CERTIFICATES},
    "packages": ["libcharon-extra-plugins"],
    "connection": {"type": "tunnel"},  # charon itself does ESP here
    "charon": {
        "plugins": {
            "kernel-libipsec": {"load": "yes", "allow_peer_ts": "yes"},
            "kernel-netlink": {"fwmark": "!0x42"},
            "socket-default": {"fwmark": "0x42"},
        }
    },
}


class Pair:
    """The host, switched on, and a peer whose charon has its connections."""

    def __init__(self, place: Path, suite: str) -> None:
        self.east = Sysv("east", place / "east", suite)
        self.west = Host("west", place / "west", over=unpacked())
        self.place, self.suite, self.remote = place, suite, None

    def start(self) -> None:
        """Start the peer's charon, and switch the host on."""
        now = datetime.now(timezone.utc)
        ca = authorities.authority("CN=Fleet CA", now)
        line(self.east, self.west, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        peer = Member(self.west, PILLAR, WEST, self.place)
        peer.start(peer.inspect(authorities.host(f"CN={WEST}", now, ca), ca.pem), STRONGSWAN_CONF)
        own = authorities.host(f"CN={EAST}", now, ca)
        self.east.run("mkdir", "-p", "/etc/fleet")
        for path, content in zip(CERTIFICATES.values(), (own.pem, own.key_pem(), ca.pem)):
            self.east.write(path, content.decode())
        self.east.boot()

    def salt(self) -> Remote:
        """Return Salt on the host; anew after each boot."""
        argv = lambda given: minimal.salted(self.east, given)  # noqa: E731
        self.remote = Remote(argv, self.place / "log", place=f"/tmp/minion{self.east.pid}", identifier=EAST)
        self.remote.pillar(PILLAR)
        return self.remote

    def up(self) -> int:
        """Return how many connections are up, as ipsec-global says."""
        found = self.east.process([GLOBAL, "status", "--json"], 60)
        rows = json.loads(found.stdout).get("connections", {}) if found.stdout else {}
        return sum(row["state"] == "established" for row in rows.values())

    def check(self) -> processes.Result:
        """Return what the plugin for monitoring systems says."""
        return self.east.process(["/usr/local/lib/nagios/plugins/check_ipsec"], 60)

    def keepers(self) -> int:
        """Return how many keepers run."""
        return self.east.run("ps", "ax").count("/usr/bin/python3 -IB -c import")

    def reboot(self) -> None:
        """Take the power off, and boot."""
        self.without_salt()
        self.east.power_off()
        self.east.boot()

    def without_salt(self) -> None:
        """End Salt."""
        if self.remote:
            self.remote.stop()
        self.remote = None

    def stop(self) -> None:
        self.without_salt()
        self.east.stop()
        self.west.stop()


@pytest.fixture(scope="module", params=SUITES)
def pair(request, tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("sysv"), request.param)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def good(found):
    """Assert that no state failed; return those that changed something."""
    assert [one for one in found.values() if one["result"] is False] == []
    return [name for name, one in found.items() if one["changes"]]


def order(pair, level, *names):
    """Return the numbers of scripts at boot."""
    links = sorted(path.name for path in (pair.east.root / f"etc/rc{level}.d").iterdir())
    return [next(int(link[1:3]) for link in links if link[3:] == name and link[0] == "S") for name in names]


def test_the_main_job(pair):
    """Neither keeper nor guard ran where there is no systemd: what charon gave up stayed down."""
    salt, east = pair.salt(), pair.east
    assert {"ipsec-keeper-running", "ipsec-guard-enabled"} <= {*good(salt.apply())}
    wait_for(lambda: pair.up() == 2, "both connections")
    assert good(salt.apply()) == []
    charon, python = SUITES[pair.suite]
    assert f"U{charon}/" in east.run("ipsec", "--version")
    assert east.run("/usr/bin/python3", "--version").startswith(f"Python {python}.")
    assert east.run("dpkg-divert", "--list", "*init.d*") == ""  # it is the service
    assert "auto=add" in (east.root / "etc/ipsec.conf").read_text()  # the keeper starts them
    assert salt.call("service.status", "ipsec")
    (guard, network), (charon, keeper) = (
        order(pair, "S", GUARD, "networking"),
        order(pair, 2, "ipsec", KEEPER),
    )
    assert guard < network
    assert charon < keeper


def test_after_a_boot_all_is_there_without_salt(pair):
    pair.reboot()
    wait_for(lambda: pair.up() == 2, "both connections")
    said = (pair.east.root / "var/log/syslog").read_text()
    assert f"{KEEPER}: starting west_v4" in said


def test_a_keeper_that_ended_is_told_and_started_by_its_script(pair):
    pid = pair.east.run("cat", f"/run/{KEEPER}.pid").strip()
    pair.east.run("kill", "-9", pid)
    wait_for(lambda: "does not run" in pair.check().stdout, "a warning")
    found = pair.check()
    assert found.status == 1
    assert f"type: service {KEEPER} start; see: grep {KEEPER} /var/log/syslog" in found.stdout
    for _ in range(2):
        pair.east.run("service", KEEPER, "start")
    assert pair.check().status == 0
    assert pair.keepers() == 1
    pair.east.run("service", KEEPER, "restart")
    wait_for(lambda: pair.check().status == 0, "the keeper anew")
    assert pair.keepers() == 1


def test_down_holds_over_a_boot_and_up_starts_charon(pair):
    assert pair.east.process([GLOBAL, "down", "--reason", "a test"], 60).status == 0
    pair.reboot()
    found = pair.east.process([GLOBAL, "status"], 60)
    assert "2 connections: 2 held" in found.stdout
    pair.east.run("service", "ipsec", "stop")
    assert pair.east.process([GLOBAL, "up", "--blocking"], 90).status == 0
    assert pair.up() == 2


def test_the_guard_blocks_from_before_the_network_is_up(pair):
    """The keeper would do it later: it is not started here."""
    told = (pair.east.root / RECORD.lstrip("/")).read_text()
    known = record.parse(told)
    required = known._replace(connections=[one._replace(stage="require") for one in known.connections])
    pair.east.write(RECORD, record.render(required), 0o644)
    pair.east.run("update-rc.d", KEEPER, "disable")
    pair.reboot()
    policies = pair.east.run("ip", "xfrm", "policy")
    for way in ("in", "out"):  # of both families
        assert policies.count(f"dir {way} action block") == 2, pair.east.console
    pair.east.write(RECORD, told, 0o644)
    pair.east.run("update-rc.d", KEEPER, "enable")
    pair.east.run("service", GUARD, "start")
    assert "block" not in pair.east.run("ip", "xfrm", "policy")


def test_clean_leaves_nothing(pair):
    good(pair.salt().apply("ipsec.clean"))
    etc = pair.east.root / "etc"
    assert [*etc.glob("init.d/hostipsec-*"), *etc.glob("rc?.d/*hostipsec-*"), *etc.glob("init.d/ipsec")] == []
    assert not (pair.east.root / "var/lib/hostipsec").exists()
    assert pair.keepers() == 0
