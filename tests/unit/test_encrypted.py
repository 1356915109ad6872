"""What `established` and `ok` rest on: ciphers, selectors, the policy that wins, guard, trap, what is left.

Each was reproduced: a small world whose verdict was too good.
"""

from __future__ import annotations

import itertools
import time

import pytest
from test_judge import (
    CHILD,
    EAST,
    KERNEL,
    LOADED,
    SA,
    WEST,
    WEST_V4,
    WEST_V6,
    charon,
    connection,
    guarded,
    judge,
    row,
)

import recordings
from hostipsec.health.judge import evaluate
from hostipsec.kernel import guard, xfrm
from hostipsec.model import KernelPolicy, LoadedConnection, Meant

REQUIRE = WEST_V4._replace(stage="require")
ROUTED = {"routed": ("west_v4",)}
ENDS = (f"{EAST['v4']}/32", f"{WEST['v4']}/32")
MEANT = Meant("transport", "aes128gcm16-ecp384bp-noesn!", "aes128gcm16-prfsha384-ecp384bp!")


def with_child(**more):
    return SA._replace(children=(CHILD._replace(**more),))


def with_policies(*more, seen=KERNEL):
    return seen._replace(policies=(*seen.policies, *more))


def full(sa, seen=KERNEL, meant=MEANT, one=WEST_V4, **more):
    """Return state and severity, where it is known what SAs are to be like."""
    return row(evaluate((one,), charon(sa, **more), seen, meant=meant))


# Ciphers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [None, KERNEL])
@pytest.mark.parametrize(
    "proposal",
    [
        "NULL/HMAC_SHA2_256_128",
        "NULL_AES_GMAC_128",
        "AES_CBC_128",
        "DES_CBC/HMAC_SHA2_256_128",
        "AES_GCM_16_12",
    ],
)
def test_an_sa_that_encrypts_nothing_is_not_established(proposal, seen):
    state, severity, reason = judge(with_child(proposal=proposal), seen=seen)
    assert (state, severity) == ("not encrypted", "critical")
    assert reason.startswith("the SA is worth nothing: ")


def test_nor_one_of_two():
    null = CHILD._replace(uniqueid=12, proposal="NULL/HMAC_SHA1_96")
    assert judge(SA._replace(children=(CHILD, null)))[0] == "not encrypted"


def test_nor_one_whose_keys_come_from_a_weak_ike_sa():
    assert judge(SA._replace(proposal="DES_CBC/HMAC_MD5_96/PRF_HMAC_MD5/MODP_768"))[0] == "not encrypted"


@pytest.mark.parametrize(
    "algorithm", ["hmac(sha256)/ecb(cipher_null)", "rfc4543(gcm(aes))", "hmac(sha1)/cbc(des)"]
)
def test_the_kernels_own_word_of_it_counts_too(algorithm):
    seen = KERNEL._replace(states=(KERNEL.states[0]._replace(algorithm=algorithm), KERNEL.states[1]))
    assert judge(SA, seen=seen)[:2] == ("not encrypted", "critical")


def test_what_the_pillar_allows_by_a_word_is_taken():
    sa = with_child(proposal="3DES_CBC/HMAC_SHA1_96")
    assert full(sa).state == "not encrypted"
    assert full(sa, meant=Meant(weak=("3des",))).ok
    assert (
        full(with_child(proposal="NULL/HMAC_SHA1_96"), meant=Meant(weak=("3des", "null"))).state
        == "not encrypted"
    )


@pytest.mark.parametrize(
    ("sa", "said"),
    [
        (with_child(mode="TUNNEL"), "in mode TUNNEL, configured is TRANSPORT"),
        (with_child(proposal="AES_GCM_16_256"), "it has AES_GCM_16_256, configured is esp=aes128gcm16"),
        (
            SA._replace(proposal="AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384"),
            "it has AES_GCM_16_256/PRF_HMAC_SHA2_384",
        ),
    ],
)
def test_other_than_configured(sa, said):
    found = full(sa)
    assert (found.state, found.severity, said in found.reason) == ("established", "warning", True)


