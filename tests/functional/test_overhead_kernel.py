"""What the calculator says, against a real kernel: the largest packet passes, one byte more does not."""

from __future__ import annotations

import os

import pytest
import withesp

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces, or User Mode Linux")


def test_the_kernel_agrees_to_the_byte():
    """Transport and tunnel, families, UDP, six kinds of ciphers, seven links, a locked route."""
    found = withesp.run("overhead_pings.py")
    assert len(found) == 31
    wrong = [one for one in found if one["said"] != ["reply", "too long"]]
    assert wrong == []
