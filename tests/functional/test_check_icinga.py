"""The plugin on a host, beside a real charon: started by a user without rights, and by a real Icinga 2.

A table of faults is gone through by the plugin, by Icinga with the service definition that we ship, and by
production's kind of check, which tells less.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from downs import Peers
from strongswan import tree, wait_for, without_lib

ROOT = Path(__file__).parents[2]
BOOST = "coroutine context thread filesystem iostreams program-options regex chrono date-time atomic"
PACKAGES = (
    *("icinga2-bin", "icinga2-common", "sudo", "libedit2", "libbsd0", "libicu72", "libmd0"),
    *(f"libboost-{part}1.74.0" for part in BOOST.split()),
)
NAGIOS = 4242
CHECK = "/usr/local/lib/nagios/plugins/check_ipsec"
MAIN = """
const PluginDir = "/usr/lib/nagios/plugins"
const ManubulonPluginDir = PluginDir
const PluginContribDir = PluginDir
const NodeName = "east"
const ZoneName = NodeName
const TicketSalt = ""
include <itl>
object Endpoint NodeName {}
object Zone ZoneName { endpoints = [ NodeName ] }
include "features-enabled/*.conf"
object ApiUser "tests" { password = "only in a namespace"; permissions = [ "*" ] }
object CheckerComponent "checker" {}
object Host NodeName { check_command = "dummy"; vars.ipsec = true }
include "/etc/icinga2/ipsec.conf"
"""
ASK = """
import base64, json, ssl, sys, urllib.request
context = ssl._create_unverified_context()
request = urllib.request.Request("https://127.0.0.1:5665/v1/" + sys.argv[1], method=sys.argv[2])
request.add_header("Accept", "application/json")
request.add_header("Authorization", "Basic " + base64.b64encode(b"tests:only in a namespace").decode())
print(urllib.request.urlopen(request, context=context, timeout=60).read().decode())
"""

pytestmark = [pytest.mark.whole, pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")]


class Monitored:
    """A host with the plugin, sudo and Icinga 2."""

    def __init__(self, peers: Peers, packages: Path) -> None:
        self.peers, self.east = peers, peers.east
        subprocess.run(["cp", "-a", f"{packages}/.", str(self.east.root)], check=True)
        user = {
            "passwd": f"nagios:x:{NAGIOS}:{NAGIOS}::/var/lib/nagios:/usr/sbin/nologin",
            "group": f"nagios:x:{NAGIOS}:",
            "shadow": "nagios:*:19000:0:99999:7:::",
        }
        for table, text in user.items():
            with (self.east.root / "etc" / table).open("a") as file:
                file.write(f"{text}\n")
        files = ROOT / "states/ipsec/files"
        self.put(CHECK, (files / "check_ipsec").read_text(), 0o755)
        self.put("/etc/sudoers.d/hostipsec-check", (files / "hostipsec-check.sudoers").read_text(), 0o440)
        self.put("/tmp/check_by_text", (ROOT / "tests/functional/check_by_text").read_text(), 0o755)
        self._icinga: subprocess.Popen[bytes] | None = None

    def put(self, path: str, text: str, mode: int) -> None:
        (self.east.root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        self.east.write(path, text, mode)

    def check(self, *arguments: str) -> tuple[int, str]:
        """Run the plugin as nagios; returns its status and what it printed."""
        user = ["setpriv", f"--reuid={NAGIOS}", f"--regid={NAGIOS}", "--clear-groups", CHECK]
        found = self.east.process([*user, *arguments], 120)
        assert found.stderr == ""
        return found.status, found.stdout

    def by_text(self) -> tuple[int, str]:
        """Run production's kind of check."""
        found = self.east.process(["/tmp/check_by_text", "libipsec"], 120)
        return found.status, found.stdout

    def icinga(self) -> None:
        """Start Icinga 2 with the service definition that we ship."""
        self.put("/etc/icinga2/icinga2.conf", MAIN, 0o644)
        self.put("/etc/icinga2/ipsec.conf", (ROOT / "docs/monitoring/icinga2.conf").read_text(), 0o644)
        for directory in (
            "/etc/icinga2",
            "/var/lib/icinga2",
            "/var/log/icinga2",
            "/run/icinga2",
            "/var/cache/icinga2",
        ):
            self.east.run("install", "-d", "-o", "nagios", "-g", "nagios", directory)
        self.east.run("chown", "-R", "nagios:nagios", "/etc/icinga2", "/var/lib/icinga2")
        self.east.run("icinga2", "api", "setup", "--cn", "east", timeout=120)
        with (self.east.root / "tmp/icinga.log").open("wb") as log:
            argv = self.east.argv(["icinga2", "daemon", "-D", "RunAsUser=nagios", "-D", "RunAsGroup=nagios"])
            self._icinga = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_for(lambda: self.asked("objects/services") != {}, "Icinga's services", 60)
        except AssertionError as error:
            said = (self.east.root / "tmp/icinga.log").read_text(errors="replace")
            raise AssertionError(f"{error}\n{said[-3000:]}") from None

    def asked(self, path: str, method: str = "GET") -> dict:
        """Ask Icinga; nothing where it does not answer."""
        found = self.east.process(["/usr/bin/python3", "-c", ASK, path, method], 120)
        return json.loads(found.stdout) if found.status == 0 else {}

    def state(self) -> tuple[int, str]:
        """Have Icinga check now; returns status and output of a check that began after this."""
        now = float(self.east.run("date", "+%s.%N"))
        self.asked("actions/reschedule-check?service=east!ipsec&force=true", "POST")
        seen: dict = {}

        def checked() -> bool:
            (found,) = self.asked("objects/services/east!ipsec")["results"]
            seen.update(found["attrs"].get("last_check_result") or {})
            return seen.get("execution_start", 0.0) > now

        wait_for(checked, "a check by Icinga", 120)
        assert seen["check_source"] == "east"
        assert seen["performance_data"] == [] or seen["performance_data"][0].startswith("trouble=")
        return int(seen["exit_status"]), seen["output"]


