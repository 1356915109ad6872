"""charon-systemd and swanctl under Debian's AppArmor profiles, enforced by User Mode Linux's kernel."""

from __future__ import annotations

import os

import apparmor
import byswanctl
import pytest
import withesp

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: User Mode Linux"),
    pytest.mark.whole,  # test_apparmor reads the same profiles
]


@pytest.fixture(scope="module")
def found():
    byswanctl.unpacked()
    apparmor.unpacked()
    return withesp.run("confined_swanctl.py", timeout=400, options=["--uml"])


def test_it_is_enforced(found):
    """Debian's profile of charon-systemd only complains."""
    assert found["confined"] == [["/usr/sbin/charon-systemd (enforce)"]] * 2


def test_the_pair_is_up_and_proven_and_stays_as_it_is(found):
    assert found["up"]
    assert found["proof"] == "1 of 1 connection is encrypted both ways"
    assert found["second"] == {}


def test_a_charon_on_trial_takes_what_it_shall_run_and_says_why_not(found):
    assert found["good"].startswith("['b_v4'] ['")
    assert "(swanctl): loading connection 'b_v4' failed: invalid value for: mobike" in found["bad"]


def test_what_is_typed_works(found):
    assert (found["down"], found["again"], found["typed"]) == (True, True, [0, 0, 0])


def test_more_is_logged_for_a_while_and_the_journal_has_it(found):
    assert (found["raised"], found["usual"], found["journal"]) == ({"ike": 2}, {}, True)


def test_after_a_start_with_a_damaged_file_the_last_whole_one_is_loaded(found):
    assert found["kept"] == ["b_v4"]


def test_nothing_that_we_ask_of_them_is_denied_and_elsewhere_it_is(found):
    assert found["denied"] == []
    assert found["elsewhere"] == [
        ["open", f"/usr/sbin/{program}", "/var/lib/hostipsec/mesh.json"]
        for program in ("charon-systemd", "swanctl")
    ]
