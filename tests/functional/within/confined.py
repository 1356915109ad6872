"""East and west as states leave them, under Debian's AppArmor profiles, enforced.

Prints what confines charon, what both say, proofs, what a charon on trial says, and what was denied, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import apparmor
import strongswan
from members import Member
from proofs import KERNEL_CONF
from strongswan import Host, line, run, unpacked, wait_for

import authorities
from hostipsec.system import processes

ENDS = {"east.example": ("10.9.0.1", "fd09::1"), "west.example": ("10.9.0.2", "fd09::2")}
PROFILES = ("usr.lib.ipsec.charon", "usr.lib.ipsec.stroke", "usr.sbin.swanctl")
# A path is told from the root of the mount namespace, whatever a process was told by chroot
PIVOTED = """
cd "$1/root"
mkdir run/old
pivot_root . run/old
exec chroot . sh -c 'umount --lazy /run/old; rmdir /run/old; echo "$0"; exec sleep infinity' "$pid"
"""
TRY = """
import json, sys
sys.path.insert(0, "/usr/local/lib/hostipsec")
from hostipsec import paths
from hostipsec.apply import trial
from hostipsec.errors import ConfigError
kept, secrets = paths.here.conf.read_bytes(), paths.here.secrets.read_bytes()
changed, names = json.loads(sys.argv[1])
files = {"ipsec.conf": kept.replace(*map(str.encode, changed)), "ipsec.secrets": secrets}
with trial.staged(files, paths.here.strongswan_d, paths.here.state) as directory:
    try:
        verdict = trial.run(directory, names, 30)
        print([one.name for one in verdict.charon.connections], sorted(verdict.loaded.certificates))
    except ConfigError as error:
        print(error)
"""
DENIED = re.compile(r'apparmor="DENIED" operation="(\w+)" .*?profile="([^"]+)" name="([^"]+)"')


class Confined(Host):
    """A host whose paths are what AppArmor goes by."""

    SCRIPT = strongswan.INIT[: strongswan.INIT.index("exec chroot")] + PIVOTED


def enforced(place, tree, names):
    """Have the kernel enforce profiles of a tree of Debian's packages, also one that is to complain only."""
    profiles = place / "apparmor.d"
    shutil.copytree(apparmor.unpacked() / "etc/apparmor.d", profiles)
    (profiles / "local").mkdir(exist_ok=True)
    run(["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"])
    for name in names:
        text = (tree / "etc/apparmor.d" / name).read_text()
        (profiles / name).write_text(text.replace("flags=(complain,", "flags=("))
        (profiles / "local" / name).touch()
        parser = [str(apparmor.parser()), "--replace", "--skip-cache", "--base", str(profiles)]
        run([*parser, str(profiles / name)])


def pillar():
    """Return the pillar of both."""
    hosts = {name: {"role": "all", "ipv4": v4, "ipv6": v6} for name, (v4, v6) in ENDS.items()}
    both = {"role": "all"}
    return {"hosts": hosts, "rules": [{"name": "all", "between": both, "and": both, "stage": "passive"}]}


def tried(member, old="", new=""):
    """Return what a charon on trial says of the configuration, in which a text stands for another."""
    names = [one.name for one in member.member.connections]
    done = member.space.process(["/usr/bin/python3", "-IBc", TRY, json.dumps([[old, new], names])], 90)
    return (done.stdout + done.stderr).strip()


def confinement(space):
    """Return what confines the charon of a host."""
    pid = (space.root / "run/charon.pid").read_text().strip()
    return space.run("cat", f"/proc/{pid}/attr/current").strip()


def denied():
    """Return what was denied: operation, profile, name."""
    return sorted({match.groups() for match in DENIED.finditer(processes.run(["dmesg"], 30).stdout)})


def main():
    """Start both, look, end them and have them come back."""
    now, said = datetime.now(timezone.utc), {}
    ca = authorities.authority("CN=Fleet CA", now)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        place, members = Path(name), []
        enforced(place, unpacked(), PROFILES)
        for host in ENDS:
            space = Confined(host.split(".")[0], place / host, over=unpacked())
            stack.callback(space.stop)
            members.append(Member(space, pillar(), host, place))
        line(*(one.space for one in members), *([f"{v4}/24", f"{v6}/64"] for v4, v6 in ENDS.values()))
        for one in members:
            issued = authorities.host(f"CN={one.host}", now, ca)
            one.deploy(one.start(one.inspect(issued, ca.pem), KERNEL_CONF))
        east = members[0]
        said["confined"] = [confinement(one.space) for one in members]
        east.backend.initiate([one.name for one in east.member.connections], timeout=60)
        up = {"established"}
        wait_for(lambda: {row["state"] for row in east.status().values()} == up, "the tunnels", 90)
        said["status"] = {key: [row["severity"], row["reason"]] for key, row in east.status().items()}
        said["proofs"] = {key: [proof["ok"], proof["reasons"]] for key, proof in east.verify().items()}
        said["trial"] = {"good": tried(east), "bad": tried(east, "mobike=", "mobike=nonsense-")}
        said["verbs"] = [east.program("ipsec_global", verb).status for verb in ("down", "up")]
        said["asked"] = [
            east.space.process(argv, 20).status
            for argv in (["ipsec", "rereadall"], ["ipsec", "update"], ["swanctl", "--list-sas"])
        ]
        said["denied"] = denied()
        # a look elsewhere, by which AppArmor is seen to be at work
        east.space.write("/etc/ipsec.secrets", "include /var/lib/hostipsec/mesh.json\n")
        east.space.run("ipsec", "rereadsecrets")
        wait_for(denied, "a denial")
        said["elsewhere"] = denied()
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
