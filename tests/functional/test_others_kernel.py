"""What others have in a real kernel between the same two hosts."""

from __future__ import annotations

import os

import pytest
import withesp

CHARONS = ["0xc0000001", "0xc0000002"]
OTHERS = ["0x00000003", "0xc0000077", "0xca3f1c20", "0xcb2a9c11", "0xf4faae1b"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")
def test_a_stop_deletes_what_charon_made_and_nothing_else():
    """Docker Swarm's, Cilium's, weave's and libreswan's went with ours; and of ours one policy alone went."""
    found = withesp.run("others.py")
    assert found == {"deleted": [CHARONS, 2], "left": [OTHERS, 4], "again": False}
