"""The guard of stage ``require``: its policies among the kernel's, and what its unit makes of a record."""

from __future__ import annotations

import sys
from ipaddress import ip_address

import pytest

from hostipsec.kernel import guard, kernel, xfrm
from hostipsec.model import Connection, KernelPolicy
from hostipsec.programs import guard as program
from hostipsec.store import record as records
from hostipsec.store.record import Record
from hostipsec.strongswan import render

# ip -s xfrm policy list (iproute2 6.1) of the guard's policies, and beside them one of charon's, one of an
# administrator who blocks the same way at another priority, and one who lets other ICMPv6 pass
LISTED = """\
src fd09::/127 dst fd09::2/128 uid 0
\tdir out action block index 9 priority 2000073 ptype main share any flag  (0x00000000)
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
src fd09::/127 dst fd09::2/128 proto ipv6-icmp type 135 uid 0
\tdir out action allow index 1 priority 73 ptype main share any flag  (0x00000000)
\tlifetime current:
\t  0(bytes), 0(packets)
src fd09::2/128 dst fd09::/127 proto 58 type 136 uid 0
\tdir in action allow index 17 priority 73 ptype main share any flag  (0x00000000)
src fd09::1/128 dst fd09::2/128 uid 0
\tdir out action allow index 33 priority 367231 ptype main share any flag  (0x00000000)
\ttmpl src fd09::1 dst fd09::2
\t\tproto esp spi 0xc1a2b3c4(3248665540) reqid 1(0x00000001) mode transport
src fd09::/127 dst fd09::4/128 uid 0
\tdir out action block index 41 priority 1000 ptype main share any flag  (0x00000000)
src fd09::/127 dst fd09::2/128 proto ipv6-icmp type 128 uid 0
\tdir out action allow index 49 priority 74 ptype main share any flag  (0x00000000)
src 10.0.0.2/32 dst 0.0.0.0/0 uid 0
\tdir fwd action block index 58 priority 2000073 ptype main share any flag  (0x00000000)
src 10.0.0.2/32 dst 224.0.0.0/4 uid 0
\tdir in action allow index 64 priority 73 ptype main share any flag  (0x00000000)
src 10.0.0.2/32 dst 10.0.0.0/8 uid 0
\tdir in action allow index 72 priority 73 ptype main share any flag  (0x00000000)
"""
OURS = {
    guard.Policy("fd09::/127", "fd09::2/128", "out"),
    guard.Policy("fd09::/127", "fd09::2/128", "out", "135"),
    guard.Policy("fd09::2/128", "fd09::/127", "in", "136"),
    guard.Policy("10.0.0.2/32", "0.0.0.0/0", "fwd"),
    guard.Policy("10.0.0.2/32", "224.0.0.0/4", "in"),
}


def connection(stage="require"):
    ends = (ip_address("10.0.0.1"), ip_address("10.0.0.2"), "CN=cp1001", "CN=cp3001")
    return Connection("cp3001_v4", "cp3001", "v4", *ends, True, stage)


def test_what_is_held_is_in_the_clear_and_said_so():
    """state.apply said "nothing in the clear with 1 peers" while an emergency stop held all of them."""
    one, start = connection(), connection("start")._replace(peer="cp3002", clear=("tcp/22",))
    other = one._replace(peer="cp3003")
    assert guard.said((start,), (start,)) == (
        "no peer has stage 'require'; tcp/22 passes where a rule says so"
    )
    assert guard.said((one, start), (one, start)) == (
        "nothing in the clear with 1 peer; tcp/22 passes where a rule says so"
    )
    assert (
        guard.said((one, other), (one,)) == "nothing in the clear with 1 peer; held, and in the clear: 1 peer"
    )
    v6 = one._replace(name="cp3001_v6", family="v6")
    assert (
        guard.said((one, v6), (one,)) == "nothing in the clear with 0 peers; held, and in the clear: 1 peer"
    )


def test_its_policies_are_told_from_those_of_others():
    assert guard.present(xfrm.parse_policies(LISTED)) == OURS


