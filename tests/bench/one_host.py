"""Down, up and status of one host with 100 connections, against what production did and charon's defaults.

Real charons in namespaces of their own; ESP is charon's. See docs/bench.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from downs import BUSY, CONN, EAST, Peers, address, name
from figures import median, table
from spaces import network_of
from strongswan import STRONGSWAN_CONF, wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.model import Certificates, Settings
from hostipsec.proof import probe
from hostipsec.strongswan import render
from hostipsec.strongswan.sections import Configuration, charon_settings

ROOT = Path(__file__).parents[2]
MANY = 100
ROUNDS = 5
DEADLINE = 10.0
PRODUCTION = "aes128gcm16-prfsha384-ecp384bp"  # the proposal of ike= in production
PLUGINS = STRONGSWAN_CONF.replace("    retransmit_timeout = 60\n", "")
LOOP = "for name in {names}; do ipsec stroke down $name >/dev/null; done"
WRAPPER = """
import resource, subprocess, sys, time
begin = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
print(time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode)
print(done.stderr.decode(), file=sys.stderr)
"""


@contextmanager
def peers(*arguments: Any, **named: Any) -> Iterator[Peers]:
    """Make a host with its peers, started, for a while."""
    with tempfile.TemporaryDirectory() as place:
        made = Peers(Path(place), *arguments, **named)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def say(text: str) -> None:
    """Say on the side what is going on."""
    print(f"-- {text}", file=sys.stderr, flush=True)


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def nothing_left(made: Peers) -> bool:
    """Whether the host has no SA."""
    return made.look.ike_sas == ()


# down ----------------------------------------------------------------------------------------


def down() -> None:
    """100 healthy tunnels: one command of ours, against one `ipsec stroke down` after the other."""
    own, whole, loop = [], [], []
    with peers(MANY) as made:
        names = " ".join(name(number) for number in range(MANY))
        for count in range(1, ROUNDS + 1):
            say(f"down, {count} of {ROUNDS}")
            made.up()
            loop.append(timed(lambda: made.east.run("sh", "-c", LOOP.format(names=names), timeout=120)))
            wait_for(lambda: nothing_left(made), "the end of all", 60)
            made.up()
            answer = made.ipsec_global("down", "--json", "--reason", "bench")
            assert (answer.status, nothing_left(made)) == (0, True), answer.text
            own.append(answer.data["seconds"])
            whole.append(answer.seconds)
            made.ipsec_global("up", "-n")
            wait_for(lambda: len(made.look.connections) == MANY, "the connections", 30)
    theirs = median(loop)
    table(
        f"{MANY} healthy tunnels of one host down (median of {ROUNDS})",
        ["", "s", "times faster", "proven"],
        [
            ["one ipsec stroke down after the other", f"{theirs:.2f}", "1.0", "no"],
            [
                "ipsec-global down, the whole process",
                f"{median(whole):.2f}",
                f"{theirs / median(whole):.1f}",
                "yes",
            ],
            ["of it in the engine, to the proof", f"{median(own):.2f}", f"{theirs / median(own):.1f}", "yes"],
        ],
    )


# dead ----------------------------------------------------------------------------------------


def dead() -> None:
    """100 peers that died: ours ends at the deadline; one real `ipsec down` waits for its retransmissions."""
    with peers(MANY + 1, strongswan_conf=BUSY.replace("    retransmit_timeout = 60\n", "")) as made:
        made.up()
        made.addresses("del", range(MANY + 1))
        say("one ipsec down to a dead peer, with charon's default retransmission")
        one = timed(lambda: made.east.process(["ipsec", "down", name(MANY)], 400))
        answer = made.ipsec_global("down", "--json", "--reason", "bench", f"--deadline={DEADLINE:g}")
        assert (answer.status, nothing_left(made)) == (0, True), answer.text
        ours = answer.data["seconds"]
    assert ours <= DEADLINE + 1, ours
    table(
        f"{MANY} dead peers of one host down",
        ["", "s", "times faster"],
        [
            ["ipsec down of one of them, measured", f"{one:.0f}", ""],
            [f"of {MANY}, one after the other (computed: {MANY} times that)", f"{one * MANY:.0f}", "1"],
            [f"ipsec-global down, deadline {DEADLINE:g} s", f"{ours:.1f}", f"{one * MANY / ours:.0f}"],
        ],
    )


# up ------------------------------------------------------------------------------------------


def settings(number: int) -> str:
    """Return strongswan.conf as we write it for a host with so many connections."""
    mine = Settings(Certificates("files", "", "", "", ""))
    tree = {"charon": charon_settings(number // 2, mine)}
    return PLUGINS + render.strongswan_conf(Configuration(strongswan=tree))


def echo_all(made: Peers) -> None:
    """Send an echo request to each peer."""
    with network_of(made.east):
        prober = probe.Prober(made.connections)
        prober.send()
        prober.close()


def carrying(made: Peers) -> int:
    """Return how many tunnels have had a packet back."""
    children = [child for sa in made.look.ike_sas for child in sa.children]
    return len({child.name for child in children if child.packets_in > 0})


def come_up(conf: str) -> float:
    """Return the seconds until all tunnels carry traffic both ways."""
    conn = CONN.replace("aes128gcm16-prfsha256-ecp256", PRODUCTION)
    with peers(MANY, strongswan_conf=conf, conn=conn) as made:
        names = [name(number) for number in range(MANY)]
        begin = time.monotonic()
        ViciBackend(made.east.vici).initiate(names, timeout=60)
        while True:
            if len(made.established) == MANY:
                echo_all(made)
                if carrying(made) == MANY:
                    return time.monotonic() - begin
            assert time.monotonic() < begin + 180, "not up within 180 s"
            time.sleep(0.05)


def cryptography() -> tuple[float, float]:
    """Return the seconds of one key agreement of that group, and how many processors there are."""
    done = subprocess.run(
        ["openssl", "speed", "-seconds", "2", "ecdhbrp384r1"], capture_output=True, text=True, check=True
    )
    rate = float(re.findall(r"([\d.]+)\s*$", done.stdout.strip())[0])
    return 1 / rate, os.cpu_count() or 1


def up() -> None:
    """100 tunnels between two hosts until all carry traffic: our settings against charon's defaults."""
    ours, theirs = [], []
    for count in range(1, 4):
        say(f"up, {count} of 3")
        theirs.append(come_up(PLUGINS))
        ours.append(come_up(settings(MANY)))
    each, processors = cryptography()
    least = MANY * 2 * 2 * each / processors  # two ends; a key made and a secret derived at each
    table(
        f"{MANY} tunnels between two hosts up, until all carry traffic (median of 3)",
        ["", "s", "times faster"],
        [
            ["charon's defaults", f"{median(theirs):.1f}", "1.0"],
            ["our settings", f"{median(ours):.1f}", f"{median(theirs) / median(ours):.1f}"],
            [
                f"the cryptography alone ({PRODUCTION.split('-')[-1]}, {processors:g} processors)",
                f"{least:.1f}",
                "",
            ],
        ],
    )


