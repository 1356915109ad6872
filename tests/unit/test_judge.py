"""The one judge, over what real charons showed and over states that are hard to bring about."""

from __future__ import annotations

import itertools
from ipaddress import ip_address

import pytest

import recordings
from hostipsec.health.judge import evaluate
from hostipsec.health.report import SEVERITIES, STATES, WAITS, worst
from hostipsec.kernel import guard
from hostipsec.model import (
    Charon,
    ChildSA,
    Connection,
    IkeSA,
    Kernel,
    KernelPolicy,
    KernelState,
    LoadedConnection,
)

GCM = "rfc4106(gcm(aes))"
EAST = {"v4": "10.9.0.1", "v6": "fd00::1"}
WEST = {"v4": "10.9.0.2", "v6": "fd00::2"}


def connection(peer, family, left, right, initiator=True, stage="start"):
    names = (f"{peer}_{family}", f"{peer}.example", family)
    return Connection(*names, ip_address(left), ip_address(right), "CN=me", f"CN={peer}", initiator, stage)


WEST_V4 = connection("west", "v4", EAST["v4"], WEST["v4"])
WEST_V6 = connection("west", "v6", EAST["v6"], WEST["v6"])
GONE = connection("gone", "v4", EAST["v4"], "10.9.0.9")
TRAP = connection("trap", "v4", EAST["v4"], "10.9.0.8", stage="require")
OF_EAST = (WEST_V4, WEST_V6, GONE, TRAP)
OF_WEST = tuple(connection("east", family, WEST[family], EAST[family], initiator=False) for family in EAST)


def states(report):
    return {row.name: row.state for row in report.connections}


def row(report, name="west_v4"):
    return next(row for row in report.connections if row.name == name)


# What real charons showed --------------------------------------------------------------------

UP = {"west_v4": "established", "west_v6": "established", "gone_v4": "connecting", "trap_v4": "down"}
DOWN = dict.fromkeys(UP, "down")
MOMENTS = {
    "up": UP,
    "child-rekeyed": UP,
    "ike-rekeyed": UP,
    "duplicate": {**DOWN, "west_v4": "duplicate"},
    "terminated": DOWN,
    "down": DOWN,
}

# there a rekeying left two new CHILD SAs of west_v4, and they stayed
TWO_CHILDREN = (("5.9.1", "child-rekeyed"), ("5.9.1", "ike-rekeyed"))


