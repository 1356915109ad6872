"""charon over ``ipsec``: its words are read, since its exit status says little."""

from __future__ import annotations

from pathlib import Path

import pytest

import recordings
from hostipsec.charon.stroke import StrokeBackend
from hostipsec.errors import CharonError
from hostipsec.system import processes
from hostipsec.system.processes import Result

GONE = "connecting to 'unix:///var/run/charon.ctl' failed: No such file or directory\n"


class Ipsec:
    """An ``ipsec`` that says what a test wants, and notes what it was asked."""

    def __init__(self, *results):
        self.results = list(results)
        self.asked = []

    def __call__(self, argv, timeout):
        assert argv[0] == "/usr/sbin/ipsec"
        self.asked.append(" ".join(argv[1:]))
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


def test_one_look():
    ipsec = Ipsec(Result(0, recordings.read("5.9.8-up.txt")))
    assert StrokeBackend(ipsec).observe() == recordings.stroke("5.9.8-up")
    assert ipsec.asked == ["statusall"]


def test_a_status_that_is_not_whole_is_asked_for_again():
    """An SA that comes or goes while the list is written is counted, or listed."""
    text = recordings.read("5.9.8-up.txt")
    ipsec = Ipsec(Result(0, text[:-30]), Result(0, text))
    assert StrokeBackend(ipsec).observe() == recordings.stroke("5.9.8-up")
    assert ipsec.asked == ["statusall"] * 2
    ipsec = Ipsec(Result(0, text[:-30]))
    with pytest.raises(CharonError, match="status that is not whole"):
        StrokeBackend(ipsec).observe()
    assert ipsec.asked == ["statusall"] * 3


def test_requests_wait_for_no_peer():
    ipsec = Ipsec(Result(0, ""))
    backend = StrokeBackend(ipsec)
    assert backend.terminate([4, 5]) == backend.initiate(["a"]) == {}
    assert backend.rekey_children([6]) == {}
    assert ipsec.asked == [
        "stroke down-nb [4]",
        "stroke down-nb [5]",
        "stroke up-nb a",
        "stroke rekey {6}",
    ]


def test_what_charon_says_is_a_refusal():
    assert StrokeBackend(Ipsec(Result(0, "no config named 'b'\n"))).initiate(["b"]) == {
        "b": "no config named 'b'"
    }


def test_it_cannot_force_and_says_so():
    ipsec = Ipsec(Result(0, ""))
    assert StrokeBackend(ipsec).terminate([4], force=True) == {
        4: "stroke cannot force, and vici is not there"
    }
    assert ipsec.asked == []


FAILURES = [
    (
        Result(processes.TIMED_OUT, "", "no end"),
        "ipsec statusall: charon did not answer within 2 s over stroke",
    ),
    (Result(processes.NOT_FOUND, "", "/usr/sbin/ipsec: No such file"), "is strongswan-starter installed?"),
    (
        Result(1, "", GONE + "failed to connect to stroke socket 'unix:///var/run/charon.ctl'\n"),
        "charon is not running",
    ),
    (Result(7, "", "no charon\n"), "charon is not running (no charon)"),
    (Result(0, "ipsec is fine\n"), "printed no status of charon but 'ipsec is fine'"),
]


@pytest.mark.parametrize(("result", "said"), FAILURES)
def test_a_failure_is_an_error_in_words(result, said):
    with pytest.raises(CharonError) as caught:
        StrokeBackend(Ipsec(result)).observe(timeout=2)
    assert said in str(caught.value)


def test_the_deadline_is_one_for_all():
    """Four blocking calls hang stroke: what is left when the time is over is not asked at all."""
    ipsec = Ipsec(Result(0, ""))
    refused = StrokeBackend(ipsec).terminate([1, 2], timeout=0)
    assert refused == dict.fromkeys((1, 2), "charon did not answer within 0 s over stroke")
    assert ipsec.asked == []


def test_reread_and_update():
    ipsec = Ipsec(Result(0, ""))
    StrokeBackend(ipsec).reread()
    StrokeBackend(ipsec).update()
    StrokeBackend(ipsec).reload()
    assert ipsec.asked == ["rereadsecrets", "rereadall", "update", "reload"]
    with pytest.raises(CharonError, match="ipsec update: status 7, no output; is the service running"):
        StrokeBackend(Ipsec(Result(7, ""))).update()
    with pytest.raises(CharonError, match="ipsec reload: status 7, no output; is the service running"):
        StrokeBackend(Ipsec(Result(7, ""))).reload()


def test_log_levels_are_set_one_by_one():
    ipsec = Ipsec(Result(0, ""))
    StrokeBackend(ipsec).set_log_levels({"ike": 2, "cfg": -1})
    assert ipsec.asked == ["stroke loglevel cfg -1", "stroke loglevel ike 2"]


def test_settings_are_reread_by_a_signal_to_charon_alone(here, monkeypatch):
    """A pid file that was left behind may name a process of someone else."""
    monkeypatch.setattr(here, "proc", Path("/proc"))
    with pytest.raises(CharonError, match=r"charon is not running .*charon\.pid"):
        StrokeBackend().reload_settings()
    here.charon_pid.write_text("1\n")
    with pytest.raises(CharonError, match=r"process 1 of .* is not charon"):
        StrokeBackend().reload_settings()
