"""A real Prometheus over a fleet with a dead host: alarms in words, and the dashboard's queries."""

from __future__ import annotations

import os
import time

import pytest
from prometheus import Prometheus, impatient
from strongswan import wait_for

import alarms
import dashboard
from alarms import HOSTS, dead, own
from hostipsec.health.sample import Decision

YESTERDAY = time.time() - 86400
A, X = "cp1001.eqiad", "cp3001.esams"
# panels that have nothing to show where all else is well
EMPTY = {
    *("Down by sites 0", "Lost most often, within an hour 0", "Up at one end only 0"),
    *("Dropped by the kernel's IPsec 0", "Held", "Applied"),
}

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")


def world(now):
    """Return a fleet of which one host is dead, and one is held for a day."""
    found = alarms.well(now)
    for host in HOSTS:
        counters = {"ike-init-out-req": 3, "ike-auth-in-resp": 3, "child-rekey": 2, "ike-rekey-init": 1}
        own(found, host, counters=counters, certificate=now + 90 * 86400)
    dead(found, X)
    own(found, A, holds=(Decision("all", "root", "T1", YESTERDAY),))
    return found


class Watching(Prometheus):
    """A Prometheus over the fleet, which tells anew each time that it is asked."""

    def __init__(self, place):
        self.www = place / "www"
        self.tell()
        of = [{"__metrics_path__": f"/{host}", "instance": f"{host}:9815"} for host in HOSTS]
        targets = [{"targets": ["127.0.0.1:8000"], "labels": labels} for labels in of]
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        scraped = [{"job_name": "ipsec", "static_configs": targets}]
        super().__init__(
            place, {"global": often, "rule_files": [impatient(place)], "scrape_configs": scraped}
        )

    def tell(self):
        """Write what the hosts tell now; what is older than a minute they do not believe themselves."""
        now = time.time()
        self.www.mkdir(exist_ok=True)
        for host, told in world(now).items():
            if told:
                (self.www / "new").write_text(alarms.rendered(told.sample, now))
                (self.www / "new").rename(self.www / host)

    def firing(self):
        """Return what fires, with its sentence."""
        self.tell()
        found = self.asked("alerts").get("data", {}).get("alerts", [])
        return {one["labels"]["alertname"]: one["annotations"]["summary"] for one in found}

    def result(self, expr):
        """Return what a query gives, with the dashboard's filters open."""
        self.tell()
        found = self.asked("query", query=expr.replace("$sites", ".*").replace("$site", ".*"))
        assert found.get("status") == "success", (expr, found)
        return found["data"]["result"]


@pytest.fixture(scope="module")
def watching(tmp_path_factory):
    made = Watching(tmp_path_factory.mktemp("prometheus"))
    yield made
    made.stop()


def test_alarms_fire_in_words(watching):
    both = {"IPsecPeerDown", "IPsecHoldLong"}
    wait_for(lambda: watching.firing().keys() == both, "two alarms and no other", 90)
    seen = watching.firing()
    assert seen["IPsecPeerDown"] == f"{X}: no peer has a tunnel to it (100% of its connections are down)"
    assert seen["IPsecHoldLong"].startswith(f"{A}:9815: held down for 1d 0h")


def test_every_query_of_the_dashboard_answers(watching):
    wait_for(lambda: watching.result("peer:ipsec_dead"), "rules", 90)
    wait_for(lambda: watching.result("rate(ipsec_connection_bytes_total[5m])"), "two scrapes", 90)
    silent = {name for name, expr in dashboard.queries().items() if not watching.result(expr)}
    assert silent == EMPTY


def test_the_filters_find_what_there_is(watching):
    wait_for(lambda: watching.result("ipsec_connection_expected"), "scrape", 90)
    assert watching.asked("label/sites/values")["data"] == ["codfw-eqiad", "codfw-esams", "eqiad-esams"]
    assert watching.asked("label/site/values")["data"] == ["codfw", "eqiad", "esams"]
