"""A host in stage require moves between back ends under traffic: real charons, the kernel's ESP."""

from __future__ import annotations

import os

import byswanctl
import pytest
import withesp

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux"),
]


@pytest.fixture(scope="module")
def found():
    byswanctl.both_unpacked()
    return withesp.run("moving.py", timeout=900)


def test_it_moves_and_comes_back_and_the_pair_is_well_each_time(found):
    starter = ["charon", "starter"]
    assert found["ran"] == [starter, ["charon-systemd"], starter]
    assert found["said"] == [[["established", "ok"]] * 2] * 3


def test_nothing_leaves_either_end_in_the_clear(found):
    for sent in found["wire"]:
        assert {*sent} - {"ike"} == {"esp"}, sent
        assert sent["esp"] > 100


def test_what_is_sent_comes_over_again(found):
    assert found["last"] == [False, False]
    assert max(found["longest"]) < 120, found["longest"]
