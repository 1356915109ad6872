"""The demo by Salt's other releases, master and minions: what `make demo` shows holds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fleetlab.paths import LAB

RUN = """
import os
from fleetlab import demo, fresh
from fleetlab.paths import DEFAULT_FLEET
with fresh(os.environ["NAME"], DEFAULT_FLEET) as lab:
    for host in (lab.master, lab.host("cp1001")):
        print(host.run(["salt-call", "--version"]).stdout)
    demo.show(lab)
"""


@pytest.mark.whole
@pytest.mark.parametrize("release", ["3006", "3007"])
def test_the_demo(release):
    """Each has a root of its own, which is built once."""
    given = {"LAB_SALT": f"salt=={release}.*", "NAME": f"salt{release}", "PYTHONPATH": str(LAB)}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env={**os.environ, **given}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"salt-call {release}.") == 2
    assert "192 packets of ESP, " in done.stdout and ", 0 in the clear between members" in done.stdout
    assert "0 changed; 32 IKE SAs have the same ids as before" in done.stdout
