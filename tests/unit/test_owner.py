"""Whose an SA, a state or a policy is: by each question that is asked, where name and addresses differ."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from hostipsec import owner
from hostipsec.emergency.pins import pin
from hostipsec.health import judge, repair
from hostipsec.kernel import leftovers, xfrm
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, Kernel, KernelPolicy, KernelState
from hostipsec.model import LoadedConnection as Loaded
from hostipsec.proof import verdict

DATA = Path(__file__).parent / "data/kernel"
LEFT, RIGHT, ELSEWHERE = "192.0.2.11", "192.0.2.21", "192.0.2.99"  # as in the states of Docker Swarm
NAME, THEIRS, UNNAMED = "cp3001_v4", "vpn", "(unnamed)"
ONE = Connection(
    *(NAME, "cp3001.example", "v4", ip_address(LEFT), ip_address(RIGHT), "CN=a", "CN=b", True, "start")
)
TWO = ONE._replace(name="cp3002_v4", right=ip_address(ELSEWHERE))
NEITHER = ONE._replace(name="cp3003_v4", right=ip_address("192.0.2.33"))


def child(name, **what):
    return ChildSA(name, "INSTALLED", "TRANSPORT", 7, 1, **what)


def sa(name=NAME, local=LEFT, remote=RIGHT, *children, number=1):
    return IkeSA(name, number, "ESTABLISHED", local, remote, children=children)


def charon(*sas):
    return Charon("5.9.8", "vici", connections=(Loaded(NAME),), ike_sas=sas)


def away():
    return charon()._replace(connections=())


# IKE SAs: belongs, named, moved, claimed, between
CASES = {
    "as configured": (sa(), "belongs named claimed between"),
    "to another address of the peer": (sa(NAME, LEFT, ELSEWHERE), "named moved claimed"),
    "from another address of this host": (sa(NAME, ELSEWHERE, RIGHT), "named moved claimed"),
    "its address not chosen yet": (sa(NAME, "%any", RIGHT), "belongs named claimed"),
    "its address not chosen yet, IPv6": (sa(NAME, "%any6", RIGHT), "belongs named claimed"),
    "between our addresses, with a stranger's name": (sa(THEIRS), "claimed between"),
    "half-open, from the peer": (sa(UNNAMED), "belongs claimed between"),
    "half-open, from somewhere else": (sa(UNNAMED, LEFT, ELSEWHERE), ""),
    "a CHILD SA of ours in a stranger's": (
        sa(THEIRS, LEFT, RIGHT, child(NAME)),
        "belongs named claimed between",
    ),
    "a CHILD SA of ours in a stranger's, elsewhere": (
        sa(THEIRS, LEFT, ELSEWHERE, child(NAME)),
        "named claimed",
    ),
    "a stranger's": (sa(THEIRS, LEFT, ELSEWHERE, child(THEIRS)), ""),
    "the other way round": (sa(THEIRS, RIGHT, LEFT), ""),
}


@pytest.mark.parametrize(("found", "said"), CASES.values(), ids=CASES)
def test_each_question_has_its_rule(found, said):
    answers = {
        "belongs": owner.belongs(found, ONE),
        "named": owner.named(found, {NAME}),
        "moved": owner.moved(found, ONE),
        "claimed": owner.claimed(found, owner.Ours([ONE])),
        "between": owner.between(found, ONE),
    }
    assert [question for question, answer in answers.items() if answer] == said.split()


def test_an_sa_is_never_both_of_now_and_of_before():
    assert not any(owner.belongs(found, ONE) and owner.moved(found, ONE) for found, _ in CASES.values())


def test_an_emergency_stop_ends_whatever_any_other_question_calls_ours():
    ours = owner.Ours([ONE])
    for found, _ in CASES.values():
        others = owner.belongs(found, ONE) or owner.moved(found, ONE) or owner.between(found, ONE)
        assert owner.claimed(found, ours) or not others


def test_tables_say_the_same_as_the_rules():
    """A host has thousands of SAs: what is asked of all at once is looked up."""
    sas = [found._replace(uniqueid=number) for number, (found, _) in enumerate(CASES.values())]
    every = [ONE, TWO, NEITHER]
    shared, present = owner.shares(every, sas), owner.present(every, sas)
    assert [*shared] == [one.name for one in every]
    for one in every:
        assert shared[one.name] == [found for found in sas if owner.claimed(found, owner.Ours([one]))]
        assert (one.name in present) == any(owner.belongs(found, one) for found in sas)
    together = {found.uniqueid for mine in shared.values() for found in mine}
    assert together == {found.uniqueid for found in sas if owner.claimed(found, owner.Ours(every))}


# What follows from it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "remote", "said"),
    [
        (LEFT, ELSEWHERE, f"goes to {ELSEWHERE}; {NAME} is configured to {RIGHT}"),
        (ELSEWHERE, RIGHT, f"comes from {ELSEWHERE}; {NAME} is configured from {LEFT}"),
    ],
)
def test_what_has_another_address_is_not_up(local, remote, said):
    """From an address that this host no longer had, it counted as up: the new one sent in the clear."""
    rows = judge.evaluate([ONE], charon(sa(NAME, local, remote, child(NAME)))).connections
    assert [(row.name, row.state) for row in rows] == [(NAME, "down"), (NAME, "unmanaged")]
    assert rows[1].reason == said


def test_it_is_started_beside_what_goes_to_another_address_and_not_beside_an_attempt_of_the_peer():
    """By name alone the keeper took the one for the connection, and did not see the other."""
    assert repair.absent([ONE], charon(sa(NAME, LEFT, ELSEWHERE))) == (NAME,)
    assert repair.absent([ONE], charon(sa(UNNAMED))) == ()


def test_a_pin_names_the_sa_to_the_address_of_now():
    """With the SPI of another address in its template the policy would stop all packets."""
    old = sa(NAME, LEFT, ELSEWHERE, child(NAME, spi_out="c0000001"))
    new = sa(NAME, LEFT, RIGHT, child(NAME, spi_out="c0000002"), number=2)
    assert pin(ONE, charon(old)) is None
    assert pin(ONE, charon(old, new)).spi == "c0000002"


def test_a_proof_rekeys_what_is_ours():
    mixed = sa(THEIRS, LEFT, RIGHT, child(THEIRS)._replace(uniqueid=8), child(NAME))
    assert verdict.installed(ONE, charon(mixed)) == {7: ""}


# The kernel ----------------------------------------------------------------------------------


def swarm():
    texts = [(DATA / f"docker-swarm.{kind}").read_text() for kind in ("states", "policies")]
    return xfrm.kernel(*texts, "")


def of_charon():
    """A pair's states, one that the kernel waits for, its policies, and one of ours that pins an SA."""
    ends = ((LEFT, RIGHT, "out"), (RIGHT, LEFT, "in"))
    states = [
        KernelState(src, dst, f"c000000{number}", "transport", 1, packets=5, algorithm="rfc4106(gcm(aes))")
        for number, (src, dst, _) in enumerate(ends)
    ]
    policies = [
        KernelPolicy(f"{src}/32", f"{dst}/32", way, 367231, reqid=1, template_src=src, template_dst=dst)
        for src, dst, way in ends
    ]
    larval = KernelState(LEFT, RIGHT, "00000000", "transport", 1)
    pinned = KernelPolicy("192.0.2.8/30", f"{RIGHT}/32", "out", 74, reqid=1)
    return Kernel((*states, larval), (*policies, pinned._replace(template_src=LEFT, template_dst=RIGHT)))


