"""charon's process, as the pid file and /proc tell of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hostipsec.charon import charon, daemon
from hostipsec.errors import CharonError


@pytest.fixture
def silent(here, monkeypatch):
    """Return the pid file of a charon that answers to nothing."""

    def refuse():
        raise CharonError("charon cannot be reached")

    monkeypatch.setattr(charon, "observe", refuse)
    monkeypatch.setattr(here, "proc", Path("/proc"))
    return here.charon_pid


def test_one_that_lives_and_does_not_answer_is_an_error(silent):
    silent.write_text(f"{os.getpid()}\n")
    with pytest.raises(CharonError):
        daemon.observe()


def test_a_zombie_does_not_run(silent):
    """Killed and not yet reaped, it kept its directory in /proc, and counted as one that hangs."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    silent.write_text(f"{child.pid}\n")
    assert daemon.observe() is None
    child.wait()


@pytest.mark.parametrize("text", [None, "", "nonsense", "999999999"])
def test_no_process_does_not_run(silent, text):
    if text is not None:
        silent.write_text(text)
    assert daemon.observe() is None