# status --------------------------------------------------------------------------------------


def salt_call(place: Path) -> list[str]:
    """Return the command that asks module ``ipsec`` for the status, with a pillar of all peers."""
    hosts = {f"cp{n:04}.example": {"site": "west", "ipv4": address(n)} for n in range(MANY)}
    hosts["east.example"] = {"site": "east", "ipv4": EAST}
    rules = [{"name": "all", "between": {"site": "east"}, "and": {"site": "west"}}]
    pillar = {"ipsec": {"hosts": hosts, "rules": rules}}
    config = {
        "id": "east.example",
        "file_client": "local",
        "root_dir": str(place),
        "module_dirs": [str(ROOT / "_modules")],
        "enable_fqdns_grains": False,
        "pillar_roots": {"base": [str(place / "pillar")]},
    }
    (place / "pillar").mkdir(parents=True)
    (place / "pillar/top.sls").write_text(yaml.safe_dump({"base": {"*": ["ipsec"]}}))
    (place / "pillar/ipsec.sls").write_text(yaml.safe_dump(pillar))
    (place / "minion").write_text(yaml.safe_dump(config))
    utils, call = f"PYTHONPATH={ROOT / '_utils'}", str(ROOT / ".build/venv/bin/salt-call")
    return ["env", utils, call, "--local", f"--config-dir={place}", "--out=json", "ipsec.status"]


