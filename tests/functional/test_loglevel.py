"""charon's log levels, changed while a real charon runs: its log says more, and then as much as before."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter

import pytest
from downs import Peers, name
from strongswan import STRONGSWAN_CONF, wait_for

from hostipsec.charon.vicisession import ViciBackend

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

PYTHON = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3"]
CHANGE = """
import json, sys
from datetime import datetime, timezone
from hostipsec.emergency import loglevel
levels, minutes = json.loads(sys.argv[1])
print(json.dumps(loglevel.change(levels, minutes, datetime.now(timezone.utc)).as_dict()))
"""
FILELOG = """
charon {
    filelog {
        main {
            path = /tmp/charon.log
            default = 1
            ike_name = yes
        }
    }
}
"""
STATE = re.compile(r"IKE_SA \S+\[([0-9]+)\] state change: CREATED")  # of type ike, level 2


class Logged:
    """A host with one peer, whose charon logs to a file of its own, or to where charon logs by itself."""

    def __init__(self, place, strongswan_conf):
        self.peers = Peers(place, 1, stage="start", strongswan_conf=strongswan_conf)
        self.peers.start()
        self.host = self.peers.east

    def change(self, minutes=None, **levels):
        return json.loads(self.host.run(*PYTHON, "-c", CHANGE, json.dumps([levels, minutes])))

    def anew(self):
        """Bring the connection up anew; return the number of its IKE SA."""
        backend = ViciBackend(self.host.vici)
        backend.terminate([sa.uniqueid for sa in self.peers.look.ike_sas], force=True)
        wait_for(lambda: not self.peers.look.ike_sas, "end of all SAs")
        backend.initiate([name(0)])
        wait_for(lambda: name(0) in self.peers.established, name(0))
        (sa,) = self.peers.look.ike_sas
        return sa.uniqueid

    def told(self):
        """End charon, which writes what it has buffered; return of which IKE SAs the beginning is told."""
        self.peers.signal("TERM")
        wait_for(lambda: not (self.host.root / "run/charon.pid").exists(), "end of charon")
        file = self.host.root / "tmp/charon.log"
        return Counter(map(int, STATE.findall(file.read_text() if file.exists() else self.host.log)))


@pytest.fixture(params=["as by itself", "to a file"])
def logged(request, tmp_path):
    found = Logged(tmp_path / "logged", STRONGSWAN_CONF + (FILELOG if request.param == "to a file" else ""))
    yield found
    found.peers.stop()


def test_more_is_logged_for_a_while_and_then_as_much_as_before(logged):
    usual = [logged.anew()]
    found = logged.change(ike=2)
    assert (found["ok"], found["raised"], found["levels"]["ike"]) == (True, {"ike": 2}, 2)
    raised = [logged.anew()]
    assert logged.change()["raised"] == {"ike": 2}
    assert logged.change(minutes=0)["sentence"] == "the usual log levels"
    usual.append(logged.anew())
    logged.change(minutes=0.01, ike=2)
    raised.append(logged.anew())
    keeper = subprocess.Popen(logged.host.argv([*PYTHON, "-m", "hostipsec.programs.keeper"]))
    try:
        wait_for(lambda: not logged.change()["raised"], "the keeper to undo it")
    finally:
        keeper.kill()
        keeper.wait()
    usual.append(logged.anew())
    told = logged.told()
    assert [told[number] for number in usual] == [0, 0, 0]
    assert [told[number] for number in raised] == [1, 1]
