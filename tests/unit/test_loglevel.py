"""More in charon's log for a while: what is set, what is written down, and how it ends."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from hostipsec.charon import charon
from hostipsec.emergency import loglevel
from hostipsec.errors import CharonError, HostIPsecError
from hostipsec.strongswan import render
from hostipsec.system import service

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=timezone.utc)
PID = 4711


class Played:
    """A charon that notes what it is told, and a clock."""

    def __init__(self, here):
        self.here, self.told, self.time, self.refuses = here, [], 1000.0, {}
        here.conf.write_text(f'{render.HEADER}config setup\n    charondebug="cfg 2, dmn 2"\n')
        self.run(PID)

    def run(self, pid):
        self.here.charon_pid.write_text(f"{pid}\n")
        (self.here.proc / str(pid)).mkdir()

    def set_log_levels(self, levels, *_):
        self.told.append(dict(levels))
        return self.refuses

    def reload_settings(self, *_):
        self.told.append("anew")

    def say(self, minutes=None, **levels):
        return loglevel.change(levels, minutes, NOW).as_dict()


@pytest.fixture
def played(here, monkeypatch):
    found = Played(here)
    monkeypatch.setattr(charon, "set_log_levels", found.set_log_levels)
    monkeypatch.setattr(charon, "reload_settings", found.reload_settings)
    monkeypatch.setattr(loglevel, "_since_boot", lambda: found.time)
    monkeypatch.setattr(service, "lacking", lambda *_: "")
    return found


def test_without_types_it_only_tells(played):
    found = played.say()
    assert (found["sentence"], found["until"], found["raised"]) == ("the usual log levels", None, {})
    assert (found["levels"]["cfg"], found["levels"]["ike"], found["usual"]) == (2, 1, {"cfg": 2, "dmn": 2})
    assert played.told == []


def test_types_are_raised_for_ten_minutes(played):
    found = played.say(ike=2, net=1)
    assert found["ok"]
    assert found["sentence"] == "until 2026-11-26 12:10 UTC: ike 2 (else 1), net 1 (else 1)"
    assert played.told == [{"ike": 2, "net": 1}]
    assert played.say()["sentence"] == found["sentence"]
    assert played.say()["levels"]["ike"] == 2


def test_types_add_up_and_the_last_time_counts(played):
    played.say(ike=2)
    found = played.say(minutes=30, cfg=-1)
    assert found["sentence"] == "until 2026-11-26 12:30 UTC: cfg -1 (else 2), ike 2 (else 1)"


def test_it_ends_by_the_time_since_boot_and_once(played):
    played.say(ike=2, cfg=3)
    played.time += 599
    assert not loglevel.expire()
    played.time += 1
    assert [loglevel.expire() for _ in range(2)] == [True, False]
    assert played.told[1:] == ["anew", {"ike": 1, "cfg": 2}]
    assert played.say()["sentence"] == "the usual log levels"


def test_it_is_undone_at_once_where_asked(played):
    played.say(ike=2)
    assert played.say(minutes=0)["sentence"] == "the usual log levels"
    assert played.told[1:] == ["anew", {"ike": 1}]


def test_loggers_of_strongswan_conf_get_their_own_levels_back_and_no_others(played):
    text = "charon {\n  filelog {\n    main {\n      path = /var/log/charon.log\n    }\n  }\n}\n"
    played.here.strongswan.write_text(text)
    found = played.say(ike=2)
    assert loglevel._OWN in found["notes"]
    played.say(minutes=0)
    assert played.told[1:] == ["anew"]


def test_that_keys_come_into_the_log_is_said(played):
    assert played.say(ike=3)["notes"] == []
    assert played.say(ike=4)["notes"] == ["level 4 writes keys and shared secrets into the log"]


def test_another_charon_has_the_usual_levels_and_is_told_nothing(played):
    played.say(ike=2)
    played.run(PID + 1)
    assert played.say()["sentence"] == "the usual log levels"
    played.time += 600
    assert loglevel.expire()
    assert played.told == [{"ike": 2}]
    assert not played.here.loglevel.exists()


def test_without_a_charon_nothing_is_changed(played):
    played.here.charon_pid.unlink()
    with pytest.raises(CharonError, match=r"charon is not running .*nothing was changed"):
        played.say(ike=2)
    assert not played.here.loglevel.exists()


def test_a_level_that_charon_refuses_is_told(played):
    played.refuses = {"ike": "command not allowed!"}
    with pytest.raises(CharonError, match="did not take each log level: ike: command not allowed!"):
        played.say(ike=2)


def test_a_charon_that_does_not_answer_is_told_again_later(played, monkeypatch):
    played.say(ike=2)
    played.time += 600

    def hangs(*_):
        raise CharonError("charon did not answer")

    monkeypatch.setattr(charon, "reload_settings", hangs)
    with pytest.raises(CharonError):
        loglevel.expire()
    monkeypatch.setattr(charon, "reload_settings", played.reload_settings)
    assert loglevel.expire()
    assert played.told[-1] == {"ike": 1}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"levels": {"ike": "x"}, "end": 1, "pid": 1}', "null", "\x00"]
)
def test_a_file_that_cannot_be_read_is_over_and_all_types_are_as_usual(played, text):
    played.here.locks.mkdir()
    played.here.loglevel.write_text(text)
    assert loglevel.expire()
    anew, usual = played.told
    assert (anew, usual["cfg"], usual["ike"], len(usual)) == ("anew", 2, 1, 17)
    assert not played.here.loglevel.exists()


def test_where_no_keeper_runs_it_is_said_that_nobody_undoes_it(played, monkeypatch):
    monkeypatch.setattr(service, "lacking", lambda *_: "the keeper does not run")
    assert played.say()["notes"] == []
    assert played.say(ike=2)["notes"] == [
        "not undone by itself: the keeper does not run; undo it with minutes=0"
    ]


@pytest.mark.parametrize("odd", [True, 5, -2, "2", None, [1], 1.5])
def test_what_is_no_level_is_told(played, odd):
    with pytest.raises(HostIPsecError, match=r"loglevel:ike: found .*; allowed: a level from -1 to 4"):
        played.say(ike=odd)
    assert played.told == []


@pytest.mark.parametrize("odd", [True, -1, 1441, "soon", [1], float("nan")])
def test_what_are_no_minutes_is_told(played, odd):
    with pytest.raises(HostIPsecError, match=r"minutes: found .*; allowed: minutes from 0 to 1440"):
        played.say(minutes=odd, ike=2)


def test_only_root_reads_what_is_raised(played):
    played.say(ike=2)
    assert played.here.loglevel.stat().st_mode & 0o777 == 0o600
    assert json.loads(played.here.loglevel.read_text())["levels"] == {"ike": 2}
