"""East and west under traffic, while their SAs are replaced by others with other ciphers, a few times.

Prints, as JSON, by way (`alone`: east replaces them; `together`: both ends know of the moment) and round, the
packets of each family that got no answer; and what was left of pins.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from ipaddress import ip_address

from proofs import CONN, EAST, KERNEL_CONF, SECRETS, WEST
from spaces import batch, hosts, network_of
from strongswan import line, unpacked, wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.emergency import reauthentication
from hostipsec.emergency.host import Host
from hostipsec.health import judge
from hostipsec.model import Connection

CIPHERS = ("aes128gcm16-prfsha384-ecp384bp", "aes256gcm16-prfsha384-ecp384")
INTERVAL, DELAY = 0.005, "40ms"  # seconds between two packets; on the line, each way
SILENT = 2.0  # seconds, after which no answer comes any more
PORT = 7
ROUNDS = 3
IKE = "    ike=aes128gcm16-prfsha384-ecp384bp!\n"


class End(Host):
    """One end: its charon and its kernel, from outside."""

    def __init__(self, host, peer, left, right, initiator):
        self.host, self.peer, self.left, self.right = host, peer, left, right
        self.backend, self.told = ViciBackend(host.vici), []
        self.connections = tuple(
            Connection(
                *(f"{peer}_{family}", peer, family, ip_address(left[family]), ip_address(right[family])),
                *("", "", initiator, "start"),
            )
            for family in left
        )
        self.observe, self.initiate = self.backend.observe, self.backend.initiate
        self.reauthenticate, self.terminate = self.backend.reauthenticate_ikes, self.backend.terminate

    def conf(self, first, second):
        """Return ipsec.conf with the first cipher preferred."""
        proposals = {
            "ike": f"{first},{second}!",
            "esp": ",".join(one.replace("prfsha384-", "") + "-noesn" for one in (first, second)) + "!",
        }
        known = {"me": self.host.name, "peer": self.peer, "type": "transport", "esp": proposals["esp"]}
        text = "".join(
            CONN.format(name=one.name, left=one.left, right=one.right, **known) for one in self.connections
        )
        assert IKE in text
        return text.replace(IKE, f"    ike={proposals['ike']}\n")

    def update(self, first, second):
        """Have charon load that, for the next authentication."""
        before = self.host.run("ipsec", "statusall").count(self.peer)
        self.host.write("/etc/ipsec.conf", self.conf(first, second))
        self.host.run("ipsec", "update")
        wait_for(lambda: self.host.run("ipsec", "statusall").count(self.peer) >= before, "the update")

    def set_policies(self, text):
        """Add policies on this host."""
        self.told.append(text)
        batch(self.host, text.splitlines())

    def delete(self, text):
        """Take policies away on this host."""
        self.told.append(text)
        batch(self.host, text.splitlines(), "-force")

    @property
    def states(self):
        """What the judge says of the connections, and their ciphers."""
        rows = judge.evaluate(self.connections, self.backend.observe()).managed
        return {(row.state, row.proposal.split("/")[0]) for row in rows}


def replaced(east, west, together):
    """Replace the SAs; what is said of each connection."""
    found = {}

    def act(end, mine, theirs):
        wait = 2.0 if together else None
        found[end.host.name] = reauthentication.run(mine, 30.0, theirs, wait, end)

    acting = [threading.Thread(target=act, args=(east, east.connections, ()))]
    if together:
        acting.append(threading.Thread(target=act, args=(west, (), west.connections)))
    for one in acting:
        one.start()
    for one in acting:
        one.join()
    return [one.reason for one in found["east"]]


def udp(end, family, port=0):
    """Return a socket at one end."""
    with network_of(end.host):
        made = socket.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((end.left[family], port))
    return made


def echo(end, family):
    """Send back what comes, for good."""
    here = udp(end, family, PORT)
    while True:
        data, sender = here.recvfrom(64)
        here.sendto(data, sender)


class Traffic:
    """Datagrams to the other end, which sends them back, over one family, until it is told to stop."""

    def __init__(self, here, family):
        self.to, self.sent, self.answers, self.going = (here.right[family], PORT), 0, set(), True
        self.near = udp(here, family)
        self.near.settimeout(SILENT)
        self.acting = [threading.Thread(target=act) for act in (self.send, self.hear)]
        for one in self.acting:
            one.start()

    def send(self):
        while self.going:
            self.near.sendto(str(self.sent).encode(), self.to)
            self.sent += 1
            time.sleep(INTERVAL)

    def hear(self):
        while True:
            try:
                self.answers.add(self.near.recv(64))
            except OSError:
                return

    def lost(self):
        """Stop; how many got no answer."""
        self.going = False
        for one in self.acting:
            one.join()
        assert self.sent > 1 / INTERVAL, self.sent
        return self.sent - len(self.answers)


def lost(east, west, order, together):
    """Change to these ciphers under traffic; the packets without an answer, by family."""
    for end in (west, east):
        end.update(*order)
    traffic = [Traffic(east, family) for family in WEST]
    reasons = replaced(east, west, together)
    found = [one.lost() for one in traffic]
    assert reasons == ["", ""], reasons
    bits = order[0][3:6]
    for end in (east, west):
        wait_for(lambda end=end: end.states == {("established", f"AES_GCM_16_{bits}")}, "one SA each")
    return found


def main():
    """Go there and back, alone and together."""
    found = {"alone": [], "together": []}
    with hosts("east", "west", over=unpacked()) as (one, other):
        line(one, other, *([f"{end['v4']}/24", f"{end['v6']}/64"] for end in (EAST, WEST)))
        for host in (one, other):
            host.run("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", DELAY)
        east = End(one, "west", EAST, WEST, True)
        west = End(other, "east", WEST, EAST, False)
        for end in (west, east):
            end.host.start(end.conf(*CIPHERS), SECRETS, KERNEL_CONF)
        east.initiate([connection.name for connection in east.connections])
        wait_for(lambda: east.states == {("established", "AES_GCM_16_128")}, "the tunnels")
        for family in WEST:
            threading.Thread(target=echo, args=(west, family), daemon=True).start()
        order = CIPHERS
        for way in [*found] * ROUNDS:
            order = order[::-1]
            found[way].append(lost(east, west, order, way == "together"))
        found["pinned"] = sum(text.startswith("xfrm policy update") for text in west.told)
        found["left"] = west.host.run("ip", "xfrm", "policy").count("priority 74 ")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
