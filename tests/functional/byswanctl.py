"""Hosts with charon-systemd installed, with or without the starter beside it, and a minion each.

There is no systemd in a namespace: a script takes its orders for the units of both.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

import strongswan
import yaml
from minions import NOW, ROOT, Remote
from strongswan import wait_for

import authorities

A, B, C = "a.one.example", "b.two.example", "c.two.example"
ADDRESSES = {A: "10.0.0.1", B: "10.0.0.2", C: "10.0.0.3"}
SITES = {A: "one", B: "two", C: "two"}
SERVICES = {"swanctl": "strongswan", "ipsec.conf": "strongswan-starter"}
PLACES = {"swanctl": "/etc/swanctl", "ipsec.conf": "/etc/ipsec.d"}
CONF = "etc/swanctl/conf.d/hostipsec.conf"
FILES = (CONF, "etc/strongswan.d/hostipsec.conf", "var/lib/hostipsec/mesh.json")
PACKAGES = (
    *("charon-systemd", "libcharon-extra-plugins", "libstrongswan", "libstrongswan-standard-plugins"),
    *("strongswan-libcharon", "strongswan-swanctl"),
)
# What systemd does for the units. charon-systemd's starts swanctl; where that fails, charon is stopped.
# Nothing starts what is masked, nor, on the word of a test, what /tmp/refused names; and nothing is done any
# more once as many orders as /tmp/cut says were.
SYSTEMCTL = r"""#!/bin/sh
verb= unit=
for word; do
    case $word in -*) ;; *) if [ "$verb" ]; then unit=${word%.service}; else verb=$word; fi ;; esac
done
case $unit in
strongswan) programs=charon-systemd ;;
strongswan-starter) programs="starter charon" ;;
*) programs= ;;
esac
link=/etc/systemd/system/$unit.service wants=/etc/systemd/system/multi-user.target.wants/$unit.service
runs() {
    for program in $programs; do pgrep -r D,R,S -x "$program" >/dev/null && return 0; done
    return 1
}
stop() {
    for program in $programs; do pkill -x "$program" && break; done
    while runs; do sleep 0.05; done
}
start() {
    [ -L "$link" ] && { echo "Unit $unit.service is masked."; exit 1; }
    grep -qsx "$unit" /tmp/refused && { echo "Job for $unit.service failed."; exit 1; }
    case $unit in
    strongswan)
        setsid /usr/sbin/charon-systemd >/dev/null 2>&1 </dev/null &
        while ! /usr/sbin/swanctl --stats >/dev/null 2>&1; do sleep 0.05; done
        /usr/sbin/swanctl --load-all --noprompt >/tmp/loaded.log 2>&1 || { stop; exit 1; } ;;
    strongswan-starter) setsid /usr/sbin/ipsec start --nofork >/tmp/starter.log 2>&1 </dev/null & ;;
    esac
}
case $verb in mask | unmask | enable | disable | start | stop | restart)
    if [ -e /tmp/cut ]; then
        left=$(cat /tmp/cut)
        [ "$left" -gt 0 ] || exit 1
        echo $((left - 1)) >/tmp/cut
    fi ;;
esac
case $verb in
is-active) if runs; then echo active; exit 0; else echo inactive; exit 3; fi ;;
is-enabled)
    if [ -L "$link" ]; then echo masked; exit 1; fi
    if [ -e "$wants" ]; then echo enabled; else echo disabled; exit 1; fi ;;
mask) mkdir -p "${link%/*}"; ln -sf /dev/null "$link" ;;
unmask) rm -f "$link" ;;
enable) mkdir -p "${wants%/*}"; touch "$wants" ;;
disable) rm -f "$wants"; stop ;;
start) runs || start ;;
stop) stop ;;
restart) stop; start ;;
*) case "$*" in --version) echo "systemd 252" ;; esac ;;
esac
"""
SYSTEMD_RUN = '#!/bin/sh\nshift\nexec "$@"\n'  # --scope
ONE_LOOK = (
    "import sys; sys.path.insert(0, sys.argv[1]); from hostipsec.programs.keeper import *; Keeper().once()"
)
DAEMONS = ("charon", "charon-systemd", "starter")
LOGGED = "charon-systemd {\n filelog {\n  charon {\n   path = /tmp/charon.log\n   default = 1\n  }\n }\n}\n"


def unpacked():
    """Return the tree of the machine's release with charon-systemd, and without starter and stroke."""
    return strongswan.tree("swanctl", PACKAGES, strongswan.without_lib)


def both_unpacked():
    """Return the tree with the starter and stroke beside it, as Debian 12 can have them."""
    return strongswan.tree("both", sorted({*PACKAGES, *strongswan.PACKAGES}), strongswan.without_lib)