def test_where_nothing_says_what_is_configured_the_mode_is_that_which_charon_has_loaded():
    loaded = (LOADED._replace(modes=("TRANSPORT",)),)
    found = row(evaluate((WEST_V4,), charon(with_child(mode="TUNNEL"), loaded=loaded), KERNEL))
    assert (found.severity, found.reason) == (
        "warning",
        "TUNNEL, INSTALLED; in mode TUNNEL, configured is TRANSPORT: "
        "reauthenticate it (ipsec.reauthenticate)",
    )
    assert judge(with_child(mode="TUNNEL"))[:2] == ("established", "ok")  # nobody says


def test_charons_own_esp_has_no_transport_mode():
    """Whatever is configured: its SAs are in TUNNEL, and as well as they can be."""
    loaded = (LOADED._replace(modes=("TRANSPORT",)),)
    look = charon(with_child(mode="TUNNEL"), loaded=loaded, plugins=("kernel-libipsec",))
    for meant in (MEANT, Meant()):
        assert row(evaluate((WEST_V4,), look, KERNEL, meant=meant)).ok


@pytest.mark.parametrize("backend", recordings.BACKENDS)
@pytest.mark.parametrize("name", recordings.ALL)
def test_both_ways_to_ask_tell_the_mode_that_is_loaded(backend, name):
    mode = "TRANSPORT" if "-transport" in name else "TUNNEL"
    assert {one.modes for one in recordings.BACKENDS[backend](name).connections} == {(mode,)}


# Selectors ---------------------------------------------------------------------------------------

EAST_TS, WEST_TS = ENDS


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ((EAST_TS,), (WEST_TS,)),
        (("10.9.0.0/24",), ("0.0.0.0/0",)),
        (("10.9.0.1..10.9.0.3",), (WEST_TS,)),
        ((EAST_TS, "192.0.2.0/24[tcp]"), (WEST_TS,)),
        ((f"{EAST_TS}[tcp]", EAST_TS), (WEST_TS,)),
        ((f"{EAST_TS}[0-1023]", f"{EAST_TS}[1024-65535]"), (WEST_TS,)),
    ],
)
def test_selectors_that_cover_both_hosts(local, remote):
    assert judge(with_child(local_ts=local, remote_ts=remote), seen=KERNEL)[:2] == ("established", "ok")


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ((f"{EAST_TS}[tcp/6379]",), (f"{WEST_TS}[tcp]",)),
        ((f"{EAST_TS}[tcp]",), (f"{WEST_TS}[tcp]",)),
        ((f"{EAST_TS}[gre]",), (f"{WEST_TS}[gre]",)),
        ((f"{EAST_TS}[47]",), (f"{WEST_TS}[47]",)),
        ((f"{EAST_TS}[tcp/ssh]",), (WEST_TS,)),
        ((f"{EAST_TS}[0-1022]", f"{EAST_TS}[1024-65535]"), (WEST_TS,)),
        ((f"{EAST_TS}[tcp]", f"{EAST_TS}[udp]"), (WEST_TS,)),
        ((EAST_TS,), ("10.9.0.3/32",)),
        (("10.9.0.2..10.9.0.9",), (WEST_TS,)),
        (("192.0.2.0/24",), (WEST_TS,)),
        ((EAST_TS,), ("10.9.0.128/25",)),
        ((EAST_TS,), ("fd00::/8",)),
        ((f"{EAST_TS}[tcp]",), (f"{WEST_TS}[udp]",)),
        ((EAST_TS,), ()),
        (("10.9.0.x/32",), (WEST_TS,)),
    ],
)
@pytest.mark.parametrize("seen", [None, KERNEL])
def test_selectors_that_leave_something_out(local, remote, seen):
    """``leftprotoport: tcp/6379``, GRE only, a subnet that the peer narrowed: it was established, and ok."""
    state, severity, reason = judge(with_child(local_ts=local, remote_ts=remote), seen=seen)
    assert (state, severity) == ("not encrypted", "critical")
    assert reason.endswith("alone: what else there is between the two hosts is not encrypted")


