"""A host with many connections, whose kernel forgets all SAs at once, and its keeper.

Prints, as JSON, how many connections there are, what the keeper ended in each of its passes, the seconds from
the flush until every connection had SAs in the kernel again, and whether each is another than before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from downs import CONN, Peers
from strongswan import wait_for

MANY = 70
KEEPER = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3", "-m", "hostipsec.programs.keeper"]
IN_KERNEL = """
charon {
    retransmit_timeout = 60
    dos_protection = no
    threads = 32
    reuse_ikesa = no
    plugins { vici { load = yes } }
}
"""
APART = 1.0  # seconds between two lines of the keeper that are of two passes


class Keeper:
    """The keeper as its unit runs it, and when it said what."""

    def __init__(self, host):
        self.lines = []
        self.process = subprocess.Popen(
            host.argv(KEEPER), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self):
        for line in self.process.stderr:
            self.lines.append((time.monotonic(), line))

    def passes(self):
        """Return how many connections were ended in each pass in which some were."""
        found, last = [], 0.0
        for when, line in list(self.lines):
            if line.startswith("ending "):
                if not found or when - last > APART:
                    found.append(0)
                found[-1] += 1
                last = when
        return found


def children(peers):
    """Return the SPI of each connection's SA that carries."""
    sas = peers.look.ike_sas
    return {child.name: child.spi_in for sa in sas for child in sa.children if child.state == "INSTALLED"}


def states(peers):
    """Return how many SAs the kernel has."""
    return peers.east.run("ip", "xfrm", "state", "list").count("\tproto esp ")


def main():
    """Have all up, flush, and wait."""
    with tempfile.TemporaryDirectory() as place:
        conn = CONN + "    type=transport\n"
        peers = Peers(Path(place), MANY, strongswan_conf=IN_KERNEL, stage="start", conn=conn)
        peers.start()
        peers.up()
        before = children(peers)
        keeper = Keeper(peers.east)
        wait_for(lambda: states(peers) == 2 * MANY, "all SAs in the kernel")
        begin = time.monotonic()
        peers.east.run("ip", "xfrm", "state", "flush")
        wait_for(lambda: states(peers) >= 2 * MANY, "all of them again", 120)
        seconds = time.monotonic() - begin
        after = children(peers)
        found = {
            "connections": MANY,
            "ended": keeper.passes(),
            "seconds": round(seconds, 1),
            "same": sorted(name for name in before if before[name] == after[name]),
        }
        keeper.process.kill()
        peers.stop()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