def pillar_of(stage="start", **more):
    plane = yaml.safe_load((ROOT / "lab/pillar/plane-charon.sls").read_text())["ipsec"]
    return {
        **plane,
        "hosts": {host: {"site": SITES[host], "ipv4": address} for host, address in ADDRESSES.items()},
        "rules": [{"name": "all", "between": {"site": "one"}, "and": {"site": "two"}, "stage": stage}],
        "certificates": {
            "source": "files",
            "certificate": "/etc/pki/host.pem",
            "key": "/etc/pki/host.key",
            "ca": "/etc/pki/ca.pem",
            "crl": "/etc/pki/crl.pem",
        },
        "backend": "swanctl",
        **more,
    }


class Member:
    """A host with charon-systemd installed and not configured, a certificate, and a minion."""

    def __init__(self, identifier, place, ca, over=unpacked, kind=strongswan.Host):
        self.id, self.name = identifier, identifier.partition(".")[0]
        self.host = kind(self.name, place / self.name, over=over())
        own = authorities.host(f"CN={identifier}", NOW, ca)
        self.certificate = own.certificate
        authorities.write(self.host.root / "etc/pki", own.pem, own.key_pem(), ca.pem)
        for path in ("run/systemd/system", "usr/lib/systemd/system"):
            (self.host.root / path).mkdir(parents=True, exist_ok=True)
        for unit in SERVICES.values():
            self.host.write(f"/usr/lib/systemd/system/{unit}.service", "", 0o644)
        for name, script in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            (self.host.root / "usr/bin" / name).unlink(missing_ok=True)
            self.host.write(f"/usr/bin/{name}", script, 0o755)
        self.host.write("/etc/strongswan.d/zz-test.conf", LOGGED, 0o644)
        log = place / f"{self.name}.log"
        self.minion = Remote(self.host.argv, log, place="/tmp/minion", identifier=identifier)

    def settle(self, data):
        """Bring the host to what a pillar says, as the states do."""
        self.minion.pillar(data)
        copied = self.minion.state("ipsec.certificate_reused", PLACES[data["backend"]])
        assert copied["result"] is True, copied["comment"]
        found = self.configured(data)
        assert found["result"] is True, found["comment"]
        return found

    def configured(self, data):
        self.minion.pillar(data)
        return self.minion.state("ipsec.configured", SERVICES[data["backend"]])

    def would(self, data):
        self.minion.pillar(data)
        return self.minion.state("ipsec.configured", SERVICES[data["backend"]], test=True)

    def status(self):
        return self.minion.call("ipsec.status")

    def states(self):
        return {name: row["state"] for name, row in self.status()["connections"].items()}

    def wait(self, **states):
        wait_for(lambda: self.states() == states, f"{self.name}: {states}, but {self.states()}")

    def keep(self):
        """Have the keeper look once, at a record that is not just being written."""
        os.utime(self.host.root / "var/lib/hostipsec/mesh.json", (0, 0))
        self.host.run(sys.executable, "-c", ONE_LOOK, str(ROOT / "_utils"))

    @contextlib.contextmanager
    def journal(self):
        """Take journald's place; yields what is told, line by line."""
        path, told = self.host.root / "run/systemd/journal/socket", []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

        def read(taken):
            with contextlib.suppress(OSError):
                while found := taken.recv(1 << 16):
                    told.append(found.decode("utf-8", "replace"))

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taken:
            taken.bind(str(path))
            threading.Thread(target=read, args=(taken,), daemon=True).start()
            yield told
            taken.shutdown(socket.SHUT_RDWR)

    def processes(self):
        """Return what runs of strongSwan's daemons."""
        listed = self.host.run("ps", "-e", "-o", "stat=,comm=").splitlines()
        words = (line.split() for line in listed)
        return sorted(name for state, name in words if name in DAEMONS and not state.startswith("Z"))

    @property
    def conf(self):
        return (self.host.root / CONF).read_text()

    @property
    def pid(self):
        return self.host.run(
            "pgrep", "--ns", "1", "--nslist", "net", "-r", "D,R,S", "-x", "charon-systemd"
        ).split()

    @property
    def running(self):
        return "active" in self.host.process(["systemctl", "is-active", "strongswan"], 60).stdout.split()

    @property
    def loaded(self):
        with self.host.vici(60) as session:
            return sorted(name for found in session.list_conns() for name in found)

    @property
    def sas(self):
        with self.host.vici(60) as session:
            listed = [sa for found in session.list_sas({"ike": "b_v4"}) for sa in found.values()]
        return sorted(int(sa["uniqueid"]) for sa in listed)

    def contents(self):
        return {name: (self.host.root / name).read_bytes() for name in FILES}

    def stop(self):
        self.minion.stop()
        self.host.stop()
