"""A host whose firewall drops by default: no tunnel, until it includes what ipsec.firewall printed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import ferm
import nftables
import pytest
from downs import EAST, Peers, address, name
from spaces import network_of
from strongswan import run, wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.faces import firewall

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

PAGE = Path(__file__).parents[2] / "docs/firewall.md"
# A host's own: it knows of its loopback, of connections that are there, and of SSH
TABLE = """
table inet filter {
    %s
    chain input {
        type filter hook input priority 0; policy drop;
        iifname lo accept
        ct state established,related accept
        tcp dport 22 accept
        %s
        counter comment "dropped"
    }
    chain output {
        type filter hook output priority 0; policy drop;
        oifname lo accept
        ct state established,related accept
        %s
        counter comment "dropped"
    }
}
"""

BESIDE = """
table inet beside
delete table inet beside
table inet beside {
    %s
    chain input { type filter hook input priority -10; jump ipsec_in; }
    chain output { type filter hook output priority -10; jump ipsec_out; }
}
"""


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    made = Peers(tmp_path_factory.mktemp("firewall"), 1)
    made.start()
    yield made
    made.stop()


def load(peers, text):
    """Load east's table anew, as its own service would."""
    rules = peers.east.root / "tmp/firewall.nft"
    rules.write_text(f"table inet filter\ndelete table inet filter\n{text}")
    return run(["nsenter", "-t", str(peers.east.pid), "-n", *nftables.command(), "-f", str(rules)])


def dropped(peers):
    said = run(
        ["nsenter", "-t", str(peers.east.pid), "-n", *nftables.command(), "list", "table", "inet", "filter"]
    )
    return sum(int(line.split()[2]) for line in said.splitlines() if 'comment "dropped"' in line)


def reached(peers, port, source=0):
    """Whether the peer gets through to a port of east, from a port of its own."""
    with network_of(peers.west):
        attempt = socket.socket()
    attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source:
        attempt.bind((address(0), source))
    attempt.settimeout(5 if port == 22 else 1)
    with attempt:
        try:
            attempt.connect((EAST, port))
        except TimeoutError:
            return False
    return True


def test_a_port_in_the_clear_is_closed_for_what_comes_from_it(peers):
    """A policy passes what comes from that port of a peer to any other; the manual's line does not."""
    of_page = re.search("meta ipsec missing (tcp sport 22 .*)", PAGE.read_text())  # not every kernel can tell
    own = TABLE % ("", "tcp dport 7080 accept", "accept")
    with network_of(peers.east):
        service = socket.create_server((EAST, 7080))
    with network_of(peers.west):
        there = socket.create_server(("10.9.0.2", 22))
    for line, passes in (("", True), (of_page[1], False)):
        load(peers, own.replace("iifname lo", f"{line}\n        iifname lo"))
        assert (reached(peers, 7080), reached(peers, 7080, source=22)) == (True, passes)
        with network_of(peers.east):
            socket.create_connection(("10.9.0.2", 22), 30, (EAST, 0)).close()
    service.close()
    there.close()


def test_no_tunnel_before_and_a_tunnel_after_and_ssh_all_the_while(peers, tmp_path):
    """Chains in a table beside the host's open nothing: so they are printed for the host's own."""
    with network_of(peers.east):
        listening = [socket.create_server((EAST, port)) for port in (22, 23)]
    printed = firewall.nftables(peers.connections)
    for beside in ("", BESIDE % printed):
        load(peers, TABLE % ("", "", "") + beside)
        ViciBackend(peers.east.vici).initiate([name(0)], timeout=60)
        wait_for(lambda: dropped(peers) > 0, "a packet that the firewall drops")
        assert (peers.established, reached(peers, 22), reached(peers, 23)) == (set(), True, False)

    (tmp_path / "ipsec.nft").write_text(printed)
    load(peers, TABLE % (f'include "{tmp_path}/ipsec.nft"', "jump ipsec_in", "jump ipsec_out"))
    peers.up()
    assert (peers.established, reached(peers, 22), reached(peers, 23)) == ({name(0)}, True, False)
    for one in listening:
        one.close()


def test_ferm_reads_what_is_printed_for_it(peers, tmp_path):
    (tmp_path / "ipsec.ferm").write_text(firewall.ferm(peers.connections))
    own = "domain (ip ip6) table filter { chain INPUT { policy DROP; jump ipsec-in; } }\n"
    (tmp_path / "ferm.conf").write_text(f"@include 'ipsec.ferm';\n{own}")
    read = [*ferm.command(), "--test", "--lines", str(tmp_path / "ferm.conf")]
    said = subprocess.run(read, check=True, capture_output=True, text=True).stdout
    peer = f"--source {peers.connections[0].right}"
    for rule in (f"{peer} --protocol udp --dport 500 --jump ACCEPT", f"{peer} --protocol esp --jump ACCEPT"):
        assert f"-A ipsec-in {rule}" in said, said
