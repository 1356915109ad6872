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
BY_SWANCTL = ("compress", "esp")
every_edit = pytest.mark.parametrize("edit", EDITS)


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    return withesp.run("changing_options.py", "ipsec.conf", *EDITS, timeout=550)


@pytest.fixture(scope="module")
def by_swanctl():
    strongswan.unpacked()
    return withesp.run("changing_options.py", "swanctl", *BY_SWANCTL, timeout=400)


def ways(found, edit):
    """Return both ways: what was found there, and in what way ESP goes before it and after it."""
    return ((found[edit]["there"], PLAIN, EDITS[edit]), (found[edit]["back"], EDITS[edit], PLAIN))


def kernels(step):
    """Return how the kernels do ESP, where each has one mode, one length of keys, one lifetime."""
    return [[*modes, *bits, *hours, *rest] for modes, bits, hours, *rest in step["ways"]]


def rows(step):
    """Return what both ends say: state, severity and reason."""
    return [row for end in step["said"].values() for row in end.values()]


def is_taken_up(way, before, after):
    """Assert that SAs go on after the edit, and are others with the option once they are made anew."""
    first, second, last = way["steps"]
    assert way["reasons"] == [""]
    assert [kernels(step) for step in way["steps"]] == [[before] * 2, [before] * 2, [after] * 2]
    assert first["sas"] == second["sas"]
    assert all(old != new and len(new) == 1 for old, new in zip(second["sas"], last["sas"]))
    assert [row[:2] for row in rows(last)] == [["established", "ok"]] * 2


@every_edit
def test_sas_go_on_until_they_are_made_anew_and_have_the_option_then(found, edit):
    for way, before, after in ways(found, edit):
        is_taken_up(way, before, after)


@pytest.mark.parametrize("edit", BY_SWANCTL)
def test_as_swanctl_tells_it_they_have_it_as_well(by_swanctl, edit):
    """A second CHILD SA came into the old IKE SA, beside the first, and there was no new one."""
    for way, before, after in ways(by_swanctl, edit):
        is_taken_up(way, before, after)
        assert way["lost"] == [0, 0]


@every_edit
def test_nothing_goes_in_the_clear_and_what_is_lost_is_less_than_a_second(found, edit):
    for way, before, after in ways(found, edit):
        kinds = {"esp in udp" if udp else "esp" for *_, udp, _ in (before, after)}
        for sent in way["wire"]:
            assert {*sent} - {"ike"} == kinds
        assert max(way["lost"]) <= MOST.get(edit, 0) < way["sent"]


def test_a_host_of_the_release_before_has_the_name_with_its_next_run_and_nothing_is_lost(found, by_swanctl):
    """And its SAs, made without one, are made anew as others are."""
    for way in (found["upgraded"], by_swanctl["upgraded"]):
        is_taken_up(way, EDITS["lifetime"], EDITS["lifetime"])
        assert way["lost"] == [0, 0]
        assert all({*sent} - {"ike"} == {"esp"} for sent in way["wire"])


def test_of_files_of_the_release_before_it_is_told_that_sas_go_on_with_the_options_of_before(found):
    """It said "reauthenticated", and nothing was compressed."""
    unnamed = found["unnamed"]
    assert [kernels(step) for step in unnamed["steps"]] == [[PLAIN] * 2] * 3
    (reason,) = unnamed["reasons"]  # the refusal, where the new IKE SA is not up by the deadline
    assert reason == reauthentication.AS_BEFORE or "TS_UNACCEPTABLE" in reason


def test_of_files_of_swanctl_of_the_release_before_it_is_told_as_well(by_swanctl):
    """It said "reauthenticated", and status alone warned of a duplicate."""
    unnamed = by_swanctl["unnamed"]
    assert unnamed["reasons"] != [""], rows(unnamed["steps"][-1])
