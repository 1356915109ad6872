"""Mutilated answers of charon and the kernel: a sentence or a right value, no traceback, no false ``ok``.

Bytes are flipped, parts cut out, cut off or repeated.
"""

from __future__ import annotations

import contextlib
import copy
import random
import re

import pytest
from test_judge import WEST_V4, WEST_V6
from vici.protocol import Message, Packet

import recordings
from hostipsec.charon import statusall, vicimessage
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.errors import HostIPsecError
from hostipsec.health.judge import evaluate
from hostipsec.kernel import xfrm
from hostipsec.model import Meant

EACH = 2500  # of each kind and way: 10,000 of each kind
WELL, LOST = "5.9.8-transport", "6.0.1-transport-lost"
MEANT = Meant("transport", "aes128gcm16-ecp384bp-noesn!", "aes128gcm16-prfsha384-ecp384bp!")
BYPASS = """\
src 10.9.0.0/24 dst 10.9.0.0/24 uid 0
\tdir out action allow index 81 priority 175423 share any flag  (0x00000000)
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
"""
NO_DIGITS = [byte for byte in range(256) if not chr(byte).isdigit()]


def flipped(data, chance):
    """Other bytes in a few places; no digits, as another number is another answer, and a whole one."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        found[chance.randrange(len(found))] = chance.choice(NO_DIGITS)
    return bytes(found)


def cut_off(data, chance):
    return data[: chance.randrange(len(data))]


def cut_out(data, chance):
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 200) :]


def repeated(data, chance):
    start = chance.randrange(len(data))
    part = data[start : start + chance.randint(1, 400)]
    return data[: start + len(part)] + part * chance.randint(1, 3) + data[start + len(part) :]


WAYS = (flipped, cut_off, cut_out, repeated)


def mutilated(text, way, number):
    return way(text.encode(), random.Random(number)).decode("utf-8", "replace")


def verdicts(look, seen):
    return {one.name: one for one in evaluate((WEST_V4, WEST_V6), look, seen, meant=MEANT).managed}


def tried(read):
    """Return what was read, or None where it ends in a sentence."""
    try:
        return read()
    except HostIPsecError as error:
        assert str(error).strip()
        return None


def name(way):
    return way.__name__


# statusall ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_statusall(way):
    """Of the lost SA only what stands in the text is known: whatever becomes of it, it is not well."""
    text, seen = recordings.read(f"{LOST}.txt"), recordings.kernel(LOST)
    assert not verdicts(recordings.stroke(LOST), seen)["west_v6"].ok
    read = 0
    for number in range(EACH):
        look = tried(lambda number=number: statusall.parse(mutilated(text, way, number)))
        if look is not None:
            read += 1
            assert not verdicts(look, seen)["west_v6"].ok, number
    assert read < EACH


# vici --------------------------------------------------------------------------------------------

JUNK = (b"", b"x", "", "-", "99999999999999999999999999", [], ["a"], {}, {"a": "b"}, None, 7, b"\xff\xfe")


def places(value):
    """Yield each dictionary or list below a value, with a key in it."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


def changed(parent, key, chance):
    parent[key] = chance.choice(JUNK)


def removed(parent, key, chance):
    del parent[key]


def bytes_changed(parent, key, chance):
    if isinstance(parent[key], str) and parent[key]:
        parent[key] = flipped(parent[key].encode(), chance)
    else:
        parent[key] = chance.choice(JUNK)


def doubled(parent, key, chance):
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[f"{key}x"] = copy.deepcopy(parent[key])


@pytest.mark.parametrize("way", [changed, removed, bytes_changed, doubled], ids=name)
def test_vici(way):
    whole, seen = recordings.answers(LOST), recordings.kernel(LOST)
    assert not verdicts(recordings.vici(LOST), seen)["west_v6"].ok
    number_of_places = len(list(places(whole)))
    for number in range(EACH):
        chance = random.Random(number)
        message = copy.deepcopy(whole)
        parent, key = list(places(message))[chance.randrange(number_of_places)]
        way(parent, key, chance)
        look = tried(lambda message=message: vicimessage.charon(**{key: message.get(key) for key in whole}))
        if look is not None:
            assert not verdicts(look, seen)["west_v6"].ok, (number, key)


