"""docs/monitoring.md as a newcomer types it, from the pillar's key to an alarm that fires, and ends.

A real charon, the keeper and the service of metrics by their units' command lines, Prometheus with what
Debian's package brings, and Alertmanager with what the page has of it, which tells a receiver of this test;
there is no systemd in these namespaces, so two words stand for its command.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml
from downs import Peers
from prometheus import alertmanager, unpacked
from strongswan import Host, run, wait_for

import fleets
from hostipsec.pillar import pillar
from hostipsec.store import record
from hostipsec.store.record import Record

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/monitoring.md"
EAST, WEST = "cp1001.eqiad.example", "cp3001.esams.example"
SITES = {EAST: "eqiad", WEST: "esams"}
# lines to who watches, beside that of the mesh, whose routes are charon's
LINES = (("eth0", "10.8.0.1", "10.8.0.2"), ("eth1", "10.8.1.1", "10.8.1.2"))
SYSTEMCTL = """#!/bin/sh
case "$*" in
    "reload prometheus") exec pkill -HUP -x prometheus ;;
    "stop strongswan-starter") exec ipsec stop ;;
    "start strongswan-starter") exec ipsec start ;;
esac
exit 9
"""
HOSTS = f"127.0.0.1 localhost\n{LINES[0][1]} {EAST}\n{LINES[1][1]} {WEST}\n{LINES[0][2]} PROMETHEUS\n"
ALERTMANAGER = (
    "prometheus-alertmanager --config.file=/etc/prometheus/alertmanager.yml --storage.path=/tmp/told "
    "--web.listen-address=127.0.0.1:9093 --cluster.listen-address="
)
RECEIVER = """
import http.server
class Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/tmp/messages", "ab") as file:
            file.write(told.strip() + b"\\n")
        self.send_response(200)
        self.end_headers()
