"""Real charons, a real wire, and what verify says: where the kernel does ESP, and where charon does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import strongswan
import withesp
from minions import Minion, Remote
from strongswan import line, unpacked

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces and raw sockets")

PLANES = ("kernel", "charon")
PAIR = ("west_v4", "west_v6")
ENCRYPTED = ("encrypted", "encrypted")


@pytest.fixture(scope="module")
def everything():
    """Return what was found in each situation, by plane; both planes are asked at the same time."""
    unpacked()
    script = [sys.executable, "-B", str(withesp.WITHIN / "proofs.py"), "charon"]
    here = subprocess.Popen(script, stdout=subprocess.PIPE, env=withesp.environment())
    try:
        kernel = withesp.run("proofs.py", "kernel")
        charon = json.loads(here.communicate(timeout=240)[0].splitlines()[-1])
    finally:
        here.kill()
    assert here.returncode == 0
    return {"kernel": kernel, "charon": charon}


@pytest.fixture(params=PLANES)
def plane(request):
    return request.param


@pytest.fixture
def found(everything, plane):
    return everything[plane]


def directions(proof):
    return proof["verdict"]["out"], proof["verdict"]["into"]


def reason(proof):
    return "; ".join(proof["reasons"])


def test_what_is_up_is_encrypted_and_seen_so(found, plane):
    one = found["established"]
    assert (one["plane"], one["problems"], [*one["proofs"]]) == (plane, [], [*PAIR])
    for proof in one["proofs"].values():
        assert (directions(proof), proof["ok"], proof["tunnel"]) == (ENCRYPTED, True, "established")
        verdict, captured = proof["verdict"], proof["captured"]
        assert (verdict["sent"], verdict["replies"], verdict["packets_out"], verdict["packets_in"]) == (
            3,
        ) * 4
        assert (captured["interface"], [*captured["esp"].values()]) == ("eth0", [3])
        assert (captured["clear"], captured["dropped"]) == (0, 0)
        assert 0 < proof["round_trip"] < 10


def test_a_rekeying_takes_the_group_of_esp_and_loses_nothing(found):
    for proof in found["rekeyed"]["proofs"].values():
        rekeying = proof["rekeying"]
        assert (rekeying["done"], rekeying["proposal"]) == (True, "AES_GCM_16_128/ECP_384_BP")
        assert (rekeying["lost"], rekeying["sent"] > 0, rekeying["seconds"] > 0) == (0, True, True)
        assert (directions(proof), proof["ok"]) == (ENCRYPTED, True)
        # the old SA and the new one, and nothing beside them
        assert len(proof["captured"]["esp"]) == 2
        assert proof["captured"]["clear"] == 0


def test_a_rekeying_in_the_midst_is_no_alarm(found):
    for proof in found["disturbed"]["proofs"].values():
        assert (directions(proof), proof["ok"], proof["verdict"]["replies"]) == (ENCRYPTED, True, 60)


def test_another_group_at_the_other_end_is_found_before_it_hurts(found):
    """The tunnel is up and encrypted; its first rekeying, hours later, would have failed."""
    for proof in found["other_group"]["proofs"].values():
        assert (directions(proof), proof["tunnel"], proof["ok"]) == (ENCRYPTED, "established", False)
        assert (proof["rekeying"]["done"], proof["rekeying"]["lost"]) == (False, 0)
        assert reason(proof).startswith("no new CHILD SA within 3 s of asking for it")
        assert "NO_PROPOSAL_CHOSEN" in reason(proof)


def test_without_an_sa_all_is_in_the_clear(found):
    for proof in found["no_sa"]["proofs"].values():
        assert (directions(proof), proof["tunnel"], proof["ok"]) == (("clear", "clear"), "down", False)
        assert (proof["captured"]["clear"], proof["captured"]["probes"]) == (4, 4)  # one for the rekeying
        assert proof["captured"]["esp"] == {}
        assert "4 packets left in the clear on eth0, 4 of them our echo requests" in reason(proof)
        assert "not rekeyed: there is no CHILD SA" in reason(proof)
    for proof in found["no_sa_no_capture"]["proofs"].values():
        assert (directions(proof), proof["captured"]) == (("clear", "clear"), None)
        assert "3 echo requests left, 0 packets went out by the SAs" in reason(proof)


def test_a_line_that_is_cut(found):
    for proof in found["line_cut"]["proofs"].values():
        assert (directions(proof), proof["tunnel"]) == (("encrypted", "no reply"), "established")
        assert reason(proof) == "no reply to 3 echo requests"


def test_a_host_that_is_not_there_and_one_without_a_route(found):
    gone, nowhere = found["nobody"]["proofs"].values()
    assert directions(gone) == directions(nowhere) == ("no reply", "no reply")
    assert reason(gone) == "down: loaded, but no SA; this host starts it; no reply to 3 echo requests"
    assert reason(nowhere).endswith("nothing could be sent: Network is unreachable")
    assert found["nobody"]["problems"] == ["not captured: no route to 192.0.2.1"]


def test_without_the_right_to_raw_sockets(found):
    assert found["without_the_right"] == {
        "error": "no right to send echo requests: this process lacks the capability CAP_NET_RAW"
    }


def test_answers_in_the_clear_are_refused_and_named(everything):
    proofs = everything["kernel"]["answers_in_the_clear"]["proofs"]
    assert directions(proofs["west_v4"]) == ("encrypted", "no reply")
    assert reason(proofs["west_v4"]) == (
        "no reply to 3 echo requests; meanwhile the kernel refused packets that came in the clear"
    )
    assert proofs["west_v6"]["ok"] is True


def test_what_leaves_past_the_sas_is_seen_by_a_capture_only(everything):
    found = everything["kernel"]["leaves_in_the_clear"]
    seen, unseen = (found[name]["proofs"]["west_v4"] for name in ("seen", "unseen"))
    assert (directions(seen), seen["tunnel"]) == (("clear", "no reply"), "not encrypted")
    assert seen["captured"]["probes"] == 3
    assert directions(unseen) == ("no reply", "no reply")
    assert reason(unseen) == (
        "not encrypted: packets leave in the clear, since a policy comes before charon's: src 10.9.0.1/32 "
        "dst 10.9.0.2/32 proto icmp dir out priority 1; no reply to 3 echo requests; 0 packets went out "
        "by the SAs"
    )


def test_sas_that_encrypt_nothing_prove_nothing(everything):
    """Counters and a capture show ESP: ``verify`` called it encrypted."""
    for proof in everything["kernel"]["null"]["proofs"].values():
        assert (directions(proof), proof["tunnel"], proof["ok"]) == (
            ("clear", "clear"),
            "not encrypted",
            False,
        )
        assert "the SA is worth nothing: NULL encrypts nothing" in reason(proof)
        assert sum(proof["captured"]["esp"].values()) == 3


def test_sas_for_one_port_leave_the_rest_in_the_clear(everything):
    for proof in everything["kernel"]["one_port"]["proofs"].values():
        assert (directions(proof), proof["tunnel"], proof["ok"]) == (
            ("clear", "clear"),
            "not encrypted",
            False,
        )
        assert "alone: what else there is between the two hosts is not encrypted" in reason(proof)


def test_the_device_of_charons_own_esp_has_the_mtu_that_overhead_counts_with(everything):
    assert everything["charon"]["mtus"]["ipsec0"] == 1400


# The function, as an operator calls it -------------------------------------------------------


@pytest.fixture
def fleet(data):
    """East and west, as pillar."""
    hosts = {
        f"{name}.example": {"site": name, "ipv4": f"10.9.0.{number}", "ipv6": f"fd09::{number}"}
        for number, name in enumerate(("east", "west", "rest", "else"), 1)
    }
    hosts["rest.example"]["maintenance"] = True
    rule = {"name": "all", "between": {"site": "east"}, "and": {"site": ["west", "rest"]}}
    return {"hosts": hosts, "rules": [rule], "certificates": data["certificates"]}


@pytest.fixture
def remote(fleet, tmp_path):
    """A minion on east, which has no charon; west answers."""
    both = [strongswan.Host(name, tmp_path / name) for name in ("east", "west")]
    line(*both, *([f"10.9.0.{number}/24", f"fd09::{number}/64"] for number in (1, 2)))
    found = Remote(both[0].argv, tmp_path / "log", place="/tmp/minion", identifier="east.example")
    found.pillar(fleet)
    yield found
    found.stop()
    for host in both:
        host.stop()


def test_verify_says_what_is_in_the_clear_and_who_was_left_out(remote):
    found = remote.call("ipsec.verify", capture=True, count=2, timeout=2)
    assert found["summary"] == "0 of 2 connections are encrypted both ways"
    assert found["skipped"] == {"rest.example": "is in maintenance, which takes it out of every peer"}
    assert (found["problems"], found["plane"], [*found["connections"]]) == ([], "kernel", [*PAIR])
    row = found["connections"]["west_v4"]
    assert (row["out"], row["in"], row["ok"], row["tunnel"]) == ("clear", "clear", False, "down")
    assert (row["sent"], row["replies"], row["packets_out"], row["packets_in"]) == (2, 2, 0, 0)
    assert row["captured"] == {"interface": "eth0", "esp": {}, "clear": 2, "probes": 2, "dropped": 0}
    assert row["reason"].startswith("down: charon does not answer; ")
    assert row["rekeyed"] is None

    found = remote.call("ipsec.verify", "west", family="v6", rekey=True, count=1, timeout=1)
    (row,) = found["connections"].values()
    assert row["rekeyed"] == {"done": False, "proposal": "", "seconds": 0.0, "sent": 0, "lost": 0}
    assert "; not rekeyed: " in row["reason"]


def test_verify_of_a_host_that_is_no_peer(remote):
    found = remote.call("ipsec.verify", "else")
    assert found["skipped"] == {"else.example": "is no peer of east.example: no rule pairs the two"}
    assert (found["connections"], found["summary"]) == ({}, "nothing was probed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"peer": "cp9999"}, "no host of the pillar is called cp9999"),
        ({"family": "both"}, "family=both: allowed: v4, v6"),
        ({"count": 0}, "count=0: allowed: a whole number from 1 to 100"),
        ({"count": "three"}, "count=three: allowed"),
        ({"timeout": 0}, "timeout=0: allowed: more than 0, and up to 300 seconds"),
        # the host under test is not this machine
        ({}, "is no address of this host"),
    ],
)
def test_verify_that_cannot_be_done(minion, arguments, said):
    found = minion.call("ipsec.verify", **arguments)
    assert said in found["error"]
    assert minion.retcode == 2


def test_exit_status_of_a_peer_that_is_none(minion):
    assert minion.call("ipsec.verify", "db1001")["connections"] == {}
    assert minion.retcode == 1


def test_a_host_without_peers_has_nothing_to_prove(tmp_path, data):
    lonely = Minion(tmp_path / "db", "db1001.eqiad.example")
    lonely.pillar(data)
    found = lonely.call("ipsec.verify")
    assert found["summary"].startswith("db1001.eqiad.example has no peers: ")
    assert (found["connections"], lonely.retcode) == ({}, 0)
