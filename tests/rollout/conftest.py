"""Three hosts, a master, and a kernel that does ESP: the fleet changes by `salt-run ipsec.rollout`.

Run where the kernel has ESP with AES-GCM: `lab/with-esp` sees to that. A roll-out takes more than a minute
there, so the tests are one walk, in their order.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from fleetlab import Lab, fresh, standing
from fleetlab.capture import Capture
from fleetlab.paths import BUILD, LAB
from fleetlab.plane import KERNEL
from fleetlab.traffic import Figures
from whole import pytest_addoption, pytest_collection_modifyitems  # noqa: F401

FLEET = LAB / "fleets/small.sls"
A, B, C = "cp1001.eqiad.example", "cp2001.codfw.example", "cp3001.esams.example"
FIGURES = BUILD / "rollout.json"  # what docs/changing-the-fleet.md shows
INTERVAL = 0.5  # seconds between two probes of a host to an address: more would take most of the processor
MOVED = {"ipv4": "10.20.0.31", "ipv6": "2001:db8:3::31"}  # where C moves to


@dataclass(frozen=True)
class Walk:
    """Where the hosts come from, and what a roll-out to `require` says then: stages, and hosts it changed."""

    begin: str
    stages: tuple[str, ...]
    changed: int


NEW = Walk("new", ("passive",) * 3 + ("start",) * 3 + ("require",) * 2, 3)
STARTED = Walk("start", ("require",) * 2, 2)


class Fleet:
    """The lab, its pillar, and steps that are measured."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.pillar: dict = yaml.safe_load(FLEET.read_text())
        members = {host.name for host in lab.hosts}
        self.addresses = {
            host.name: [str(address.ip) for address in host.addresses]
            for host in lab.planned
            if host.name in members
        }
        self.moved: dict[str, list[str]] = {}
        self.walk = NEW

    def start(self) -> None:
        """Have every pair in `start`; the roll-out to there is in scenarios and the whole walk.

        A host at a time: side by side on one slow processor, charon may not answer in the time it has.
        """
        self.edit()
        for host in (A, B, C):
            self.lab.apply(host)
        self.lab.wait_one_each()
        self.walk = STARTED

    def edit(self, **settings: object) -> None:
        """Lay settings over the pillar, for good."""
        self.pillar["ipsec"] = {**copy.deepcopy(self.pillar["ipsec"]), **settings}
        self.lab.set_pillar(yaml.safe_dump(self.pillar))

    def run(self, function: str, *arguments: str) -> list[str]:
        """Run a function at the master, which has to succeed; its lines."""
        done = self.lab.master.run(["salt-run", f"ipsec.{function}", *arguments], check=False, timeout=600)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert done.returncode == 0, done.stdout
        return done.stdout.splitlines()

    def step(self, name: str) -> "Step":
        """Measure what happens meanwhile, under a name."""
        return Step(self, name)


class Step:
    """Traffic on every pair, both ways, and a capture, while the body runs."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        own = {**fleet.addresses, **fleet.moved}
        targets = {
            host: {
                f"{peer} {address}": address
                for peer, theirs in own.items()
                if peer != host
                for address in theirs
            }
            for host in own
        }
        self.traffic = fleet.lab.traffic(targets, INTERVAL, fleet.moved)
        self.wire: Capture = fleet.lab.capture()
        self.before: dict[tuple[str, str], tuple[int, ...]] = {}

    def __enter__(self) -> "Step":
        self.before = self.fleet.lab.ids()
        self.traffic.__enter__()
        self.wire.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.__exit__(*error)
        self.traffic.__exit__(*error)  # type: ignore[arg-type]
        if error[0] is None:
            known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
            pairs = {
                f"{one[:6]} {other[:6]}": self.told(one, other) for one, other in ((A, B), (A, C), (B, C))
            }
            FIGURES.write_text(json.dumps({**known, self.name: pairs}, indent=1) + "\n")

    def between(self, one: str, other: str) -> list[Figures]:
        """The figures of a pair, both ways and families."""
        ways = {(one, other), (other, one)}
        return [found for key, found in self.traffic.figures.items() if (key[0], key[1].split()[0]) in ways]

    def lost(self, one: str, other: str) -> int:
        """Probes of a pair without an answer."""
        return sum(found.lost for found in self.between(one, other))

    def gap(self, one: str, other: str) -> float:
        """The longest time without an answer at a pair, in seconds."""
        return max(found.gap for found in self.between(one, other))

    def seen(self, one: str, other: str, kind: str) -> int:
        """How many packets of a kind the line showed of a pair."""
        ends = {*self.fleet.addresses[one], *self.fleet.addresses[other]}
        return sum(
            packet.kind == kind and {packet.source, packet.destination} <= ends
            for packet in self.wire.packets
        )

    def told(self, one: str, other: str) -> dict[str, object]:
        """What the docs say of a pair."""
        lost, gap = self.lost(one, other), round(self.gap(one, other) * 1000)
        sent = sum(found.sent for found in self.between(one, other))
        kinds = () if {one, other} & {*self.fleet.moved} else ("esp", "clear")
        return {
            "lost": lost,
            "sent": sent,
            "gap_ms": gap,
            **{kind: self.seen(one, other, kind) for kind in kinds},
        }

    def same_sas(self, one: str, other: str) -> bool:
        """Whether the SAs of a pair are those of before."""
        now = self.fleet.lab.ids()
        keys = [
            key
            for key in self.before
            for host, peer in ((one, other), (other, one))
            if key[0] == host and key[1].startswith(peer.split(".")[0])
        ]
        return bool(keys) and all(now.get(key) == self.before[key] for key in keys)


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Three hosts and their master: new ones in the whole walk, else ones in `start`."""
    whole = request.config.getoption("--whole")
    with fresh("rollout", FLEET, KERNEL, standing=None if whole else standing.ready()) as lab:
        made = Fleet(lab)
        if not whole:
            made.start()
        yield made
