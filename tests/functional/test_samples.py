"""Samples that the keeper leaves beside a real charon: totals only grow, and what is not known is said."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from downs import Peers, address, name
from strongswan import wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.health import sample as sampled

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

# as its unit runs it, and looks more often
KEEPER = """
import os
from pathlib import Path
from hostipsec import paths
paths.KEEPER_INTERVAL = 0.1
Path("/run/keeper.pid").write_text(str(os.getpid()))
from hostipsec.programs.keeper import main
main()
"""
COUNT = 3


class Watched:
    """A host with its keeper; every sample that is read is compared with the one before."""

    def __init__(self, place):
        self.peers = Peers(place, COUNT, stage="start")
        self.peers.start()
        self.log, self.last = place / "keeper.log", None
        self.running = None

    def keep(self):
        python = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3", "-B", "-c", KEEPER]
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.peers.east.argv(python), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, signal):
        """End the keeper by a signal; return its status."""
        self.peers.east.run("sh", "-c", f"kill -{signal} $(cat /run/keeper.pid)")
        return self.running.wait(60)

    @property
    def now(self):
        """Return the sample as it is; its totals are nowhere below those of the last one that was read."""
        path = self.peers.east.root / "run/hostipsec/state.json"
        found = sampled.parse(json.loads(path.read_text()))
        if self.last:
            before = {one.name: counts(one) for one in self.last.connections}
            for one in found.connections:
                assert all(new >= old for old, new in zip(before.get(one.name, ()), counts(one))), one.name
            for old, new in ((self.last.counters, found.counters), (self.last.errors, found.errors)):
                assert all(new[key] >= value for key, value in old.items())
        self.last = found if found.connections else self.last
        return found

    def one(self, number=0):
        return next(one for one in self.now.connections if one.name == name(number))

    def wait_for(self, true, what):
        wait_for(lambda: true(self.now), what)

    def send(self, number=0, packets=3):
        for _ in range(packets):
            self.peers.east.run("bash", "-c", f"echo hello >/dev/udp/{address(number)}/9")

    def stop(self):
        if self.running:
            self.running.kill()
            self.running.wait()
        self.peers.stop()


def counts(one):
    return (*one.received, *one.sent, one.losses)


def all_up(found):
    return [one.up for one in found.connections] == [True] * COUNT


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    made = Watched(tmp_path_factory.mktemp("samples"))
    try:
        made.keep()
        wait_for((made.peers.east.root / "run/hostipsec/state.json").exists, "a sample")
        yield made
        said = made.log.read_text()
        assert "Traceback" not in said
        assert "fault of hostipsec" not in said
    finally:
        made.stop()


@pytest.fixture
def host(started):
    started.wait_for(all_up, "all up")
    return started


def sent(host, number=0):
    return host.one(number).sent.packets


def test_traffic_is_counted_once_and_a_rekeying_takes_nothing(host):
    before = sent(host)
    host.send(packets=5)
    host.wait_for(lambda _: sent(host) == before + 5, "5 packets")
    assert host.one().last_out is not None
    child = next(sa.children[0].uniqueid for sa in host.peers.look.ike_sas if sa.name == name(0))
    ViciBackend(host.peers.east.vici).rekey_children([child])
    wait_for(lambda: child not in ids(host), "another CHILD SA")
    host.send(packets=4)
    host.wait_for(lambda _: sent(host) == before + 9, "4 more by the new one")


def ids(host):
    return [child.uniqueid for sa in host.peers.look.ike_sas for child in sa.children]


def test_what_charon_tells_of_itself_is_there(host):
    found = host.now
    assert (found.charon.backend, found.charon.plane) == ("vici", "charon")
    assert found.charon.threads > found.charon.idle > 0
    assert found.charon.resident > found.charon.heap["used"] > 0
    assert 0 <= found.time - found.charon.started < 3600
    assert found.counters["ike-init-out-req"] >= COUNT
    assert found.errors == {} or "XfrmInError" in found.errors


def test_a_connection_that_is_lost_is_counted(host):
    before = host.one(2).losses
    host.peers.addresses("del", [2])
    number = next(sa.uniqueid for sa in host.peers.look.ike_sas if sa.name == name(2))
    ViciBackend(host.peers.east.vici).terminate([number], force=True)
    host.wait_for(lambda _: not host.one(2).up, "not up")
    assert (host.one(2).losses, host.one(2).expected) == (before + 1, True)
    assert host.one(2).changed is not None
    host.peers.addresses("add", [2])
    host.peers.initiate_from_peers([2])  # the next attempt of this host may take half a minute
    host.wait_for(all_up, "all up again")
    assert host.one(2).losses == before + 1


def test_a_charon_that_hangs_is_said_and_what_was_is_not(host):
    losses = [one.losses for one in host.now.connections]
    host.peers.signal("STOP")
    try:
        host.wait_for(lambda found: "charon" in found.unread, "a word of it")
        found = host.now
        assert (found.charon, found.severity) == (None, "critical")
        assert not any(one.up for one in found.connections)
    finally:
        host.peers.signal("CONT")
    host.wait_for(all_up, "all up again")
    assert [one.losses for one in host.now.connections] == losses  # nobody knows of any


def test_a_charon_that_starts_anew_counts_from_zero_and_totals_go_on(host):
    host.send()
    before, started = sent(host), host.now.charon.started
    asked = host.now.counters["ike-init-out-req"]
    time.sleep(max(0.0, 1.1 - (time.time() - started)))  # times of start are whole seconds
    host.peers.signal("KILL")
    host.wait_for(lambda found: found.charon and found.charon.started > started, "another charon")
    host.wait_for(all_up, "all up again")
    assert host.now.counters["ike-init-out-req"] > asked
    host.send()
    host.wait_for(lambda _: sent(host) >= before + 3, "packets by it")


def test_the_next_keeper_goes_on_also_after_one_that_was_killed_and_with_a_damaged_file(host):
    host.send()
    state = host.peers.east.root / "var/lib/hostipsec/counters.json"
    assert host.end("TERM") == 0
    assert state.stat().st_mode & 0o777 == 0o600
    for text in (state.read_text(), state.read_text()[:200], None):
        time_of = host.now.time
        if text is None:
            state.unlink()
        else:
            state.write_text(text)
        host.keep()
        host.wait_for(lambda found, time_of=time_of: found.time > time_of and all_up(found), "one by it")
        host.send()
        host.end("KILL")
    assert "totals begin anew" in host.log.read_text()
    host.keep()
    host.wait_for(all_up, "all up")
