"""`net.core.xfrm_larval_drop` with a trap and a slow peer: what becomes of the first packets."""

import json

import pytest
from conftest import ADDRESSES, DEADLINE, A, B

from fleetlab.paths import BUILD
from fleetlab.process import wait_for

FIGURES = BUILD / "larval-drop.json"  # what docs/sysctls.md shows
DELAY = "400ms"  # one way, to the peer
CONNECT = """
import json, socket, sys, time
start, error = time.monotonic(), ""
try:
    socket.create_connection((sys.argv[1], 5002), timeout=60).close()
except OSError as found:
    error = str(found)
print(json.dumps({"seconds": time.monotonic() - start, "error": error}))
"""


@pytest.fixture(scope="module")
def trapped(required):
    """A and B with traps; nobody but a packet starts anything, and the peer is slow."""
    mesh = required
    mesh.on(B, "setsid", "--fork", "sh", "-c", "exec nc -lk 0.0.0.0 5002 >/dev/null 2>&1")
    for host in (A, B):
        mesh.on(host, "systemctl", "stop", "hostipsec-keeper")
    mesh.lab.network.set_netem(B, ["delay", DELAY])
    yield mesh
    mesh.lab.network.set_netem(B, [])
    mesh.on(A, "sysctl", "-q", "-w", "net.core.xfrm_larval_drop=0")
    for host in (A, B):
        mesh.on(host, "systemctl", "start", "hostipsec-keeper")
    mesh.wait_up(A, B)


def no_states(mesh):
    """How many packets the kernel dropped for want of an SA."""
    text = mesh.on(A, "cat", "/proc/net/xfrm_stat")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("XfrmOutNoStates")))


def first_connect(mesh, larval_drop):
    """Connect where there is a trap and no SA; what connect() took, and what the kernel dropped."""
    mesh.on(A, "sysctl", "-q", "-w", f"net.core.xfrm_larval_drop={larval_drop}")
    mesh.on(A, "ipsec", "down", "cp2001_v4[*]")
    wait_for(lambda: "cp2001_v4" not in mesh.sas(A, B), "the end of the SA", DEADLINE, 0.5)
    before = no_states(mesh)
    found = json.loads(mesh.on(A, "python3", "-c", CONNECT, ADDRESSES[B][0]))
    return {**found, "dropped": no_states(mesh) - before}


def test_with_1_the_first_packets_are_dropped_and_with_0_they_wait(trapped):
    """connect() waits for the SA with 0, and for TCP's next try as well with 1."""
    assert trapped.on(A, "sysctl", "-n", "net.core.xfrm_larval_drop").strip() == "0"  # what the state set
    dropping, queueing = first_connect(trapped, 1), first_connect(trapped, 0)
    FIGURES.write_text(json.dumps({"1": dropping, "0": queueing}) + "\n")
    assert (dropping["error"], queueing["error"]) == ("", "")
    assert dropping["dropped"] > 0
    assert queueing["dropped"] == 0
