"""Options of a rule by which SAs are made, there and back under traffic: real charons, the kernel's ESP."""

from __future__ import annotations

import os

import pytest
import strongswan
import withesp

from hostipsec.emergency import reauthentication

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux"),
]
# mode, bits of the key, hours after which SAs end, in UDP, compressed
PLAIN = ["transport", 128, 1, False, False]
EDITS = {
    "type": ["tunnel", 128, 1, False, False],
    "encapsulation": ["transport", 128, 1, True, False],
    "compress": ["transport", 128, 1, False, True],
    "esp": ["transport", 256, 1, False, False],
    "lifetime": ["transport", 128, 2, False, False],
    "lifetimes": ["transport", 128, 2, False, False],
}
# datagrams of twenty a second: by another mode, or in UDP, a few are on their way at the change
MOST = {"type": 20, "encapsulation": 20}
every_edit = pytest.mark.parametrize("edit", EDITS)


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    return withesp.run("changing_options.py", *EDITS, timeout=550)


def ways(found, edit):
    """Return both ways: what was found there, and in what way ESP goes before it and after it."""
    return ((found[edit]["there"], PLAIN, EDITS[edit]), (found[edit]["back"], EDITS[edit], PLAIN))


def kernels(step):
    """Return how the kernels do ESP, where each has one mode, one length of keys, one lifetime."""
    return [[*modes, *bits, *hours, *rest] for modes, bits, hours, *rest in step["ways"]]


def rows(step):
    """Return what both ends say: state, severity and reason."""
    return [row for end in step["said"].values() for row in end.values()]


@every_edit
def test_sas_go_on_until_they_are_made_anew_and_have_the_option_then(found, edit):
    for way, before, after in ways(found, edit):
        assert way["reasons"] == [""]
        assert [kernels(step) for step in way["steps"]] == [[before] * 2, [before] * 2, [after] * 2]
        assert [row[:2] for row in rows(way["steps"][-1])] == [["established", "ok"]] * 2


@every_edit
def test_nothing_goes_in_the_clear_and_what_is_lost_is_less_than_a_second(found, edit):
    for way, before, after in ways(found, edit):
        kinds = {"esp in udp" if udp else "esp" for *_, udp, _ in (before, after)}
        for sent in way["wire"]:
            assert {*sent} - {"ike"} == kinds
        assert max(way["lost"]) <= MOST.get(edit, 0) < way["sent"]


def test_of_files_of_the_release_before_it_is_told_that_sas_go_on_with_the_options_of_before(found):
    """It said "reauthenticated", and nothing was compressed."""
    unnamed = found["unnamed"]
    assert [kernels(step) for step in unnamed["steps"]] == [[PLAIN] * 2] * 3
    (reason,) = unnamed["reasons"]  # the refusal, where the new IKE SA is not up by the deadline
    assert reason == reauthentication.AS_BEFORE or "TS_UNACCEPTABLE" in reason
