"""A pair that runs by swanctl as states leave it, under Debian's AppArmor profiles, enforced.

Prints what confines charon, what both say, proofs, what a charon on trial says, and what was denied, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import byswanctl
from confined import Confined, denied, enforced
from minions import NOW, ROOT
from strongswan import line, wait_for

import authorities

ENDS = (byswanctl.A, byswanctl.B)
PROFILES = ("usr.sbin.charon-systemd", "usr.sbin.swanctl")
TYPED = (["--reload"], ["--load-all", "--noprompt"], ["--list-sas"])
ELSEWHERE = "/var/lib/hostipsec/mesh.json"
TRY = """
import json, sys
sys.path.insert(0, sys.argv[1])
from hostipsec import paths
from hostipsec.apply import trial
from hostipsec.errors import ConfigError
kept = paths.here.swanctl.read_text()
files = {"conf.d/hostipsec.conf": kept.replace(*sys.argv[2:]).encode()}
with trial.staged(files, paths.here.strongswan_d, paths.here.state) as directory:
    try:
        verdict = trial.run(directory, ["b_v4"], 30)
        print([one.name for one in verdict.charon.connections], sorted(verdict.loaded.certificates))
    except ConfigError as error:
        print(error)
"""


def pillar():
    """Return the pillar of the two; the kernel does ESP."""
    found = byswanctl.pillar_of()
    found["hosts"] = {host: found["hosts"][host] for host in ENDS}
    return {key: value for key, value in found.items() if key not in ("connection", "charon")}


def tried(member, old="", new=""):
    """Return what a charon on trial says of what runs, in which a text stands for another."""
    done = member.host.process([sys.executable, "-c", TRY, str(ROOT / "_utils"), old, new], 90)
    return (done.stdout + done.stderr).strip()


def confinement(member):
    """Return what confines charon."""
    return [member.host.run("cat", f"/proc/{pid}/attr/current").strip() for pid in member.pid]


def asked(one, two):
    """Return what became of all that is asked of charon and swanctl."""
    up = one.minion.call("ipsec.up")
    wait_for(lambda: {*one.states().values(), *two.states().values()} == {"established"}, "the tunnel")
    found = {
        "up": up["ok"],
        "proof": one.minion.call("ipsec.verify")["sentence"],
        "good": tried(one),
        "bad": tried(one, "mobike = ", "mobike = perhaps-"),
        "raised": one.minion.call("ipsec.loglevel", ike=2)["raised"],
        "usual": one.minion.call("ipsec.loglevel", minutes=0)["raised"],
        "down": one.minion.call("ipsec.down", reason="a test")["ok"],
        "again": one.minion.call("ipsec.up")["ok"],
        "typed": [one.host.process(["swanctl", *words], 60).status for words in TYPED],
    }
    (one.host.root / byswanctl.CONF).write_text(one.conf[: one.conf.rindex("}\n")])  # damaged
    one.host.run("systemctl", "restart", "strongswan")
    one.keep()
    return {**found, "kept": one.loaded}


def elsewhere(one):
    """Have both look where they may not; return what was denied then."""
    place = one.host.root / "etc"
    for path, argv in (
        ("swanctl/conf.d/zz.conf", ["swanctl", "--load-conns"]),
        ("strongswan.d/zz-zz.conf", ["swanctl", "--reload"]),
    ):
        (place / path).write_text(f"include {ELSEWHERE}\n")
        one.host.process(argv, 60)
        (place / path).unlink()
    return denied()


def main():
    """Set both up, ask, and look elsewhere."""
    ca = authorities.authority("CN=Fleet CA", NOW)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        enforced(place, byswanctl.unpacked(), PROFILES)
        members = [byswanctl.Member(host, place, ca, kind=Confined) for host in ENDS]
        try:
            line(*(one.host for one in members), *([f"{byswanctl.ADDRESSES[one.id]}/24"] for one in members))
            for one in members:
                (one.host.root / "etc/strongswan.d/zz-test.conf").unlink()  # a log where it may write none
            with members[0].journal() as told:
                for one in members:
                    one.settle(pillar())
                said = {"confined": [confinement(one) for one in members], **asked(*members)}
                said["second"] = members[0].settle(pillar())["changes"]
                said["journal"] = any("established between" in one for one in told)
            said["denied"] = denied()
            said["elsewhere"] = elsewhere(members[0])
        finally:
            for one in members:
                one.stop()
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
