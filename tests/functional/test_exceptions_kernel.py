"""Two hosts that require IPsec of each other, but for one port: real charons, the kernel's ESP, the wire."""

from __future__ import annotations

import os

import pytest
import strongswan
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
SELECTORS = 4  # the port of either end, both ways


@pytest.fixture(scope="module", params=["v4", "v6"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def found(family):
    strongswan.unpacked()
    return withesp.run("excepted.py", family, timeout=300)


def test_both_ends_are_well_and_say_what_stays_in_the_clear(found, family):
    well = ["established", "ok", "TRANSPORT, AES_GCM_16_128; in the clear by its rule: tcp/7022"]
    assert found["before"] == [SELECTORS, SELECTORS]
    assert found["status"] == {
        "east.example": {f"west_{family}": well},
        "west.example": {f"east_{family}": well},
    }


def test_that_port_is_in_the_clear_either_way_and_another_in_esp(found):
    assert found["up"] == {
        "east 7022": [True, ["clear"]],
        "west 7022": [True, ["clear"]],
        "east 7080": [True, ["esp"]],
        "west 7080": [True, ["esp"]],
    }


def test_a_proof_is_not_disturbed_by_it(found, family):
    assert found["proof"] == {f"west_{family}": [True, []]}


def test_without_charon_nobody_is_locked_out_and_nothing_else_goes(found):
    assert found["without charon"] == {
        "east 7022": [True, ["clear"]],
        "west 7022": [True, ["clear"]],
        "east 7080": [False, []],
        "west 7080": [False, []],
    }


def test_an_emergency_stop_takes_its_policies_along(found):
    assert found["down"] == {"status": [0, 0], "left": [0, 0]}
