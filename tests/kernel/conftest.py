"""Three hosts at three sites where the kernel does ESP; each applies the state by itself (no master).

Run where the kernel has ESP with AES-GCM: `lab/with-esp` sees to that. There a run of the state takes
some ten seconds, and its first one minutes: so the hosts were set up outside (`fleetlab.standing`). The pair
of A and B climbs the stages once for all files, and each file stands on the stage it needs: `started`, then
`required`; test_stages goes down again. Each step is measured.
"""

import contextlib
import copy
import json
import re
from collections.abc import Iterator

import pytest
import yaml

from fleetlab import Lab, fresh, standing
from fleetlab.capture import Capture
from fleetlab.paths import BUILD, LAB
from fleetlab.plane import KERNEL
from fleetlab.process import wait_for

FLEET = LAB / "fleets/small.sls"
A, B, C = "cp1001.eqiad.example", "cp2001.codfw.example", "cp3001.esams.example"
ADDRESSES = {
    A: ("10.64.0.11", "2001:db8:1::11"),
    B: ("10.192.0.11", "2001:db8:2::11"),
    C: ("10.20.0.11", "2001:db8:3::11"),
}
RULES = {
    "edge-to-core": {
        "between": {"site": ["esams"]},
        "and": {"site": ["eqiad", "codfw"]},
        "same": ["cluster"],
    },
    "core-to-core": {"between": {"site": ["eqiad"]}, "and": {"site": ["codfw"]}, "same": ["cluster"]},
}
FIGURES = BUILD / "stages.json"  # what docs/changing-the-fleet.md shows
SECOND = 10  # probes a second, on each family
SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")
DEADLINE = 90.0  # seconds
# A peer that is back is met within seconds, as in production; by default charon waits longer at each try
RETRANSMISSION = {"retransmit_timeout": 2.0, "retransmit_base": 1.2, "retransmit_tries": 15}


def rules(**stages: str) -> list[dict]:
    """The rules of the fleet; a stage by the name of its rule, with `_` for `-`."""
    return [
        {"name": name, **rule, "stage": stages.get(name.replace("-", "_"), "start")}
        for name, rule in RULES.items()
    ]


def probes(wire: Capture, one: str, other: str) -> int:
    """How many echo requests and replies of a pair were in the clear (an ICMP error for IKE is neither)."""
    ends = {*ADDRESSES[one], *ADDRESSES[other]}
    echo = {(1, 0), (1, 8), (58, 128), (58, 129)}  # protocol and type
    return sum(
        {packet.source, packet.destination} <= ends
        and (packet.protocol, packet.bytes[20 if packet.protocol == 1 else 40]) in echo
        for packet in wire.clear()
    )


