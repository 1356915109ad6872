"""What a sample costs the keeper, and what the keeper costs a host. See docs/bench.md.

The first two play charon and ``ip`` by what real ones said of one connection, as often as there are
connections, each with addresses and SPIs of its own: texts are parsed, and judged, as on a host.
"""

from __future__ import annotations

import gc
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from figures import median, table
from one_host import peers, say

import recordings
from hostipsec import paths
from hostipsec.charon import vicimessage
from hostipsec.health import look as looks
from hostipsec.health import sampler
from hostipsec.health.look import Look
from hostipsec.health.sampler import Sampler
from hostipsec.kernel import xfrm
from hostipsec.model import Connection, Meant

RECORDED = "5.9.8-transport"
HERE, THERE = "10.9.0.1", "10.9.0.2"
ROUNDS = 7
MANY, SAMPLES, PRODUCTION = 1000, 10_000, 140
FEW = 20  # connections of those samples: what leaks does so with each
SECONDS = 60


class Played:
    """What charon and ``ip`` say of a host with so many connections that are up."""

    def __init__(self, count: int) -> None:
        self.numbers = range(count)
        found = recordings.answers(RECORDED)
        self.version, self.stats = found["version"], found["stats"]
        sas, conns = (next(one for one in found[kind] if "west_v4" in one) for kind in ("sas", "conns"))
        self.sas, self.conns = self._each(json.dumps(sas)), self._each(json.dumps(conns))
        self.states, self.policies = (self._text(kind) for kind in ("states", "policies"))

    def _one(self, text: str, number: int) -> str:
        """Return a text of the one connection as that of another one."""
        text = text.replace(THERE, str(self.right(number))).replace("west_v4", f"cp{number:04}_v4")
        text = re.sub(r"\bc([0-9a-f])[0-9a-f]{6}\b", rf"c\g<1>{number:06x}", text)  # SPIs
        text = re.sub(r"\b0xc([0-9a-f])[0-9a-f]{6}\b", rf"0xc\g<1>{number:06x}", text)
        return re.sub(r'("uniqueid": )"\d+"', rf'\1"{number + 1}"', text)

    def _each(self, text: str) -> list[Any]:
        return [json.loads(self._one(text, number)) for number in self.numbers]

    def _text(self, kind: str) -> str:
        blocks = re.split(r"^(?=src )", recordings.read(f"{RECORDED}.{kind}"), flags=re.MULTILINE)
        ours = "".join(one for one in blocks if HERE in one and THERE in one)
        return "".join(self._one(ours, number) for number in self.numbers)

    @staticmethod
    def right(number: int) -> Any:
        """Return the address of a peer."""
        return ip_address(f"10.10.{number // 250}.{1 + number % 250}")

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Return the connections."""
        return tuple(
            Connection(
                *(f"cp{n:04}_v4", f"cp{n:04}.codfw.example", "v4", ip_address(HERE), self.right(n)),
                *("CN=east.example", f"CN=cp{n:04}.codfw.example", True, "start"),
            )
            for n in self.numbers
        )

    def look(self) -> Look:
        """Take a look: parse all of it."""
        seen = vicimessage.charon(self.version, self.stats, self.conns, self.sas)
        kernel = xfrm.kernel(self.states, self.policies, recordings.read("5.9.8.xfrm_stat"))
        sites = {one.peer: "codfw" for one in self.connections}
        return Look(
            *(self.connections, datetime.now(timezone.utc), seen._replace(plugins=()), kernel),
            meant=Meant(mode="transport"),
            host="cp1001.eqiad.example",
            site="eqiad",
            sites=sites,
        )


def cpu(act: Callable[[], object]) -> float:
    """Return the milliseconds of CPU that something takes; the machine may be busy with others."""
    begin = time.process_time()
    act()
    return (time.process_time() - begin) * 1000


def resident() -> float:
    """Return this process's memory in MiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """Print what a sample, a pass and the keeper cost."""
    before, counters = paths.here, sampler.charon.counters
    with tempfile.TemporaryDirectory() as place:
        paths.here = paths.Paths(place)
        paths.here.state.mkdir(parents=True)
        paths.here.run.mkdir(parents=True)
        sampler.charon.counters = lambda *_: {"ike-init-in-req": 3}  # type: ignore[assignment]
        try:
            _one_sample()
            _many_samples()
        finally:
            paths.here, sampler.charon.counters = before, counters
    _keeper()