def test_selectors_of_several_sas_count_together():
    """Also crosswise: rectangles of ports that leave a corner out do not cover."""
    parts = [("0-1023", "0-65535"), ("1024-65535", "0-1023"), ("1024-65535", "1024-65535")]
    children = [
        CHILD._replace(
            uniqueid=20 + one, local_ts=(f"{EAST_TS}[{mine}]",), remote_ts=(f"{WEST_TS}[{theirs}]",)
        )
        for one, (mine, theirs) in enumerate(parts)
    ]
    assert judge(SA._replace(children=tuple(children)))[0] == "duplicate"
    assert judge(SA._replace(children=tuple(children[:2])))[0] == "not encrypted"


# The policy that wins ----------------------------------------------------------------------------


def policy(way, priority, **more):
    ends = ENDS if way == "out" else ENDS[::-1]
    return KernelPolicy(*ends, way, priority, **more)


BYPASS_LAN = [KernelPolicy("10.9.0.0/24", "10.9.0.0/24", way, 175423) for way in ("out", "in", "fwd")]
LEAKS = {
    "bypass-lan": BYPASS_LAN,
    "bypass-lan, out alone": BYPASS_LAN[:1],
    "bypass-lan, in alone": BYPASS_LAN[1:2],
    "a shunt": [policy("out", 367230)],
    "of the same priority": [policy("out", 367231)],
    "for everything": [KernelPolicy("0.0.0.0/0", "0.0.0.0/0", "out", 1)],
    "for one port": [policy("out", 100, narrow="proto tcp dport 22")],
    "for pings": [policy("out", 1, narrow="proto icmp")],
    "for what is marked": [policy("out", 100, narrow="mark 0x1/0xf")],
    "optional": [policy("out", 100, reqid=1, mode="transport", level="use")],
    "authenticated": [policy("out", 100, reqid=9, mode="transport", proto="ah")],
    "somebody else's tunnel": [
        policy("out", 100, reqid=9, mode="tunnel", template_src="10.9.0.1", template_dst="192.0.2.1")
    ],
    "somebody else's tunnel, for one port": [
        policy("out", 100, narrow="proto tcp", reqid=9, mode="tunnel", template_dst="192.0.2.1")
    ],
    "the reqid is ours, the tunnel is not": [
        policy("in", 5, reqid=1, mode="tunnel", template_src="192.0.2.1")
    ],
    "blocked": [policy("out", 100, action="block")],
}
FINE = {
    "after ours": [policy("out", 400000), KernelPolicy("0.0.0.0/0", "0.0.0.0/0", "in", 500000)],
    "of others": [
        KernelPolicy("10.9.0.3/32", "10.9.0.2/32", "out", 1),
        KernelPolicy("10.8.0.0/24", "10.9.0.0/24", "out", 1),
    ],
    "of the other family": [KernelPolicy("::/0", "::/0", "out", 1), KernelPolicy("::/0", "::/0", "in", 1)],
    "our pin": [
        KernelPolicy(
            "10.9.0.0/30",
            ENDS[1],
            "out",
            74,
            mode="transport",
            reqid=1,
            template_src="10.9.0.1",
            template_dst="10.9.0.2",
        )
    ],
    "one port blocked": [policy("out", 100, action="block", narrow="proto tcp dport 22")],
    "somebody else's SA to the peer, for one port": [
        policy("out", 100, narrow="proto tcp dport 22", reqid=9, mode="transport", template_dst="10.9.0.2")
    ],
    "IKE": [KernelPolicy("0.0.0.0/0", "0.0.0.0/0", "out", 2, narrow="proto udp dport 500")],
    "fwd": [KernelPolicy("10.9.0.0/24", "10.9.0.0/24", "fwd", 1)],
    "the guard, of the release before": [KernelPolicy("10.9.0.0/31", ENDS[1], "out", guard.BLOCK, "block")],
}


@pytest.mark.parametrize("one", [WEST_V4, REQUIRE], ids=["start", "require"])
@pytest.mark.parametrize("name", LEAKS)
def test_a_policy_before_ours(name, one):
    """With ``bypass-lan`` or a shunt, ``require`` was established, ok, and went in the clear."""
    seen = with_policies(*LEAKS[name], seen=guarded(KERNEL, REQUIRE))
    found = full(SA, seen, one=one, **ROUTED)
    assert (found.state, found.severity) == ("not encrypted", "critical")
    assert f"priority {LEAKS[name][0].priority}" in found.reason


