"""From a fault of a real host to the alarm: charon, keeper, service of metrics, Prometheus, our rules.

All tunnels of the host are between two sites; its peers tell that they are there, and nothing of their ends:
what only both ends together explain is in `test_alarms`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

import pytest
from downs import Peers, name
from prometheus import Prometheus, impatient
from strongswan import wait_for

import alarms
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.health.sample import Process, Sample
from hostipsec.store import record
from hostipsec.store.record import Record

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

PROGRAM = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3", "-m"]
GET = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9815/metrics", timeout=60).read().decode(), end="")
"""


class Alarmed(Prometheus):
    """A host with five peers at another site, its keeper, its metrics, and a Prometheus that gets them."""

    def __init__(self, place):
        self.peers = Peers(place, 5, stage="start")
        self.east, self.www = self.peers.east, place / "www"
        self.running = {}
        try:
            self._begin(place)
        except BaseException:
            self.stop()
            raise

    def _begin(self, place):
        (self.east.root / "run/hostipsec").mkdir(mode=0o700, exist_ok=True)
        connections = self.peers.connections
        sites = {one.peer: "codfw" for one in connections}
        found = Record(connections, site="eqiad", host="east.eqiad.example", sites=sites)
        self.east.write("/var/lib/hostipsec/mesh.json", record.render(found), 0o644)
        self.peers.start()
        self.begin("keeper")
        self.begin("metrics", "--http", "127.0.0.1:9815")
        self.www.mkdir()
        wait_for(lambda: "ipsec_connection_up{" in self.tell(), "metrics")
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        labels = [{"__metrics_path__": f"/{one}", "instance": f"{one}:9815"} for one in ("east", *sites)]
        targets = [{"targets": ["127.0.0.1:8000"], "labels": one} for one in labels]
        scraped = [{"job_name": "ipsec", "static_configs": targets}]
        super().__init__(
            place, {"global": often, "rule_files": [impatient(place)], "scrape_configs": scraped}
        )

    def begin(self, program, *arguments):
        """Start a program of ours."""
        argv = self.east.argv([*PROGRAM, f"hostipsec.programs.{program}", *arguments])
        self.running[program] = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def tell(self):
        """Hand Prometheus, which is on another network, what the host tells now; returns it."""
        told = self.east.process(["python3", "-c", GET], 90).stdout
        self._put("east", told)
        for one in self.peers.connections:
            now = time.time()
            self._put(one.peer, alarms.rendered(Sample(now, one.peer, "codfw", charon=Process()), now))
        return told

    def _put(self, host, told):
        (self.www / "new").write_text(told)
        (self.www / "new").rename(self.www / host)

    def firing(self):
        """Return what fires."""
        self.tell()
        found = self.asked("alerts").get("data", {}).get("alerts", [])
        return {one["labels"]["alertname"] for one in found}

    def expect(self, *alarms):
        """Wait until these fire, and nothing else."""
        seen = set()

        def so():
            seen.clear()
            seen.update(self.firing())
            return seen == {*alarms}

        try:
            wait_for(so, f"{alarms or 'silence'} alone", 120)
        except AssertionError as error:
            raise AssertionError(f"{error}: {sorted(seen)}") from None

    def stop(self):
        for one in self.running.values():
            one.kill()
            one.wait()
        with contextlib.suppress(AttributeError):
            super().stop()
        self.peers.stop()


@pytest.fixture(scope="module")
def alarmed(tmp_path_factory):
    made = Alarmed(tmp_path_factory.mktemp("alarmed"))
    yield made
    made.stop()


@pytest.mark.whole
def test_each_fault_of_a_host_is_its_alarm(alarmed):
    peers = alarmed.peers
    alarmed.expect()

    peers.addresses("del", [2])  # one peer is off
    ids = [sa.uniqueid for sa in peers.look.ike_sas if sa.name == name(2)]
    ViciBackend(peers.east.vici).terminate(ids, force=True)
    alarmed.expect("IPsecConnectionsDown")
    peers.addresses("add", [2])
    peers.initiate_from_peers([2])
    alarmed.expect()

    assert peers.ipsec_global("down", "--peer", "cp0001*", "--reason", "T1").status == 0
    assert 'ipsec_connection_held{peer="cp0001.example"' in alarmed.tell()
    alarmed.expect()  # an operator's decision is no fault
    assert peers.ipsec_global("up", "-b", "--peer", "cp0001*").status == 0

    peers.signal("STOP")  # charon hangs
    alarmed.expect("IPsecCharonDown")
    peers.signal("CONT")
    alarmed.expect()

    peers.addresses("del", range(5))  # the line is cut
    ids = [sa.uniqueid for sa in peers.look.ike_sas]
    ViciBackend(peers.east.vici).terminate(ids, force=True)
    alarmed.expect("IPsecSitesDown")
    peers.addresses("add", range(5))
    peers.initiate_from_peers(range(5))
    alarmed.expect()
