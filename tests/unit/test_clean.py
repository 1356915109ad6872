"""What `ipsec.clean` says of what it did, and of what it leaves."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import fleets
from hostipsec.apply import clean
from hostipsec.emergency.stopped import Down, Ended
from hostipsec.errors import HostIPsecError
from hostipsec.pillar.membership import read
from hostipsec.store import holdfile
from hostipsec.store.hold import Hold, Scope

NOW = datetime(2026, 11, 24, 20, 0, tzinfo=timezone.utc)
TWO = read(fleets.star(1), "hub.core.example").connections
READ_ONLY = "the hold is not kept: /etc/ipsec.conf: cannot be written: Read-only file system"


def test_tunnels_that_ended_are_not_said_to_stand():
    """On a read-only /etc it said "tunnels do not end", where they had."""
    done = Down(tuple(Ended(one, 1, "ended") for one in TWO), problems=(READ_ONLY,), notes=("stopped",))
    assert clean.undone(done) == (
        "2 connections ended; keeper and guard are stopped, and nothing else was removed: "
        f"{READ_ONLY}; stopped"
    )


def test_tunnels_that_stand_are_named():
    done = Down((Ended(TWO[0], 1, "ended"), Ended(TWO[1], 1, "left", "IKE SA 5 is ESTABLISHED")))
    assert clean.undone(done) == (
        "tunnels do not end: 1 of 2 connections down; keeper and guard are stopped, and nothing else was "
        f"removed: {TWO[1].name}: IKE SA 5 is ESTABLISHED"
    )


def test_what_was_removed_before_a_failure_is_known():
    def fails():
        raise OSError(30, "Read-only file system", "/usr/local/lib/hostipsec")

    parts = (clean.Part({"a": "removed"}, lambda: None), clean.Part({"b": "removed"}, fails))
    gone = clean.Traces(parts).remove()
    assert next(gone) == {"a": "removed"}
    with pytest.raises(
        HostIPsecError, match=r"^/usr/local/lib/hostipsec: cannot be removed: Read-only file sys"
    ):
        next(gone)


def test_a_hold_is_not_dropped_without_a_word(here):
    assert clean.held() == ()
    for who in ("root (Salt)", clean.WHO):
        holdfile.take(Hold(who, NOW, "T1", None, Scope()), (), NOW)
    (said,) = clean.held()
    assert said.startswith("held since 2026-11-24 20:00 UTC by root (Salt)")
    assert said.endswith(": forgotten with this package, so state ipsec would bring it up")
    assert clean.WHO not in said