@pytest.mark.parametrize("name", FINE)
def test_a_policy_that_changes_nothing(name):
    assert full(SA, with_policies(*FINE[name])).ok


def test_before_an_idle_trap_it_counts_as_well():
    seen = guarded(KERNEL._replace(states=()), REQUIRE)
    assert judge(one=REQUIRE, seen=seen, **ROUTED)[:2] == ("down", "ok")
    state, severity, reason = judge(one=REQUIRE, seen=with_policies(*BYPASS_LAN, seen=seen), **ROUTED)
    assert (state, severity) == ("down", "critical")
    assert reason.startswith(
        "packets leave in the clear, since a policy comes before charon's: src 10.9.0.0/24"
    )


def test_policies_of_another_pair_are_not_ours():
    """The same direction and reqid were enough."""
    others = [one._replace(src="10.9.0.7/32", dst="10.9.0.8/32") for one in KERNEL.policies]
    assert judge(SA, seen=KERNEL._replace(policies=tuple(others)))[0] == "no xfrm"
    turned = [one._replace(src=one.dst, dst=one.src) for one in KERNEL.policies]
    assert judge(SA, seen=KERNEL._replace(policies=tuple(turned)))[0] == "no xfrm"


def test_a_policy_of_ours_that_is_for_some_packets_only():
    marked = [one._replace(narrow="mark 0x7/0xffffffff") for one in KERNEL.policies]
    assert judge(SA, seen=KERNEL._replace(policies=tuple(marked)))[:2] == ("not encrypted", "critical")


@pytest.mark.parametrize("way", ["out", "in"])
def test_nor_where_charon_says_that_its_sa_is_for_all(way):
    """Another hand left the kernel's policy for one port: all else went in the clear, and it was ok."""
    narrow = [
        one._replace(narrow="proto tcp dport 22") if one.direction == way else one for one in KERNEL.policies
    ]
    seen = KERNEL._replace(policies=tuple(narrow))
    found = full(with_child(local_ts=ENDS[:1], remote_ts=ENDS[1:]), seen)
    assert (found.state, found.severity) == ("not encrypted", "critical")
    assert found.reason == f"charon's policy {way} is for proto tcp dport 22 alone"
    some = [
        CHILD._replace(uniqueid=number, local_ts=(f"{ENDS[0]}[{what}]",), remote_ts=ENDS[1:])
        for number, what in enumerate(("0-1023", "1024-65535"))
    ]
    assert full(SA._replace(children=tuple(some)), seen).state == "duplicate"


def test_neighbour_discovery_may_pass():
    found = [
        xfrm.parse_policies(
            f"src ::/0 dst fd00::2/128 proto ipv6-icmp type {kind} \n\tdir out priority 73 \n"
        )
        for kind in (135, 136, 128)
    ]
    six = connection("west", "v6", EAST["v6"], WEST["v6"])
    name = "5.9.8-transport"
    ok = [
        row(
            evaluate((six,), recordings.vici(name), with_policies(*one, seen=recordings.kernel(name))),
            "west_v6",
        ).ok
        for one in found
    ]
    assert ok == [True, True, False]


def test_docker_swarms_own_policies_are_no_leak(
    swarm=recordings.DATA.parent / "kernel" / "docker-swarm.policies",
):
    others = xfrm.parse_policies(
        swarm.read_text().replace("192.0.2.11", EAST["v4"]).replace("192.0.2.21", WEST["v4"])
    )
    assert others
    assert full(SA, with_policies(*others)).ok


def test_thousands_of_policies_are_judged_in_a_moment():
    pairs = [(f"p{number}", f"10.{number // 256}.{number % 256}.9") for number in range(3000)]
    wanted = [connection(name, "v4", "10.200.0.1", right, stage="require") for name, right in pairs]
    policies = [
        KernelPolicy(*ends, way, 367231, reqid=1)
        for _, right in pairs
        for way, ends in (("out", ("10.200.0.1/32", f"{right}/32")), ("in", (f"{right}/32", "10.200.0.1/32")))
    ]
    began = time.process_time()
    evaluate(wanted, charon(loaded=()), guarded(KERNEL._replace(policies=tuple(policies)), *wanted))
    assert time.process_time() - began < 5