EVERY = {
    guard.Policy("0.0.0.0/0", "10.0.0.2/32", "out"),
    guard.Policy("10.0.0.2/32", "0.0.0.0/0", "in"),
    guard.Policy("10.0.0.2/32", "0.0.0.0/0", "fwd"),
    guard.Policy("10.0.0.2/32", "224.0.0.0/4", "in"),  # passes: a group is nobody's address
}
BEFORE = """\
src 10.0.0.0/31 dst 10.0.0.2/32 uid 0
\tdir out action block index 9 priority 2000073 ptype main share any flag  (0x00000000)
src 10.0.0.2/32 dst 10.0.0.0/31 uid 0
\tdir in action block index 16 priority 2000073 ptype main share any flag  (0x00000000)
"""  # of the release before: for one address of this host


def test_it_blocks_by_the_peer_whatever_address_this_host_has():
    """Once it was for the address of the connection: a second one, or a container's, went in the clear."""
    assert guard.wanted([connection()]) == EVERY
    moved = connection()._replace(left=ip_address("10.0.0.77"))
    assert guard.wanted([moved]) == EVERY


def test_neighbours_of_the_other_family_are_found_by_every_address():
    six = connection()._replace(family="v6", left=ip_address("fd09::1"), right=ip_address("fd09::2"))
    assert {one for one in guard.wanted([six]) if one.kind} == {
        guard.Policy(*ends, kind)
        for kind in ("135", "136")
        for ends in (("::/0", "fd09::2/128", "out"), ("fd09::2/128", "::/0", "in"))
    }


def test_what_is_there_is_not_set_again():
    there = [KernelPolicy("0.0.0.0/0", "10.0.0.2/32", "out", guard.BLOCK, "block")]
    add, remove = guard.difference([connection()], there)
    assert (add, remove) == (EVERY - guard.present(there), frozenset())
    assert guard.difference([], there) == (frozenset(), guard.present(there))


def test_the_narrow_policies_of_the_release_before_go_once_the_wide_ones_are_there():
    add, remove = guard.difference([connection()], xfrm.parse_policies(BEFORE))
    assert (add, len(remove)) == (EVERY, 2)
    lines = guard.batch(add, remove).splitlines()
    assert [line.split()[2] for line in lines] == ["update"] * 4 + ["delete"] * 2
    assert guard.difference([], xfrm.parse_policies(BEFORE)) == (frozenset(), remove)  # lifted, and cleaned


def test_what_blocks_stays_where_what_is_to_replace_it_cannot_be_added(monkeypatch):
    told = []

    def refuse(batch, *_):
        told.append(batch)
        raise kernel.KernelError("the kernel's policies cannot be set: No such device")

    monkeypatch.setattr(kernel, "set_policies", refuse)
    with pytest.raises(kernel.KernelError):
        guard.amend([connection()], xfrm.parse_policies(BEFORE))
    assert [line.split()[2] for line in "".join(told).splitlines()] == ["update"] * 4


def test_what_the_kernel_refuses_of_one_family_opens_nothing_of_the_other(monkeypatch):
    """``ip -batch`` ends at the first line that fails."""
    six = connection()._replace(family="v6", left=ip_address("fd09::1"), right=ip_address("1::2"))
    told = []

    def set_policies(batch, *_):
        told.append(batch)
        if "::" in batch:
            raise kernel.KernelError("the kernel's policies cannot be set: Address family not supported")

    monkeypatch.setattr(kernel, "set_policies", set_policies)
    with pytest.raises(kernel.KernelError, match="Address family"):
        guard.amend([connection(), six], ())
    assert {line for batch in told for line in batch.splitlines() if "::" not in line} == {*BLOCKED}


# The unit ------------------------------------------------------------------------------------

CONF = f"{render.HEADER}conn cp3001_v4\n    left=10.0.0.1\n    right=10.0.0.2\n    auto=route\n"


