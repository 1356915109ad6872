"""What `make test` leaves for `make test-all`: tests that take long, and tell what others tell in less.

Hooks of pytest: a layer's conftest that imports them has the mark.
"""

from __future__ import annotations

import contextlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have an option for everything."""
    with contextlib.suppress(ValueError):  # another layer of this run has it already
        parser.addoption("--whole", action="store_true", help="every test; roll-outs from new hosts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked, unless everything is asked for."""
    if not config.getoption("--whole"):
        left = [item for item in items if item.get_closest_marker("whole")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