# Guard and trap ----------------------------------------------------------------------------------


AFTER_CHARON = {
    "for the pair": policy("out", 400000),
    "for all": KernelPolicy("0.0.0.0/0", "0.0.0.0/0", "in", 500000),
    "from another address": KernelPolicy("10.9.0.77/32", "10.9.0.2/32", "out", 1),
    "to a container": KernelPolicy("10.9.0.0/24", "172.17.0.0/16", "fwd", 1),
    "for one port": policy("in", 1_500_000, narrow="proto tcp dport 22"),
}


@pytest.mark.parametrize("name", AFTER_CHARON)
def test_what_passes_before_the_guard_is_told_though_charon_s_own_policy_wins(name):
    """Once charon is stopped it goes in the clear, and from a second address at once."""
    one = AFTER_CHARON[name]
    state, severity, reason = judge(
        SA, one=REQUIRE, seen=with_policies(one, seen=guarded(KERNEL, REQUIRE)), **ROUTED
    )
    assert (state, severity) == ("established", "warning")
    assert "a policy that passes packets comes before the guard's: src" in reason
    assert f"priority {one.priority}" in reason


@pytest.mark.parametrize("way", ["out", "in", "fwd"])
def test_a_guard_for_one_address_of_this_host_is_not_enough(way):
    whole = guarded(KERNEL, REQUIRE)
    ours = f"{EAST['v4']}/32"
    narrowed = [
        one._replace(src=ours if way == "out" else one.src, dst=one.dst if way == "out" else ours)
        if (one.action, one.direction) == ("block", way)
        else one
        for one in whole.policies
    ]
    assert judge(SA, one=REQUIRE, seen=whole._replace(policies=tuple(narrowed)), **ROUTED)[1] == "warning"


@pytest.mark.parametrize("way", ["out", "in", "fwd"])
def test_require_without_its_guard(way):
    whole = guarded(KERNEL, REQUIRE)
    assert judge(SA, one=REQUIRE, seen=whole, **ROUTED)[:2] == ("established", "ok")
    left = tuple(one for one in whole.policies if (one.action, one.direction) != ("block", way))
    state, severity, reason = judge(SA, one=REQUIRE, seen=whole._replace(policies=left), **ROUTED)
    assert (state, severity) == ("established", "warning")
    assert reason.endswith(f"no guard ({way}): without charon its traffic goes in the clear")


def test_nor_with_the_guard_of_another_peer():
    other = connection("other", "v4", EAST["v4"], "10.9.0.4", stage="require")
    assert judge(SA, one=REQUIRE, seen=guarded(KERNEL, other), **ROUTED)[1] == "warning"


def test_a_trap_that_the_kernel_does_not_have():
    """``waits for the first packet``, which could never trigger it."""
    seen = guarded(KERNEL._replace(states=(), policies=()), REQUIRE)
    state, severity, reason = judge(one=REQUIRE, seen=seen, **ROUTED)
    assert (state, severity) == ("down", "critical")
    assert reason == "charon has a trap, but the kernel has no policy out, no policy in: no packet starts it"


def test_a_trap_over_sas_that_are_left():
    state, severity, reason = judge(one=REQUIRE, seen=guarded(KERNEL, REQUIRE), **ROUTED)
    assert (state, severity) == ("down", "critical")
    assert reason.endswith("the kernel still holds 2 SA(s) of it")


# What is left ------------------------------------------------------------------------------------


def test_passive_with_policies_left_in_the_kernel_or_a_trap():
    """What is between the two was dropped, or the first packet started it: "nothing starts it", and ok."""
    passive = WEST_V4._replace(stage="passive")
    state, severity, reason = judge(one=passive, seen=KERNEL._replace(states=()))
    assert (state, severity) == ("down", "critical")
    assert reason == (
        "passive, yet the kernel has 2 policies of it, which drop what is between the two hosts"
    )
    assert judge(one=passive, **ROUTED) == (
        *("down", "critical"),
        "passive, yet charon has a trap, and the first packet starts it",
    )


