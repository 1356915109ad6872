"""A host that has no Python but Salt's, and none of the programs that ours call: the state installs them."""

from __future__ import annotations

import os
from pathlib import Path

import minimal
import pytest
from minions import HOST, Remote

import homes

CHARON_DOES_ESP = {"plugins": {"kernel-libipsec": {"load": "yes"}}}
TOOLS = ["iproute2", "kmod", "procps", "python3"]
LATER = "iproute2, kmod, procps, python3: to be installed first; "

pytestmark = [pytest.mark.whole, pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")]


@pytest.fixture
def host(tmp_path):
    made = minimal.host("minimal", tmp_path / "host")
    yield made
    made.stop()


@pytest.fixture
def remote(host, tmp_path, data, source):
    for path in map(Path, (source.certificate, source.key, source.ca)):
        host.run("mkdir", "-p", str(path.parent))
        host.write(str(path), path.read_text())
    grains = {"init": "systemd", "os": "Debian", "osmajorrelease": 12}
    made = Remote(
        lambda argv: minimal.salted(host, argv),
        tmp_path / "log",
        place="/tmp/minion",
        identifier=HOST,
        **grains,
    )
    made.pillar({**data, "charon": CHARON_DOES_ESP})
    yield made
    made.stop()


def good(found):
    """Assert that no state failed; return their comments."""
    assert [one for one in found.values() if one["result"] is False] == []
    return {name: one["comment"] for name, one in found.items()}


def test_what_our_programs_need_is_told_installed_and_enough(host, remote):
    """Nothing installed python3 or iproute2: the check failed, and no program of ours could start."""
    found = remote.call("ipsec.check")
    assert (found["ok"], [one.startswith(LATER) for one in found["notes"]]) == (True, [True])
    plan = remote.call("ipsec.plan")
    assert {*TOOLS} < {*plan["changes"]["pkg.installed"]}
    assert "error" not in plan
    for sls in ("sysctl", "certs", "engine"):
        said = good(remote.apply(f"ipsec.{sls}", test=True))
        assert said["ipsec-check-tools"].endswith(", ".join(TOOLS))
        assert said["ipsec-check-esp"].startswith(LATER)
    assert not (host.root / "usr/bin/python3").exists()

    wrong = remote.apply("ipsec.sysctl")  # the host lacks its addresses, which is told once that can be
    assert [name for name, one in wrong.items() if one["result"]] == [
        "ipsec-check-input",
        "ipsec-check-tools",
    ]
    assert "no interface here has 10.64.0.11" in wrong["ipsec-check-esp"]["comment"]
    for address in homes.addresses(HOST):
        host.network("address", "add", address, "dev", "lo")
    for sls in ("sysctl", "certs", "engine"):
        said = good(remote.apply(f"ipsec.{sls}"))
    assert "already installed" in said["ipsec-check-tools"]
    shown = host.process(["/usr/local/sbin/ipsec-global", "status"], 60)
    assert shown.stdout.startswith("0 connections; charon does not answer"), shown
    checked = host.process(["/usr/local/lib/nagios/plugins/check_ipsec"], 60)
    assert checked.stdout.startswith("IPSEC UNKNOWN - no connections are recorded on this host"), checked
