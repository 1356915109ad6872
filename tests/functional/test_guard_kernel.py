"""The guard of stage ``require`` in a real kernel, between two hosts on one link."""

from __future__ import annotations

import os

import pytest
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")


@pytest.fixture(scope="module")
def found():
    return withesp.run("guard_pings.py")


def test_without_a_guard_all_passes(found):
    assert found["nobody guards"] == ["reply", "reply"]


def test_nothing_leaves_in_the_clear(found):
    assert all("not permitted" in said for said in found["both guard"]), found["both guard"]
    assert found["blocked on the way out"] == 2


def test_nothing_is_accepted_in_the_clear(found):
    assert found["only the other end guards"] == ["lost", "lost"]
    assert found["blocked on the way in"] == 2


def test_neighbours_find_each_other_from_cold(found):
    """IKE passes the policies, but needs the peer's link address first: without the exception it has none."""
    assert found["both guard, past the policies, from cold"] == "arrived"
    assert found["the same if neighbours were blocked"] == "lost"


def test_neighbours_find_each_other_from_cold_beside_traps(found):
    """charon's own trap catches the answer to a neighbour's solicitation: IKE would never get through."""
    assert found["both guard and trap, past the policies, from cold"] == "arrived"
    assert found["the same with traps alone"] == "lost"


def test_esp_passes_from_cold(found):
    assert found["both guard, with ESP"] == ["reply", "reply"]


def test_the_guard_knows_its_own_policies(found):
    assert found["the guard knows its policies"] is True