open("/tmp/messages", "ab").close()
http.server.HTTPServer(("127.0.0.1", 8000), Taking).serve_forever()
"""

pytestmark = [
    pytest.mark.whole,  # the page lets five minutes pass
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces"),
]


def typed(word):
    """Return the block of the page that has a word."""
    (found,) = [block for block in PAGE.read_text().split("```")[1::2] if word in block]
    return found.strip("\n")


def asked():
    """Return what the pillar asks for with the key of the page."""
    data = {**fleets.example(), **yaml.safe_load(typed("textfile: "))["ipsec"]}
    return pillar.read(data).settings.metrics


def unit(name, **values):
    """Return the command line of a unit."""
    text = (ROOT / f"states/ipsec/files/{name}.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", jinja2.Template(text).render(values), re.MULTILINE)
    return shlex.split(line)


class Mesh:
    """Two members, and the host that watches them."""

    def __init__(self, place):
        self.peers, self.running = Peers(place, 1, stage="start"), []
        self.members = {EAST: self.peers.east, WEST: self.peers.west}
        self.monitor = Host("monitor", place / "monitor")
        for tree in (unpacked(), alertmanager()):
            for part in ("etc/prometheus", "usr/bin", "usr/share/prometheus"):
                shutil.copytree(tree / part, self.monitor.root / part, symlinks=True, dirs_exist_ok=True)
        shutil.copytree(ROOT / "docs/monitoring", self.monitor.root / "root/monitoring")
        for host, line in zip(self.members.values(), LINES):
            self.watched(host, *line)
        for host in (*self.members.values(), self.monitor):
            host.write("/etc/hosts", HOSTS, 0o644)
            host.write("/usr/bin/systemctl", SYSTEMCTL, 0o755)

    def watched(self, host, device, near, far):
        """Connect a host with the one that watches it."""
        veth = ["ip", "link", "add", "watch", "netns", str(host.pid), "type", "veth"]
        run([*veth, "peer", "name", device, "netns", str(self.monitor.pid)])
        for one, link, address in ((host, "watch", near), (self.monitor, device, far)):
            one.network("link", "set", link, "up")
            one.network("address", "add", f"{address}/24", "dev", link)

    def begin(self, host, argv):
        """Start a program that goes on."""
        with (host.root / "tmp/programs.log").open("ab") as log:
            argv = host.argv(argv)
            self.running.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def applied(self, metrics):
        """Have on the members what the states leave."""
        (there,) = self.peers.connections
        back = there._replace(name="east0000", left=there.right, right=there.left, initiator=False)
        engine = "usr/local/lib/hostipsec"  # at east it is
        shutil.copytree(self.peers.east.root / engine, self.peers.west.root / engine)
        self.peers.start()
        self.given(EAST, there._replace(peer=WEST), metrics)
        self.given(WEST, back._replace(peer=EAST), metrics)

    def given(self, name, connection, metrics):
        """Have on one member its record, and the programs of its units."""
        host, sites = self.members[name], {connection.peer: SITES[connection.peer]}
        told = Record((connection,), site=SITES[name], host=name, sites=sites)
        host.run("mkdir", "-p", metrics.textfile, "/run/hostipsec", "/var/lib/hostipsec")
        host.write("/var/lib/hostipsec/mesh.json", record.render(told), 0o644)
        self.begin(host, unit("hostipsec-keeper"))
        values = {"arguments": metrics.arguments, "textfile": metrics.textfile}
        self.begin(host, unit("hostipsec-metrics", metrics=values))

    def type(self, host, text, timeout=60.0):
        """Type it on a host, as root; what it says."""
        done = host.process(["sh", "-ec", f"cd /root\n{text}"], timeout)
        assert done.status == 0, f"{text}: {done.text}"
        return done.stdout.strip("\n")

    def receive(self):
        """Have Alertmanager, by what the page has, tell a receiver."""
        found = yaml.safe_load(typed("inhibit_rules:"))
        found["route"]["receiver"] = "us"
        found["receivers"] = [{"name": "us", "webhook_configs": [{"url": "http://127.0.0.1:8000/"}]}]
        self.monitor.write("/etc/prometheus/alertmanager.yml", json.dumps(found), 0o644)
        self.type(self.monitor, "amtool check-config /etc/prometheus/alertmanager.yml")
        self.begin(self.monitor, ["python3", "-c", RECEIVER])
        self.begin(self.monitor, shlex.split(ALERTMANAGER))

    def messages(self):
        """Return what the receiver was told: of each message its state and the names of the alarms."""
        told = (self.monitor.root / "tmp/messages").read_text().splitlines()
        return [
            (one["status"], [alarm["labels"]["alertname"] for alarm in one["alerts"]])
            for one in map(json.loads, told)
        ]

    def says(self, text, what, timeout=120.0):
        """Type it on the member until it says so."""
        said = []

        def so():
            said[:] = [self.type(self.peers.east, f"{text} || true")]
            return what in said[0] if what else not said[0]

        try:
            wait_for(so, text, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}: {said}") from None

    def stop(self):
        self.peers.stop()
        self.monitor.stop()
        for one in self.running:
            one.kill()
            one.wait()


@pytest.fixture
def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    made.stop()


def test_from_the_pillar_to_an_alarm_that_fires_and_ends(mesh):
    mesh.applied(asked())
    (works,) = re.findall(r"That it works: `([^`]*)`", PAGE.read_text())
    mesh.says(works, "ipsec_connections")

    mesh.begin(
        mesh.monitor,
        ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/tsdb"],
    )
    mesh.says("curl -s http://PROMETHEUS:9090/-/ready", "Ready")
    mesh.type(mesh.monitor, f"cd monitoring\n{typed('promtool check config')}")
    for member in mesh.members:
        mesh.says("curl -s 'http://PROMETHEUS:9090/api/v1/query?query=ipsec_connection_up'", f"{member}:9815")

    stop, ask, *printed, start = typed("systemctl stop").split("\n")
    assert all(one.startswith("# ") for one in (stop, ask, start))
    mesh.says(ask[2:], "")
    mesh.receive()
    mesh.type(mesh.peers.east, stop[2:], 300)
    assert mesh.type(mesh.peers.east, ask[2:]).split("\n") == printed
    wait_for(lambda: mesh.messages() != [], "message")
    assert mesh.messages() == [("firing", ["IPsecCharonDown"])]
    mesh.type(mesh.peers.east, start[2:])
    mesh.says(ask[2:], "")