def status() -> None:
    """Status of 100 connections: the command, Salt's module, and `ipsec statusall` beside them."""
    with tempfile.TemporaryDirectory() as place, peers(MANY, stage="start") as made:
        made.up()
        sides = {
            "ipsec statusall (text, no verdict)": ["ipsec", "statusall"],
            "ipsec-global status": ["/usr/local/sbin/ipsec-global", "status"],
            "salt-call --local ipsec.status": salt_call(Path(place)),
            "salt-call --local test.ping": [*salt_call_ping(place)],
        }
        found: dict[str, list[tuple[float, int]]] = {side: [] for side in sides}
        for count in range(1, ROUNDS + 1):
            say(f"status, {count} of {ROUNDS}")
            for side, command in sides.items():
                found[side].append(measured(made, command))
        told = json.loads(made.east.run(*sides["salt-call --local ipsec.status"]))["local"]
        assert told["summary"]["counts"]["established"] == MANY, told["summary"]
    rows = [
        [side, f"{median([one[0] for one in runs]):.2f}", f"{max(one[1] for one in runs) / 1024:.0f}"]
        for side, runs in found.items()
    ]
    table(f"Status of {MANY} connections (median of {ROUNDS})", ["", "s", "peak MiB"], rows)


def salt_call_ping(place: str) -> list[str]:
    """Return the same command for what Salt does anyway."""
    return [str(ROOT / ".build/venv/bin/salt-call"), "--local", f"--config-dir={place}", "test.ping"]


def measured(made: Peers, command: list[str]) -> tuple[float, int]:
    """Return seconds and peak memory (KiB) of a command on the host."""
    done = made.east.process(["python3", "-c", WRAPPER, *command], 60)
    seconds, memory, code = done.stdout.split()
    assert code == "0", done.text
    return float(seconds), int(memory)


# check ---------------------------------------------------------------------------------------

PLUGINS_AND_THEIRS = {
    "usr/local/lib/nagios/plugins/check_ipsec": "states/ipsec/files/check_ipsec",
    "tmp/check_by_text": "tests/functional/check_by_text",
}
SPENT = """
import resource, subprocess, sys, time
begin = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - begin, used.ru_utime + used.ru_stime, done.returncode)
"""


def check() -> None:
    """The plugin with 10 to 1,000 connections, against a check by the text of the same facts."""
    rows = []
    for number in (MANY // 10, MANY, MANY * 10):
        with peers(number, stage="start") as made:
            made.up()
            for path, source in PLUGINS_AND_THEIRS.items():
                (made.east.root / path).parent.mkdir(parents=True, exist_ok=True)
                made.east.write(path, (ROOT / source).read_text(), 0o755)
            found: dict[str, list[list[float]]] = {path: [] for path in PLUGINS_AND_THEIRS}
            for count in range(1, ROUNDS + 1):
                say(f"check of {number}, {count} of {ROUNDS}")
                for path, runs in found.items():
                    runs.append(spent(made, [f"/{path}", *(["libipsec"] if "text" in path else [])]))
        wall, cpu = ({path: median([one[part] for one in found[path]]) for path in found} for part in (0, 1))
        ours, theirs = found
        for side, path in (("check_ipsec", ours), ("sh and awk", theirs)):
            seconds, ratio = f"{wall[path]:.2f}", f"{wall[theirs] / wall[path]:.1f}"
            rows.append(
                [f"{side}, {number:,}", seconds, ratio, f"{cpu[path]:.2f}", f"{cpu[theirs] / cpu[path]:.1f}"]
            )
    headings = ["", "s", "times faster", "s of CPU", "times less"]
    table(f"The check of a host whose connections are all up (median of {ROUNDS})", headings, rows)


def spent(made: Peers, command: list[str]) -> list[float]:
    """Return the seconds, and those of CPU, of a command on the host that must end well."""
    *seconds, code = made.east.process(["python3", "-c", SPENT, *command], 120).stdout.split()
    assert code == "0", command
    return [float(one) for one in seconds]