@pytest.fixture(scope="module")
def packages() -> Path:
    return tree("icinga", PACKAGES, into_usr)


def into_usr(root: Path) -> None:
    """Have its libraries where a host's link leads."""
    subprocess.run(["cp", "-a", f"{root}/lib/.", f"{root}/usr/lib"], check=True)
    without_lib(root)


@pytest.fixture
def host(tmp_path, packages):
    made = Peers(tmp_path, 3, stage="start")
    try:
        made.start()
        made.east.write("/etc/ipsec.conf", made.conf("start"))
        made.east.run("ipsec", "update")
        wait_for(lambda: len(made.established) == 3, "three connections")
        yield Monitored(made, packages)
    finally:
        made.stop()


def faults(host):
    """Bring faults about, one after another; yields name, status, words, and what production's check says."""
    peers = host.peers
    yield "all is well", 0, "IPSEC OK - 3 connections: 3 established", 0
    assert peers.ipsec_global("down", "--peer", "cp0001*", "--reason", "T1").status == 0
    yield "held", 1, "because T1", 2
    assert peers.ipsec_global("up", "-b", "--peer", "cp0001*").status == 0
    yield "up again", 0, "IPSEC OK - 3 connections", 0
    peers.addresses("del", [2])
    assert peers.ipsec_global("down", "--no-hold", "--peer", "cp0002*").status == 0
    yield "gone", 2, "cp0002", 2
    record = (host.east.root / "var/lib/hostipsec/mesh.json").read_text()
    host.put("/var/lib/hostipsec/mesh.json", record[:40], 0o644)
    yield "gone, and a damaged record", 2, "mesh.json cannot be read", 2
    host.put("/var/lib/hostipsec/mesh.json", record, 0o644)
    peers.signal("STOP")
    yield "charon hangs", 2, "IPSEC CRITICAL - charon does not answer (", None
    peers.signal("CONT")
    peers.addresses("add", [2])
    peers.up([2])
    host.put("/var/lib/hostipsec/mesh.json", record[:40], 0o644)
    host.put("/etc/ipsec.conf", "", 0o600)
    yield "a damaged record, and no more", 3, "IPSEC UNKNOWN - mesh.json cannot be read", 0
    host.put("/var/lib/hostipsec/mesh.json", record, 0o644)
    host.put("/etc/ipsec.conf", peers.conf("start"), 0o600)
    peers.signal("KILL")
    peers.signal("KILL", "starter")
    yield "charon is dead", 2, "IPSEC CRITICAL - charon does not answer (", 3


def test_the_faults_by_plugin_icinga_and_production_s_kind_of_check(host):
    host.icinga()
    for name, status, sentence, by_text in faults(host):
        for found in (host.check(), host.state()):
            assert found[0] == status, (name, found)
            assert sentence in found[1], (name, found)
        if by_text is not None:  # of a charon that hangs it waits for ever
            assert host.by_text()[0] == by_text, (name, host.by_text())


def test_without_the_line_of_sudoers_it_is_unknown(host):
    assert host.check("--json")[0] == 0
    host.east.run("rm", "/etc/sudoers.d/hostipsec-check")
    status, said = host.check()
    assert (status, said.partition(" (")[0]) == (
        3,
        "IPSEC UNKNOWN - only root may look, and sudo does not let nagios",
    )
