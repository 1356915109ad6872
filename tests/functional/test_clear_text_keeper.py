"""From the record to the sample: the keeper counts what goes in the clear, beside a real charon."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess

import nftables
import pytest
from downs import EAST, Peers, address
from spaces import network_of
from strongswan import wait_for

from hostipsec.kernel import cleartext
from hostipsec.proof import packets
from hostipsec.store import record
from hostipsec.store.record import Record

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

KEEPER = ["env", "PYTHONPATH=/usr/local/lib/hostipsec", "python3", "-m", "hostipsec.programs.keeper"]


class Counted:
    """A host with one peer, its keeper, and what its samples say."""

    def __init__(self, place):
        self.peers = Peers(place, 1)
        self.peers.start()
        self.peers.up()
        self.host = self.peers.east
        command = " ".join(nftables.command())
        self.host.write("/usr/sbin/nft", f'#!/bin/sh\nexec {command} "$@"\n', 0o755)

    def ask(self, clear_text):
        """Write the record as a state does, some time ago."""
        there = Record(tuple(self.peers.connections), clear_text=clear_text)
        self.host.write("/var/lib/hostipsec/mesh.json", record.render(there), 0o644)
        self.host.run("touch", "-d", "1 hour ago", "/var/lib/hostipsec/mesh.json")

    def shown(self):
        """Return the packets in the clear, as the last sample says: received, sent."""
        file = self.host.root / "run/hostipsec/state.json"
        (one,) = json.loads(file.read_text())["connections"] if file.exists() else ({},)
        return one.get("clear_in"), one.get("clear_out")

    def ping(self, times):
        """Have the peer answer echo requests."""
        with (
            network_of(self.host),
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock,
        ):
            sock.bind((EAST, 0))
            for sequence in range(times):
                sock.sendto(packets.echo_request(4, 4711, sequence, b"x" * 8), (address(0), 0))
                assert select.select([sock], [], [], 60)[0], f"no reply of {address(0)}"
                sock.recv(100)

    def sample(self, *wanted):
        """Wait for a sample that says so."""
        wait_for(lambda: self.shown() == wanted, f"{wanted}")


@pytest.fixture
def counted(tmp_path):
    probe = subprocess.run(
        ["unshare", "--net", "--", *nftables.command(), "add table inet probe"],
        check=False,
        capture_output=True,
    )
    if probe.returncode:
        pytest.skip(f"this kernel has no nftables: {probe.stderr.decode()[:200]}")
    found = Counted(tmp_path / "counted")
    keeper = subprocess.Popen(found.host.argv(KEEPER), stdin=subprocess.DEVNULL)
    yield found
    keeper.kill()
    keeper.wait()
    found.peers.stop()


def test_the_keeper_counts_what_the_record_asks_for_and_removes_what_it_does_not(counted):
    counted.sample(None, None)
    counted.ask(True)
    counted.sample(0, 0)
    counted.ping(3)  # by the SA: through charon's own device, and on the line in ESP
    counted.peers.ipsec_global("down", "--no-hold")
    counted.ping(4)
    counted.sample(4, 4)
    counted.host.run("nft", "flush", "ruleset")  # as one who loads rules of his own anew
    wait_for(lambda: cleartext.NAME in counted.host.run("nft", "list", "tables"), "the table again")
    counted.ping(2)
    counted.sample(6, 6)
    counted.ask(False)
    counted.sample(None, None)
    assert counted.host.run("nft", "list", "ruleset") == ""
