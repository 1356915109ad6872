"""East as its pillar has it, and a gateway with libreswan: SAs begun at either end, and what east says of it.

Prints by who starts what was found, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import libreswan
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from members import Member
from proofs import KERNEL_CONF
from strongswan import Host, line, unpacked, wait_for

import authorities

EAST, GATEWAY = "east.example", "gw.partner.example"
HERE, THERE = {"ipv4": "10.9.0.1", "ipv6": "fd09::1"}, {"ipv4": "10.9.0.2", "ipv6": "fd09::2"}
NAMES = ("gw_v4", "gw_v6")
NSS = "sql:/var/lib/ipsec/nss"
LIBEXEC = "/usr/libexec/ipsec"
CONF = """
config setup
    logfile=/tmp/pluto.log
    dnssec-enable=no
"""
CONN = """
conn {name}
    left={left}
    leftid=@{gateway}
    leftcert=gateway
    leftsendcert=always
    right={right}
    rightid="CN={east}"
    rightca="CN=Fleet CA"
    authby=ecdsa
    ikev2=insist
    type=transport
    ike=aes_gcm256-sha2_384;dh20
    esp=aes_gcm256;dh20
    esn=no
    auto=add
"""


def pillar(ca):
    """Return east's pillar; the test starts what there is."""
    rule = {"name": "all", "between": {"side": "in"}, "and": {"side": "out"}, "stage": "passive"}
    unmanaged = {"managed": False, "subject": f"@{GATEWAY}", "ca": str(ca)}
    return {
        "hosts": {EAST: {"side": "in", **HERE}, GATEWAY: {"side": "out", **THERE, **unmanaged}},
        "rules": [rule],
        # libreswan has no groups of Brainpool
        "connection": {"ike": "aes256gcm16-prfsha384-ecp384!", "esp": "aes256gcm16-ecp384-noesn!"},
    }


class Gateway:
    """The host that Salt does not manage."""

    def __init__(self, space, issued, fleet, partner):
        self.space = space
        space.run("mkdir", "-p", "/var/lib/ipsec/nss", "/run/pluto")
        self.nss("certutil", "-N", "--empty-password")
        secret = serialization.BestAvailableEncryption(b"tests only")
        key = pkcs12.serialize_key_and_certificates(
            b"gateway", issued.key, issued.certificate, [partner.certificate], secret
        )
        (space.root / "tmp/gateway.p12").write_bytes(key)
        self.nss("pk12util", "-i", "/tmp/gateway.p12", "-W", "tests only")
        for name, ca in (("fleet", fleet), ("partner", partner)):
            (space.root / f"tmp/{name}.pem").write_bytes(ca.pem)
            self.nss("certutil", "-A", "-n", name, "-t", "CT,,", "-a", "-i", f"/tmp/{name}.pem")
        ends = zip(NAMES, THERE.values(), HERE.values())
        conns = [
            CONN.format(name=name, left=left, right=right, east=EAST, gateway=GATEWAY)
            for name, left, right in ends
        ]
        space.write("/etc/ipsec.conf", CONF + "".join(conns))
        space.write("/etc/ipsec.secrets", "")
        argv = [f"{LIBEXEC}/pluto", "--config", "/etc/ipsec.conf", "--nofork"]
        self.pluto = subprocess.Popen(
            space.argv(argv), stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr
        )
        wait_for(lambda: space.process([f"{LIBEXEC}/whack", "--status"], 10).status == 0, "pluto")
        for name in NAMES:
            space.run(f"{LIBEXEC}/addconn", "--config", "/etc/ipsec.conf", name)
        space.run(f"{LIBEXEC}/whack", "--listen")

    def nss(self, program, *arguments):
        """Do something with the certificates."""
        self.space.run(program, *arguments, "-d", NSS)

    def initiate(self):
        """Begin both connections."""
        for name in NAMES:
            self.space.process([f"{LIBEXEC}/whack", "--initiate", "--name", name, "--asynchronous"], 60)

    def states(self):
        """Return how many SAs its kernel has."""
        return self.space.run("ip", "xfrm", "state").count("proto esp")

    def log(self):
        """Return what it said."""
        with contextlib.suppress(OSError):
            return (self.space.root / "tmp/pluto.log").read_text(errors="replace")[-6000:]
        return ""


def found(east, gateway):
    """Return what east says of what is up, and its proof."""
    try:
        wait_for(lambda: [row["state"] for row in east.status().values()] == ["established"] * 2, "tunnels")
    except AssertionError:
        sys.stderr.write(f"{gateway.log()}\n{east.space.log[-4000:]}\n{east.status()}\n")
        raise
    proofs = east.verify(esp="aes256gcm16-ecp384-noesn!")
    return {
        "status": {name: [row["severity"], row["reason"]] for name, row in east.status().items()},
        "proofs": {name: [row["ok"], row["reasons"]] for name, row in proofs.items()},
    }


def down(east, gateway, *how):
    """End all of it at east; return its status, once the gateway has no SA, and what east has then."""
    done = east.program("ipsec_global", "down", *how, "--json")
    try:
        wait_for(lambda: gateway.states() == 0, "end of the gateway's SAs")
    except AssertionError:
        sys.stderr.write(f"{how} {done} {gateway.log()}")
        raise
    return [done.status, sorted({row["state"] for row in east.status().values()})]


def main():
    """Begin them at east, then at the gateway."""
    now, said = datetime.now(timezone.utc), {}
    fleet, partner = (authorities.authority(f"CN={name} CA", now) for name in ("Fleet", "Partner"))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        place = Path(name)
        (place / "partner.pem").write_bytes(partner.pem)
        trees = {"east": unpacked(), "gateway": libreswan.unpacked()}
        spaces = {name: Host(name, place / name, over=over) for name, over in trees.items()}
        for one in spaces.values():
            stack.callback(one.stop)
        line(*spaces.values(), *([f"{end['ipv4']}/24", f"{end['ipv6']}/64"] for end in (HERE, THERE)))
        beside = authorities.x509.SubjectAlternativeName([authorities.x509.DNSName(GATEWAY)])
        issued = authorities.host("CN=gateway, O=Partner", now, partner, extensions=((beside, False),))
        gateway = Gateway(spaces["gateway"], issued, fleet, partner)
        east = Member(spaces["east"], pillar(place / "partner.pem"), EAST, place)
        mine = east.inspect(authorities.host(f"CN={EAST}", now, fleet), fleet.pem)
        east.deploy(east.start(mine, KERNEL_CONF))
        east.backend.initiate(NAMES, timeout=60)
        said["east"] = found(east, gateway)
        said["down"] = down(east, gateway, "--no-hold")
        gateway.initiate()
        said["gateway"] = found(east, gateway)
        said["held"] = down(east, gateway)  # libreswan goes on to try
    sys.stdout.write(json.dumps(said) + "\n")


main()
