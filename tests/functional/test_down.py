"""Down means down, within the deadline and one second, whatever is wrong, with real charons."""

from __future__ import annotations

import os
import subprocess

import pytest
from downs import BUSY, Peers, address, name
from strongswan import wait_for

from hostipsec.charon.stroke import StrokeBackend
from hostipsec.errors import CharonError
from hostipsec.store import record
from hostipsec.store.record import Record

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

MANY = 100
GRACE = 1.0  # seconds after the deadline
PYTHON = 5.0  # seconds for a Python to start and to end on a busy machine, which is not in the bound
WITHOUT_VICI = BUSY.replace("vici { load = yes }", "vici { load = no }")


@pytest.fixture
def make(tmp_path):
    """Return a function that makes peers; they end with the test."""
    made = []

    def start(*arguments, **named):
        made.append(Peers(tmp_path / str(len(made)), *arguments, **named))
        made[-1].start()
        return made[-1]

    yield start
    for peers in made:
        peers.stop()


def down(peers, deadline, *arguments):
    """Take all down; the answer, within the bound."""
    answer = peers.ipsec_global("down", "--json", "--reason", "T1", f"--deadline={deadline}", *arguments)
    assert answer.text.startswith("{"), answer.text
    assert answer.data["seconds"] <= deadline + GRACE, answer.text
    assert answer.seconds <= deadline + GRACE + PYTHON
    return answer


def hows(answer):
    """Return what became of connections: how -> number."""
    found = [one["how"] for one in answer.data["connections"].values()]
    return {how: found.count(how) for how in found}


def nothing_runs(peers):
    """Whether charon runs, has no SA of east's, and no connection of it."""
    try:
        look = peers.look
    except CharonError:
        return False
    return (look.ike_sas, look.connections) == ((), ())


# What is wrong -------------------------------------------------------------------------------


def test_healthy_tunnels_end_long_before_the_deadline(make):
    peers = make(MANY)
    peers.up()
    answer = down(peers, 10)
    assert (answer.status, answer.data["problems"], hows(answer)) == (0, [], {"ended": MANY})
    assert nothing_runs(peers)
    assert answer.data["held"].endswith("because T1")


def test_peers_that_died(make):
    """One after the other they would take four hours: 165 s of retransmissions each."""
    peers = make(MANY)
    peers.up()
    peers.addresses("del", range(MANY))
    answer = down(peers, 2)
    assert answer.status == 0
    assert hows(answer) in ({"forced": MANY}, {"killed": MANY})  # where the machine has much else to do
    assert nothing_runs(peers)


def test_peers_that_learn_of_it_are_told(make):
    """Half of them died: the others get their deletes, and have nothing left either."""
    peers = make(20)
    peers.up()
    peers.addresses("del", range(10))
    answer = down(peers, 2)
    assert (answer.status, hows(answer)) == (0, {"forced": 10, "ended": 10})
    wait_for(lambda: peers.west.run("ipsec", "status").count("ESTABLISHED") == 10, "deletes at the peers")


def test_duplicates_and_half_up_and_rekeying(make):
    peers = make(6, absent=4)
    peers.up()
    peers.initiate_from_peers([0, 1])  # duplicates
    wait_for(lambda: len(peers.look.ike_sas) == 8, "duplicates")
    rekeying = [sa for sa in peers.look.ike_sas if sa.name in (name(2), name(3))]
    peers.addresses("del", [2, 3, 4])
    with peers.east.vici(60) as session:
        session.request("rekey", {"ike-id": str(rekeying[0].uniqueid)})
        session.request("rekey", {"child-id": str(rekeying[1].children[0].uniqueid)})
        for number in range(6, 10):
            session.request("initiate", {"child": name(number), "timeout": "-1"})
    wait_for(lambda: len(peers.look.ike_sas) >= 12, "SAs that are half-way up")
    answer = down(peers, 2)
    assert (answer.status, answer.data["problems"]) == (0, [])
    assert set(hows(answer)) <= {"ended", "forced"}
    assert nothing_runs(peers)


