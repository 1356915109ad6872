"""The sample that the keeper leaves, and what may not come of it: a delay, a traceback, a word of before."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from test_keeper import NAME, ONE, STATES, machine  # noqa: F401  (a fixture)
from test_sampling import NOW, look, sa
from test_sampling import ONE as WEST

import recordings
from hostipsec.charon import vicimessage
from hostipsec.charon.process import Process
from hostipsec.errors import CharonError, HostIPsecError
from hostipsec.health import sample as sampled
from hostipsec.health import sampler
from hostipsec.health.sampler import APART, Earlier, Sampler
from hostipsec.model import CertificateInUse, Charon, LoadedConnection
from hostipsec.programs.keeper import Keeper
from hostipsec.store import applied, samples
from hostipsec.store.record import Record, render
from hostipsec.system import service


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


def test_a_charon_outside_of_its_unit_is_a_warning_of_the_sample_as_of_the_other_faces(machine, monkeypatch):  # noqa: F811
    """The keeper's sample said ok, where ``ipsec.status`` and the check warned."""
    machine.record(ONE._replace(stage="passive"))
    machine.charon = Charon("5.9.8", "vici", 99, connections=(LoadedConnection(NAME),))
    keeper = Keeper()
    keeper.once()
    before = shown()
    monkeypatch.setattr(service, "astray", lambda: "charon runs outside of strongswan-starter")
    keeper.once()
    assert (before.dead, shown().dead) == ((), ("charon runs outside of strongswan-starter",))
    assert (before.severity, shown().severity) == ("ok", "warning")


def test_what_the_last_apply_failed_by_stays_until_one_passes(machine, monkeypatch):  # noqa: F811
    machine.record(ONE)
    told = []
    for act in (
        lambda: None,
        lambda: applied.fails("no-such.pem: is not there"),
        Keeper().close,
        applied.passes,
    ):
        act()
        Keeper().once()
        told.append(shown().failed)
    assert told == ["", "no-such.pem: is not there", "no-such.pem: is not there", ""]
    machine.here.failed.write_text("[")
    assert applied.failed() == "what it failed by cannot be read"


def test_where_nothing_is_kept_a_failure_leaves_nothing(here):
    """A pillar that cannot be applied changes nothing on a new host."""
    here.state.rmdir()
    applied.fails("x")
    applied.passes()
    assert applied.failed() == ""
    assert not here.state.exists()


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


# charon's own numbers ------------------------------------------------------------------------


def test_what_charon_tells_of_itself(machine):  # noqa: F811
    of = machine.here.proc / "77"
    of.mkdir()
    machine.here.charon_pid.write_text("77\n")
    (of / "stat").write_text(f"77 (charon) S {' '.join(['0'] * 18)} 12345 0 0")
    (of / "status").write_text("Name:\tcharon\nVmRSS:\t   12516 kB\n")
    (machine.here.proc / "stat").write_text("cpu 1 2 3\nbtime 1795648679\n")
    machine.record(ONE)
    keeper = Keeper()
    keeper.once()
    found = shown()
    started = 1795648679 + 12345 // os.sysconf("SC_CLK_TCK")
    assert (found.charon.started, found.charon.resident) == (started, 12516 * 1024)
    assert found.counters == {"ike-init-in-req": 3}
    keeper.once()
    assert shown().counters == {"ike-init-in-req": 3}
    (of / "stat").write_text(f"77 (charon) S {' '.join(['0'] * 18)} 99999 0 0")  # another charon
    keeper.once()
    assert shown().counters == {"ike-init-in-req": 6}


@pytest.mark.parametrize("stat", [None, "", "77 (sh) S 1", "77 (charon) S", "77 (charon) S " + "x " * 30])
def test_a_process_that_is_not_charon_s_tells_nothing(machine, stat):  # noqa: F811
    machine.here.charon_pid.write_text("77\n")
    if stat is not None:
        (machine.here.proc / "77").mkdir()
        (machine.here.proc / "77/stat").write_text(stat)
    machine.record(ONE)
    Keeper().once()
    assert (shown().charon.started, shown().charon.resident) == (None, None)


