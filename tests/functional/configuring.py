"""Hosts on which ``ipsec.configured`` runs: a minion in memory, and a real strongSwan."""

from __future__ import annotations

import strongswan
import yaml
from minions import NOW, ROOT, Remote
from strongswan import wait_for

import authorities

A, B, C = "a.one.example", "b.two.example", "c.two.example"
ADDRESSES = {A: "10.0.0.1", B: "10.0.0.2", C: "10.0.0.3"}
SITES = {A: "one", B: "two", C: "two"}
FILES = ("etc/ipsec.conf", "etc/ipsec.secrets", "etc/strongswan.d/hostipsec.conf")
SERVICE = "ipsec"  # the package's init script: there is no systemd on these hosts
CHARON = "/usr/lib/ipsec/charon"


def three_hosts():
    """Return the pillar of three hosts; a pairs with b and with c. ESP is charon's own."""
    plane = yaml.safe_load((ROOT / "lab/pillar/plane-charon.sls").read_text())["ipsec"]
    return {
        **plane,
        "hosts": {host: {"site": SITES[host], "ipv4": address} for host, address in ADDRESSES.items()},
        "rules": [{"name": "all", "between": {"site": "one"}, "and": {"site": "two"}}],
        "certificates": {
            "source": "files",
            "certificate": "/etc/pki/host.pem",
            "key": "/etc/pki/host.key",
            "ca": "/etc/pki/ca.pem",
        },
    }


class Member:
    """A host with strongSwan installed and not configured, a certificate, and a minion."""

    def __init__(self, identifier, place, ca):
        self.name = identifier.partition(".")[0]
        self.host = strongswan.Host(self.name, place / self.name, over=strongswan.unpacked())
        own = authorities.host(f"CN={identifier}", NOW, ca)
        authorities.write(self.host.root / "etc/pki", own.pem, own.key_pem(), ca.pem)
        log = place / f"{self.name}.log"
        self.minion = Remote(self.host.argv, log, place="/tmp/minion", identifier=identifier)

    def prepare(self, data):
        self.minion.pillar(data)
        assert self.minion.state("ipsec.certificate_reused", "/etc/ipsec.d")["result"] is True

    def run(self, test=False):
        return self.minion.state("ipsec.configured", SERVICE, test=test)

    def apply(self, data):
        """Run the state in test mode and for real: both say the same, and test mode touches nothing."""
        self.minion.pillar(data)
        before = self.files
        would = self.run(test=True)
        assert self.files == before
        did = self.run()
        assert did["result"] is True, did["comment"]
        assert did["changes"] == would["changes"]
        assert would["result"] is (None if did["changes"] else True)
        for test in (True, False):
            again = self.run(test)
            assert (again["result"], again["changes"]) == (True, {})
        return did

    def settle(self, data):
        """Run the state once, for real, to have something to start from."""
        self.minion.pillar(data)
        assert self.run()["result"] is True

    def fails(self, data):
        """Run the state for real; it fails, says why in one sentence, and the files are as before."""
        self.minion.pillar(data)
        before = self.contents
        found = self.run()
        assert (found["result"], found["changes"]) == (False, {})
        assert "Traceback" not in found["comment"]
        assert len(found["comment"].splitlines()) == 1, found["comment"]
        assert self.contents == before
        return found["comment"]

    @property
    def files(self):
        """Content, mode and time of change of strongSwan's files, and of the record for programs."""
        found = {}
        for name in (*FILES, "var/lib/hostipsec/mesh.json"):
            path = self.host.root / name
            status = path.stat() if path.exists() else None
            found[name] = status and (path.read_bytes(), status.st_mode, status.st_mtime_ns)
        return found

    @property
    def contents(self):
        """The same without times: what was swapped and brought back is newer."""
        return {name: found and found[:2] for name, found in self.files.items()}

    @property
    def pid(self):
        return (self.host.root / "run/charon.pid").read_text()

    @property
    def sas(self):
        """Return the ids of all SAs by connection, and those of none of ours."""
        found = self.minion.call("ipsec.status")
        rows = [
            *found["connections"].items(),
            *(("?" + name, row) for name, row in found["unmanaged"].items()),
        ]
        return {name: (row["ike_ids"], row["child_ids"]) for name, row in rows if row["ike_ids"]}

    def wait(self, *established):
        """Wait until just these connections are established, each once."""

        def happened():
            found = self.minion.call("ipsec.status")
            states = {name: row["state"] for name, row in found["connections"].items()}
            up = {name for name, state in states.items() if state == "established"}
            return up == {*established} and "duplicate" not in states.values()

        wait_for(happened, f"{self.name}: {established} established")

    def stop(self):
        self.minion.stop()
        self.host.stop()