def test_docker_swarm_between_the_same_hosts_is_left_alone():
    theirs, mine = swarm(), of_charon()
    assert (len(theirs.states), len(theirs.policies)) == (2, 1)
    assert all(owner.foreign(one) for one in (*theirs.states, *theirs.policies))
    both = Kernel(theirs.states + mine.states, theirs.policies + mine.policies)
    found = leftovers.leftovers(both, owner.Ours([ONE]))
    assert found == leftovers.Leftovers(mine.states, mine.policies)
    assert "f4faae1b" not in found.batch()
    assert not leftovers.leftovers(theirs, owner.Ours([ONE]))


def test_what_charon_made_by_a_number_that_a_rule_with_only_has_told_it_is_ours():
    """It is left where charon is killed, as all others are."""
    mine, number = of_charon(), owner.reqid(NAME)
    told = Kernel(
        tuple(one._replace(reqid=number) for one in mine.states),
        tuple(one._replace(reqid=number) for one in mine.policies),
    )
    assert leftovers.leftovers(told, owner.Ours([ONE])) == leftovers.Leftovers(told.states, told.policies)
    other = tuple(one._replace(reqid=number + 1) for one in told.states if not one.larval)
    assert not leftovers.leftovers(Kernel(other, ()), owner.Ours([ONE]))