def test_counters_that_charon_does_not_tell_in_time_stay_and_are_said(machine, monkeypatch):  # noqa: F811
    machine.record(ONE)
    keeper = Keeper()
    keeper.once()

    def late(timeout):
        raise CharonError("charon did not answer within 2 s over vici (get-counters)")

    monkeypatch.setattr(machine, "counters", late)
    keeper.once()
    assert shown().counters == {"ike-init-in-req": 3}
    assert [*shown().unread] == ["counters"]


def test_whether_charon_has_the_certificate_that_is_on_disk_is_asked_once_a_minute(machine, monkeypatch):  # noqa: F811
    now, asked, has = [0.0], [], [True]
    monkeypatch.setattr(sampler, "_has", lambda name: asked.append(name) or has[0])
    found = Sampler(lambda: now[0])
    seen = look(WEST, certificate=CertificateInUse("cp1.pem", NOW))
    assert found(seen, 0.0, {}).loaded
    has[0] = False
    now[0] = 59.0
    assert found(seen, 0.0, {}).loaded
    now[0] = 60.0
    assert found(seen, 0.0, {}).loaded is False
    assert asked == ["cp1.pem"] * 2
    assert found(seen._replace(charon=None), 0.0, {}).loaded is None


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_both_ways_to_ask_charon_tell_the_same_of_its_load(version):
    vici, text = (way(f"{version}-up").load for way in recordings.BACKENDS.values())
    assert (vici.ike_sas, vici.half_open, vici.queued) == (text.ike_sas, text.half_open, text.queued)
    assert set(vici.busy) == set(text.busy) == set(vici.queued)
    assert vici.scheduled == text.scheduled
    assert vici.heap["total"] == text.heap["total"]
    assert vici.heap["used"] + vici.heap["free"] == vici.heap["total"]


@pytest.mark.parametrize("broken", ["workers", "queues", "mallinfo", "ikesas"])
def test_a_load_that_cannot_be_read_costs_no_look(broken):
    answers = recordings.answers("5.9.8-up")
    values = [{"active": "x"}, {"active": {"high": "x"}}] if broken == "workers" else ["x", {"total": "x"}]
    for value in (*values, {"sbrk": "-1", "mmap": "0", "used": "0", "free": "0"}):
        answers["stats"][broken] = value
        assert vicimessage.charon(**answers).ike_sas


def test_totals_that_cannot_be_written_are_said_once_and_later_they_are(machine, told, monkeypatch):  # noqa: F811
    now, replace, full = [0.0], samples.files.replace, [True]

    def filled(path, *rest):
        if path == machine.here.totals and full[0]:
            raise HostIPsecError("counters.json: cannot be written: No space left on device")
        return replace(path, *rest)

    monkeypatch.setattr(samples.files, "replace", filled)
    machine.record(ONE)
    keeper = Keeper()
    keeper.sampler = Sampler(lambda: now[0])
    for now[0] in range(0, 300, 5):
        keeper.once()
    assert [said for said in told.messages if "No space left" in said] == [
        "counters.json: cannot be written: No space left on device"
    ]
    assert [one.name for one in shown().connections] == [NAME]
    full[0] = False
    keeper.once()
    assert machine.here.totals.exists()


def test_a_clock_that_jumps_changes_no_total_and_makes_no_loss(machine, told):  # noqa: F811
    found = Sampler(lambda: 0.0)
    seen = look(WEST, sas=[sa(WEST, packets_out=9, bytes_out=90)])
    first = found(seen, 0.0, {})
    for hours in (-30, 30, -90_000, 0):
        again = found(seen._replace(time=NOW + timedelta(hours=hours)), 0.0, {})
        assert again.time == (NOW + timedelta(hours=hours)).timestamp()
        for one, before in zip(again.connections, first.connections):
            assert (one.sent, one.losses, one.state) == (before.sent, 0, before.state)
    assert told.messages == []


def test_a_charon_that_proc_does_not_tell_of_for_a_while_counts_nothing_twice(machine, monkeypatch):  # noqa: F811
    found, told = Sampler(lambda: 0.0), [Process("7/1"), Process(), Process("7/1")]
    monkeypatch.setattr(sampler.process, "look", lambda: told.pop(0))
    seen = look(WEST, sas=[sa(WEST, packets_out=9, bytes_out=90)])
    sent = [one.sent.packets for _ in range(3) for one in found(seen, 0.0, {}).connections]
    assert sent == [9, 9, 9]
