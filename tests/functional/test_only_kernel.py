"""Two hosts of which one port alone is encrypted: real charons, the kernel's ESP, what is on the wire."""

from __future__ import annotations

import os

import pytest
import strongswan
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
# by swanctl: charons that are told what to do over vici, in require
STAGES = (*(pytest.param(one, marks=pytest.mark.whole) for one in ("start", "swanctl")), "require")


@pytest.fixture(scope="module", params=STAGES)
def found(request):
    strongswan.unpacked()
    return {"stage": request.param, **withesp.run("only.py", request.param, timeout=300)[request.param]}


def assert_went(found, esp, clear):
    """See what came over, and how, for the port that is encrypted and for another, either way.

    While the other one is used the last packets of the connection before may still go in ESP.
    """
    for end in ("east", "west"):
        assert found[f"{end} 7022"] == [esp is not None, [esp] if esp else []]
        there, kinds = found[f"{end} 7080"]
        assert there and clear in kinds


def test_both_ends_are_well_and_say_what_alone_is_encrypted(found):
    well = ["established", "ok", "TRANSPORT, AES_GCM_16_128; only tcp/7022, udp/7053 is encrypted"]
    ends = {"east": "west", "west": "east"}
    assert found["status"] == {
        here: {f"{there}_{family}": well for family in ("v4", "v6")} for here, there in ends.items()
    }


def test_that_port_is_in_esp_either_way_and_another_in_the_clear(found):
    assert_went(found["up"], "esp", "clear")


def test_a_udp_port_of_ipv6_is_in_esp_either_way_and_another_in_the_clear(found):
    """Of the datagram and its answer, as each left its host."""
    kinds = [[{"esp": 1}] * 2, [{"clear": 1}] * 2]
    assert found["udp over v6"] == kinds * 2


def test_a_proof_knocks_at_the_port(found):
    assert found["proof"] == {"west_v4": [True, []], "west_v6": [True, []]}


def test_the_first_packet_to_the_port_brings_the_sa_in_require(found):
    assert found.get("trap", [True, ["esp"]]) == [True, ["esp"]]
    assert ("trap" in found) == (found["stage"] != "start")


def test_without_charon_the_port_is_blocked_in_require_and_in_the_clear_in_start(found):
    assert_went(found["without charon"], "clear" if found["stage"] == "start" else None, "clear")


def test_an_emergency_stop_takes_its_policies_along(found):
    assert found["down"] == {"status": [0, 0], "left": [0, 0]}


# Changed ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changed():
    strongswan.unpacked()
    return withesp.run("changing_clear.py", "clear", "only", timeout=400)


@pytest.mark.whole  # tests/unit/test_only.py walks all edits, by a kernel in memory
@pytest.mark.parametrize(
    ("edit", "before", "after"), [("clear", ["esp"], ["clear", "esp"]), ("only", ["clear", "esp"], ["esp"])]
)
def test_an_edit_and_its_undoing_lose_no_packet_where_ends_change_one_after_the_other(
    changed, edit, before, after
):
    """Each port from either end; another went in the clear at one end, and was dropped at the other."""
    found = changed[edit]
    assert [found[key] for key in ("before", "after", "again")] == [before, after, before]
    assert (found["many"], found["lost"]) == (True, [[]] * 4)


ONLY = "TRANSPORT, AES_GCM_16_128; only udp/7022 is encrypted"
YET = "all is encrypted yet, and not only udp/7022: reauthenticate it"


@pytest.fixture(scope="module")
def enabled():
    strongswan.unpacked()
    return withesp.run("enabling_only.py", timeout=400)


@pytest.mark.whole
def test_where_it_is_new_all_goes_by_the_sas_of_before_until_they_are_made_anew(enabled):
    """With make_before_break, as we configure charon."""
    assert [enabled[key] for key in ("before", "after", "again")] == [["esp"], ["clear", "esp"], ["esp"]]
    kinds, said = enabled["waiting"]
    assert (kinds, [YET in one for one in said]) == (["esp"], [True, True])


@pytest.mark.whole
def test_made_anew_both_ends_have_it_though_no_option_of_ike_differs(enabled):
    assert enabled["anew"] == [[""], [ONLY] * 2]


@pytest.mark.whole
def test_no_packet_is_lost_while_it_is_rolled_out_and_sas_are_made_anew(enabled):
    assert (enabled["many"], enabled["lost"]) == (True, [[]] * 4)
