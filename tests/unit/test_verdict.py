"""The judge of a proof, packets as bytes, and which connections an operator means."""

from __future__ import annotations

import ipaddress

import pytest

import fleets
import recordings
from hostipsec.errors import HostIPsecError
from hostipsec.health.report import ConnectionHealth
from hostipsec.model import Connection, KernelState
from hostipsec.pillar import membership, selection, topology
from hostipsec.proof import packets, verdict
from hostipsec.proof.verdict import CLEAR, ENCRYPTED, NO_REPLY, Captured, Counters, Rekeying, Replies, judge
from hostipsec.proof.verification import Proof

THREE = Replies(3, (0.01, 0.02, 0.03))
NONE = Replies(3)
BEFORE = Counters({"0a": 10}, {"0b": 20})


def after(out, into):
    return Counters({"0a": 10 + out}, {"0b": 20 + into})


def directions(verdict):
    return verdict.out, verdict.into


# The judge -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "into", "replies", "expected", "reasons"),
    [
        (3, 3, THREE, (ENCRYPTED, ENCRYPTED), ()),
        (900, 800, THREE, (ENCRYPTED, ENCRYPTED), ()),  # with other traffic
        (0, 0, THREE, (CLEAR, CLEAR), ("3 replies came, 0 packets", "3 echo requests left, 0 packets")),
        (2, 3, THREE, (CLEAR, ENCRYPTED), ("3 echo requests left, 2 packets went out by the SAs",)),
        (3, 0, THREE, (ENCRYPTED, CLEAR), ("3 replies came, 0 packets came in by the SAs",)),
        (3, 2, Replies(3, (0.01, 0.02)), (ENCRYPTED, ENCRYPTED), ()),  # one was lost on the way
        (3, 0, NONE, (ENCRYPTED, NO_REPLY), ("no reply to 3 echo requests",)),
        (0, 0, NONE, (NO_REPLY, NO_REPLY), ("no reply to 3 echo requests", "0 packets went out by the SAs")),
        (
            0,
            0,
            Replies(0, (), "Network is unreachable"),
            (NO_REPLY, NO_REPLY),
            ("nothing could be sent: Net",),
        ),
        (0, 0, Replies(0), (NO_REPLY, NO_REPLY), ("nothing could be sent: no route",)),
    ],
)
def test_by_counters(out, into, replies, expected, reasons):
    verdict = judge(BEFORE, after(out, into), replies)
    assert directions(verdict) == expected
    assert len(verdict.reasons) == len(reasons)
    assert all(said.startswith(start) for said, start in zip(verdict.reasons, reasons))
    assert verdict.ok is (expected == (ENCRYPTED, ENCRYPTED))
    assert (verdict.packets_out, verdict.packets_in) == (out, into)


def test_no_sa_and_no_reply_says_nothing_of_sas():
    assert judge(Counters(), Counters(), NONE).reasons == ("no reply to 3 echo requests",)


def test_an_sa_that_is_new_counts_from_zero():
    verdict = judge(BEFORE, Counters({"0a": 11, "1a": 2}, {"0b": 20, "1b": 3}), THREE)
    assert verdict.ok
    assert (verdict.packets_out, verdict.packets_in) == (3, 3)


def seen(esp=None, clear=0, probes=0, dropped=0):
    return Captured("eth0", {"0a": 3} if esp is None else esp, clear, probes, dropped)


@pytest.mark.parametrize(
    ("captured", "out", "reasons"),
    [
        (seen(), ENCRYPTED, ()),
        (
            seen(clear=3, probes=3),
            CLEAR,
            ("3 packets left in the clear on eth0, 3 of them our echo requests",),
        ),
        (seen(clear=1), CLEAR, ("1 packets left in the clear on eth0",)),  # whoever sent it
        (seen({}), ENCRYPTED, ("0 packets of the SAs, of 3, were seen on eth0",)),  # by another interface
        (seen({"ff": 3}), ENCRYPTED, ("0 packets of the SAs, of 3, were seen on eth0",)),  # of another SA
        (seen(dropped=5), ENCRYPTED, ("5 packets passed the capture on eth0 unseen",)),
    ],
)
def test_a_capture_proves_more(captured, out, reasons):
    verdict = judge(BEFORE, after(3, 3), THREE, captured)
    assert directions(verdict) == (out, ENCRYPTED)
    assert verdict.reasons == reasons
    assert verdict.ok is (out == ENCRYPTED and not reasons)