def _one_sample() -> None:
    rows = []
    for count in (PRODUCTION, MANY):
        played, made = Played(count), Sampler()
        look = played.look()
        report = looks.judged(look)
        assert report.counts["established"] == count, report.sentence
        made(look, 0.0, {})
        parts = {"parse": played.look, "judge": lambda look=look: looks.judged(look)}
        parts["all of a sample"] = lambda look=look, made=made: made(look, 0.0, {})
        parts["totals to disk"] = made.close
        took = {name: median([cpu(part) for _ in range(ROUNDS)]) for name, part in parts.items()}
        own = took["all of a sample"] - took["judge"]
        size = paths.here.sample.stat().st_size / 1024
        rows.append([str(count), *(f"{took[name]:.0f}" for name in ("parse", "judge")), f"{own:.0f}"])
        rows[-1] += [f"{took['totals to disk']:.0f}", f"{size:.0f}"]
    table(
        f"A sample: ms of CPU (median of {ROUNDS})",
        ["connections", "what charon and ip said, parsed", "judged", "made and written", "totals", "KiB"],
        rows,
    )


def _many_samples() -> None:
    """Memory over many samples, with SAs that are replaced all the time."""
    played, made, at = Played(FEW), Sampler(), []
    every = [_rekeyed(played, number).look() for number in range(20)]
    for number in range(1, SAMPLES + 1):
        made(every[number % len(every)], 0.0, {"start": 1})
        if number in (SAMPLES // 10, SAMPLES):
            gc.collect()
            at.append(resident())
            say(f"{number} samples: {at[-1]:.1f} MiB")
    table(
        f"{SAMPLES} samples of {FEW} connections",
        ["", "MiB"],
        [[f"after {SAMPLES // 10}", f"{at[0]:.1f}"], [f"after {SAMPLES}", f"{at[1]:.1f}"]],
    )
    assert at[1] - at[0] < 2, at


def _rekeyed(played: Played, number: int) -> Played:
    """Return it with other SPIs."""
    found = Played(0)
    found.numbers = played.numbers
    new = f"c{number % 16:x}"
    for kind in ("states", "policies"):
        setattr(found, kind, re.sub(r"\b0xc[0-9a-f]", f"0x{new}", getattr(played, kind)))
    text = re.sub(r'("spi-(?:in|out)": )"c[0-9a-f]', rf'\1"{new}', json.dumps(played.sas))
    found.sas, found.conns = json.loads(text), played.conns
    return found


def _keeper() -> None:
    """Run the keeper as its unit does beside a real charon, and look at what it took of the machine."""
    python = "env PYTHONPATH=/usr/local/lib/hostipsec python3 -B -m hostipsec.programs.keeper"
    keeper = f"echo $$ >/run/k; exec {python}"
    with peers(PRODUCTION, stage="start") as made:
        made.up()
        made.east.run("sh", "-c", f"sh -c '{keeper}' >/tmp/keeper.log 2>&1 &")
        time.sleep(15)
        begin, used = time.monotonic(), _used(made.east)
        say(f"{SECONDS} s of the keeper, {PRODUCTION} connections")
        time.sleep(SECONDS)
        share = (_used(made.east) - used) / (time.monotonic() - begin)
        memory = made.east.run("sh", "-c", "grep VmRSS /proc/$(cat /run/k)/status").split()[1]
    table(
        f"The keeper beside a real charon with {PRODUCTION} connections, {SECONDS} s",
        ["", "% of one CPU", "MiB"],
        [["keeper, with the ip that it calls", f"{100 * share:.1f}", f"{int(memory) / 1024:.0f}"]],
    )


def _used(host: Any) -> float:
    """Return the seconds of CPU of the keeper and of the processes that it waited for."""
    stat = host.run("sh", "-c", "cat /proc/$(cat /run/k)/stat").rpartition(")")[2].split()
    return sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")