@pytest.fixture
def batches(here, monkeypatch):
    """Return what the kernel is told; it has no policies before."""
    told = []
    monkeypatch.setattr(kernel, "policies", lambda *_: ())
    monkeypatch.setattr(kernel, "set_policies", lambda batch, *_: told.append(batch.splitlines()))
    monkeypatch.setattr(sys, "argv", ["hostipsec-guard"])
    return told


BLOCKED = [
    "xfrm policy update src 0.0.0.0/0 dst 10.0.0.2/32 dir out action block priority 2000073",
    "xfrm policy update src 10.0.0.2/32 dst 0.0.0.0/0 dir fwd action block priority 2000073",
    "xfrm policy update src 10.0.0.2/32 dst 0.0.0.0/0 dir in action block priority 2000073",
    "xfrm policy update src 10.0.0.2/32 dst 224.0.0.0/4 dir in action allow priority 73",
]


@pytest.mark.parametrize(
    ("record", "conf", "status", "blocked"),
    [
        (records.render(Record((connection(),))), "", 0, True),
        (records.render(Record((connection("start"),))), "", 0, False),
        ("{", "", 1, False),
        *(
            (damaged, CONF, 1, True)
            for damaged in ("", "{", "[]", "[" * 100_000, '{"connections": []', "\udcff")
        ),
        (None, CONF, 0, True),
        (None, "conn cp3001_v4\n    auto=route\n", 0, False),  # somebody else's
        (None, "", 0, False),
    ],
)
def test_a_host_is_not_left_without_its_guard_in_silence(
    here, batches, capsys, record, conf, status, blocked
):
    here.conf.write_text(conf)
    if record is not None:
        here.record.write_bytes(record.encode("utf-8", "surrogateescape"))
    assert program.main() == status
    assert [sorted(batch) for batch in batches] == ([sorted(BLOCKED)] if blocked else [])
    assert ("mesh.json cannot be read" in capsys.readouterr().err) is bool(status)


def test_a_damaged_record_lifts_nothing_and_its_copy_counts(here, batches, monkeypatch, capsys):
    """ipsec.conf does not tell of a peer in maintenance, nor of one that is held; a copy does."""
    away = connection()._replace(name="cp4001_v4", right=ip_address("10.0.0.4"), left=ip_address("0.0.0.0"))
    here.record.write_text(records.render(Record((connection("start"),), barred=(away,))))
    records.keep_copy()
    here.record.write_text(here.record.read_text().replace("10.0.0.4", "10.0.0.5"))  # reads well, and is not
    there = [KernelPolicy("0.0.0.0/0", "10.0.0.9/32", "out", guard.BLOCK, "block")]
    monkeypatch.setattr(kernel, "policies", lambda *_: there)
    assert program.main() == 1
    assert "its sum is another" in capsys.readouterr().err
    (batch,) = batches
    assert {line.split()[2] for line in batch} == {"update"}
    assert all("10.0.0.4/32" in line for line in batch)


@pytest.mark.parametrize("hold", [b"", b"{", b"\xff\xfe"])
def test_a_hold_that_cannot_be_read_lifts_nothing_and_is_said(here, batches, monkeypatch, capsys, hold):
    """The program ended well, without a word; and what it does not know it must not lift."""
    here.record.write_text(records.render(Record((connection(),))))
    here.hold.write_bytes(hold)
    there = [KernelPolicy("0.0.0.0/0", "10.0.0.9/32", "out", guard.BLOCK, "block")]
    monkeypatch.setattr(kernel, "policies", lambda *_: there)
    assert program.main() == 1
    assert "hold.json cannot be read" in capsys.readouterr().err
    assert [sorted(batch) for batch in batches] == [sorted(BLOCKED)]


def test_a_kernel_that_does_not_take_them_is_said(here, batches, monkeypatch, capsys):
    def refuse(*_):
        raise kernel.KernelError("the kernel's policies cannot be set: No such device")

    here.record.write_text(records.render(Record((connection(),))))
    monkeypatch.setattr(kernel, "set_policies", refuse)
    assert program.main() == 1
    assert "No such device" in capsys.readouterr().err
