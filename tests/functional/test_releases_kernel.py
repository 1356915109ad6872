"""A pair of Debian 11 and 13, each by its own charon and Python, over a kernel's ESP, in stage require."""

from __future__ import annotations

import os

import pytest
import suites
import withesp

pytestmark = [
    pytest.mark.whole,  # two roots of other releases are fetched
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux"),
]
UP = ["established", "ok", "TRANSPORT, AES_GCM_16_128"]


@pytest.fixture(scope="module")
def found():
    for suite in ("bullseye", "trixie"):
        suites.fetched(suite)
    return withesp.run("releases.py", timeout=400)


def test_each_runs_its_own(found):
    eleven, thirteen = found["runs"]
    assert "U5.9.1/" in eleven
    assert "\n11." in eleven
    assert "U6.0.1/" in thirteen
    assert "\n13." in thirteen


def test_both_families_are_up_at_both_ends(found):
    assert found["said"] == {
        "east": {"west_v4": UP, "west_v6": UP},
        "west": {"east_v4": UP, "east_v6": UP},
    }


def test_all_that_is_sent_comes_over_as_esp_alone(found):
    assert found["carried"] == dict.fromkeys(("east ipv4", "east ipv6", "west ipv4", "west ipv6"), 50)
    for sent in found["wire"]:
        assert {*sent} - {"ike", "icmp6"} == {"esp"}, sent
        assert sent["esp"] >= 100


def test_down_at_the_older_end_leaves_nothing_at_either(found):
    assert found["down"][0] == 0, found["down"]
    assert found["kernel"] == [0, 0]
