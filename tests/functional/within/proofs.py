"""East and west with real charons, and what ``verification`` says at east of one situation after the other.

Prints them by name, as JSON. The argument says who does ESP: ``kernel`` or ``charon``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from spaces import batch, hosts
from strongswan import STRONGSWAN_CONF, line, unpacked, wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.health import judge
from hostipsec.model import Connection
from hostipsec.store import record
from hostipsec.store.record import Record

EAST = {"v4": "10.9.0.1", "v6": "fd09::1"}
WEST = {"v4": "10.9.0.2", "v6": "fd09::2"}
SECRETS = ': PSK "tests only"\n'
ESP = "aes128gcm16-ecp384bp-noesn!"
OTHER_GROUP = "aes128gcm16-ecp256bp-noesn!"
CONN = """
conn {name}
    left={left}
    right={right}
    leftid="CN={me}.example"
    rightid="CN={peer}.example"
    authby=psk
    keyexchange=ikev2
    ike=aes128gcm16-prfsha384-ecp384bp!
    esp={esp}
    type={type}
    reauth=no
    mobike=no
    auto=add
"""
KERNEL_CONF = "charon {\n    retransmit_timeout = 60\n    plugins {\n        vici { load = yes }\n    }\n}\n"
SETTINGS = {"kernel": ("transport", KERNEL_CONF), "charon": ("tunnel", STRONGSWAN_CONF)}
TIMEOUT = {"timeout": 2.0}


def connection(peer, family, right):
    """Return a connection of east."""
    ends = (ip_address(EAST[family]), ip_address(right))
    return Connection(f"{peer}_{family}", peer, family, *ends, "", "", True, "start")


PAIR = tuple(connection("west", family, WEST[family]) for family in WEST)
GONE = connection("gone", "v4", "10.9.0.9")
NOWHERE = connection("nowhere", "v4", "192.0.2.1")


class Mesh:
    """East and west, and what is asked of east."""

    def __init__(self, plane, east, west):
        """Connect the two, and start a charon on each."""
        self.plane, self.east, self.west = plane, east, west
        self.type, self.settings = SETTINGS[plane]
        line(east, west, *([f"{end['v4']}/24", f"{end['v6']}/64"] for end in (EAST, WEST)))
        west.start(self.of_west(), SECRETS, self.settings)
        east.start(self.of_east(), SECRETS, self.settings)
        self.backend = ViciBackend(east.vici)

    def conn(self, me, peer, family, left, right, esp=ESP, more=""):
        """Return a section of ipsec.conf."""
        known = {"name": f"{peer}_{family}", "left": left, "right": right, "me": me, "peer": peer}
        return CONN.format(**known, esp=esp, type=self.type) + more

    def of_west(self, esp=ESP, more=""):
        """Return west's ipsec.conf."""
        return "".join(self.conn("west", "east", one, WEST[one], EAST[one], esp, more) for one in WEST)

    def of_east(self, esp=ESP, more=""):
        """Return east's ipsec.conf."""
        pair = "".join(self.conn("east", "west", one, EAST[one], WEST[one], esp, more) for one in EAST)
        return pair + self.conn("east", "gone", "v4", EAST["v4"], "10.9.0.9")

    def configure(self, of_east, of_west):
        """Have both ends load other configurations, for SAs to come."""
        for host, text in ((self.east, of_east), (self.west, of_west)):
            host.write("/etc/ipsec.conf", text)
            host.run("ipsec", "update")

    def states(self):
        """Return what the judge says of the pair."""
        return [row.state for row in judge.evaluate(PAIR, self.backend.observe()).managed]

    def packets(self):
        """Return how many packets left east by SAs."""
        return sum(child.packets_out for sa in self.backend.observe().ike_sas for child in sa.children)

    def up(self, state="established"):
        """Have both connections up, with SAs of their own."""
        self.down()
        wait_for(lambda: {one.name for one in PAIR} <= self.loaded(), "the connections")
        self.backend.initiate([one.name for one in PAIR])
        wait_for(lambda: self.states() == [state] * 2, "tunnels")

    def loaded(self):
        """Return the names of the connections that east has loaded."""
        return {one.name for one in self.backend.observe().connections}

    def down(self):
        """End all SAs, at both ends."""
        for backend in (self.backend, ViciBackend(self.west.vici)):
            backend.terminate([sa.uniqueid for sa in backend.observe().ike_sas], force=True)
        both = (self.backend, ViciBackend(self.west.vici))
        wait_for(lambda: not any(one.observe().ike_sas for one in both), "end of all SAs")

    def argv(self, connections, asked, prefix=()):
        """Return what verifies at east."""
        python = ["env", f"PYTHONPATH={os.environ['PYTHONPATH']}", *prefix, sys.executable, "-B"]
        script = str(Path(__file__).with_name("proving.py"))
        return self.east.argv([*python, script, record.render(Record(tuple(connections))), json.dumps(asked)])

    def verify(self, connections=PAIR, prefix=(), **asked):
        """Return what is found at east."""
        argv = self.argv(connections, {"esp": ESP, "timeout": 10.0, **asked}, prefix)
        return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=90).stdout)