# What others have between the same two hosts: Cilium (marks, in tunnel mode), weave (no reqid, a mark at the
# policy), submariner and whoever else has libreswan (reqids from 16385, priorities above a million), one that
# routes by interfaces of IPsec, an operator's own keys
OTHERS_STATES = f"""\
src {LEFT} dst {RIGHT}
\tproto esp spi 0x00000003(3) reqid 1(0x00000001) mode tunnel
\treplay-window 0 seq 0x00000000 flag  (0x00000000)
\tmark 0x3e00/0xff00 output-mark 0xe00/0xf00
\taead rfc4106(gcm(aes)) <<Keys hidden>> (160 bits) 128
src {RIGHT} dst {LEFT}
\tproto esp spi 0x00000003(3) reqid 1(0x00000001) mode tunnel
\treplay-window 0 seq 0x00000000 flag  (0x00000000)
\tmark 0xd00/0xf00 output-mark 0xd00
\taead rfc4106(gcm(aes)) <<Keys hidden>> (160 bits) 128
src {LEFT} dst {RIGHT}
\tproto esp spi 0x6a3f1c20(1782520864) reqid 0(0x00000000) mode transport
\taead rfc4106(gcm(aes)) <<Keys hidden>> (288 bits) 128
src {LEFT} dst {RIGHT}
\tproto esp spi 0x3b2a9c11(992648209) reqid 16389(0x00004005) mode tunnel
\taead rfc4106(gcm(aes)) <<Keys hidden>> (288 bits) 128
src {LEFT} dst {RIGHT}
\tproto esp spi 0xc0000077(3221225591) reqid 7(0x00000007) mode tunnel
\taead rfc4106(gcm(aes)) <<Keys hidden>> (288 bits) 128
\tif_id 0x2a
src {RIGHT} dst {LEFT}
\tproto esp spi 0x00000201(513) reqid 0(0x00000000) mode transport
\tenc cbc(aes) <<Keys hidden>> (128 bits)
"""
OTHERS_POLICIES = f"""\
src 10.244.0.0/24 dst 10.244.1.0/24 uid 0
\tdir out action allow index 1 priority 367231 share any flag  (0x00000000)
\tmark 0x3e00/0xff00
\ttmpl src {LEFT} dst {RIGHT}
\t\tproto esp spi 0x00000003(3) reqid 1(0x00000001) mode tunnel
\t\tlevel required share any
src {LEFT}/32 dst {RIGHT}/32 proto udp dport 6784 uid 0
\tdir out action allow index 9 priority 0 share any flag  (0x00000000)
\tmark 0x20000/0x20000
\ttmpl src {LEFT} dst {RIGHT}
\t\tproto esp spi 0x6a3f1c20(1782520864) reqid 0(0x00000000) mode transport
\t\tlevel required share any
src 10.1.0.0/16 dst 10.2.0.0/16 uid 0
\tdir out action allow index 17 priority 367231 share any flag  (0x00000000)
\ttmpl src {LEFT} dst {RIGHT}
\t\tproto esp spi 0x00000000(0) reqid 2(0x00000002) mode tunnel
\t\tlevel required share any
src {LEFT}/32 dst {RIGHT}/32 uid 0
\tdir out action allow index 25 priority 1753280 share any flag  (0x00000000)
\ttmpl src {LEFT} dst {RIGHT}
\t\tproto esp spi 0x00000000(0) reqid 16389(0x00004005) mode tunnel
\t\tlevel required share any
src {LEFT}/32 dst {RIGHT}/32 uid 0
\tdir out action allow index 33 priority 0 share any flag  (0x00000000)
\ttmpl src {LEFT} dst {RIGHT}
\t\tproto esp spi 0x00000000(0) reqid 0(0x00000000) mode transport
\t\tlevel required share any
src {LEFT}/32 dst {RIGHT}/32 uid 0
\tdir out action allow index 41 priority 367231 share any flag  (0x00000000)
\ttmpl src {LEFT} dst {RIGHT}
\t\tproto esp spi 0x00000000(0) reqid 7(0x00000007) mode tunnel
\t\tlevel required share any
\tif_id 0x2a
src {LEFT}/32 dst {RIGHT}/32 uid 0
\tdir out action block index 49 priority 200000 share any flag  (0x00000000)
"""


