"""SAs replaced by others with other ciphers, under traffic, where the kernel does ESP."""

from __future__ import annotations

import os

import pytest
import withesp

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux"),
]


@pytest.fixture(scope="module")
def found():
    return withesp.run("changing_ciphers.py", timeout=300)


def test_the_end_that_answers_sends_by_the_new_sa_too_early_where_it_is_not_told(found):
    """The line takes 40 ms each way: packets of that time are dropped at the other end.

    Where that end's charon has the processor late, a change now and then drops none.
    """
    assert sum(sum(families) for families in found["alone"]) > 0, found


def test_no_packet_is_lost_where_both_ends_know_of_the_moment(found):
    assert found["together"] == [[0, 0]] * len(found["alone"]), found


def test_packets_keep_to_the_old_sa_by_a_policy_that_is_gone_afterwards(found):
    assert found["pinned"] >= len(found["together"])
    assert found["left"] == 0