def test_a_leak_that_nobody_answers_is_found_by_a_capture_only():
    captured = seen({}, clear=3, probes=3)
    assert directions(judge(BEFORE, after(0, 0), NONE, captured)) == (CLEAR, NO_REPLY)
    assert directions(judge(BEFORE, after(0, 0), NONE)) == (NO_REPLY, NO_REPLY)


def test_captures_on_several_interfaces_are_one():
    parts = [Captured("a", {"0a": 1, "0b": 2}, 1, 0, 2), Captured("b", {"0a": 4}, 2, 1, 0)]
    assert verdict.together(parts) == Captured("a, b", {"0a": 5, "0b": 2}, 3, 1, 2)
    assert verdict.together([]) is None


# Counters ------------------------------------------------------------------------------------

WEST = Connection(
    "west_v4",
    *(
        "west",
        "v4",
        ipaddress.ip_address("10.9.0.1"),
        ipaddress.ip_address("10.9.0.2"),
        "",
        "",
        True,
        "start",
    ),
)


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_the_counters_of_a_real_kernel(version):
    name = f"{version}-transport"
    child = next(sa.children[0] for sa in recordings.vici(name).ike_sas if sa.name == "west_v4")
    found = verdict.kernel_counters(WEST, recordings.kernel(name).states)
    assert found == Counters({child.spi_out: 3}, {child.spi_in: 3})
    assert found.spis == {child.spi_in, child.spi_out}


def test_other_protocols_and_other_hosts_are_left_out():
    states = [
        KernelState("10.9.0.1", "10.9.0.2", "01", "transport", 1, "ah", packets=9),
        KernelState("10.9.0.1", "10.9.0.3", "02", "transport", 1, packets=9),
        KernelState("10.9.0.2", "10.9.0.1", "03", "transport", 1, packets=4),
    ]
    assert verdict.kernel_counters(WEST, states) == Counters({}, {"03": 4})


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_the_counters_of_a_real_charon(version):
    charon = recordings.vici(f"{version}-transport")
    child = next(sa.children[0] for sa in charon.ike_sas if sa.name == "west_v4")
    expected = Counters({child.spi_out: child.packets_out}, {child.spi_in: child.packets_in})
    assert verdict.charon_counters(WEST, charon) == expected
    assert [*verdict.installed(WEST, charon)] == [child.uniqueid]


# Rekeying ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposal", "esp", "said"),
    [
        ("AES_GCM_16_128/ECP_384_BP", "aes128gcm16-ecp384bp-noesn!", ""),
        ("AES_GCM_16_128", "aes128gcm16-noesn!", ""),
        ("AES_GCM_16_128/ECP_256", "aes128gcm16-ecp384bp,aes128gcm16-ecp256!", ""),
        ("AES_CBC_128/HMAC_SHA2_256_128", "aes128gcm16-ecp384bp", ""),  # charon's own proposals count as well
        (
            "AES_GCM_16_128",
            "aes128gcm16-ecp384bp!",
            "the new SA has AES_GCM_16_128, not AES_GCM_16_128/ECP_384_BP",
        ),
    ],
)
def test_what_a_rekeyed_sa_has(proposal, esp, said):
    assert verdict.wrong_exchange(proposal, esp) == said


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_a_real_rekeyed_sa_has_what_was_proposed(version):
    found = verdict.installed(WEST, recordings.vici(f"{version}-transport-rekeyed"))
    assert [verdict.wrong_exchange(one, "aes128gcm16-ecp384bp-noesn!") for one in found.values()] == [""]


def test_a_rekeying_is_good_with_a_new_sa_and_no_loss():
    assert Rekeying(True, sent=9).ok
    assert Rekeying(True, sent=9, lost=2).reasons == ("2 of 9 echo requests were lost while it was rekeyed",)
    assert not Rekeying(False, "refused").ok


# Packets as bytes ----------------------------------------------------------------------------


def test_the_checksum_of_rfc_1071():
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert packets.checksum(packets.echo_request(4, 1, 2, b"odd")) == 0


@pytest.mark.parametrize("version", [4, 6])
def test_an_echo_reply(version):
    request = packets.echo_request(version, 77, 3, b"token and more")
    reply = bytes([packets.ECHO_REPLY[version]]) + request[1:]
    header = bytes([0x45]) + bytes(19) if version == 4 else b""
    assert packets.echo_reply(version, header + reply) == (77, 3, b"token and more")
    for other in (header + request, header + reply[:7], b"", header):
        assert packets.echo_reply(version, other) is None


