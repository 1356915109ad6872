"""Connections begun anew by both their ends, as ``salt-run ipsec.repair`` asks for it, with real charons."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from downs import Peers, name
from strongswan import wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.store import record
from hostipsec.store.record import Record

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

LIB = "usr/local/lib/hostipsec"
ANEW = """
import json, sys
from hostipsec.emergency import restart
print(json.dumps(restart.ordered(sys.argv[1], json.loads(sys.argv[2]), 30).answer().as_dict()))
"""


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """Return a host with four peers, all up, and the engine and a record at their end as well."""
    made = Peers(tmp_path_factory.mktemp("peers"), 4, stage="start")
    shutil.copytree(made.east.root / LIB, made.west.root / LIB)
    (made.west.root / "var/lib/hostipsec").mkdir(parents=True)
    theirs = tuple(
        one._replace(name=f"east{number:04}", peer="east", left=one.right, right=one.left, initiator=False)
        for number, one in enumerate(made.connections)
    )
    made.west.write("/var/lib/hostipsec/mesh.json", record.render(Record(theirs)), 0o644)
    made.start()
    made.up()
    yield made
    made.stop()


def restart(host, connection, ids):
    """Have a host begin a connection anew; its answer, and what it says of that connection."""
    said = host.run(
        "env", f"PYTHONPATH=/{LIB}", "python3", "-c", ANEW, connection, json.dumps(ids), timeout=90
    )
    found = json.loads(said)
    return found, found["connections"][connection]


def ids(host, connection):
    """Return the ids of a host's IKE SAs of a connection."""
    return sorted(
        sa.uniqueid for sa in ViciBackend(host.vici).observe(timeout=60).ike_sas if sa.name == connection
    )


def forget(peers, host, number, connection):
    """Have one end lose its SA without the other's hearing of it."""
    peers.addresses("del", [number])
    ViciBackend(host.vici).terminate(ids(host, connection), force=True, timeout=60)
    wait_for(lambda: not ids(host, connection), "the end of an SA at one end")
    peers.addresses("add", [number])


def both(peers, number):
    return len(ids(peers.east, name(number))), len(ids(peers.west, f"east{number:04}"))


def test_an_sa_that_the_end_that_starts_has_alone(peers):
    forget(peers, peers.west, 0, "east0000")
    old = ids(peers.east, name(0))
    assert both(peers, 0) == (1, 0)
    found, row = restart(peers.east, name(0), old)
    assert (found["ok"], row["ended"], row["up"], row["reason"]) == (True, old, True, "")
    assert both(peers, 0) == (1, 1)
    assert ids(peers.east, name(0)) != old


def test_an_sa_that_the_end_that_answers_has_alone(peers):
    forget(peers, peers.east, 1, name(1))
    old = ids(peers.west, "east0001")
    assert both(peers, 1) == (0, 1)
    found, row = restart(peers.west, "east0001", old)
    assert (found["ok"], row["ended"], row["up"]) == (True, old, False)
    assert found["sentence"] == "east0001: 1 IKE SA ended; its peer starts it"
    assert both(peers, 1) == (0, 0)
    assert restart(peers.east, name(1), [])[1]["up"] is True
    assert both(peers, 1) == (1, 1)


def test_an_ike_sa_without_a_child_sa(peers):
    old = ids(peers.east, name(2))
    peers.east.run("swanctl", "--terminate", "--child", name(2))
    wait_for(lambda: name(2) not in peers.established, "no CHILD SA")
    assert restart(peers.east, name(2), old)[1]["up"] is True
    assert {name(2)} <= peers.established
    assert ids(peers.east, name(2)) != old


def test_an_sa_that_nobody_saw_broken_stays(peers):
    before = ids(peers.east, name(3))
    found, row = restart(peers.east, name(3), [4711])
    assert (found["ok"], row["ended"], row["up"]) == (True, [], True)
    assert ids(peers.east, name(3)) == before


def test_what_is_held_stays_down_and_its_hold_stays(peers):
    assert peers.ipsec_global("down", "--connection", name(3), "--reason", "T1").status == 0
    held = (peers.east.root / "var/lib/hostipsec/hold.json").read_text()
    found, row = restart(peers.east, name(3), [])
    assert (found["ok"], row["up"], row["ended"]) == (False, False, [])
    assert row["reason"].startswith("held since ") and "T1" in row["reason"]
    assert (peers.east.root / "var/lib/hostipsec/hold.json").read_text() == held
    assert both(peers, 3) == (0, 0)
