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
FLOWS = 4  # of a pair: two ports, from either end


@pytest.fixture(scope="module")
def found():
    strongswan.unpacked()
    return withesp.run("changing_rule.py", timeout=400)
