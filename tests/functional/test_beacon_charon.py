"""From a real charon by the keeper to the events of the beacon."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
from pathlib import Path

import pytest
from downs import Peers
from strongswan import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

BEACON = Path(__file__).parents[2] / "_beacons/ipsec.py"
OFTEN = """
from hostipsec import paths
from hostipsec.programs import keeper
paths.KEEPER_INTERVAL = 0.5
keeper.main()
"""


class Told:
    """The beacon over what a host's keeper leaves, and all that it told."""

    def __init__(self, host, place):
        found = importlib.util.spec_from_file_location("ipsec_beacon", BEACON)
        self.beacon = importlib.util.module_from_spec(found)
        found.loader.exec_module(self.beacon)
        self.beacon.__opts__ = {"cachedir": str(place)}
        self.sample = host.root / "run/hostipsec/state.json"
        self.events = []

    def __call__(self):
        self.events += self.beacon.beacon([{"sample": str(self.sample)}])
        return [one["tag"] for one in self.events]


@pytest.fixture
def peers(tmp_path):
    """Return a host with two peers that are there and one that is not, and its keeper."""
    made = Peers(tmp_path / "peers", 2, absent=1, stage="start")
    made.start()
    made.up()
    keeper = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3", "-c", OFTEN]
    running = subprocess.Popen(made.east.argv(keeper), stdin=subprocess.DEVNULL)
    yield made
    running.kill()
    running.wait()
    made.stop()


def test_what_becomes_of_a_host_is_told_in_its_order_and_once(peers, tmp_path):
    told = Told(peers.east, tmp_path)
    expected = ["connection/down"]
    wait_for(lambda: told() == expected, "a connection that nobody answers")
    assert told.events[0]["connection"] == "cp0002_v4"
    assert peers.ipsec_global("down", "--peer", "cp0000*", "--reason", "T1").status == 0
    expected += ["hold/set"]
    wait_for(lambda: told() == expected, "a hold")
    assert (told.events[1]["what"], told.events[1]["reason"]) == ("peer cp0000*", "T1")
    assert peers.ipsec_global("up", "--peer", "cp0000*").status == 0
    expected += ["hold/lifted"]
    wait_for(lambda: told() == expected, "the end of the hold")
    peers.signal("KILL", "starter")
    peers.signal("KILL")
    expected += ["charon/down"]
    wait_for(lambda: told() == expected, "a charon that is gone")
    before = told.sample.stat().st_mtime
    wait_for(lambda: told.sample.stat().st_mtime > before + 2, "more looks", timeout=60)
    assert told() == expected
    assert told.events[-1]["since"] <= time.time()
