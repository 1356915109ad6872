"""The sample that the keeper leaves, and what may not come of it: a delay, a traceback, a word of before."""

from __future__ import annotations

import json
import os

import pytest
from test_keeper import NAME, ONE, STATES, machine  # noqa: F401  (a fixture)

from hostipsec.errors import HostIPsecError
from hostipsec.health import sample as sampled
from hostipsec.health import sampler
from hostipsec.health.sampler import APART, Earlier
from hostipsec.model import Charon
from hostipsec.programs.keeper import Keeper
from hostipsec.store import samples
from hostipsec.store.record import Record, render


def shown():
    return sampled.parse(samples.read())


def test_each_pass_leaves_one_of_its_own_look(machine):  # noqa: F811
    placed = Record(
        (ONE,), site="eqiad", host="cp1001.eqiad.example", sites={"cp3001.esams.example": "esams"}
    )
    machine.here.record.write_text(render(placed))
    os.utime(machine.here.record, (5, 5))
    Keeper().once()
    found = shown()
    (one,) = found.connections
    assert (found.host, found.site, found.applied) == ("cp1001.eqiad.example", "eqiad", 5.0)
    assert (one.name, one.sites, one.pair) == (NAME, "eqiad-esams", "cp1001-cp3001")
    assert machine.done.count("look") == 1
    assert found.guard_missing == 0
    assert machine.here.sample.stat().st_mode & 0o777 == 0o600
    assert machine.here.locks.stat().st_mode & 0o777 == 0o700


def test_what_the_keeper_did_is_counted(machine):  # noqa: F811
    machine.record(ONE)
    machine.hold()
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert shown().actions == {"hold": 2, "end": 0, "start": 0, "guard": 0, "route": 0}


@pytest.mark.parametrize("broken", ["charon", "kernel", "record", "no record"])
def test_what_cannot_be_read_is_said_instead_of_what_was(machine, broken):  # noqa: F811
    machine.record(ONE)
    keeper = Keeper()
    keeper.once()
    assert (len(shown().connections), shown().unread) == (1, {})
    if broken == "charon":
        machine.charon = None
    elif broken == "kernel":
        machine.broken[STATES] = "Operation not permitted"
    elif broken == "record":
        machine.here.record.write_text("{")
        machine.here.record_copy.unlink()
    else:
        machine.here.record.unlink()
        machine.here.record_copy.unlink()
    keeper.once()
    found = shown()
    assert found.severity != "ok"
    assert [*found.unread] == [broken.rpartition(" ")[2]]
    assert not any(one.up for one in found.connections if broken != "kernel")
    assert len(found.connections) == (broken in ("charon", "kernel"))


def test_a_sample_that_cannot_be_left_is_said_once_and_stops_nothing(machine, told, monkeypatch):  # noqa: F811
    replace = samples.files.replace

    def full(path, *rest):
        if path == machine.here.sample:
            raise HostIPsecError("state.json: cannot be written: No space left on device")
        return replace(path, *rest)

    monkeypatch.setattr(samples.files, "replace", full)
    machine.record(ONE, mtu=1450)
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert told.messages == ["state.json: cannot be written: No space left on device"]


def test_a_fault_in_it_stops_nothing(machine, told, monkeypatch):  # noqa: F811
    monkeypatch.setattr(sampler.sampling, "sample", lambda *_: 1 / 0)
    machine.record(ONE)
    keeper = Keeper()
    for _ in range(2):
        keeper.once()
    assert told.messages == ["this is a fault of hostipsec: ZeroDivisionError('division by zero')"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 9}', "\x00", '{"schema": 1}'])
def test_a_sample_of_before_that_is_damaged_is_replaced(machine, text):  # noqa: F811
    machine.here.locks.mkdir()
    machine.here.sample.write_text(text)
    machine.here.totals.write_text(text)
    machine.record(ONE)
    Keeper().once()
    assert [one.name for one in shown().connections] == [NAME]


def test_what_was_begun_goes_on_with_the_next_keeper(machine):  # noqa: F811
    machine.record(ONE)
    machine.hold()
    first = Keeper()
    first.once()
    first.close()
    Keeper().once()
    assert shown().actions["hold"] == 2
    machine.here.totals.write_text(json.dumps({}))  # damaged: never below what was shown
    Keeper().once()
    assert shown().actions["hold"] >= 2


def test_the_earlier_look_is_of_the_same_charon_and_long_enough_ago():
    looks = [Charon("5.9.8", "vici", uptime) for uptime in range(200)]
    earlier = Earlier()
    found = [earlier.before(looks[at], float(at)) for at in range(0, 100, 5)]
    assert found[0] is None
    for at, before in zip(range(0, 100, 5), found):
        if before is not None:
            assert APART <= at - before.uptime <= 2 * APART
    assert found[-1] is not None
    assert earlier.before(looks[3], 100.0) is None  # another charon
    assert earlier.before(None, 105.0) is None
    assert earlier.before(looks[199], 110.0) is None