def others():
    return xfrm.kernel(OTHERS_STATES, OTHERS_POLICIES, "")


def test_what_others_have_between_the_same_hosts_is_left_alone():
    """A stop deleted all of it: pods and networks behind the hosts lost their tunnels, nobody said why."""
    theirs, mine = others(), of_charon()
    assert (len(theirs.states), len(theirs.policies)) == (6, 7)
    assert not leftovers.leftovers(theirs, owner.Ours([ONE]))
    both = Kernel(theirs.states + mine.states, theirs.policies + mine.policies)
    assert leftovers.leftovers(both, owner.Ours([ONE])) == leftovers.Leftovers(mine.states, mine.policies)


@pytest.mark.parametrize("spi", ["00000201", "6a3f1c20", "c0000201", "cb2a9c11"])
@pytest.mark.parametrize("reqid", [0, 16385, 16389, 4_294_967_295])
def test_the_reqid_is_none_that_charon_gives_whatever_the_spi(reqid, spi):
    """SPIs of others are random: one in sixteen is one that charon might have given."""
    made = of_charon()
    states = tuple(one._replace(reqid=reqid, spi=spi) for one in made.states if not one.larval)
    policies = tuple(one._replace(reqid=reqid) for one in made.policies if one.priority in owner.PRIORITIES)
    assert not leftovers.leftovers(Kernel(states, policies), owner.Ours([ONE]))


def test_a_host_that_is_held_has_no_sas_because_of_others():
    rows = judge.evaluate([ONE], away(), others(), held={NAME: "since today"}).connections
    assert [(row.state, row.severity) for row in rows] == [("held", "warning")]


def test_marks_are_read():
    marks = [one.mark for one in others().states]
    assert marks[0] == "mark 0x3e00/0xff00 output-mark 0xe00/0xf00"
    assert marks[2:] == ["", "", "if_id 0x2a", ""]
    assert [one.mark for one in others().policies] == [
        *("mark 0x3e00/0xff00", "mark 0x20000/0x20000", "", "", "", "if_id 0x2a", "")
    ]


def test_what_docker_swarm_sends_proves_nothing():
    """Its packets counted as the pair's: echo requests in the clear would have passed for encrypted."""
    counters = verdict.kernel_counters(ONE, (*swarm().states, *of_charon().states[:2]))
    assert counters == verdict.Counters({"c0000000": 5}, {"c0000001": 5})


def test_a_host_that_is_held_has_no_sas_because_of_docker_swarm():
    rows = judge.evaluate([ONE], away(), swarm(), held={NAME: "since today"}).connections
    assert [(row.state, row.severity) for row in rows] == [("held", "warning")]
    rows = judge.evaluate([ONE], away(), of_charon(), held={NAME: "since today"}).connections
    assert [(row.state, row.severity) for row in rows] == [("down", "critical")]


@pytest.mark.parametrize("reqid", [1, 2, 16383])
def test_what_is_not_known_to_be_somebody_elses_is_cleared(reqid):
    """Also what charon was killed over, of which nobody else knows."""
    made = of_charon()
    states = tuple(one._replace(reqid=reqid) for one in made.states)
    policies = tuple(one._replace(reqid=reqid) for one in made.policies)
    assert leftovers.leftovers(Kernel(states, policies), owner.Ours([ONE])) == (states, policies)


def test_what_is_left_in_the_kernel_is_told_by_connection():
    found = leftovers.Leftovers(*of_charon()[:2])
    shared = leftovers.shares([ONE, TWO], found)
    assert [{*part} for part in shared[NAME]] == [{*part} for part in found]
    assert shared[TWO.name] == leftovers.Leftovers()
