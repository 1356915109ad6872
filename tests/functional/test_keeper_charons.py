"""The keeper as its unit runs it, beside a real charon."""

from __future__ import annotations

import os
import subprocess

import pytest
from downs import CONN, Peers
from strongswan import wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.health import repair
from hostipsec.store import record
from hostipsec.store.record import Record

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

KEEPER = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3", "-m", "hostipsec.programs.keeper"]

AT_ONCE = """
import threading, time
from hostipsec.emergency import starting
from hostipsec.emergency.host import Host
from hostipsec.health import repair
from hostipsec.store import record

every, all_here = record.read().connections, threading.Barrier(4)

def due(look):
    time.sleep(0.2)  # as a host that is busy
    return repair.absent(every, look)

def start():
    all_here.wait()
    starting.start(due, every, Host())

threads = [threading.Thread(target=start) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""


@pytest.fixture
def peers(tmp_path):
    """Return a host with three peers, each pair with an IKE SA."""
    conn = CONN.replace("    dpdaction=", "    dpddelay=10s\n    dpdaction=")  # to see it in time
    made = Peers(tmp_path / "peers", 3, stage="start", conn=conn)
    made.start()
    made.up()
    yield made
    made.stop()


@pytest.fixture
def keeper(peers):
    """Return a function that starts the keeper of this host."""
    running = []

    def start():
        running.append(subprocess.Popen(peers.east.argv(KEEPER), stdin=subprocess.DEVNULL))

    yield start
    for one in running:
        one.kill()
        one.wait()


def ids(peers):
    """Return the ids of IKE SAs by connection."""
    found = {}
    for sa in peers.look.ike_sas:
        found.setdefault(sa.name, []).append(sa.uniqueid)
    return {name: sorted(numbers) for name, numbers in found.items()}


def test_of_two_ike_sas_of_a_pair_the_older_one_is_ended_at_both_ends(peers, keeper):
    """charon itself goes on with both."""
    before = ids(peers)
    grown(peers)
    peers.initiate_from_peers([0, 1])
    wait_for(lambda: sorted(map(len, ids(peers).values())) == [1, 2, 2], "two duplicates, by their names")
    doubled = ids(peers)
    keeper()
    wait_for(lambda: len(peers.look.ike_sas) == 3, "one IKE SA a pair")
    assert ids(peers) == {name: numbers[-1:] for name, numbers in doubled.items()}
    assert ids(peers)["cp0002_v4"] == before["cp0002_v4"]
    wait_for(lambda: peers.west.run("ipsec", "status").count("ESTABLISHED") == 3, "one at the peers' end")
    assert len(peers.established) == 3


@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])
def test_an_ike_sa_that_the_peer_has_forgotten_is_ended_beside_one_that_it_has(peers, keeper, initiator):
    """Both ends began, one of them ended its own without a word: dead-peer detection takes minutes."""
    ours = tuple(one._replace(initiator=initiator) for one in peers.connections)
    peers.east.write("/var/lib/hostipsec/mesh.json", record.render(Record(ours)), 0o644)
    (forgotten,) = ids(peers)["cp0000_v4"]
    grown(peers)
    peers.initiate_from_peers([0])
    wait_for(lambda: len(ids(peers)["cp0000_v4"]) == 2, "two IKE SAs")
    west = ViciBackend(peers.west.vici)
    older = min(sa.uniqueid for sa in west.observe().ike_sas if sa.name == "east0000")
    peers.addresses("del", [0])
    west.terminate([older], force=True)
    wait_for(lambda: older not in {sa.uniqueid for sa in west.observe().ike_sas}, "an end without a word")
    peers.addresses("add", [0])
    assert forgotten in ids(peers)["cp0000_v4"]  # nobody told this end
    keeper()
    wait_for(lambda: len(ids(peers)["cp0000_v4"]) == 1, "one IKE SA", 90)
    assert forgotten not in ids(peers)["cp0000_v4"]
    assert len(peers.established) == 3


def test_of_all_who_start_the_same_at_once_one_does(peers):
    """The keeper and a command of the fleet each found it missing: a fifth of the pairs had two IKE SAs."""
    before = max(sa.uniqueid for sa in peers.look.ike_sas)
    assert peers.ipsec_global("down", "--no-hold").status == 0
    peers.east.run(*KEEPER[:2], "python3", "-c", AT_ONCE)
    wait_for(lambda: len(peers.established) == 3, "all three")
    numbers = sorted(number for one in ids(peers).values() for number in one)
    assert numbers == [before + 1, before + 2, before + 3]  # none was made beside them, and ended again


def test_an_attempt_of_this_host_ends_once_the_peer_is_back_and_began_itself(peers, keeper):
    """The peer knocked, and answered the next retransmission as well: two IKE SAs for 10 to 15 s."""
    assert peers.ipsec_global("down", "--no-hold").status == 0
    peers.addresses("del", [1])
    keeper()
    wait_for(lambda: [*half_open(peers)] == ["cp0001_v4"], "an attempt that nobody answers")
    (attempt,) = half_open(peers).values()
    peers.addresses("add", [1])
    peers.initiate_from_peers([1])
    wait_for(lambda: not half_open(peers) and len(peers.established) == 3, "no attempt beside it")
    assert f"IKE_SA cp0001_v4[{attempt}] established" not in peers.east.log
    assert [len(numbers) for numbers in ids(peers).values()] == [1, 1, 1]


def grown(peers):
    """Wait until what comes up now is seen to do so later than what is there."""
    wait_for(lambda: min(sa.established for sa in peers.look.ike_sas) > repair.MOMENT, "SAs of before")


def half_open(peers):
    """Return the ids of the attempts of this host, by connection."""
    return {sa.name: sa.uniqueid for sa in peers.look.ike_sas if sa.initiator and sa.state == "CONNECTING"}
