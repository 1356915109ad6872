"""A host's files, real ones, in a directory of the test."""

from __future__ import annotations

import pytest

from hostipsec import paths
from hostipsec.paths import Paths


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Have every path of the host below a directory of the test; returns them."""
    monkeypatch.setattr(paths, "here", Paths(tmp_path / "host"))
    for directory in (paths.here.strongswan_d, paths.here.run, paths.here.state, paths.here.proc):
        directory.mkdir(parents=True)
    return paths.here