@pytest.mark.parametrize("who", ["charon", "starter"])
def test_a_charon_or_starter_that_is_stopped(make, who):
    """SIGSTOP: it takes calls and never answers."""
    peers = make(3)
    peers.up()
    peers.signal("STOP", who)
    answer = down(peers, 2)
    assert (answer.status, answer.data["problems"], answer.data["charon"]) == (0, [], "killed")
    assert hows(answer) == {"killed": 3}
    assert answer.data["notes"]
    wait_for(lambda: peers.ipsec_global("status", "--json").data["connections"] != {}, "a status")
    assert {one["state"] for one in peers.ipsec_global("status", "--json").data["connections"].values()} == {
        "held"
    }


@pytest.mark.parametrize("victims", [["charon"], ["starter"], ["starter", "charon"]], ids="+".join)
def test_killed(make, victims):
    """Whatever was killed, and whoever starts it again: nothing comes back."""
    peers = make(3)
    peers.up()
    pids = [peers.pid(one) for one in victims]
    peers.east.run("kill", "-KILL", *pids)
    answer = down(peers, 8)
    assert (answer.status, answer.data["problems"]) == (0, [])
    if "starter" not in victims:  # it starts charon again, after 5 s
        wait_for(lambda: nothing_runs(peers), "a charon without connections")


def test_not_installed(make):
    peers = make(1)
    peers.east.run("ipsec", "stop")
    peers.east.run("sh", "-c", "rm -rf /usr/lib/ipsec /usr/sbin/ipsec /etc/init.d/ipsec")
    answer = down(peers, 5)
    assert (answer.status, answer.data["problems"], hows(answer)) == (0, [], {"was down": 1})
    assert answer.data["seconds"] < 5
    assert answer.data["charon"] == "not running"


# By stroke -----------------------------------------------------------------------------------


@pytest.fixture(params=["library", "plugin"])
def by_stroke(make, request):
    """Return peers of a host without vici: without the library, or without charon's plugin."""

    def start(*arguments):
        if request.param == "library":
            return make(*arguments, vici_library=False)
        return make(*arguments, strongswan_conf=WITHOUT_VICI)

    return start


def up_by_stroke(peers, count):
    for number in range(count):
        peers.east.run("ipsec", "stroke", "up-nb", name(number))
    wait_for(lambda: peers.east.run("ipsec", "status").count("INSTALLED") == count, "the connections")


@pytest.fixture
def stroke_started(monkeypatch):
    """Ask by stroke whether charon has its connections."""
    monkeypatch.setattr(
        "downs.Peers.look",
        property(lambda peers: StrokeBackend(peers.east.process).observe()),
    )


def test_without_vici(stroke_started, by_stroke):
    peers = by_stroke(5)
    up_by_stroke(peers, 5)
    answer = down(peers, 5)
    assert (answer.status, answer.data["problems"], hows(answer)) == (0, [], {"ended": 5})
    assert peers.east.run("ipsec", "status").count("ESTABLISHED") == 0


def test_without_vici_and_with_dead_peers(stroke_started, by_stroke):
    """stroke cannot force: charon pays with its life, and comes back without the connections."""
    peers = by_stroke(3)
    up_by_stroke(peers, 3)
    peers.addresses("del", range(3))
    answer = down(peers, 2)
    assert (answer.status, answer.data["problems"], hows(answer)) == (0, [], {"killed": 3})


@pytest.mark.parametrize("vici_library", [True, False])
def test_all_four_slots_of_stroke_are_blocked(make, vici_library):
    """Four blocking `ipsec up` to hosts that are not there: every other call of stroke waits behind them."""
    peers = make(2, absent=4, vici_library=vici_library)
    peers.up()
    calls = [
        subprocess.Popen(peers.east.argv(["ipsec", "up", name(number)]), stdout=subprocess.DEVNULL)
        for number in range(2, 6)
    ]
    try:
        wait_for(lambda: len(peers.look.ike_sas) == 6, "four attempts")
        answer = down(peers, 3)
        assert (answer.status, answer.data["problems"]) == (0, [])
        assert answer.data["charon"] == ("runs" if vici_library else "killed")
        if vici_library:
            assert nothing_runs(peers)
    finally:
        for call in calls:
            call.kill()
            call.wait()