class Mesh:
    """The hosts, with what the scenarios do to them and ask of them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.pillar: dict = yaml.safe_load(FLEET.read_text())
        self.pillar["ipsec"]["charon"] = RETRANSMISSION
        self.stage = standing.STAGES["core-to-core"]  # of the pair of A and B
        self.steps: dict[str, dict] = {}  # by "FROM to TO": what the step lost, what the line showed after it

    def on(self, host: str, *command: str, check: bool = True, timeout: float = 120) -> str:
        """Run a command on a host; what it wrote."""
        return self.lab.host(host).run(list(command), check=check, timeout=timeout).stdout

    def give(self, change: dict) -> None:
        """Lay settings over the pillar of all hosts (a list or a text replaces)."""
        pillar = copy.deepcopy(self.pillar)
        pillar["ipsec"].update({"rules": rules(core_to_core=self.stage), **change})
        self.lab.set_pillar(yaml.safe_dump(pillar))

    def apply(self, host: str, *arguments: str) -> dict[str, dict]:
        """Apply the state on a host; its states by id, all of which have to be right."""
        found = self.lab.call(host, "state.apply", "ipsec", *arguments, timeout=400)
        assert isinstance(found, dict), found
        wrong = [f"{one['__id__']}: {one['comment']}" for one in found.values() if one["result"] is False]
        assert not wrong, wrong
        return {one["__id__"]: one for one in found.values()}

    def step(self, stage: str) -> dict[str, dict]:
        """Take the pair to another stage under traffic, the end that answers first; the states of A.

        So does `salt-run ipsec.rollout` on two hosts.
        """
        name, self.stage = f"{self.stage} to {stage}", stage
        self.give({})
        with self.traffic(A, B, 1 / SECOND) as traffic:
            traffic.wait_flows()
            for host in (B, A):
                states = self.apply(host)
            if stage in ("start", "require"):
                self.wait_up(A, B)
            with self.lab.capture() as wire:
                traffic.wait_flows()
        ends = {*ADDRESSES[A], *ADDRESSES[B]}
        kinds = [one.kind for one in wire.packets if {one.source, one.destination} <= ends]
        self.steps[name] = {
            "lost": traffic.lost,
            "sent": sum(traffic.sent.values()),
            "esp": kinds.count("esp"),
            "clear": kinds.count("clear"),
        }
        FIGURES.write_text(json.dumps(self.steps, indent=1) + "\n")
        return states

    def sas(self, host: str, peer: str) -> list[str]:
        """The names of the connections with a peer that are installed at a host, once for each CHILD SA."""
        short = peer.split(".")[0]
        return re.findall(rf"^ *({short}_v[46])\{{\d+\}}:  INSTALLED", self.on(host, "ipsec", "status"), re.M)

    def up(self, one: str, other: str) -> bool:
        """Whether both ends have one SA a family."""
        pair = ((one, other), (other, one))
        return all(
            sorted(self.sas(end, peer)) == [f"{peer.split('.')[0]}_v{family}" for family in (4, 6)]
            for end, peer in pair
        )

    def wait_up(self, one: str, other: str, timeout: float = DEADLINE) -> None:
        """Wait until both ends have one SA a family."""
        wait_for(lambda: self.up(one, other), lambda: self._not_up(one, other), timeout, 0.5)

    def _not_up(self, one: str, other: str) -> str:
        asked = (("ipsec", "statusall"), ("journalctl", "-n", "60", "--no-pager"))
        said = (f"-- {host}:\n{self.on(host, *command)}" for host in (one, other) for command in asked)
        return "\n".join((f"SAs between {one} and {other}", *said))

    @contextlib.contextmanager
    def traffic(self, source: str, destination: str, interval: float = 0.1) -> Iterator["Traffic"]:
        """Ping on both families while the body runs."""
        running = Traffic(self, source, destination, interval)
        try:
            yield running
        finally:
            running.stop()


class Traffic:
    """Constant probes between two hosts; `sent` and `received` by family once it has stopped."""

    def __init__(self, mesh: Mesh, source: str, destination: str, interval: float) -> None:
        self.mesh, self.source = mesh, source
        self.files = {}
        for family, address in zip(("v4", "v6"), ADDRESSES[destination], strict=True):
            self.files[family] = file = f"/run/ping-{family}"
            command = f"exec ping -n -i {interval} {address} >{file} 2>&1"
            mesh.on(source, "setsid", "--fork", "sh", "-c", command)
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}

    def replied(self, family: str) -> int:
        """How many replies there are so far."""
        return self.mesh.on(self.source, "cat", self.files[family]).count("bytes from")

    def flows(self) -> bool:
        """Whether both families get replies now."""
        before = {family: self.replied(family) for family in self.files}
        with contextlib.suppress(Exception):
            wait_for(lambda: all(self.replied(f) > n for f, n in before.items()), "replies", 2)
            return True
        return False

    def wait_flows(self, timeout: float = DEADLINE) -> None:
        """Wait until both families get replies."""
        wait_for(self.flows, f"replies to {self.source}", timeout)

    def stop(self) -> None:
        """End the probes and read what they say."""
        self.mesh.on(self.source, "pkill", "-INT", "-x", "ping", check=False)
        for family, file in self.files.items():
            wait_for(
                lambda f=file: self._summary(f) is not None, f"the summary of ping on {family}", DEADLINE
            )
            self.sent[family], self.received[family] = self._summary(file) or (0, 0)

    def _summary(self, file: str) -> tuple[int, int] | None:
        found = SUMMARY.search(self.mesh.on(self.source, "cat", file))
        return (int(found[1]), int(found[2])) if found else None

    @property
    def lost(self) -> int:
        """Probes without a reply, on both families."""
        return sum(self.sent.values()) - sum(self.received.values())


@pytest.fixture(scope="session")
def set_up() -> Iterator[Mesh]:
    """Three hosts where the state was applied, in the other plane and without a connection of A and B."""
    with fresh("kernel", FLEET, KERNEL, master=False, standing=standing.ready()) as lab:
        yield Mesh(lab)


@pytest.fixture(scope="session")
def started(set_up: Mesh) -> Mesh:
    """All pairs in `start`, at once; tests/rollout goes by `passive`, as a fleet does."""
    set_up.step("start")
    set_up.apply(C)
    for host in (A, B):
        set_up.wait_up(host, C)
    return set_up


@pytest.fixture(scope="session")
def required(started: Mesh) -> Mesh:
    """A and B require each other; C goes on with `start`."""
    states = started.step("require")
    assert len(states["ipsec-guard-policies"]["changes"]["added"]) == 12
    return started
