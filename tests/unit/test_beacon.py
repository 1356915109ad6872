"""What the beacon tells the master, from what the keeper left: changes, each of them once."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import random
import re
from pathlib import Path

import pytest
from test_sample import ONE

import mutilated
from hostipsec import paths
from hostipsec.health import sample as samples
from hostipsec.health.sample import Decision, Process, Sample

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "_beacons/ipsec.py"
CHARON = Process("5.9.8", "vici", "kernel")
HOLD = Decision("peer cp2*", "root", "T1", 1764150000.0)


class Host:
    """A minion's beacon over the sample of a host; its minion can be restarted."""

    def __init__(self, place):
        self.place, self.path = place, place / "state.json"
        self.now, self.booted = 1764151200.0, 1000.0
        self.restart()

    def restart(self):
        """Load the beacon anew, as a restart of the minion and a refresh of the pillar do."""
        found = importlib.util.spec_from_file_location("ipsec_beacon", SOURCE)
        self.beacon = importlib.util.module_from_spec(found)
        found.loader.exec_module(self.beacon)
        self.beacon.__opts__ = {"cachedir": str(self.place)}
        self.beacon.time = self

    def time(self):
        return self.now

    def monotonic(self):
        return self.booted

    @property
    def memory(self):
        return self.place / self.beacon.MEMORY

    def call(self):
        """Return the events of one call, a second later."""
        self.now, self.booted = self.now + 1, self.booted + 1
        return self.beacon.beacon([{"sample": str(self.path)}, {"_beacon_name": "ipsec"}])

    def look(self, *connections, **facts):
        """Leave what the keeper's next look found; return the events."""
        self.now, self.booted = self.now + 4, self.booted + 4
        facts = {"charon": CHARON, **facts}
        made = Sample(time=self.now, host="cp1001.eqiad.example", connections=connections, **facts)
        return self.raw(json.dumps(samples.plain(made)))

    def raw(self, text):
        self.path.write_text(text)
        return self.call()

    def looks(self, *connections, **facts):
        """Leave the same at two looks; return the events of both."""
        return self.look(*connections, **facts) + self.look(*connections, **facts)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def up(number=2001, family="v4", **facts):
    name = f"cp{number}_{family}"
    peer = f"cp{number}.codfw.example"
    return ONE._replace(name=name, peer=peer, family=family, pair=f"cp1001-cp{number}", **facts)


def down(number=2001, family="v4", **facts):
    return up(number, family, **{"state": "down", "up": False, "reason": "no answer", **facts})


def tags(events):
    return [one["tag"] for one in events]


def test_a_connection_that_goes_down_and_comes_back_is_told_once_each(host):
    assert host.looks(up(), up(3001)) == []
    assert host.look(down(changed=host.now), up(3001)) == []
    since = host.now
    (event,) = host.look(down(changed=since), up(3001))
    assert event == {
        "tag": "connection/down",
        "connection": "cp2001_v4",
        "peer": "cp2001.codfw.example",
        "family": "v4",
        "stage": "start",
        "sites": "codfw-eqiad",
        "state": "down",
        "reason": "no answer",
        "since": since,
        "previous": "established",
    }
    assert host.look(down(changed=since), up(3001)) == host.call() == []
    (event,) = host.look(up(), up(3001))
    assert (event["tag"], event["previous"], event["lasted"]) == (
        "connection/up",
        "down",
        host.now - 1 - since,
    )
    assert host.looks(up(), up(3001)) == []


def test_what_only_one_look_shows_is_not_told(host):
    host.look(up())
    assert host.look(down()) + host.call() + host.call() + host.looks(up()) == []


def test_the_first_run_tells_what_is_wrong_and_not_what_is_well(host):
    assert tags(host.looks(up(), down(3001), guard_missing=2)) == ["guard/missing", "connection/down"]


