"""The record of a host's connections: what is read back, and what is not believed."""

from __future__ import annotations

import random
import zlib
from ipaddress import ip_address

import pytest

from hostipsec.errors import HostIPsecError
from hostipsec.kernel import guard
from hostipsec.model import Connection
from hostipsec.store import record
from hostipsec.store.record import Record
from hostipsec.strongswan import render

ROUNDS = 10_000


def connection(number, stage="require", family="v4"):
    base = "10.0.0" if family == "v4" else "2001:db8:"
    ends = (
        ip_address(f"{base}.1" if family == "v4" else f"{base}:1"),
        ip_address(f"{base}.{number}" if family == "v4" else f"{base}:{number}"),
    )
    names = (f"CN=cp{number}.x.example", "CN=me.x.example")
    return Connection(f"cp{number}_{family}", f"cp{number}.x.example", family, *ends, *names, True, stage)


FULL = Record(
    (connection(2), connection(3, "start"), connection(4, "passive", "v6")),
    1400,
    60,
    (connection(5)._replace(left=ip_address("0.0.0.0")),),
    (connection(6),),
    "esams",
    "me.x.example",
    {"cp2.x.example": "codfw", "cp3.x.example": "eqiad"},
)


def test_it_is_read_back():
    assert record.parse(record.render(FULL)) == FULL
    assert record.parse(record.render(Record())) == Record()
    assert record.parse(record.render(Record(resting=FULL.resting))) == Record(resting=FULL.resting)


OLD = '{"connections": [\n%s\n]}\n'
ENTRY = (
    '{"family": "v4", "initiator": true, "left": "10.0.0.1", "leftid": "CN=a", "name": "cp2_v4", '
    '"peer": "cp2.x", "right": "10.0.0.2", "rightid": "CN=b", "stage": "require"}'
)


def test_a_record_without_connections_says_no_site():
    """It has no sum, and releases of before know no more keys there."""
    placed = Record(site="esams", host="me.x.example", sites={"cp2.x.example": "codfw"})
    assert record.render(placed) == record.render(Record())


@pytest.mark.parametrize("site", ["5", '["esams"]', "null", '"es\\u001bams"'])
def test_a_site_that_is_no_text_is_not_believed(site):
    text = record.render(FULL).rpartition(', "sum"')[0].replace('"esams"', site)
    with pytest.raises(HostIPsecError):
        record.parse(f'{text}, "sum": "{zlib.crc32(text.encode()):08x}"}}\n')


def test_that_of_the_release_before_is_read():
    assert [one.name for one in record.parse(OLD % ENTRY).connections] == ["cp2_v4"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("require", "sequire"),
        ("10.0.0.2", "fd09::2"),
        ('"10.0.0.2"', "5"),
        ("10.0.0.2", "fe80::1%x\\n"),
        ("cp2_v4", ""),
        ("cp2_v4", "cp2\\u001b_v4"),
        ("cp2.x", "cp2\\ud800"),
        ("true", "1"),
        ('"connections"', '"sonnections"'),
        ('"family": "v4", ', ""),
        ("]}", '], "barred": []}'),
        ("]}", '], "mtu": true}'),
        ("]}", '], "sum": "00000000"}'),
        ("[\n", "[" * 100_000),
    ],
)
def test_what_it_cannot_be_is_not_believed(old, new):
    text = OLD % ENTRY
    assert old in text
    with pytest.raises(HostIPsecError, match=r"mesh\.json cannot be read .*apply state ipsec again"):
        record.parse(text.replace(old, new, 1))


def mutilated(content, chance):
    """Return it with bytes flipped, cut off, or repeated."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(found) + 1)
        end = min(len(found), start + chance.randint(1, 40))
        kind = chance.choice(("flip", "flip", "cut", "drop", "repeat", "empty lines"))
        if kind == "flip" and start < len(found):
            found[start] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del found[start:]
        elif kind == "drop":
            del found[start:end]
        elif kind == "repeat":
            found[start:start] = found[start:end]
        else:
            found[start:start] = bytes(chance.choice((b"\n", b"\0", b"\xff", b"}")))
    return bytes(found)


CONF = f"{render.HEADER}\nconn cp2_v4\n    left=10.0.0.1\n    right=10.0.0.2\n    auto=route\n"


@pytest.mark.parametrize("copied", [True, False], ids=["with its copy", "with ipsec.conf"])
def test_a_mutilated_one_is_told_from_a_good_one_and_never_lifts_the_guard(here, copied):
    """Empty, cut off or with another byte it was none at all, or a traceback, and nothing was blocked."""
    good = record.render(FULL).encode()
    here.conf.write_text(CONF)
    here.record.write_bytes(good)
    if copied:
        record.keep_copy()
    known = FULL.connections if copied else record.of_conf().connections
    blocked = guard.wanted(FULL.guarded if copied else known)
    assert blocked
    chance, told = random.Random(20261126), 0
    for _ in range(ROUNDS // 2):
        content = mutilated(good, chance)
        here.record.write_bytes(content)
        found = record.found()
        if content == good:
            continue
        told += bool(found.wrong)
        assert "mesh.json" in found.wrong or found.record == FULL, content
        assert found.wrong.isprintable(), content
        assert guard.wanted(found.record.guarded) >= blocked, content
        assert record.read() == found.record
    assert told > ROUNDS // 2 * 0.98


def test_a_mutilated_ipsec_conf_is_no_traceback(here):
    chance, good = random.Random(7), CONF.encode()
    here.record.write_text("")
    for _ in range(ROUNDS // 5):
        here.conf.write_bytes(mutilated(good, chance))
        found = record.found()
        assert "mesh.json cannot be read" in found.wrong
        assert all(one.stage for one in found.record.connections)


def test_one_that_is_gone_is_told_while_its_copy_is_there(here):
    here.record.write_text(record.render(FULL))
    record.keep_copy()
    here.record.unlink()
    found = record.found()
    assert (found.record, found.guessed) == (FULL, False)
    assert "mesh.json is gone" in found.wrong


def test_no_copy_is_kept_of_a_damaged_one(here):
    here.record.write_text(record.render(FULL))
    record.keep_copy()
    here.record.write_text("{")
    with pytest.raises(HostIPsecError, match="cannot be read"):
        record.keep_copy()
    assert here.record_copy.read_text() == record.render(FULL)


def test_a_record_that_cannot_be_read_at_all_is_told(here):
    here.record.mkdir()
    assert "mesh.json" in record.found().wrong
    with pytest.raises(HostIPsecError, match=r"mesh\.json"):
        record.read()


def test_that_what_goes_in_the_clear_is_counted_is_kept_and_only_where_it_is_asked_for():
    asked = FULL._replace(clear_text=True)
    assert record.parse(record.render(asked)) == asked
    assert "clear_text" not in record.render(FULL)