def test_passive_with_sas_left_in_the_kernel():
    passive = WEST_V4._replace(stage="passive")
    assert judge(one=passive, seen=KERNEL) == (
        "down",
        "critical",
        "passive; the kernel still holds 2 SA(s) of it",
    )
    assert judge(one=passive, seen=KERNEL._replace(states=(), policies=()))[:2] == ("down", "ok")


HELD = {"west_v4": "since noon"}


def held(look, seen):
    found = row(evaluate((WEST_V4,), look, seen, held=HELD))
    return found.state, found.severity


def test_held_and_not_known_to_be_down():
    nothing = KERNEL._replace(states=(), policies=())
    away = charon(loaded=())
    assert held(away, nothing) == ("held", "warning")
    assert held(None, nothing) == ("held", "critical")
    assert held(charon(SA._replace(state="CONNECTING", children=())), nothing) == ("connecting", "critical")
    assert held(charon(), KERNEL._replace(states=())) == ("down", "critical")
    assert held(away, guarded(nothing, REQUIRE)) == ("held", "warning")


def test_held_and_still_loaded():
    """Nothing in charon kept a peer from bringing it up, and it was told as if it stayed down."""
    nothing = KERNEL._replace(states=(), policies=())
    for stage, seen in itertools.product(("passive", "start", "require"), (nothing, None)):
        one = WEST_V4._replace(stage=stage)
        found = row(evaluate((one,), charon(), seen, held=HELD))
        assert (found.state, found.severity, found.reason) == (
            *("held", "critical"),
            "held since noon, yet charon has it loaded: the peer can bring it up",
        )
        trapped = row(evaluate((one,), charon(loaded=(), routed=("west_v4",)), seen, held=HELD))
        assert (trapped.state, trapped.severity, trapped.reason) == (
            *("held", "critical"),
            "held since noon, yet charon has a trap of it: the first packet brings it up",
        )


def test_held_while_a_peer_knocks():
    """It is refused a moment later: charon does not know yet who calls, and has nothing loaded for it."""
    knock = SA._replace(name="(unnamed)", state="CONNECTING", children=())
    assert held(charon(knock, loaded=()), KERNEL._replace(states=(), policies=())) == ("held", "warning")


def test_established_though_charon_has_not_loaded_it():
    found = row(evaluate((WEST_V4,), charon(SA, loaded=()), KERNEL))
    assert (found.state, found.severity) == ("established", "warning")
    assert found.reason.endswith(
        "charon has not loaded this connection: once its SAs end, nothing brings it back"
    )


# One way -----------------------------------------------------------------------------------------


def silent(**more):
    return with_child(packets_out=9, use_out=1, **more)


def test_a_child_that_was_just_rekeyed_is_not_as_old_as_its_ike_sa():
    """Over stroke, which tells no age of a CHILD, it was one-way at once."""
    out, into = KERNEL.states
    found = full(silent(), KERNEL._replace(states=(out._replace(age=5), into)))
    assert found.state == "established"
    found = full(silent(), KERNEL._replace(states=(out._replace(age=40), into)))
    assert (found.state, found.reason) == ("one-way", "9 packets out and none in within 40 s")
    assert full(silent()).reason == "9 packets out and none in within 90 s"  # the kernel does not tell
    assert full(silent()._replace(established=None)).state == "established"


@pytest.mark.parametrize("name", recordings.WITH_KERNEL)
@pytest.mark.parametrize("backend", recordings.BACKENDS)
def test_recorded_hosts_that_are_well_stay_so(backend, name):
    mode = Meant("transport", MEANT.esp, MEANT.ike)
    report = evaluate(
        (WEST_V4, WEST_V6), recordings.BACKENDS[backend](name), recordings.kernel(name), meant=mode
    )
    assert [one.ok for one in report.managed] == [True, "-lost" not in name]


def test_a_name_with_its_modes():
    one = LoadedConnection("a", children=("a", "b"), modes=("TRANSPORT", "TUNNEL"))
    assert dict(zip(one.children, one.modes)) == {"a": "TRANSPORT", "b": "TUNNEL"}
