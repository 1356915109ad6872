"""charon, stroke and swanctl under Debian's AppArmor profiles, enforced by User Mode Linux's kernel."""

from __future__ import annotations

import os

import apparmor
import pytest
import strongswan
import withesp

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: User Mode Linux"),
    pytest.mark.whole,  # test_apparmor reads the same profiles
]
NAMES = ("west_v4", "west_v6")


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    apparmor.unpacked()
    return withesp.run("confined.py", timeout=300, options=["--uml"])


def test_it_is_enforced(found):
    assert found["confined"] == ["/usr/lib/ipsec/charon (enforce)"] * 2


def test_both_families_are_up_and_proven(found):
    assert found["status"] == {name: ["ok", "TRANSPORT, AES_GCM_16_128"] for name in NAMES}
    assert found["proofs"] == {name: [True, []] for name in NAMES}


def test_a_charon_on_trial_takes_what_it_shall_run_and_says_why_not(found):
    assert found["trial"]["good"].startswith(f"{[*NAMES]} ")
    assert "does not load west_v4, west_v6" in found["trial"]["bad"]
    assert "bad option value: mobike=nonsense-no" in found["trial"]["bad"]


def test_what_is_typed_works(found):
    assert found["verbs"] == [0, 0]
    assert found["asked"] == [0, 0, 0]


def test_nothing_that_we_ask_of_it_is_denied_and_elsewhere_it_is(found):
    assert found["denied"] == []
    assert found["elsewhere"] == [["open", "/usr/lib/ipsec/charon", "/var/lib/hostipsec/mesh.json"]]
