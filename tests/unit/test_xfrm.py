"""The kernel's IPsec state, from what ``ip`` printed on three releases beside real charons."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

import recordings
from hostipsec.kernel import kernel, xfrm
from hostipsec.model import KernelPolicy, KernelState
from hostipsec.system.processes import Result


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_states(version):
    found = xfrm.parse_states(recordings.read(f"{version}-transport.states"))
    assert len(found) == 4
    child = next(
        sa.children[0] for sa in recordings.vici(f"{version}-transport").ike_sas if sa.name == "west_v4"
    )
    gcm = {"mode": "transport", "reqid": child.reqid, "algorithm": "rfc4106(gcm(aes))"}
    out = KernelState("10.9.0.1", "10.9.0.2", child.spi_out, bytes=42, packets=3, sequence=3, **gcm)
    back = KernelState("10.9.0.2", "10.9.0.1", child.spi_in, bytes=126, packets=3, sequence=0, **gcm)
    assert [state for state in found if ":" not in state.src] == [out, back]


@pytest.mark.parametrize("name", recordings.WITH_KERNEL)
def test_the_kernel_has_the_spis_that_charon_names(name):
    states = xfrm.parse_states(recordings.read(f"{name}.states"))
    children = [
        child for sa in recordings.vici(name).ike_sas for child in sa.children if child.state == "INSTALLED"
    ]
    ours = {child.spi_in for child in children} | {child.spi_out for child in children}
    lost = {"-transport": 0, "-transport-rekeyed": 0, "-transport-lost": 1}[name[5:]]
    assert len(ours - {state.spi for state in states}) == lost


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_policies_without_those_of_sockets(version):
    found = xfrm.parse_policies(recordings.read(f"{version}-transport.policies"))
    assert len(found) == 6
    child = next(
        sa.children[0] for sa in recordings.vici(f"{version}-transport").ike_sas if sa.name == "west_v4"
    )
    assert (
        KernelPolicy(
            src="10.9.0.1/32",
            dst="10.9.0.2/32",
            direction="out",
            priority=367231,
            mode="transport",
            reqid=child.reqid,
            template_src="0.0.0.0",
            template_dst="0.0.0.0",
        )
        in found
    )
    assert {(policy.src, policy.dst, policy.direction) for policy in found} >= {
        ("10.9.0.1/32", "10.9.0.8/32", "out"),
        ("10.9.0.8/32", "10.9.0.1/32", "in"),
    }


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_errors(version):
    found = xfrm.parse_errors(recordings.read(f"{version}.xfrm_stat"))
    assert found["XfrmInError"] == 0
    assert (found["XfrmInNoStates"], found["XfrmOutNoStates"]) == (1, 3)
    assert len(found) == 28


# What the recordings have not --------------------------------------------------------------


TUNNEL = """\
src 10.0.0.1 dst 10.0.0.2
\tproto esp spi 0x00c0ffee reqid 16384 mode tunnel
\treplay-window 0 flag af-unspec
\tauth-trunc hmac(sha256) <<Keys hidden>> 128
\tenc cbc(aes) <<Keys hidden>>
\tencap type espinudp sport 4500 dport 4500 addr 0.0.0.0
src 10.0.0.2 dst 10.0.0.1
\tproto ah spi 0xdeadbeef(3735928559) reqid 1(0x00000001) mode beet
"""


def test_states_without_counters_and_of_other_kinds():
    """Without ``-s`` numbers stand alone, and there are no counters."""
    one, other = xfrm.parse_states(TUNNEL)
    assert (one.spi, one.reqid, one.mode, one.bytes, one.packets) == ("00c0ffee", 16384, "tunnel", 0, 0)
    assert one.algorithm == "hmac(sha256)/cbc(aes)"
    assert (other.proto, other.spi, other.mode, other.algorithm) == ("ah", "deadbeef", "beet", "")


POLICIES = """\
src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 22
\tdir out action block priority 100
src 10.0.0.2/32 dst 10.0.0.1/32
\tdir fwd priority 383616 ptype main mark 0x1/0xf
\ttmpl src 192.0.2.1 dst 192.0.2.2
\t\tproto esp reqid 7(0x00000007) mode tunnel
\t\tlevel use
"""


def test_policies_that_block_or_have_a_level():
    block, optional = xfrm.parse_policies(POLICIES)
    assert (block.direction, block.action, block.priority, block.mode) == ("out", "block", 100, "")
    assert (optional.direction, optional.action, optional.level) == ("fwd", "allow", "use")
    assert (optional.template_src, optional.template_dst, optional.reqid) == ("192.0.2.1", "192.0.2.2", 7)


@pytest.mark.parametrize("text", ["", "\n", "Cannot send dump request\n"])
def test_nothing(text):
    assert xfrm.kernel(text, text, text) == xfrm.kernel("", "", "")


PASS = """\
src 10.0.0.0/24 dst 10.0.0.0/24 uid 0
\tdir out action allow index 9 priority 175423 share any flag  (0x00000000)
\tlifetime config:
\t  limit: soft 0(bytes), hard 0(bytes)
"""
UNREADABLE = {
    "the head alone": "src 10.0.0.1 dst 10.0.0.2\n",
    "a head with no ends": POLICIES.replace("src 10.0.0.2/32", "src 10.0.x.2/32"),
    "the first head is none": PASS.replace("src", "srx"),
    "another head is none": POLICIES.replace("src 10.0.0.2", "srx 10.0.0.2"),
    "no direction": PASS.replace("dir out", "dix out"),
    "no priority": PASS.replace("priority", "prioritx"),
    "an action of nobody": PASS.replace("action allow", "action allox"),
    "a template cut off": POLICIES.replace(
        "\t\tproto esp reqid 7(0x00000007) mode tunnel\n\t\tlevel use\n", ""
    ),
    "a level of nobody": POLICIES.replace("level use", "level usx"),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_policy_that_cannot_be_read_may_be_the_one_that_lets_packets_pass(text):
    """It was left out, as those of sockets are."""
    with pytest.raises(xfrm.UnreadableError, match=r"^ip xfrm policy printed what cannot be read: 's"):
        xfrm.parse_policies(text)


def test_a_state_that_cannot_be_read():
    for text in ("src 10.0.0.1 dst 10.0.0.2\n", TUNNEL.replace("0x00c0ffee", "0x00c0ffex")):
        with pytest.raises(xfrm.UnreadableError, match=r"^ip xfrm state printed what cannot be read: 'src"):
            xfrm.parse_states(text)


LIMITED = """\
src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 22 dev eth0 uid 0
\tdir out action allow index 25 priority 0 share any flag  (0x00000000)
\tmark 0xd0c4e3/0xffffffff
\ttmpl src 10.0.0.1 dst 10.0.0.2
\t\tproto comp spi 0x00000000(0) reqid 3(0x00000003) mode transport
\t\tlevel use share any
\ttmpl src 0.0.0.0 dst 0.0.0.0
\t\tproto esp spi 0xf4faae1b(4110069275) reqid 3(0x00000003) mode transport
\t\tlevel required share any
\tif_id 0x2a
src fd00::/64 dst fd00::1/128 proto ipv6-icmp type 135 code 0 uid 0
\tdir in action allow index 8 priority 73 share any flag  (0x00000000)
\tmark 0/0
"""


def test_what_a_policy_is_for_besides_addresses():
    one, other = xfrm.parse_policies(LIMITED)
    assert one.narrow == "proto tcp dport 22 dev eth0 mark 0xd0c4e3/0xffffffff if_id 0x2a"
    assert (one.proto, one.level, one.reqid, one.template_src, one.protects) == (
        "comp esp",
        "required",
        3,
        "0.0.0.0",
        True,
    )
    assert (other.narrow, other.icmp_type, other.protects) == (
        "proto ipv6-icmp type 135 code 0",
        "135",
        False,
    )
    (passes,) = xfrm.parse_policies(PASS)
    assert (passes.narrow, passes.action, passes.priority, passes.protects) == ("", "allow", 175423, False)


# Reading --------------------------------------------------------------------------------------


def test_the_kernel_is_asked_without_keys(here):
    asked = []

    def run(argv, timeout):
        asked.append((" ".join(argv), timeout))
        return Result(0, recordings.read(f"5.9.8-transport.{'states' if 'state' in argv else 'policies'}"))

    here.xfrm_stat.parent.mkdir()
    here.xfrm_stat.write_text("XfrmInError \t5\n")
    found = kernel.observe(3.0, run)
    assert asked == [("ip -s xfrm state list nokeys", 3.0), ("ip -s xfrm policy list", 3.0)]
    assert (len(found.states), len(found.policies), found.errors) == (4, 6, {"XfrmInError": 5})
    here.xfrm_stat.unlink()
    assert kernel.observe(3.0, run).errors == {}


def test_how_old_sas_are(here):
    text = recordings.read("5.9.8-transport.states")
    made = {"2026-11-24 04:13:50"}
    assert {*xfrm.added(text).values()} == made
    assert len(xfrm.added(text)) == 4
    found = kernel.observe(run=lambda argv, timeout: Result(0, text if "state" in argv else ""))
    ages = {one.age for one in found.states}
    (age,) = ages
    (then,) = {datetime.fromisoformat(one).timestamp() for one in made}
    assert abs(age - max(0, time.time() - then)) < 60
    assert {
        one.age for one in kernel.observe(run=lambda *_: Result(0, TUNNEL if "state" in _[0] else "")).states
    } == {None}


def test_a_refusal_is_an_error_in_words():
    refused = Result(2, "", "Cannot open netlink socket: Operation not permitted\n")
    with pytest.raises(kernel.KernelError, match=r"status 2, Cannot open netlink socket: .*; needs root"):
        kernel.observe(run=lambda argv, timeout: refused)


# Sequence numbers, and what was refused ------------------------------------------------------

SA = """src 10.9.0.1 dst 10.9.0.2
\tproto esp spi 0xc8f93a5d(3371776605) reqid 3(0x00000003) mode transport
\t{flag}
\taead rfc4106(gcm(aes)) <<Keys hidden>> 128
\t{context}
\tsel src 10.9.0.1/32 dst 10.9.0.2/32 uid 0
\tlifetime current:
\t  42(bytes), 3(packets)
\t  add 2026-11-24 04:13:50 use 2026-11-24 04:13:51
\tstats:
\t  replay-window 5 replay 2 failed 7
"""
SHORT = "anti-replay context: seq 0x0, oseq 0xfffffffe, bitmap 0x00000000"
LONG = """anti-replay esn context:
\t seq-hi 0x0, seq 0x9, oseq-hi {high}, oseq 0x1d
\t replay_window 128, bitmap-length 4
\t 00000000 00000000 00000000 1fffffff"""
OUTWARD = "anti-replay esn context:\t oseq-hi 0x0, oseq 0xa"  # of an SA that says its direction
PLAIN = "replay-window 0 seq 0x00000000 flag  (0x00000000)"
ESN = "replay-window 0 seq 0x00000000 flag af-unspec esn (0x00100080)"


@pytest.mark.parametrize(
    ("flag", "context", "sequence"),
    [
        (PLAIN, SHORT, 0xFFFFFFFE),
        (PLAIN, LONG.format(high="0x0"), 0x1D),  # a window of more than 32, without ESN
        (PLAIN, OUTWARD, 0xA),
        (ESN, LONG.format(high="0x1"), None),
        (ESN.replace(" seq 0x00000000", ""), LONG.format(high="0x0"), None),
        ("flag af-unspec esn", OUTWARD, None),
        (PLAIN, "", None),
    ],
)
def test_the_number_of_the_last_packet_out(flag, context, sequence):
    (found,) = xfrm.parse_states(SA.format(flag=flag, context=context))
    assert found.sequence == sequence


def test_what_an_sa_refused():
    (found,) = xfrm.parse_states(SA.format(flag=PLAIN, context=SHORT))
    assert (found.replays, found.failures) == (7, 7)
    (found,) = xfrm.parse_states(SA.format(flag=PLAIN, context=SHORT).partition("\tstats")[0])
    assert (found.replays, found.failures) == (0, 0)