class Frames:
    """What charon sends over its socket, instead of a session."""

    def __init__(self, frames):
        self.frames, self.transport = list(frames), self

    def send(self, _):
        pass

    def receive(self):
        if not self.frames:
            raise TimeoutError("timed out")
        return self.frames.pop(0)


def frames():
    """Return the answers as charon sends them."""
    whole = recordings.answers(LOST)
    kinds = (("list-conn", "conns"), ("list-sa", "sas"), ("list-policy", "policies"))
    yield from (
        bytes([Packet.CMD_RESPONSE]) + Message.serialize(whole[name]) for name in ("version", "stats")
    )
    for event, name in kinds:
        yield bytes([Packet.EVENT_CONFIRM])
        for section in whole[name]:
            yield bytes([Packet.EVENT, len(event)]) + event.encode() + Message.serialize(section)
        yield bytes([Packet.CMD_RESPONSE])


def observed(sent):
    return ViciBackend(lambda _: contextlib.nullcontext(Frames(sent))).observe()


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_frames_of_vici(way):
    seen, whole = recordings.kernel(LOST), list(frames())
    assert observed(whole) == recordings.vici(LOST)
    for number in range(EACH // 2):
        chance = random.Random(number)
        place = chance.randrange(len(whole))
        sent = [*whole[:place], way(whole[place], chance), *whole[place + 1 :]]
        look = tried(lambda sent=sent: observed(sent))
        if look is not None:
            assert not verdicts(look, seen)["west_v6"].ok, number


# The kernel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_xfrm(way):
    """Over a healthy charon: an SA that is lost stays lost, and a policy before ours is not passed over."""
    look, states = recordings.vici(WELL), recordings.read(f"{WELL}.states")
    policies = BYPASS + recordings.read(f"{WELL}.policies")
    lost = states[: states.rindex("\nsrc ") + 1]  # the last, in from west_v6, is not there
    for number in range(EACH):
        seen = tried(lambda number=number: xfrm.kernel(mutilated(lost, way, number), policies, ""))
        if seen is not None:
            assert not verdicts(look, seen)["west_v6"].ok, number
        seen = tried(lambda number=number: xfrm.kernel(states, mutilated(policies, way, number), ""))
        if way is cut_out and seen is not None and len(seen.policies) < 7:
            continue  # from the midst of one to the midst of another: the rest is whole, and another answer
        if seen is not None:
            assert not verdicts(look, seen)["west_v4"].ok, number


def test_a_policy_of_ours_that_was_cut_out_whole_is_one_that_is_not_there():
    """Of what is not ours nobody can tell: docs/promises.md says so."""
    look, states = recordings.vici(WELL), recordings.read(f"{WELL}.states")
    text = recordings.read(f"{WELL}.policies")
    cut = 0
    for one in xfrm.parse_policies(text):
        stanza = next(
            block
            for block in re.split(r"^(?=src )", text, flags=re.MULTILINE)
            if block.startswith(f"src {one.src} dst {one.dst} ")
            and f"\n\tdir {one.direction} " in f"\n{block}"
        )
        found = verdicts(look, xfrm.kernel(states, text.replace(stanza, "", 1), ""))
        for row, address in ((found["west_v4"], "10.9.0.2/32"), (found["west_v6"], "fd00::2/128")):
            its = address in (one.src, one.dst) and one.direction in ("in", "out")
            cut += its
            assert row.ok is not its, (row, stanza)
    assert cut == 4


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_error_counters(way):
    text = recordings.read("5.9.8.xfrm_stat")
    for number in range(100):
        found = tried(lambda number=number: xfrm.parse_errors(mutilated(text, way, number)))
        assert found is None or all(isinstance(value, int) for value in found.values())


def test_what_is_whole_is_well():
    for backend in recordings.BACKENDS.values():
        found = verdicts(backend(WELL), recordings.kernel(WELL))
        assert found["west_v4"].ok
        assert found["west_v6"].ok
