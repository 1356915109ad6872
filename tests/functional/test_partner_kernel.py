"""A gateway with libreswan, which Salt does not manage, and a member of the pillar, over the kernel's ESP."""

from __future__ import annotations

import os

import libreswan
import pytest
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
NAMES = ("gw_v4", "gw_v6")


@pytest.fixture(scope="module")
def found():
    libreswan.unpacked()
    return withesp.run("partner.py", timeout=300)


@pytest.mark.parametrize("starter", ["east", "gateway"])
def test_both_families_are_up_and_proven_whoever_starts_them(found, starter):
    assert found[starter]["status"] == {name: ["ok", "TRANSPORT, AES_GCM_16_256"] for name in NAMES}
    assert found[starter]["proofs"] == {name: [True, []] for name in NAMES}


def test_down_at_the_member_ends_them_at_the_gateway(found):
    assert found["down"] == [0, ["down"]]


def test_what_is_held_at_the_member_stays_down_though_the_gateway_tries(found):
    assert found["held"] == [0, ["held"]]
