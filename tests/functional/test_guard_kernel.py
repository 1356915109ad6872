"""The guard of stage ``require`` in a real kernel, between two hosts on one link."""

from __future__ import annotations

import os

import pytest
import translating
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


# Ways around the two addresses that an SA has -------------------------------------------------


@pytest.fixture(scope="module")
def ways():
    return withesp.run("guard_ways.py", str(translating.unpacked()))


COMES = (
    "to the address",
    "to a second address",
    "to a translated port",
    "to the container",
    "in the other family",
)
GOES = ("from the address", "from a second address", "from the container", "in the other family")


def test_each_way_is_open_without_a_guard(ways):
    found = ways["nobody guards"]
    assert {*found["comes"].values(), *found["goes"].values()} == {"arrived"}


def test_the_release_before_blocked_one_address(ways):
    """A second address, a container's port and an unlisted family went and came in the clear."""
    found = ways["the release before"]
    assert [found["comes"][way] for way in COMES] == ["lost", *["arrived"] * 4]
    assert [found["goes"][way] for way in GOES] == ["Operation not permitted", *["arrived"] * 3]


def test_no_way_is_open_to_what_a_peer_sends_in_the_clear(ways):
    assert {way: ways["guarded"]["comes"][way] for way in COMES} == dict.fromkeys(COMES, "lost")


def test_no_way_is_open_to_what_goes_to_a_peer(ways):
    refused = ("Operation not permitted", "lost")  # what is forwarded is told to nobody
    assert all(ways["guarded"]["goes"][way] in refused for way in GOES), ways["guarded"]["goes"]


def test_what_a_peer_sends_to_a_group_arrives_as_before(ways):
    assert ways["guarded"]["comes"]["to a group"] == "arrived"


def test_esp_passes_between_the_two_addresses_and_is_not_forwarded(ways):
    found = ways["guarded, with ESP"]
    assert (found["comes"]["to the address"], found["goes"]["from the address"]) == ("arrived", "arrived")
    assert found["comes"]["to a translated port"] == "lost"
    assert found["comes"]["to a second address"] == "lost"


def test_policies_of_the_release_before_are_replaced_and_all_of_them_lifted(ways):
    assert ways["the guard knows its policies"] is True
    assert ways["lifted"] is True