@pytest.mark.parametrize("again", ["restart", "both"])
def test_neither_a_restart_nor_a_refresh_tells_it_again(host, again):
    facts = {"holds": (HOLD,), "guard_missing": 1, "certificate": 0.0}
    assert len(host.looks(down(), **facts)) == 4
    host.restart()
    assert host.call() + host.look(down(), **facts) == []
    host.restart()
    if again == "both":
        host.booted = 1.0
    assert {*tags(host.look(up(), certificate=host.now + 1e8))} == {
        "hold/lifted",
        "guard/restored",
        "certificate/renewed",
        "connection/up",
    }


def test_what_need_not_be_up_any_more_is_not_called_up(host):
    host.looks(down(), down(3001))
    assert [
        (one["tag"], one["reason"]) for one in host.look(down(state="held", held=True, expected=False))
    ] == [
        ("connection/excused", "no answer"),
        ("connection/excused", "no longer configured"),
    ]


def test_all_connections_of_a_peer_are_one_event(host):
    host.looks(up(), up(family="v6"), up(3001))
    (event,) = host.looks(down(), down(family="v6"), up(3001))
    assert (event["tag"], event["peer"]) == ("peer/down", "cp2001.codfw.example")
    assert event["connections"] == ["cp2001_v4", "cp2001_v6"]
    (event,) = host.look(up(), up(family="v6"), up(3001))
    assert (event["tag"], event["connections"]) == ("peer/up", ["cp2001_v4", "cp2001_v6"])


def test_a_peer_that_goes_by_and_by_is_told_as_such_at_its_last(host):
    host.looks(up(), up(family="v6"))
    assert tags(host.looks(down(), up(family="v6"))) == ["connection/down"]
    assert tags(host.looks(down(), down(family="v6"))) == ["peer/down"]
    assert tags(host.look(up(), down(family="v6"))) == ["connection/up"]


def test_a_peer_with_one_connection_is_that_connection(host):
    assert tags(host.looks(down())) == ["connection/down"]


def test_more_than_five_are_one_event(host):
    host.looks(*map(up, range(2001, 2007)))
    assert len(host.looks(*map(down, range(2001, 2006)), up(2006))) == 5
    host.look(*map(up, range(2001, 2007)))
    (event,) = host.looks(*map(down, range(2001, 2007)))
    assert (event["tag"], event["count"], event["reason"]) == ("connection/many", 6, "no answer")
    assert event["down"] == [f"cp{number}_v4" for number in range(2001, 2007)]
    assert tags(host.look(*map(up, range(2001, 2007)))) == ["connection/many"]


def test_many_holds_are_one_event_and_hide_nothing_else(host):
    holds = tuple(HOLD._replace(what=f"peer {number}") for number in range(6))
    assert tags(host.looks(up(), holds=holds, guard_missing=1)) == ["guard/missing", "hold/many"]
    assert tags(host.look(up(), holds=holds[:5], guard_missing=1)) == ["hold/lifted"]


def test_what_comes_and_goes_is_flapping_and_silent_meanwhile(host):
    told = host.looks(up())
    for losses in range(1, 9):
        told += host.looks(down(losses=losses)) + host.looks(up(losses=losses))
    assert tags(told) == ["connection/down", "connection/up"] * 3 + ["connection/flapping"]
    host.now += 3700
    assert tags(host.look(up(losses=8))) == ["connection/up"]


def test_losses_between_two_calls_count_and_are_bounded(host):
    host.looks(up(losses=7))
    (event,) = host.looks(up(losses=5000))
    assert (event["tag"], event["reason"]) == (
        "connection/flapping",
        "lost 4 times within 60 min; now established",
    )
    assert host.memory.stat().st_size < 1000
    assert host.looks(up(losses=0)) == []  # counted anew: nothing was lost
    host.now += 3700
    assert tags(host.look(down(losses=0))) == ["connection/down"]


def test_a_charon_that_does_not_answer_is_one_event(host):
    host.looks(up(), down(3001))
    wrong = {"charon": None, "unread": {"charon": "charon did not answer within 5 s"}}
    (event,) = host.looks(down(), down(3001), **wrong)
    assert (event["tag"], event["reason"]) == ("charon/down", "charon did not answer within 5 s")
    assert tags(host.look(up(), up(3001))) == ["charon/up", "connection/up"]


