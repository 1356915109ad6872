"""Months in minutes: SAs that live for seconds, under constant traffic, looked at again and again.

Nothing may pile up: SAs, memory, open files, lines of log. `SOAK_MINUTES` makes it longer.
"""

import os
import re
import time

import pytest
import yaml

import labs
from fleetlab.paths import LAB
from fleetlab.plane import CHARON
from fleetlab.process import wait_for

FLEET = LAB / "fleets/small.sls"
MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
# Fuzz, as by default: where both ends rekey in the same second, they meet each time
LIFE = {"lifetime": "45s", "margintime": "7s", "ikelifetime": "150s", "rekeyfuzz": "100%"}
REKEYED = 45 - 7  # seconds, after which a CHILD SA is replaced at the latest
PAUSE = 5  # seconds between two looks
SIDE_BY_SIDE = 30  # seconds that a CHILD SA and the one that replaces it may stand beside each other
# The same of IKE SAs. Where both ends rekeyed at once all the same, one of the two new ones is given up;
# charon keeps what it knows of that for half a minute, and then says DELETE to nobody, again and again
GIVEN_UP = 240
OUTAGE = 1.0  # seconds; with charon's own ESP the responder uses a new SA a round trip before its peer has it
GROWTH = 1.25  # of memory, from when all SAs were replaced once to the end
_PROCESSES = r"""
for pid in $(cat /run/charon.pid) $(systemctl show -P MainPID hostipsec-keeper); do
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$pid/status
    ls /proc/$pid/fd | wc -l
done
journalctl -b -u hostipsec-keeper | wc -l
"""


class Watch:
    """What every look at the fleet finds."""

    def __init__(self, lab):
        self.lab = lab
        self.children = {}  # host and connection -> CHILD SAs seen
        self.ikes = {}
        self.beside = {}  # host, connection and kind of SA -> since when there are two
        self.wrong = []

    def look(self):
        """Look at every host once."""
        now = time.monotonic()
        for host, found in self.lab.statuses().items():
            for name, one in found["connections"].items():
                key = (host, name)
                self.children.setdefault(key, set()).update(one["child_ids"])
                self.ikes.setdefault(key, set()).update(one["ike_ids"])
                if one["state"] not in ("established", "duplicate"):
                    self.wrong.append((*key, one["state"], one["reason"]))
                for kind, most in (("child_ids", SIDE_BY_SIDE), ("ike_ids", GIVEN_UP)):
                    self._replaced((*key, kind), one[kind], now, most)

    def _replaced(self, key, ids, now, most):
        """Note SAs that stand side by side for longer than the old one of them may."""
        if len(ids) == 1:
            self.beside.pop(key, None)
        elif now - self.beside.setdefault(key, now) > most:
            self.wrong.append((*key, ids, "side by side for too long"))

    def go_on(self, seconds):
        """Look again and again for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            then = time.monotonic() + PAUSE
            wait_for(lambda then=then: time.monotonic() >= then, "the next look", 60, 0.5)


def sizes(lab):
    """By host: memory (kB) and open files of charon and of the keeper, and the keeper's lines of log."""
    return {
        host.name: [*map(int, lab.host(host.name).run(["sh", "-c", _PROCESSES]).stdout.split())]
        for host in lab.hosts
    }


@pytest.fixture
def lab():
    with labs.own("soak", FLEET, CHARON) as found:
        pillar = yaml.safe_load(FLEET.read_text())
        pillar["ipsec"]["connection"] = LIFE
        found.set_pillar(yaml.safe_dump(pillar))
        found.apply("*")
        found.wait_one_each()
        yield found


def test_nothing_piles_up(lab, record_property):
    members = {host.name for host in lab.hosts}
    own = {one.name: [str(found.ip) for found in one.addresses] for one in lab.planned if one.name in members}
    targets = {
        host: {f"{peer} {one}": one for peer, found in own.items() if peer != host for one in found}
        for host in own
    }
    seconds = MINUTES * 60
    watch = Watch(lab)
    with lab.traffic(targets, 0.1) as traffic, lab.capture() as wire:
        watch.go_on(3 * REKEYED)
        before = sizes(lab)
        watch.go_on(seconds - 3 * REKEYED)
        after = sizes(lab)
    lost = sum(one.lost for one in traffic.figures.values())
    sent = sum(one.sent for one in traffic.figures.values())
    record_property("lost", f"{lost} of {sent}")
    record_property("sizes", {"before": before, "after": after})
    assert watch.wrong == []
    assert len(watch.children) == 12
    # by both ends' clocks, and less what a reauthentication replaces in between
    assert min(map(len, watch.children.values())) > seconds / REKEYED / 2
    assert min(map(len, watch.ikes.values())) > seconds / 150 / 2
    assert max(one.gap for one in traffic.figures.values()) < OUTAGE, traffic.figures
    addresses = {one for found in own.values() for one in found}
    between = [one.kind for one in wire.packets if {one.source, one.destination} <= addresses]
    assert (between.count("clear"), between.count("esp") > sent) == (0, True)
    for host, (charon, charon_files, keeper, keeper_files, lines) in after.items():
        was = before[host]
        assert (charon < was[0] * GROWTH, keeper < was[2] * GROWTH) == (True, True), (host, was, after[host])
        assert (charon_files <= was[1] + 4, keeper_files <= was[3] + 2) == (True, True), (host, was)
        assert lines - was[4] <= MINUTES, lab.host(host).run(["journalctl", "-b", "-u", "hostipsec-keeper"])
    assert not re.search(
        "Traceback",
        "".join(lab.host(one.name).run(["journalctl", "-b", "--no-pager"]).stdout for one in lab.hosts),
    )
