"""Twenty real hosts of the lab, every pair of them, against `salt '*' cmd.run` with a loop on each host.

ESP is charon's own. The loop is what production's `ipsec-global` did on each host.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

import yaml
from figures import table

from fleetlab import Lab, fresh
from fleetlab.paths import BUILD
from fleetlab.plane import CHARON

HOSTS, SITES, OFF = 20, 4, 3
PATIENCE = 90  # seconds for the loop with dead peers, which would take as many times 175 s as there are
NAMES = "$(sed -n 's/^conn \\([^%]*\\)$/\\1/p' /etc/ipsec.conf)"
LOOP_DOWN = f"for name in {NAMES}; do ipsec stroke down $name >/dev/null; done"
LOOP_UP = f"for name in {NAMES}; do ipsec stroke up $name >/dev/null; done"
COUNT = "ipsec status | grep -c 'ESTABLISHED'; true"
KEEPER = "systemctl {} hostipsec-keeper"


def pillar() -> dict[str, Any]:
    """Return the pillar: all hosts, each pair of them."""
    hosts = {
        f"cp{number:04}.site{number % SITES}.example": {
            "site": f"site{number % SITES}",
            "cluster": "text",
            "ipv4": f"10.{64 + number % SITES}.0.{10 + number}",
        }
        for number in range(1, HOSTS + 1)
    }
    rule = {"name": "all", "between": {"cluster": "text"}, "and": {"cluster": "text"}}
    return {"ipsec": {"hosts": hosts, "rules": [rule], "certificates": {"source": "puppet"}}}


def say(text: str) -> None:
    """Say on the side what is going on."""
    print(f"-- {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Side:
    """The master's shell, timed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def runner(self, *arguments: str) -> tuple[float, int, str]:
        """Return seconds, exit status, and the line that sums up."""
        say(" ".join(arguments))
        begin = time.monotonic()
        done = self.lab.master.run(["salt-run", *arguments], check=False, timeout=400)
        seconds = time.monotonic() - begin
        lines = [line for line in done.stdout.splitlines() if re.search("as asked|connections of", line)]
        say(f"{seconds:.1f} s: {lines[0] if lines else done.stdout + done.stderr}")
        return seconds, done.returncode, lines[0] if lines else ""

    def loop(self, command: str, timeout: int = 300) -> tuple[float, int]:
        """Run a command on all; seconds, and how many hosts have answered by then."""
        say(f"salt '*' cmd.run with the loop, {timeout} s at most")
        salt = ["salt", "--out=json", "--static", "--hide-timeout", f"--timeout={timeout}", "*", "cmd.run"]
        begin = time.monotonic()
        done = self.lab.master.run([*salt, command], check=False, timeout=timeout)
        seconds = time.monotonic() - begin
        start = done.stdout.find("{")
        answered = json.JSONDecoder().raw_decode(done.stdout[start:])[0] if start >= 0 else {}
        return seconds, len(answered)

    def established(self) -> int:
        """Return the IKE SAs of all hosts, two a pair where all is well."""
        found = self.lab.salt("*", "cmd.run", COUNT)
        return sum(int(text.split()[0]) for text in found.values())

    def all_up(self) -> None:
        """Have all up, once a pair, with the keeper."""
        self.lab.salt("*", "cmd.run", KEEPER.format("start"))
        self.lab.salt("*", "cmd.run", "systemctl restart strongswan-starter")
        status = self.runner("ipsec.status", "wait=120")[1]
        assert status == 0, "not every pair is up"


def main() -> None:
    """Print what down and up of the fleet take, on both sides."""
    BUILD.mkdir(parents=True, exist_ok=True)
    fleet = BUILD / "bench-fleet20.sls"
    fleet.write_text(yaml.safe_dump(pillar()))
    with fresh("bench20", fleet, CHARON) as lab:
        say("state.apply ipsec on all")
        for host, states in lab.salt("*", "state.apply", "ipsec", timeout=580).items():
            assert isinstance(states, dict) and all(one["result"] for one in states.values()), (host, states)
        measure(Side(lab), lab)


def measure(side: Side, lab: Lab) -> None:
    """Measure both sides in turn."""
    pairs = HOSTS * (HOSTS - 1) // 2
    side.all_up()
    lab.salt(
        "*", "cmd.run", KEEPER.format("stop")
    )  # production had none; it would bring back what the loop ends
    loop_down, _ = side.loop(LOOP_DOWN)
    left = side.established()
    loop_up, _ = side.loop(LOOP_UP)
    doubled = side.established()
    side.all_up()
    down, code, said = side.runner("ipsec.down", "reason=bench")
    assert code == 0, said
    up, code, up_said = side.runner("ipsec.up", "deadline=60")
    assert code == 0, up_said
    ours = side.established()
    status, _, _ = side.runner("ipsec.status")
    off = sorted(host.name for host in lab.hosts)[:: HOSTS // OFF][:OFF]
    for host in off:
        lab.off(host)
    off_down, code, off_said = side.runner("ipsec.down", "reason=bench")
    assert code == 1, off_said
    off_up, _, off_up_said = side.runner("ipsec.up", "deadline=20")
    there = ",".join(host.name for host in lab.hosts if host.name not in off)
    lab.salt(there, "cmd.run", KEEPER.format("stop"), expr="list")
    loop_off, answered = side.loop(LOOP_DOWN, PATIENCE)
    table(
        f"{HOSTS} hosts, {pairs} pairs: from the command to its end",
        ["", "s", "what is known then"],
        [
            ["down: salt '*' cmd.run, the loop", f"{loop_down:.1f}", f"nothing; {left} IKE SAs are there"],
            ["down: salt-run ipsec.down", f"{down:.1f}", said],
            [
                "up: salt '*' cmd.run, the loop",
                f"{loop_up:.1f}",
                f"nothing; {doubled} IKE SAs where {2 * pairs} are meant",
            ],
            ["up: salt-run ipsec.up", f"{up:.1f}", f"{up_said}; {ours} IKE SAs"],
            ["salt-run ipsec.status", f"{status:.1f}", "both ends of every pair"],
            [
                f"{OFF} hosts off, down: the loop, stopped",
                f"{loop_off:.1f}",
                f"{answered} of {HOSTS - OFF} hosts were done",
            ],
            [f"{OFF} hosts off, down: salt-run ipsec.down", f"{off_down:.1f}", off_said],
            [f"{OFF} hosts off, up: salt-run ipsec.up", f"{off_up:.1f}", off_up_said],
        ],
    )