@pytest.mark.parametrize("backend", recordings.BACKENDS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_moments(version, moment, backend):
    look = recordings.BACKENDS[backend](f"{version}-{moment}")
    expected = MOMENTS[moment]
    if (version, moment) in TWO_CHILDREN:
        expected = {**expected, "west_v4": "duplicate"}
    report = evaluate(OF_EAST, look)
    assert states(report) == expected
    assert (report.version, report.backend, report.plane) == (version, backend, "charon")
    assert (row(report, "trap_v4").severity, row(report, "trap_v4").reason) == (
        "ok",
        "no traffic yet: the trap waits for the first packet",
    )


@pytest.mark.parametrize("backend", recordings.BACKENDS)
@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_the_other_end(version, backend):
    report = evaluate(OF_WEST, recordings.BACKENDS[backend](f"{version}-up-responder"))
    assert [(row.name, row.state) for row in report.managed] == [
        ("east_v4", "established"),
        ("east_v6", "established"),
    ]
    assert row(report, "east_v4").initiator is False
    assert [row.name for row in report.unmanaged] == ["gone_v4", "trap_v4"]


def guarded(seen, *required):
    """Return a look at the kernel with the guard's policies for connections beside what it shows."""
    wanted = [policy for policy in guard.wanted(required) if not policy.kind]
    blocks = [KernelPolicy(one.src, one.dst, one.direction, guard.BLOCK, "block") for one in wanted]
    return seen._replace(policies=(*seen.policies, *blocks))


KERNEL_MOMENTS = {"transport": "established", "transport-rekeyed": "established", "transport-lost": "no xfrm"}


@pytest.mark.parametrize("backend", recordings.BACKENDS)
@pytest.mark.parametrize("moment", KERNEL_MOMENTS)
@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_moments_with_the_kernel(version, moment, backend):
    """A state of west_v6 was deleted behind charon's back: charon goes on saying INSTALLED."""
    name = f"{version}-{moment}"
    seen = guarded(recordings.kernel(name), TRAP)
    report = evaluate((WEST_V4, WEST_V6, TRAP), recordings.BACKENDS[backend](name), seen)
    assert states(report) == {"west_v4": "established", "west_v6": KERNEL_MOMENTS[moment], "trap_v4": "down"}
    assert report.plane == "kernel"
    assert report.ok == (moment != "transport-lost")


def test_what_is_lost_is_named():
    report = evaluate(
        (WEST_V6,), recordings.vici("5.9.8-transport-lost"), recordings.kernel("5.9.8-transport-lost")
    )
    lost = next(
        sa.children[0].spi_in
        for sa in recordings.vici("5.9.8-transport-lost").ike_sas
        if sa.name == "west_v6"
    )
    assert row(report, "west_v6").reason == f"charon says INSTALLED, but the kernel has no SA {lost} in"
    assert row(report, "west_v6").severity == "critical"


def test_measures():
    measured = row(evaluate((WEST_V4,), recordings.vici("5.9.8-transport")))
    (sa,) = (sa for sa in recordings.vici("5.9.8-transport").ike_sas if sa.name == "west_v4")
    assert (measured.bytes_in, measured.bytes_out, measured.packets_in, measured.packets_out) == (
        126,
        42,
        3,
        3,
    )
    assert (measured.ike_ids, measured.child_ids) == ((sa.uniqueid,), (sa.children[0].uniqueid,))
    assert (measured.mode, measured.proposal) == ("TRANSPORT", "AES_GCM_16_128")
    assert measured.ike_proposal == "AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP"
    assert (measured.since, measured.next_rekey) == (sa.established, sa.children[0].rekey_time)


def test_measures_of_a_duplicate_are_sums():
    measured = row(evaluate((WEST_V4,), recordings.vici("5.9.8-duplicate")))
    assert measured.reason == "2 CHILD SAs in 2 IKE SAs (7, 6), one is meant"
    assert (measured.ike_ids, measured.child_ids) == ((6, 7), (7, 8))


# What is hard to bring about -----------------------------------------------------------------

CHILD = ChildSA("west_v4", "INSTALLED", "TRANSPORT", 11, 1, spi_in="c0000001", spi_out="c0000002")
SA = IkeSA(
    "west_v4", 1, "ESTABLISHED", EAST["v4"], WEST["v4"], initiator=True, established=90, children=(CHILD,)
)
LOADED = LoadedConnection("west_v4", (EAST["v4"],), (WEST["v4"],), children=("west_v4",))
KERNEL = Kernel(
    (
        KernelState(EAST["v4"], WEST["v4"], "c0000002", "transport", 1, algorithm=GCM),
        KernelState(WEST["v4"], EAST["v4"], "c0000001", "transport", 1, algorithm=GCM),
    ),
    (
        KernelPolicy("10.9.0.2/32", "10.9.0.1/32", "in", 367231, reqid=1),
        KernelPolicy("10.9.0.1/32", "10.9.0.2/32", "out", 367231, reqid=1),
    ),
)


def charon(*sas, loaded=(LOADED,), **more):
    return Charon("5.9.8", "vici", connections=loaded, ike_sas=sas, **more)


def judge(*sas, one=WEST_V4, seen=None, **more):
    look = charon(*sas, loaded=(LOADED,), **more)
    found = row(evaluate((one,), look, seen))
    return found.state, found.severity, found.reason


def test_established():
    assert judge(SA, seen=KERNEL) == ("established", "ok", "TRANSPORT, INSTALLED")


@pytest.mark.parametrize("state", ["INSTALLED", "UPDATING", "REKEYING", "REKEYED"])
def test_a_child_in_rekeying_still_carries(state):
    assert judge(SA._replace(children=(CHILD._replace(state=state),)))[0] == "established"


@pytest.mark.parametrize("state", ["DELETING", "DELETED", "ROUTED"])
def test_a_child_that_is_gone_does_not(state):
    assert judge(SA._replace(children=(CHILD._replace(state=state),))) == (
        "no child",
        "critical",
        "IKE SA 1 is ESTABLISHED, but has no CHILD SA: nothing is encrypted",
    )


def test_a_state_that_the_kernel_waits_for_is_none():
    """The SA was deleted, and packets made the kernel ask for it by its old SPI: that looked like the SA."""
    out, back = KERNEL.states
    assert judge(SA, seen=KERNEL._replace(states=(out._replace(algorithm=""), back)))[::2] == (
        "no xfrm",
        "charon says INSTALLED, but the kernel has no SA c0000002 out",
    )


def test_a_rekeyed_pair_is_no_duplicate():
    old, new = CHILD._replace(state="REKEYED"), CHILD._replace(uniqueid=12, spi_in="c3", spi_out="c4")
    assert judge(SA._replace(children=(old, new)))[0] == "established"
    assert judge(SA._replace(state="REKEYED"), SA._replace(uniqueid=2))[0] == "duplicate"
    assert judge(SA._replace(state="REKEYED", children=()), SA._replace(uniqueid=2))[0] == "established"


def test_an_ike_sa_without_child():
    assert judge(SA._replace(children=()))[0] == "no child"
    assert judge(SA._replace(children=(), tasks=("CHILD_CREATE",))) == (
        "connecting",
        "warning",
        "IKE SA 1 is up, its CHILD SA is being negotiated",
    )
    assert judge(SA._replace(children=(CHILD._replace(state="CREATED"),)))[0] == "connecting"


def test_connecting():
    assert judge(SA._replace(state="CONNECTING", children=())) == (
        "connecting",
        "warning",
        "IKE SA 1 is CONNECTING: no answer of the peer yet",
    )


def test_whoever_calls_by_a_peer_s_address_makes_no_verdict_milder():
    """One packet with a forged source, every half minute, made a warning of what is critical."""
    call = SA._replace(name="(unnamed)", state="CONNECTING", children=())
    state, severity, reason = judge(call)
    assert (state, severity) == ("down", "critical")
    assert "somebody calls from its address" in reason


def test_ending():
    assert judge(SA._replace(state="DELETING")) == ("down", "critical", "IKE SA 1 is DELETING")


def test_down():
    assert judge() == ("down", "critical", "loaded, but no SA; this host starts it")
    assert judge(one=WEST_V4._replace(initiator=False))[2] == "loaded, but no SA; the peer starts it"
    assert judge(seen=KERNEL)[2].endswith("; the kernel still holds 2 SA(s) of it")


def test_not_loaded():
    found = row(evaluate((WEST_V6,), charon()), "west_v6")
    assert (found.state, found.reason) == ("down", "charon has not loaded this connection")


def test_charon_does_not_answer():
    report = evaluate((WEST_V4, GONE), None, KERNEL)
    assert (report.answered, report.version, report.severity) == (False, "", "critical")
    assert row(report).reason == "charon does not answer; the kernel still holds 2 SA(s) of it"
    assert row(report, "gone_v4").reason == "charon does not answer"
    assert evaluate((), None).ok


# Stages --------------------------------------------------------------------------------------


def test_passive_is_down_and_well():
    passive = WEST_V4._replace(stage="passive")
    assert judge(one=passive) == ("down", "ok", "passive: nothing starts it")
    assert judge(SA, one=passive)[:2] == ("established", "ok")
    assert row(evaluate((passive,), charon(loaded=()))).severity == "critical"


def test_require_without_a_trap_is_a_warning():
    require = WEST_V4._replace(stage="require")
    assert judge(SA, one=require) == (
        "established",
        "warning",
        "TRANSPORT, INSTALLED; no trap: without an SA its traffic goes in the clear",
    )
    assert judge(SA, one=require, routed=("west_v4",))[:2] == ("established", "ok")
    assert judge(one=require)[:2] == ("down", "critical")


# One way -------------------------------------------------------------------------------------


def sent(packets_out, packets_in=0, age=60, **more):
    child = CHILD._replace(
        packets_out=packets_out, packets_in=packets_in, use_out=1, install_time=age, **more
    )
    return SA._replace(established=age, children=(child,))


@pytest.mark.parametrize(
    ("sa", "state"),
    [
        (sent(5), "one-way"),
        (sent(4), "established"),
        (sent(5, packets_in=1), "established"),
        (sent(5, age=29), "established"),
        (sent(0), "established"),
    ],
)
def test_one_way_from_one_look(sa, state):
    assert judge(sa)[0] == state


def test_one_way_is_said_in_words():
    assert judge(sent(7)) == ("one-way", "warning", "7 packets out and none in within 60 s")


def test_one_way_from_two_looks():
    before = charon(sent(100, packets_in=50))
    for now, state in ((sent(105, packets_in=50), "one-way"), (sent(105, packets_in=51), "established")):
        report = evaluate((WEST_V4,), charon(now), previous=before)
        assert row(report).state == state


def test_where_two_looks_decide_nothing_one_does():
    """Of an SA that never got anything, and rested since the look before, nothing was said any more."""
    before = charon(sent(100))
    for now, state in ((sent(101), "one-way"), (sent(101, packets_in=1), "established")):
        assert row(evaluate((WEST_V4,), charon(now), previous=before)).state == state


def test_a_new_child_is_not_compared_with_the_old_one():
    before = charon(sent(100, packets_in=50))
    report = evaluate((WEST_V4,), charon(sent(3, age=2, uniqueid=12)), previous=before)
    assert row(report).state == "established"


# The kernel ----------------------------------------------------------------------------------


def test_policies_are_asked_for_too():
    without = KERNEL._replace(policies=KERNEL.policies[:1])
    assert judge(SA, seen=without) == (
        "no xfrm",
        "critical",
        "charon says INSTALLED, but the kernel has no policy out",
    )


def test_no_kernel_is_no_judgement():
    assert judge(SA, seen=None)[0] == "established"
    assert judge(SA, seen=Kernel())[0] == "no xfrm"


def test_charons_own_esp_is_not_looked_for_in_the_kernel():
    assert judge(SA, seen=Kernel(), plugins=("kernel-libipsec",))[0] == "established"


@pytest.mark.parametrize("state", ["UPDATING", "REKEYING", "REKEYED"])
@pytest.mark.parametrize("spis", [("c0000001", "c0000002"), (None, None)], ids=["vici", "stroke"])
def test_a_child_whose_spis_are_not_shown_is_looked_for_by_its_reqid(state, spis):
    """stroke shows none while a CHILD is rekeyed: nothing was compared, and it was well."""
    child = CHILD._replace(state=state, spi_in=spis[0], spi_out=spis[1])
    lacks = f"charon says {state}, but the kernel has no "
    found = judge(SA._replace(children=(child,)), seen=Kernel())
    assert found == (
        "no xfrm",
        "critical",
        f"{lacks}SA of reqid 1 in, no SA of reqid 1 out, no policy in, no policy out",
    )
    assert judge(SA._replace(children=(child,)), seen=KERNEL)[:2] == ("established", "ok")
    half = KERNEL._replace(states=KERNEL.states[:1])
    assert judge(SA._replace(children=(child,)), seen=half)[2] == f"{lacks}SA of reqid 1 in"


# Holds ---------------------------------------------------------------------------------------


def test_held_and_down():
    found = row(
        evaluate((WEST_V4,), charon(loaded=()), Kernel(), held={"west_v4": "since noon by ada because T1"})
    )
    assert (found.state, found.severity) == ("held", "warning")
    assert found.reason == "held since noon by ada because T1"


@pytest.mark.parametrize(("look", "seen"), [(charon(SA), None), (charon(), KERNEL), (None, KERNEL)])
def test_held_and_yet_there(look, seen):
    found = row(evaluate((WEST_V4,), look, seen, held={"west_v4": "since noon"}))
    assert (found.severity, found.reason.startswith("held since noon, yet it has SAs: ")) == (
        "critical",
        True,
    )


def test_a_hold_is_said_whatever_the_state():
    for look in (charon(), charon(SA), None):
        assert row(evaluate((WEST_V4,), look, held={"west_v4": "since noon"})).held is True
        assert row(evaluate((WEST_V4,), look)).held is False


# Why it is not up, where the other end knows more ---------------------------------------------


ANSWERS = WEST_V4._replace(initiator=False)


@pytest.mark.parametrize(
    ("one", "look", "seen", "cause"),
    [
        (ANSWERS, charon(), None, WAITS),
        (WEST_V4, charon(), None, ""),
        (ANSWERS, charon(loaded=()), None, ""),
        (ANSWERS, None, None, ""),
        (ANSWERS, charon(SA._replace(state="CONNECTING", children=())), None, ""),
        (ANSWERS, charon(), KERNEL, ""),
        (ANSWERS._replace(stage="passive"), charon(), None, ""),
        (ANSWERS._replace(stage="require"), charon(), None, ""),
        (ANSWERS._replace(stage="require"), charon(routed=("west_v4",)), None, ""),
    ],
)
def test_who_waits_for_the_peer(one, look, seen, cause):
    found = row(evaluate((one,), look, seen))
    assert found.cause == cause
    assert (cause == WAITS) == found.reason.endswith("; the peer starts it")
    assert row(evaluate((one,), look, seen, held={"west_v4": "since noon"})).cause == ""


# What nobody configured ----------------------------------------------------------------------


def test_unmanaged():
    report = evaluate((), charon(SA))
    (found,) = report.unmanaged
    assert (found.name, found.peer, found.family, found.initiator) == ("west_v4", "10.9.0.2", "v4", None)
    assert (found.state, found.severity) == ("unmanaged", "warning")
    assert (found.reason, found.ike_ids) == ("1 IKE SA(s) of no configured connection", (1,))


def test_unmanaged_without_an_sa():
    (found,) = evaluate((), charon()).unmanaged
    assert found.reason == "loaded, but not configured"


def test_left_from_before_a_change_of_address():
    report = evaluate((WEST_V4,), charon(SA._replace(remote_host="10.9.0.77")))
    assert [found.state for found in report.connections] == ["down", "unmanaged"]
    assert report.unmanaged[0].reason == "goes to 10.9.0.77; west_v4 is configured to 10.9.0.2"


def test_left_of_a_peer_in_maintenance():
    for look in (charon(SA), charon()):
        report = evaluate((), look, maintenance=(WEST_V4,))
        (found,) = report.unmanaged
        assert (found.peer, found.severity, report.ok) == ("west.example", "ok", True)
        assert found.reason.startswith("in maintenance: ")


def test_half_an_ike_sa_of_a_stranger_is_not_listed():
    stranger = IkeSA("(unnamed)", 9, "CONNECTING", EAST["v4"], "192.0.2.1")
    assert states(evaluate((WEST_V4,), charon(SA, stranger))) == {"west_v4": "established"}


# The report ----------------------------------------------------------------------------------


REPORT = evaluate(OF_EAST, recordings.vici("5.9.8-up"))


def test_the_report_sums_up():
    assert REPORT.sentence == "4 connections: 2 established, 1 connecting, 1 down"
    assert {state: count for state, count in REPORT.counts.items() if count} == {
        "established": 2,
        "connecting": 1,
        "down": 1,
    }
    assert (*REPORT.counts,) == STATES
    assert (REPORT.severity, REPORT.ok, [row.name for row in REPORT.trouble]) == (
        "warning",
        False,
        ["gone_v4"],
    )
    assert evaluate((), charon(SA)).sentence == "0 connections; 1 unmanaged"
    assert evaluate((WEST_V4,), charon(SA)).sentence == "1 connection: 1 established"


@pytest.mark.parametrize("severities", [*itertools.product(SEVERITIES, SEVERITIES)])
def test_the_worst_of_two(severities):
    assert worst(*severities) in severities
    assert SEVERITIES.index(worst(*severities)) == max(map(SEVERITIES.index, severities))
    assert worst() == "ok"


def test_the_worst_comes_first():
    report = evaluate((WEST_V4, WEST_V6, GONE), recordings.vici("5.9.8-duplicate"))
    assert [row.name for row in report.trouble] == ["gone_v4", "west_v6", "trap_v4", "west_v4"]
    assert report.severity == "critical"


def test_only():
    assert [*states(REPORT.only(peer="west*"))] == ["west_v4", "west_v6"]
    assert [*states(REPORT.only(connection="*_v6"))] == ["west_v6"]
    assert REPORT.only(peer="west.example").ok
    assert REPORT.only(peer="WEST*").connections == ()


def test_thousands_of_peers_are_judged_in_a_moment():
    """Each SA is looked up, not searched for: quadratic work would take minutes here."""
    ends = [
        (number, f"10.{number // 65536}.{number // 256 % 256}.{number % 256}") for number in range(256, 5256)
    ]
    wanted = [connection(f"p{number}", "v4", "10.200.0.1", right) for number, right in ends]
    sas = [
        IkeSA(
            f"p{number}_v4",
            number,
            "ESTABLISHED",
            "10.200.0.1",
            right,
            children=(CHILD._replace(name=f"p{number}_v4", uniqueid=number),),
        )
        for number, right in ends
    ]
    report = evaluate(wanted, charon(*sas, loaded=()))
    assert report.sentence == "5,000 connections: 5,000 established"
