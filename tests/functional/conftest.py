"""What the functional tests of modules and states share."""

from __future__ import annotations

import pytest
from minions import HOST, NOW, Minion

import authorities
import fleets
from hostipsec import paths
from hostipsec.kernel import addresses, reach
from whole import pytest_addoption, pytest_collection_modifyitems  # noqa: F401


@pytest.fixture(scope="session")
def ca():
    return authorities.authority("CN=Fleet CA", NOW)


@pytest.fixture(scope="session")
def issued(ca):
    """The certificate of the host under test."""
    return authorities.host(f"CN={HOST}", NOW, ca)


@pytest.fixture
def source(tmp_path, ca, issued):
    """Return where the host's certificate, key and CA are."""
    return authorities.write(tmp_path / "source", issued.pem, issued.key_pem(), ca.pem)


@pytest.fixture
def data(source):
    """The example pillar with certificates in files."""
    certificates = {"certificate": source.certificate, "key": source.key, "ca": source.ca}
    return {**fleets.example(), "certificates": {"source": "files", **certificates}}


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """Have every address that a test's host is given, and a way to all, whatever this machine has."""
    monkeypatch.setattr(addresses, "absent", lambda *_, **__: {})
    monkeypatch.setattr(reach, "unrouted", lambda *_, **__: {})


@pytest.fixture
def minion(tmp_path, data, monkeypatch):
    """Return a member of the example fleet, with no configuration yet, whatever the machine has."""
    monkeypatch.setattr(paths.here, "conf", tmp_path / "ipsec.conf")
    for name in ("record", "record_copy", "failed"):
        monkeypatch.setattr(paths.here, name, tmp_path / f"{name}.json")
    found = Minion(tmp_path / "minion", HOST, init="systemd", os="Debian", osmajorrelease=12)
    found.pillar(data)
    return found
