"""docs/promises.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
NAMED = re.findall(r"`(\w+/test_\w+)::(test_\w+)`", (TESTS.parent / "docs/promises.md").read_text())


def test_every_promise_has_a_test():
    rows = [line for line in (TESTS.parent / "docs/promises.md").read_text().splitlines() if line[:2] == "| "]
    promises = [row for row in rows if not row.startswith("| promise |")]
    assert len(promises) > 30
    assert [row for row in promises if "::test_" not in row] == []


@pytest.mark.parametrize(("module", "name"), sorted({*NAMED}))
def test_it_is_there(module, name):
    assert re.search(rf"^def {name}\(", (TESTS / f"{module}.py").read_text(), re.MULTILINE)