def test_a_host_that_is_held_as_a_whole_needs_no_charon(host):
    held = down(state="held", held=True, expected=False)
    assert tags(host.looks(held, holds=(HOLD,), charon=None)) == ["hold/set"]


def test_what_cannot_be_read_ends_nothing(host):
    host.looks(down(), holds=(HOLD,), guard_missing=1, certificate=host.now)
    wrong = {part: f"{part} cannot be read" for part in ("record", "kernel", "certificate", "hold")}
    assert {*tags(host.looks(unread=wrong))} == {"look/partial"}
    assert {one["what"] for one in host.looks(down(), holds=(HOLD,), guard_missing=1, certificate=1.0)} == {
        *wrong
    }


def test_a_certificate_that_is_not_known_is_not_renewed(host):
    host.looks(certificate=1.0)
    assert host.looks(certificate=None) == []


def test_a_hold_says_who_and_why(host):
    (event,) = host.looks(up(), holds=(HOLD,))
    assert (event["what"], event["by"], event["reason"], event["since"], event["until"]) == (*HOLD[:4], None)


def test_the_first_step_of_the_certificate_is_where_the_judge_warns(host):
    """It was 30 days, whatever the pillar says."""
    end = host.now + 50 * 86400
    assert host.looks(certificate=end) == []
    assert tags(host.looks(certificate=end, warn_days=60)) == ["certificate/expiring"]
    assert tags(host.looks(certificate=end, warn_days=7)) == ["certificate/renewed"]
    assert host.looks(certificate=host.now + 8 * 86400, warn_days=7) == []


def test_the_certificate_is_told_at_each_step(host):
    end = host.now + 31 * 86400
    told = host.looks(certificate=end)
    for days in (2, 26, 1, 1, 2):
        host.now += days * 86400
        told += host.looks(certificate=end)
    assert [one["reason"].partition(".")[0] for one in told] == [
        "it expires in 29",
        "it expires in 3",
        "it has expired",
    ]
    assert tags(host.look(certificate=end + 1e8)) == ["certificate/renewed"]


def test_a_keeper_that_does_not_look_is_told_and_nothing_of_connections(host):
    host.looks(down())
    host.now += 61
    told = [one for _ in range(30) for one in host.call()]
    assert [(one["tag"], one["since"]) for one in told] == [("keeper/dead", host.now - 61 - 30 - 1)]
    assert tags(host.look(down())) == ["keeper/alive"]


def test_a_clock_that_jumps_is_no_dead_keeper(host):
    host.looks(up())
    for jump in (7200, -3600):
        host.now += jump
        assert [one for _ in range(5) for one in host.call()] + host.look(up()) == []


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"schema": 9}', '{"schema": 1}', "\ud800", "[" * 100000]
)
def test_without_a_sample_that_can_be_read_one_event_after_a_minute(host, text):
    if text is not None:
        host.path.write_text(text, errors="surrogatepass")
    told = []
    for number in range(130):
        told += host.call()
        if number == 65:
            host.restart()
    assert tags(told) == ["keeper/dead"]
    assert str(host.path) in told[0]["reason"]


@pytest.mark.parametrize("way", sorted(mutilated.WAYS))
def test_of_a_sample_that_is_mutilated_nothing_is_raised(host, way):
    chance = random.Random(way)
    rows = (up(losses=3), down(3001), down(4001, changed=1.0))
    for _ in range(30):
        found = samples.plain(Sample(0.0, "a", rows, charon=CHARON, holds=(HOLD,), unread={"kernel": "x"}))
        for _ in range(chance.choice((1, 2, 4))):
            mutilated.WAYS[way](*chance.choice(list(mutilated.places(found))), chance)
        host.now += 5
        found.update({"time": host.now + 1} if chance.random() < 0.7 else {})
        try:
            text = json.dumps(found, default=str)
        except (ValueError, TypeError, RecursionError):
            continue  # nobody can write it
        events = host.raw(text)
        assert {*tags(events)} <= host.beacon.TAGS
        json.dumps(events)
        if chance.random() < 0.2:
            host.restart()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "told": 3}', "null", "\x00" * 300])