def four(protocol, body, fragment=0, options=b""):
    head = (
        bytes([0x45 + len(options) // 4, 0, 0, 0, 0, 0]) + fragment.to_bytes(2, "big") + bytes([64, protocol])
    )
    return head + bytes(2) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + options + body


def six(protocol, body, extensions=b""):
    ends = ipaddress.ip_address("fd00::1").packed + ipaddress.ip_address("fd00::2").packed
    return bytes([0x60, 0, 0, 0, 0, 0, protocol, 64]) + ends + extensions + body


ESP = bytes.fromhex("c0ffee01") + bytes(20)
NATT = (4500).to_bytes(2, "big") * 2 + bytes(4)
FRAGMENT = 44


@pytest.mark.parametrize(
    ("data", "kind", "spi"),
    [
        (four(50, ESP), "esp", "c0ffee01"),
        (four(50, ESP, options=bytes(8)), "esp", "c0ffee01"),
        (four(50, ESP, fragment=0x2000), "esp", "c0ffee01"),  # the first fragment
        (four(50, ESP, fragment=0x00B9), "esp", ""),  # a later one
        (four(17, NATT + ESP), "esp", "c0ffee01"),
        (four(17, NATT + bytes(4) + ESP), "ike", ""),
        (four(17, bytes([1, 244]) * 2 + bytes(4) + ESP), "ike", ""),
        (four(17, NATT + ESP, fragment=0x00B9), "fragment", ""),
        (four(17, b"\0\1"), "clear", ""),
        (four(6, bytes(20)), "clear", ""),
        (four(1, bytes([0]) + bytes(7)), "clear", ""),
        (six(50, ESP), "esp", "c0ffee01"),
        (six(0, ESP, bytes([50, 0]) + bytes(6)), "esp", "c0ffee01"),  # behind hop-by-hop options
        (six(60, ESP, bytes([50, 1]) + bytes(14)), "esp", "c0ffee01"),  # and longer ones
        (six(FRAGMENT, ESP, bytes([50, 0, 0, 1]) + bytes(4)), "esp", "c0ffee01"),
        (six(FRAGMENT, ESP, bytes([50, 0, 5, 0xB8]) + bytes(4)), "esp", ""),
        (six(FRAGMENT, b"x" * 20, bytes([6, 0, 5, 0xB8]) + bytes(4)), "fragment", ""),
        (six(58, bytes([135]) + bytes(23)), "discovery", ""),
        (six(58, bytes([136]) + bytes(23)), "discovery", ""),
        (six(58, bytes([129]) + bytes(23)), "clear", ""),
        (six(17, NATT + ESP), "esp", "c0ffee01"),
        (six(59, b""), "clear", ""),
    ],
)
def test_what_a_packet_is(data, kind, spi):
    found = packets.parse(data)
    assert (found.kind, found.spi) == (kind, spi)
    assert str(found.destination) in ("10.0.0.2", "fd00::2")


@pytest.mark.parametrize("data", [b"", b"\x45", four(50, b"")[:19], six(50, b"")[:39], b"\x00" * 60])
def test_what_is_no_packet(data):
    assert packets.parse(data) is None


def test_an_echo_request_is_known_by_identifier_and_payload():
    for data in (
        four(1, packets.echo_request(4, 0x1234, 9, b"token")),
        six(58, packets.echo_request(6, 0x1234, 9, b"token")),
    ):
        assert packets.parse(data).echo == b"\x12\x34token"


# Which connections are meant -----------------------------------------------------------------

HOST = "cp1001.eqiad.example"


def member(identifier=HOST, **maintenance):
    data = fleets.example()
    data.pop("expect")
    for name in maintenance:
        data["hosts"][next(host for host in data["hosts"] if host.startswith(name))]["maintenance"] = True
    return membership.read(data, identifier)


def resting(one):
    awake = member(one.host.id)
    return [each for each in topology.connections(awake.fleet, one.host.id) if each not in one.connections]


def chosen(one, *asked):
    found = selection.select(one, resting(one), *asked)
    return [each.name for each in found.connections], dict(found.skipped)


def test_all_of_them():
    names, skipped = chosen(member())
    assert (len(names), skipped) == (6, {})


@pytest.mark.parametrize(
    ("peer", "family", "names"),
    [
        ("cp3001.esams.example", None, ["cp3001_v4", "cp3001_v6"]),
        ("cp3001", None, ["cp3001_v4", "cp3001_v6"]),
        ("cp3*", "v6", ["cp3001_v6", "cp3002_v6"]),
        (None, "v4", ["cp2001_v4", "cp3001_v4", "cp3002_v4"]),
    ],
)
def test_by_peer_and_family(peer, family, names):
    assert chosen(member(), peer, family) == (names, {})


@pytest.mark.parametrize(
    ("who", "asked", "why"),
    [
        (member(), "db1001", {"db1001.eqiad.example": f"is no peer of {HOST}: no rule pairs the two"}),
        (member(), HOST, {HOST: "is this host itself"}),
        (
            member(cp3002=1),
            "cp3002",
            {"cp3002.esams.example": "is in maintenance, which takes it out of every peer"},
        ),
        (
            member(cp1001=1),
            "cp3002",
            {"cp3002.esams.example": f"is no peer while {HOST} is in maintenance"},
        ),
    ],
)
def test_who_has_no_connection_and_why(who, asked, why):
    assert chosen(who, asked) == ([], why)


def test_a_peer_in_maintenance_is_named_where_all_are_asked_for():
    names, skipped = chosen(member(cp3002=1))
    assert (len(names), [*skipped]) == (4, ["cp3002.esams.example"])
    assert chosen(member(cp3002=1), "cp3*")[1].keys() == {"cp3002.esams.example"}


def test_a_family_that_a_peer_does_not_have():
    data = fleets.example()
    del data["hosts"]["cp3001.esams.example"]["ipv6"]
    one = membership.read(data, HOST)
    assert selection.select(one, (), "cp3001", "v6").skipped == {
        "cp3001.esams.example": "has no connection in v6"
    }


@pytest.mark.parametrize(
    ("peer", "family", "said"),
    [
        ("cp3003", None, "no host of the pillar is called cp3003; "),
        ("xx*", None, r"no host of the pillar is called xx\*; "),
        ("db*", None, rf"no peer of {HOST} is called db\*; cp2001.codfw.example, cp3001"),
        (None, "v5", "family=v5: allowed: v4, v6"),
    ],
)
def test_what_is_not_there(peer, family, said):
    with pytest.raises(HostIPsecError, match=said):
        selection.select(member(), (), peer, family)


# What does not encrypt is not counted ----------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm", ["hmac(sha256)/ecb(cipher_null)", "rfc4543(gcm(aes))", "hmac(md5)/cbc(des)"]
)
def test_packets_by_an_sa_that_encrypts_nothing_do_not_count(algorithm):
    """``verify`` compared packet counters, and called them encrypted."""
    state = KernelState("10.9.0.1", "10.9.0.2", "0a", "transport", 1, packets=7, algorithm=algorithm)
    assert verdict.kernel_counters(WEST, [state]) == Counters()
    gcm = state._replace(algorithm="rfc4106(gcm(aes))")
    assert verdict.kernel_counters(WEST, [gcm]) == Counters({"0a": 7})
    allowed = verdict.kernel_counters(WEST, [state], ("des", "md5"))
    assert (allowed == Counters({"0a": 7})) is ("cbc(des)" in algorithm)


def test_nor_by_one_of_charons_own():
    look = recordings.vici("5.9.8-up")
    assert verdict.charon_counters(WEST, look).spis
    sas = tuple(
        sa._replace(children=tuple(child._replace(proposal="NULL/HMAC_SHA1_96") for child in sa.children))
        for sa in look.ike_sas
    )
    assert verdict.charon_counters(WEST, look._replace(ike_sas=sas)) == Counters()


def test_a_proof_is_none_where_not_all_is_encrypted():
    """Echo requests may go by an SA that is for them alone, or beside a policy that lets others pass."""
    good = judge(BEFORE, after(3, 3), THREE)
    row = ConnectionHealth("west_v4", "west", "v4", "start", "established", "ok", "")
    assert Proof(WEST, good, row).ok
    leaks = Proof(
        WEST, good, row._replace(state="not encrypted", severity="critical", reason="for icmp alone")
    )
    assert (leaks.ok, leaks.reasons) == (False, ("not encrypted: for icmp alone",))