# What stays ----------------------------------------------------------------------------------


def test_a_part_leaves_the_rest_alone(make):
    peers = make(4)
    peers.up()
    before = {sa.name: sa.uniqueid for sa in peers.look.ike_sas}
    answer = down(peers, 5, "--peer=cp000[01]*")
    assert list(answer.data["connections"]) == [name(0), name(1)]
    after = {sa.name: sa.uniqueid for sa in peers.look.ike_sas}
    assert after == {key: value for key, value in before.items() if key in (name(2), name(3))}
    assert [one.name for one in peers.look.connections] == [name(2), name(3)]


def test_without_a_hold_charon_keeps_the_connections(make):
    peers = make(3)
    peers.up()
    answer = down(peers, 5, "--no-hold")
    assert (answer.status, answer.data["held"], hows(answer)) == (0, "", {"ended": 3})
    assert len(peers.look.connections) == 3
    peers.initiate_from_peers([0])
    wait_for(lambda: len(peers.established) == 1, "the connection that a peer brought back")


def test_not_waiting(make):
    peers = make(3)
    peers.up()
    answer = peers.ipsec_global("down", "--json", "-n")
    assert (answer.status, hows(answer)) == (0, {"asked": 3})
    assert answer.data["sentence"] == "3 IKE SAs of 3 connections asked to end; not proven"
    wait_for(lambda: nothing_runs(peers), "the end of all")


def test_a_tunnel_of_somebody_else_stays(make):
    """In the same charon, and to an address that is no peer's."""
    peers = make(3)
    peers.east.write("/var/lib/hostipsec/mesh.json", record.render(Record(peers.connections[:2])))
    peers.up()
    assert down(peers, 5).status == 0
    assert {sa.remote_host for sa in peers.look.ike_sas} == {address(2)}
    assert [one.name for one in peers.look.connections] == [name(2)]


# The hold cannot be written ------------------------------------------------------------------


def test_a_full_disk(make):
    """The tunnels end all the same, and it is said that this does not last."""
    peers = make(2)
    peers.up()
    full = "mount -t tmpfs -o size=4k tmpfs /mnt && cp /var/lib/hostipsec/mesh.json /mnt"
    peers.east.run(
        "sh", "-c", f"{full} && mount --move /mnt /var/lib/hostipsec && yes >/var/lib/hostipsec/x; true"
    )
    answer = down(peers, 5)
    assert answer.status == 3
    assert (answer.data["held"], answer.data["hold_lost"], hows(answer)) == ("", True, {"ended": 2})
    assert answer.data["problems"] == [
        "the hold is not kept: /var/lib/hostipsec/hold.json: cannot be written: No space left on device; "
        "what was there before stays"
    ]
    assert nothing_runs(peers)


def test_every_disk_is_full(make):
    """Not even ipsec.conf can be written: then only a service that does not run keeps peers out."""
    peers = make(2)
    peers.up()
    for place in ("/etc", "/var/lib/hostipsec"):
        peers.east.run("mount", "--bind", place, place)
        peers.east.run("mount", "-o", "remount,bind,ro", place)
    answer = down(peers, 5)
    assert answer.status == 3
    assert (answer.data["hold_lost"], hows(answer)) == (True, {"ended": 2})
    wait_for(lambda: peers.east.process(["pgrep", "-x", "charon"], 5).status == 1, "the end of charon")


def test_nobody_but_root(make):
    peers = make(1)
    done = peers.east.process(["setpriv", "--reuid=65534", "/usr/local/sbin/ipsec-global", "down"], 10)
    assert (done.status, done.stdout) == (77, "")
    assert done.stderr == "ipsec-global: down: only root may do this\n"


def test_a_damaged_record(make):
    """ipsec.conf, which Salt wrote as well, says what there is."""
    peers = make(2)
    peers.up()
    peers.east.write("/var/lib/hostipsec/mesh.json", "{")
    answer = down(peers, 5)
    assert (answer.status, hows(answer)) == (0, {"ended": 2})
