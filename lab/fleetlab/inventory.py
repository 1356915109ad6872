"""What there is in a lab: its hosts with their addresses and disks, its network, its authority."""

import json
from functools import cached_property
from pathlib import Path

from . import addresses, cache, names
from .authority import Authority
from .client import Client
from .fleet import FleetHost, read_fleet
from .machine import Machine
from .network import Network
from .paths import DEFAULT_FLEET, RUN
from .plane import AUTO, choose_plane


class Inventory:
    """A fleet on this machine. With ``master=False`` every host serves itself (salt-call --local).

    ``standing`` are disks of hosts that were set up already (`standing.ready`).
    """

    def __init__(
        self,
        name: str = names.DEFAULT,
        fleet: Path = DEFAULT_FLEET,
        plane: str = AUTO,
        master: bool = True,
        standing: Path | None = None,
    ) -> None:
        self.name = names.check_lab_name(name)
        self.place = RUN / self.name
        self._record = self.place / "lab.json"
        self._standing = standing
        if self._record.exists():
            known = json.loads(self._record.read_text())
            self.fleet, self.with_master, self._plane = Path(known["fleet"]), known["master"], known["plane"]
            self._asked = (fleet.resolve(), plane)
        else:
            self.fleet, self.with_master, self._plane = fleet.resolve(), master, ""
            self._asked = (self.fleet, plane)

    @property
    def running(self) -> bool:
        """Whether the lab was started, and not taken down."""
        return self._record.exists()

    @cached_property
    def plane(self) -> str:
        """Who does ESP: ``kernel`` or ``charon``."""
        return self._plane or choose_plane(self._asked[1])

    @cached_property
    def hosts(self) -> tuple[FleetHost, ...]:
        """The hosts of the fleet file, as it was when the lab started."""
        kept = self.place / "fleet.sls"
        return read_fleet(kept if kept.exists() else self.fleet)

    @cached_property
    def planned(self) -> tuple[addresses.PlannedHost, ...]:
        """The hosts with all their addresses, the master first."""
        return addresses.plan(self.hosts, names.MASTER if self.with_master else None)

    @cached_property
    def network(self) -> Network:
        """The lab's network."""
        return Network(self.name, self.planned)

    @cached_property
    def machines(self) -> dict[str, Machine]:
        """The hosts by name, the master among them."""
        places = self.place / "hosts"
        made = [
            Machine(self.name, one.name, places / one.name, cache.Root(one.debian)) for one in self.planned
        ]
        return {machine.name: machine for machine in made}

    @cached_property
    def ca(self) -> Authority:
        """The authority that signs the hosts' certificates."""
        return Authority(self.place / "ca")

    def host(self, wanted: str) -> Machine:
        """The host of that name, or whose name starts so."""
        return self.machines[names.resolve(wanted, list(self.machines))]

    @cached_property
    def _clients(self) -> dict[str, Client]:
        """Who gives jobs: the master, or each host without one."""
        if self.with_master:
            return {names.MASTER: Client(self.master, "master")}
        return {name: Client(machine, "local") for name, machine in self.machines.items()}

    def leave(self, *hosts: str) -> None:
        """End what gives jobs to Salt on these hosts, by default on all; the next job starts it anew.

        A host that shuts down stops all its processes before it ends them (systemd-shutdown). `nsenter` stops
        with the process that it waits for, and a host is not gone before somebody has waited for each.
        """
        for name, client in self._clients.items():
            if name in hosts or not hosts:
                client.stop()

    @property
    def master(self) -> Machine:
        """The host with the Salt master."""
        return self.machines[names.MASTER]