def test_a_memory_that_is_damaged_is_one_event(host, text):
    host.looks(down(), down(3001), holds=(HOLD,))
    host.memory.write_text(text)
    host.restart()
    (event,) = host.looks(down(), down(3001), holds=(HOLD,))
    assert event["tag"] == "memory/lost"
    assert tags(event["events"]) == ["hold/set", "connection/down", "connection/down"]
    host.restart()
    assert host.looks(down(), down(3001), holds=(HOLD,)) == []


def test_where_the_disk_is_full_the_process_remembers(host, monkeypatch):
    host.looks(up())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(host.beacon.os, "open", full)
    monkeypatch.setattr(host.beacon.log, "disabled", True)
    assert tags(host.looks(down()) + host.looks(down())) == ["connection/down"]


def test_the_memory_is_for_root_alone_and_nothing_is_left_beside_it(host):
    host.looks(down())
    assert host.memory.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in host.place.iterdir()) == [host.memory.name, "state.json"]


# Configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [[], [{"interval": 10}], [{"interval": 0.5}, {"disable_during_state_run": True}, {"enabled": True}]],
)
def test_a_configuration_that_can_be_used(host, config):
    assert host.beacon.validate(config)[0] is True


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"interval": 10}, "beacons: ipsec: found {'interval': 10}; allowed: a list, as [interval: 10]"),
        (["interval"], "beacons: ipsec: found ['interval']; allowed: a list"),
        (None, "beacons: ipsec: found None; allowed: a list"),
        ([{"every": 10}], "beacons: ipsec: found every; allowed: _beacon_name, "),
        ([{1: 10}], "beacons: ipsec: found 1; allowed: "),
        ([{"interval": "10"}], "beacons: ipsec: interval: found '10'; allowed: seconds, "),
        ([{"interval": 0}], "beacons: ipsec: interval: found 0; allowed: seconds, "),
        ([{"interval": True}], "beacons: ipsec: interval: found True; allowed: seconds, "),
        (
            [{"sample": "state.json"}],
            "beacons: ipsec: sample: found 'state.json'; allowed: the path of a file",
        ),
    ],
)
def test_a_configuration_that_cannot_is_said(host, config, said):
    valid, why = host.beacon.validate(config)
    assert not valid
    assert why.startswith(said)


# What it stands on ---------------------------------------------------------------------------


def test_it_imports_nothing_of_the_engine_nor_of_salt():
    found = ast.walk(ast.parse(SOURCE.read_text()))
    names = [
        one.names[0].name if isinstance(one, ast.Import) else one.module
        for one in found
        if "Import" in type(one).__name__
    ]
    assert sorted(names) == ["collections", "json", "logging", "os", "pathlib", "stat", "time", "typing"]


def test_it_reads_what_the_engine_writes(host):
    assert (host.beacon.SCHEMA, host.beacon.STALE) == (samples.SCHEMA, samples.STALE)
    assert str(paths.Paths().sample) == host.beacon.SAMPLE


def test_a_sample_that_was_read_already_is_not_read_again(host):
    """The minion's loop waits for the beacon: what a look costs is in docs/bench.md."""
    host.path.write_text(
        json.dumps(samples.plain(Sample(host.now + 1, "a", connections=(up(2001),), charon=CHARON)))
    )
    host.call()
    stamp = host.path.stat()
    host.path.write_text("{" + " " * (stamp.st_size - 1))
    os.utime(host.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert host.call() == []


def test_the_documented_tags_are_those_of_the_code(host):
    told = re.findall(r"^\| `(\w+/\w+)`", (ROOT / "docs/events.md").read_text(), re.MULTILINE)
    assert len(told) == len({*told})
    assert {*told} == host.beacon.TAGS
