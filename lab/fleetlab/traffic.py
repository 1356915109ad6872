"""Constant traffic between hosts of a lab, and what of it was lost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from .machine import Machine
from .process import wait_for

PROGRAM = "/srv/ipsec/lab/fleetlab/probes.py"
UNIT, INPUT, OUTPUT = "lab-probes", "/run/probes-input.json", "/run/probes.json"
DEADLINE = 60.0  # seconds

Targets = Mapping[str, Mapping[str, str]]  # by host, the targets' addresses by name


@dataclass(frozen=True)
class Figures:
    """What went to a target and came back, from the first answer on."""

    sent: int
    received: int
    interruptions: int  # how often probes in a row were lost
    gap: float  # seconds, the longest time without an answer

    @property
    def lost(self) -> int:
        """Probes without an answer."""
        return self.sent - self.received

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.lost} of {self.sent} lost, at most {self.gap * 1000:.0f} ms without an answer"


class Traffic:
    """Probes from each host to its targets while the body runs; `figures` by host and target afterwards."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        own: Mapping[str, Sequence[str]],
        targets: Targets,
        interval: float,
    ) -> None:
        self.machines, self.own, self.targets, self.interval = machines, own, targets, interval
        self.figures: dict[tuple[str, str], Figures] = {}

    def __enter__(self) -> "Traffic":
        for host, machine in self.machines.items():
            asked = {"own": list(self.own[host]), "targets": dict(self.targets.get(host, {}))}
            line = json.dumps({**asked, "interval": self.interval, "file": OUTPUT})
            machine.write(INPUT, f"{line}\n".encode())
            machine.run(["rm", "-f", OUTPUT])
            start = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}"]
            machine.run([*start, f"--property=StandardInput=file:{INPUT}", "python3", "-ISB", PROGRAM])
        self.wait_flows()
        return self

    def look(self, host: str) -> dict[str, dict[str, float | None]]:
        """The figures of a host so far."""
        text = self.machines[host].run(["cat", OUTPUT], check=False).stdout
        found: dict[str, dict[str, float | None]] = json.loads(text)["targets"] if text else {}
        return found

    def flows(self, *hosts: str) -> bool:
        """Whether every target of these hosts (all without any) answered within the last second."""
        for host in hosts or tuple(self.targets):
            looked = self.look(host)
            silent = [looked.get(name, {}).get("silent") for name in self.targets[host]]
            if any(one is None or one > 1 for one in silent):
                return False
        return True

    def wait_flows(self, *hosts: str, timeout: float = DEADLINE) -> None:
        """Wait until every target of these hosts (all without any) answers."""
        wait_for(lambda: self.flows(*hosts), f"traffic of {', '.join(hosts) or 'all hosts'}", timeout, 0.3)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = {host: machine for host, machine in self.machines.items() if machine.leader() is not None}
        for machine in running.values():
            machine.run(["systemctl", "kill", "--signal=USR1", UNIT], check=False)
        for host, machine in running.items():
            if kind is None:
                wait_for(lambda one=machine: _done(one), f"the end of the traffic of {host}", DEADLINE)
            for name, found in self.look(host).items():
                counts = (int(found[key] or 0) for key in ("sent", "received", "interruptions"))
                self.figures[host, name] = Figures(*counts, found["gap"] or 0.0)
        for machine in running.values():
            machine.run(["systemctl", "stop", UNIT], check=False)
            machine.run(["rm", "-f", INPUT, OUTPUT])


def _done(machine: Machine) -> bool:
    return '"done": true' in machine.run(["cat", OUTPUT], check=False).stdout