# Situations ----------------------------------------------------------------------------------


def established(mesh_):
    """All is well, with a capture."""
    mesh_.up()
    return mesh_.verify(capture=True)


def rekeyed(mesh_):
    """Rekeyed first, on what is up."""
    return mesh_.verify(capture=True, rekey=True, count=5)


def disturbed(mesh_):
    """A rekeying that somebody else forces in the midst of the probes."""
    asked = {"esp": ESP, "timeout": 10.0, "count": 60}
    running = subprocess.Popen(mesh_.argv(PAIR, asked), stdout=subprocess.PIPE)
    first = mesh_.packets()
    wait_for(lambda: mesh_.packets() > first + 40, "probes under way")
    ids = [child.uniqueid for sa in mesh_.backend.observe().ike_sas for child in sa.children]
    mesh_.backend.rekey_children(ids)
    return json.loads(running.communicate(timeout=90)[0])


def without_the_right(mesh_):
    """No CAP_NET_RAW."""
    return mesh_.verify(prefix=["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"])


def line_cut(mesh_):
    """SAs at both ends, and a line that is down."""
    mesh_.west.run("ip", "link", "set", "eth0", "down")
    try:
        return mesh_.verify(**TIMEOUT)
    finally:
        mesh_.west.run("ip", "link", "set", "eth0", "up")
        mesh_.west.run("ip", "address", "replace", f"{WEST['v6']}/64", "dev", "eth0", "nodad")


def no_sa(mesh_):
    """Nothing is up: the probes go in the clear, and are answered so."""
    mesh_.down()
    return mesh_.verify(capture=True, rekey=True)


def no_sa_no_capture(mesh_):
    """The same without a look at what leaves."""
    return mesh_.verify()


def nobody(mesh_):
    """A host that does not exist, and one to which there is no route."""
    return mesh_.verify((GONE, NOWHERE), capture=True, **TIMEOUT)


def other_group(mesh_):
    """West has another group in esp: the tunnel comes up, and cannot be rekeyed."""
    mesh_.west.write("/etc/ipsec.conf", mesh_.of_west(OTHER_GROUP))
    mesh_.west.run("ipsec", "update")
    mesh_.up()
    return mesh_.verify(rekey=True, timeout=3.0)


def answers_in_the_clear(mesh_):
    """West has a policy of its own that lets its answers out as they are; east refuses them."""
    mesh_.up()
    with policy(mesh_.west, "out", WEST["v4"], EAST["v4"]):
        return mesh_.verify(**TIMEOUT)


def leaves_in_the_clear(mesh_):
    """East has such a policy: its counters stand still, and a capture shows why."""
    with policy(mesh_.east, "out", EAST["v4"], WEST["v4"]):
        return {name: mesh_.verify(capture=name == "seen", **TIMEOUT) for name in ("seen", "unseen")}


def null(mesh_):
    """Both ends agree on SAs that encrypt nothing: each packet goes by them, and can be read."""
    return agreed(mesh_, mesh_.of_east("null-sha256!"), mesh_.of_west("null-sha256!"))


def one_port(mesh_):
    """Both ends agree on SAs for one port."""
    ports = ("    leftprotoport=tcp/6379\n", "    rightprotoport=tcp/6379\n")
    return agreed(mesh_, mesh_.of_east(more=ports[0]), mesh_.of_west(more=ports[1]))


def agreed(mesh_, of_east, of_west):
    """Both ends have other configurations for a while, and SAs by them."""
    mesh_.configure(of_east, of_west)
    mesh_.up("not encrypted")
    found = mesh_.verify(capture=True, **TIMEOUT)
    mesh_.configure(mesh_.of_east(), mesh_.of_west())
    return found


@contextlib.contextmanager
def policy(host, direction, source, destination):
    """Let packets pass as they are, over what charon installed."""
    words = f"src {source} dst {destination} proto icmp dir {direction}"
    batch(host, [f"xfrm policy add {words} priority 1"])
    try:
        yield
    finally:
        batch(host, [f"xfrm policy delete {words}"])


BOTH = (established, disturbed, rekeyed, without_the_right, line_cut, no_sa, no_sa_no_capture, nobody)
SITUATIONS = {
    "kernel": (*BOTH, answers_in_the_clear, leaves_in_the_clear, null, one_port, other_group),
    "charon": (*BOTH, other_group),
}


def main(plane):
    """Go through the situations; print what was found, with the device that charon made."""
    found, took = {}, {}
    with hosts("east", "west", over=unpacked()) as (east, west):
        mesh_ = Mesh(plane, east, west)
        for situation in SITUATIONS[plane]:
            began = time.monotonic()
            found[situation.__name__] = situation(mesh_)
            took[situation.__name__] = round(time.monotonic() - began, 1)
        links = json.loads(east.run("ip", "-j", "link", "show"))
        found["mtus"] = {link["ifname"]: link["mtu"] for link in links}
    sys.stderr.write(f"seconds: {took}\n")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
