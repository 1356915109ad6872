"""A rule that gives one pair other ciphers, edit by edit, under traffic: real charons, the kernel's ESP."""

from __future__ import annotations

import os

import pytest
import strongswan
import withesp

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux"),
]
OLD, NEW = (["established", "ok", f"TRANSPORT, AES_GCM_16_{bits}"] for bits in (128, 256))


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    return withesp.run("changing_rule.py", timeout=400)


def test_each_edit_is_well_at_both_ends_and_the_one_that_counts_changes_the_pair_alone(found):
    """East and west are the pair of the rule; charon's SAs change when they are made anew, and not before."""
    assert found["reasons"] == [""]
    for step, now in {"before": OLD, "accepted": OLD, "preferred": NEW, "alone": NEW}.items():
        assert found[step] == {
            "east": {"west_v4": now, "north_v4": OLD},
            "west": {"east_v4": now},
            "nort": {"east_v4": OLD},
        }


def test_no_packet_is_lost_either_way_between_any_of_them(found):
    assert found["lost"] == [[[], []], [[], []]]
    assert min(found["sent"]) > 50


def test_none_leaves_a_host_in_the_clear(found):
    for sent in found["wire"]:
        assert {*sent} - {"ike"} == {"esp"}, sent


def test_a_pair_of_another_rule_keeps_its_sas(found):
    before, after = found["kept"]
    assert before == after
    assert found["pinned"] == 0
