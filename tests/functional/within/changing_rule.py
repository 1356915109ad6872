"""East and two peers, in stage require, while a rule gives one of the two pairs other ciphers, edit by edit.

Datagrams go between all of them the whole time. Prints how many were lost and how they went, and what both
ends of the pairs say after each edit.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import changing_ciphers
from changing_clear import RCVBUFFORCE, Flows
from excepted import ENDS
from members import Member
from natted import brief
from proofs import KERNEL_CONF
from spaces import hosts
from strongswan import run, unpacked, wait_for
from termed import Sent

import authorities
from hostipsec import paths
from hostipsec.apply import hostplan
from hostipsec.charon import charonlog
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.strongswan import render

ENDS["north.example"] = "10.9.0.3"
OLD = {"ike": "aes128gcm16-prfsha384-ecp384bp", "esp": "aes128gcm16-ecp384bp-noesn"}
NEW = {"ike": "aes256gcm16-prfsha384-ecp384", "esp": "aes256gcm16-ecp384-noesn"}
DELAY, STEP = "40ms", 2.0  # on the line, each way; seconds in which the ends of a pair differ
SHIPPED = KERNEL_CONF.replace(
    "charon {\n", "charon {\n    make_before_break = yes\n", 1
)  # as this package has it
EDITS = {"accepted": (OLD, NEW), "preferred": (NEW, OLD), "alone": (NEW,)}


def pillar(proposals=()):
    """Return the pillar: its first rule says these proposals of one pair, where there are any."""
    found = {host: {"side": host[:4], "ipv4": address} for host, address in ENDS.items()}
    own = {key: ",".join(one[key] for one in proposals) + "!" for key in OLD if proposals}
    canary = {"name": "canary", "between": {"id": "east.example"}, "and": {"id": "west.example"}}
    rest = {"name": "rest", "between": {"side": "east"}, "and": {"side": ["west", "nort"]}}
    rules = [{**canary, **own}, rest] if own else [rest]
    return {"hosts": found, "rules": [{**rule, "stage": "require"} for rule in rules]}


class End(changing_ciphers.End):
    """One end of the pair that changes, for what makes SAs anew."""

    def __init__(self, member, peer):
        self.host, self.backend, self.told = member.space, ViciBackend(member.space.vici), []
        self.connections = tuple(one for one in member.member.connections if one.peer == peer)
        self.observe, self.initiate = self.backend.observe, self.backend.initiate
        self.reauthenticate, self.terminate = self.backend.reauthenticate_ikes, self.backend.terminate
        self.follow = lambda log, timeout: charonlog.follow(log, timeout, member.space.vici)


def networked(spaces):
    """Have all hosts on one network, at the bridge of the first."""
    hub, *others = spaces
    hub.run("ip", "link", "add", "eth0", "type", "bridge")
    for number, one in enumerate(others):
        veth = ["ip", "link", "add", f"port{number}", "netns", str(hub.pid), "type", "veth"]
        run([*veth, "peer", "name", "eth0", "netns", str(one.pid)])
        hub.run("ip", "link", "set", f"port{number}", "up", "master", "eth0")
    for one, address in zip(spaces, ENDS.values()):
        one.run("ip", "link", "set", "eth0", "up")
        one.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        one.run("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", DELAY)


class Changing(Member):
    """A host whose pillar is edited."""

    def begin(self, ca, now):
        """Start charon and the guard."""
        self.found = self.inspect(authorities.host(f"CN={self.host}", now, ca), ca.pem)
        self.deploy(self.start(self.found, SHIPPED))
        assert self.program("guard").status == 0

    def take(self, value):
        """Have charon take up what is configured now."""
        self.space.write("/etc/ipsec.conf", render.ipsec_conf(value))
        self.space.run("ipsec", "update")


def edit(ends, proposals):
    """Have each end do what the states do of an edit, one after the other."""
    for end in ends:
        end.read(pillar(proposals))
        apply(end)


def apply(end):
    """Have an end do what its pillar says."""
    wanted = hostplan.wanted(end.member, end.found)
    end.space.write("/var/lib/hostipsec/mesh.json", wanted.files[paths.here.record].decode(), 0o644)
    end.take(wanted.configuration)
    assert end.program("guard").status == 0
    time.sleep(STEP)


def listened(end):
    """Return what hears all that leaves an end."""
    wire = Sent(end.space, "eth0")
    wire.socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 1 << 26)
    return wire


def north(end):
    """Return the ids of the IKE SAs with the peer whose rule stays."""
    return [sa.uniqueid for sa in end.backend.observe().ike_sas if sa.remote_host == ENDS["north.example"]]


def changed(ends):
    """Go through the edits; what the ends say after each."""
    found = {"before": said(ends)}
    for name, proposals in EDITS.items():
        edit(ends, proposals)
        if name == "preferred":
            both = End(ends[0], "west.example"), End(ends[1], "east.example")
            found["reasons"] = changing_ciphers.replaced(*both, together=True)
        found[name] = said(ends)
    return found


def said(ends):
    """Return what each end says of its connections."""
    return {end.host[:4]: brief(end.status()) for end in ends}


def up(ends):
    """Have all connections up."""
    ends[0].backend.initiate([one.name for one in ends[0].member.connections], timeout=60)
    well = {"established"}
    wait_for(lambda: all({row["state"] for row in one.status().values()} == well for one in ends), "SAs")


def main():
    """Go through it under traffic."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    names = [host.partition(".")[0] for host in ENDS]
    with hosts(*names, over=unpacked()) as spaces, tempfile.TemporaryDirectory() as place:
        networked(spaces)
        ends = [Changing(one, pillar(), host, Path(place)) for one, host in zip(spaces, ENDS)]
        for end in ends:
            end.begin(ca, now)
        up(ends)
        kept, wires = north(ends[0]), [listened(end) for end in ends]
        flows = [Flows(ends[:2], (7022,)), Flows([ends[0], ends[2]], (7023,))]
        try:
            found = changed(ends)
        finally:
            lost = [flow.end() for flow in flows]
        found |= {
            "lost": lost,
            "sent": [flow.sent for flow in flows],
            "wire": [wire.seen() for wire in wires],
            "kept": [kept, north(ends[0])],
            "pinned": ends[1].space.run("ip", "xfrm", "policy").count("priority 74 "),
        }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
