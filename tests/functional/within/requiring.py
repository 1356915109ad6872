"""Two hosts of one line in stage ``require``, as states leave them: real charons, the kernel's ESP.

Prints, by case, what left each host for the other (datagrams both ways, in both families) and what was said,
as JSON: with a hold.json that cannot be read, as after a boot; in maintenance; after a flush of nftables and
of the kernel's policies, with and without a keeper; with plugin bypass-lan; to a translated port.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import nftables
import translating
from flushed import Keeper
from members import Member
from natted import brief
from proofs import EAST, KERNEL_CONF, WEST
from spaces import batch, hosts, network_of
from strongswan import line, run, unpacked, wait_for
from termed import IPV4, IPV6, Sent

import authorities
from hostipsec.strongswan import defaults, render

ENDS = {"east.example": EAST, "west.example": WEST}
CLOSED, SETTLED = 7001, 1.0  # a port; seconds, for what shall not come
TRANSLATED, INSIDE, CONTAINER = 8080, 5600, "172.17.0.2"
DAMAGES = {
    "empty": ": >$0",
    "cut off": "printf { >$0",
    "no text": r"printf '\377\376' >$0",
    "a directory": "mkdir $0",
}
BYPASS = KERNEL_CONF.replace("plugins {", "plugins {\n        bypass-lan { load = yes }")
SETTINGS = {
    "bypassed": BYPASS,
    "bypassed by a file before ours": BYPASS + render.tree({"charon": defaults.REQUIRED}),
}
TABLE = "add table bridge own"  # User Mode Linux has no other family


def pillar(**own):
    """Return the pillar; west has more of its own."""
    found = {host: {"side": host[:4], "ipv4": one["v4"], "ipv6": one["v6"]} for host, one in ENDS.items()}
    found["west.example"].update(own)
    rule = {"name": "all", "between": {"side": "east"}, "and": {"side": "west"}, "stage": "require"}
    return {"hosts": found, "rules": [rule]}


class Pair:
    """Both hosts."""

    def __init__(self, spaces, place, settings=KERNEL_CONF):
        """Start charons, and the guard."""
        now = datetime.now(timezone.utc)
        self.ca = authorities.authority("CN=Fleet CA", now)
        line(*spaces, *([f"{one['v4']}/24", f"{one['v6']}/64"] for one in (EAST, WEST)))
        self.ends = [Member(space, pillar(), host, place) for space, host in zip(spaces, ENDS)]
        self.found = [
            one.inspect(authorities.host(f"CN={one.host}", now, self.ca), self.ca.pem) for one in self.ends
        ]
        for one, found in zip(self.ends, self.found):
            one.deploy(one.start(found, settings))
        self.wires = {one.host[:4]: [Sent(one.space, "eth0"), Sent(one.space, "eth0")] for one in self.ends}
        assert [one.program("guard").status for one in self.ends] == [0, 0]

    def knocked(self):
        """Send a datagram from each end to the other in each family; return what left each, but IKE."""
        for four, six in self.wires.values():
            four.seen()
            list(six.left(IPV6))
        for one, to in (self.ends, self.ends[::-1]):
            for family, kind in (("v4", socket.AF_INET), ("v6", socket.AF_INET6)):
                with network_of(one.space):
                    near = socket.socket(kind, socket.SOCK_DGRAM)
                with near, contextlib.suppress(OSError):  # a policy blocks it
                    near.sendto(b"word", (ENDS[to.host][family], CLOSED))
        time.sleep(SETTLED)
        return {host: self._left(*wires) for host, wires in self.wires.items()}

    def _left(self, four, six):
        both = {"v4": four.seen(families=(IPV4,)), "v6": six.seen(families=(IPV6,))}
        return sorted(
            {f"{kind} {family}" for family, found in both.items() for kind in found if kind != "ike"}
        )

    def up(self):
        """Have both up."""
        east = self.ends[0]
        east.backend.initiate([one.name for one in east.member.connections], timeout=60)
        wait_for(lambda: all(self.states(one) == {"established"} for one in self.ends), "SAs")

    def states(self, one):
        """Return the states that one end tells."""
        return {row["state"] for row in one.status().values()}

    def flush(self, *ends):
        """Have kernels forget."""
        for one in ends:
            for what in ("policy", "state"):
                one.space.run("ip", "xfrm", what, "flush")

    def give(self, **own):
        """Have east take another pillar, as states do; the SAs end. A host in maintenance stays as it is."""
        east = self.ends[0]
        east.read(pillar(**own))
        wanted = east.wanted(self.found[0])
        east.space.write("/etc/ipsec.conf", render.ipsec_conf(wanted.configuration))
        east.space.run("ipsec", "update")
        east.deploy(wanted)
        east.backend.terminate([sa.uniqueid for sa in east.backend.observe().ike_sas])
        wait_for(lambda: not any(one.backend.observe().ike_sas for one in self.ends), "end of all SAs")
        assert east.program("guard").status == 0


def damaged(pair):
    """Boot both with each damage: charon is not there yet, nor a policy."""
    for one in pair.ends:
        one.space.run("ipsec", "stop")
    pair.flush(*pair.ends)
    found = {"before": {"wire": pair.knocked()}}
    for name, damage in DAMAGES.items():
        pair.flush(*pair.ends)
        said = []
        for one in pair.ends:
            script = f"rm -rf $0; {damage}"
            one.space.run("sh", "-c", script, "/var/lib/hostipsec/hold.json")
            done = one.program("guard")
            said.append([done.status, done.text])
        found[name] = {"said": said, "wire": pair.knocked()}
    return found


def maintained(pair):
    """Take west out."""
    pair.up()
    found = {"up": pair.knocked()}
    pair.give(maintenance=True)
    found["there"] = [sorted(one.status()) for one in pair.ends]
    found["wire"] = pair.knocked()
    pair.give(maintenance="in-the-clear")
    return {**found, "in the clear": pair.knocked()}


def blocking(one):
    """Return how many policies of the guard there are that block."""
    return one.space.run("ip", "xfrm", "policy").count("action block")


def flushed(pair):
    """Flush one after the other, at east."""
    east = pair.ends[0]
    pair.up()
    guards = blocking(east)
    for one in pair.ends:  # of one that was just written, the state that wrote it is setting the guard
        one.space.run("touch", "-d", "1 hour ago", "/var/lib/hostipsec/mesh.json")
    nft = nftables.command()
    inside = ["nsenter", "-t", str(east.space.pid), "-n", *nft]
    run([*inside, TABLE])
    run([*inside, "flush", "ruleset"])
    found = {"ruleset": [run([*inside, "list", "ruleset"]), guards == blocking(east) > 0, pair.knocked()]}
    east.space.run("ip", "xfrm", "policy", "flush")
    found["no keeper"] = [blocking(east), pair.knocked(), brief(east.status())]
    began = time.monotonic()
    keepers = [Keeper(one.space) for one in pair.ends]
    wait_for(lambda: blocking(east) == guards, "the guard")
    found["guard"] = [round(time.monotonic() - began, 1), pair.knocked()]
    wait_for(lambda: all(pair.states(one) == {"established"} for one in pair.ends), "SAs", 120)
    found["up"] = [round(time.monotonic() - began, 1), pair.knocked()]
    east.space.run("ip", "xfrm", "policy", "flush")
    began = time.monotonic()
    wait_for(lambda: blocking(east) == guards, "the guard")
    found["running keeper"] = [round(time.monotonic() - began, 1), pair.knocked()]
    wait_for(lambda: all(pair.states(one) == {"established"} for one in pair.ends), "SAs", 120)
    found["up again"] = pair.knocked()
    for one in keepers:
        one.process.kill()
    return found


def bypassed(pair):
    """With the plugin, which has policies for the line of both."""
    pair.ends[0].backend.initiate([one.name for one in pair.ends[0].member.connections], timeout=60)
    wait_for(lambda: len(pair.ends[0].backend.observe().ike_sas) > 0, "an IKE SA")
    found = {"wire": pair.knocked()}
    return {**found, "status": {one.host[:4]: brief(one.status()) for one in pair.ends}}


def kept_out(pair):
    """Have both up, where ours is not the only file that says whether the plugin is loaded."""
    pair.up()
    found = {"wire": pair.knocked()}
    return {**found, "status": {one.host[:4]: brief(one.status()) for one in pair.ends}}


def translated(pair, box):
    """Translate a port of west's to a container; who gets what east sends there."""
    east, west = pair.ends
    veth = ["ip", "link", "add", "docker0", "netns", str(west.space.pid), "type", "veth"]
    run([*veth, "peer", "name", "eth0", "netns", str(box.pid)])
    batch(west.space, ["link set docker0 up", "address add 172.17.0.1/16 dev docker0"])
    batch(
        box, ["link set eth0 up", f"address add {CONTAINER}/16 dev eth0", "route add default via 172.17.0.1"]
    )
    west.space.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    rule = f"-A PREROUTING -p udp -d {WEST['v4']} --dport {TRANSLATED} -j DNAT --to {CONTAINER}:{INSIDE}"
    west.space.run(*translating.commands([rule], str(translating.ROOT)))
    with network_of(box):
        taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taker.bind((CONTAINER, INSIDE))
    taker.settimeout(2.0)
    pair.up()
    found = {"by SAs": _sent(pair, taker), "wire": pair.knocked()}
    for one in pair.ends:
        one.space.run("ipsec", "stop")
    pair.flush(east)  # east guards nothing
    found["in the clear"] = _sent(pair, taker)
    pair.flush(west)
    return {**found, "nobody guards": _sent(pair, taker)}


def _sent(pair, taker):
    east = pair.ends[0]
    four = pair.wires["east"][0]
    four.seen()
    with network_of(east.space):
        near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with near:
        near.sendto(b"word", (WEST["v4"], TRANSLATED))
    try:
        came = taker.recv(8) == b"word"
    except TimeoutError:
        came = False
    return [came, sorted({*four.seen()} - {"ike"})]


CASES = {
    "damaged": damaged,
    "maintained": maintained,
    "flushed": flushed,
    "bypassed": bypassed,
    "bypassed by a file before ours": kept_out,
    "translated": translated,
}


def main():
    """Go through the cases, each with hosts of its own."""
    found = {}
    for name in sys.argv[1:] or CASES:
        names = ("east", "west", *(["box"] if name == "translated" else []))
        with hosts(*names, over=unpacked()) as spaces, tempfile.TemporaryDirectory() as place:
            pair = Pair(spaces[:2], Path(place), SETTINGS.get(name, KERNEL_CONF))
            found[name] = CASES[name](pair, *spaces[2:])
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
