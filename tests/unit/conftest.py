"""A host's files, real ones, in a directory of the test."""

from __future__ import annotations

import logging

import pytest
from hypothesis import settings

from hostipsec import paths
from hostipsec.kernel import addresses, reach
from hostipsec.paths import Paths

settings.register_profile("busy", deadline=None)  # a machine may be busy
settings.load_profile("busy")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Have every path of the host below a directory of the test; returns them."""
    monkeypatch.setattr(paths, "here", Paths(tmp_path / "host"))
    for directory in (paths.here.strongswan_d, paths.here.run, paths.here.state, paths.here.proc):
        directory.mkdir(parents=True)
    return paths.here


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """Have every address that a test's host is given, and a way to all, whatever this machine has."""
    monkeypatch.setattr(addresses, "absent", lambda *_, **__: {})
    monkeypatch.setattr(reach, "unrouted", lambda *_, **__: {})


@pytest.fixture
def told(caplog, monkeypatch):
    """Return what the keeper logs; only here: Salt's handler would print it when the process ends."""
    log = logging.getLogger("hostipsec-keeper")
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(logging.getLogger("saltfactories"), "propagate", False)  # it logs when it likes
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)
