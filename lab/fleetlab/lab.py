"""A lab: hosts, their network and their Salt; kept below RUN/NAME so that any process can go on with it."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import addresses, cache, disks, limits, names, network
from .asked import Asked
from .capture import Capture, link_numbers
from .errors import LabError
from .machine import END_DEADLINE, cgroup_roots, remove_cgroups
from .paths import DEFAULT_FLEET, NETNS, RUN
from .plane import AUTO, SAYS
from .process import in_namespace, kill, run, wait_for, with_argument
from .progress import say
from .traffic import Targets, Traffic

MEMORY = "60%"  # of the machine's, at most, for all disks of a lab


class Lab(Asked):
    """A fleet on this machine, to be started, to be broken, and to be taken down."""

    # up and down

    def up(self) -> None:
        """Start it, or what is off in it; returns when every minion answers."""
        if self.running and not (self.place / "ready").exists():
            say("an earlier start was cut short: starting anew")
            fleet, plane = self._asked
            self.down()
            self.__init__(self.name, fleet, plane, self.with_master, self._standing)  # type: ignore[misc]
        if self.running:
            self._resume()
        else:
            self._start()
        (self.place / "ready").touch()

    def _resume(self) -> None:
        fleet, plane = self._asked
        if fleet.read_text() != (self.place / "fleet.sls").read_text():
            raise LabError(
                f"lab {self.name} runs with another fleet file; lab/lab pillar {fleet} changes rules and "
                "settings, lab/lab down and up again changes hosts"
            )
        if plane not in (AUTO, self.plane):
            raise LabError(f"lab {self.name} runs with plane {self.plane}; lab/lab down first")
        off = [machine.name for machine in self.machines.values() if machine.leader() is None]
        say(f"lab {self.name} runs already; hosts that are off: {', '.join(off) or 'none'}")
        for host in off:
            self.on(host, wait=False)
        self._wait_started()

    def _wait_started(self) -> None:
        """Wait until every minion answers; name the cure where what an earlier run left hinders them."""
        try:
            self._wait_ready()
        except LabError as error:
            cure = f"lab/lab --name {self.name} down{' (make down)' if self.name == names.DEFAULT else ''}"
            raise LabError(
                f"{error}\nwhere an earlier run was killed: {cure} takes it away, and then it starts anew"
            ) from error

    def _start(self) -> None:
        planned, plane = self.planned, self.plane
        master = " and a master" if self.with_master else ""
        say(f"lab {self.name}: {len(self.hosts)} hosts{master}; {SAYS[plane]}")
        cache.ready(host.debian for host in self.hosts)
        self.place.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={MEMORY}", "ipsec-lab", str(self.place)])
        (self.place / "fleet.sls").write_text(self.fleet.read_text())
        record = {"fleet": str(self.fleet), "master": self.with_master, "plane": plane}
        self._record.write_text(json.dumps(record))
        limits.let_watch(len(planned), len(labs()))
        limits.let_know_neighbours()
        if self._standing is not None:
            disks.unpack(self._standing, self.place)
        say("network and disks")
        self.network.up_core()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self._new_host, planned))
        say("booting")
        for machine in self.machines.values():
            machine.boot()
        self._wait_started()

    def _new_host(self, host: addresses.PlannedHost) -> None:
        root = self.machines[host.name].upper
        master = names.MASTER if self.with_master else None
        disks.names_of(root, self.name, host, self.planned, master)
        disks.addresses(root, network.host_lines(host))
        if host.name == master or master is None:
            disks.served(root)
            disks.pillar(root, self.fleet.read_text(), self.plane)
        if host.name == master:
            disks.master(root)
        else:
            disks.minion(root, host, masterless=master is None, processes=(os.cpu_count() or 1) > 1)
            if not self.ca.installed(root, host.name):
                self.ca.install(root, host.name, self.ca.issue(host.name))
        self.network.up_host(host)

    def _wait_ready(self) -> None:
        for machine in self.machines.values():
            machine.wait_booted()
        if self.with_master:
            say("systemd is up everywhere; waiting for the minions")
            self.wait_minions()
            if self._standing is None:  # hosts that stood already have them, and the master as well
                self._take_modules()
        say("every host is ready")

    def down(self) -> None:
        """End everything of the lab; nothing is left, also where a start was cut short."""
        self.leave()
        kill(with_argument(f"{self.place}/"))
        spaces = network.namespaces(self.name)
        for space in spaces:
            _empty(space)
        for host in {
            space.name.removeprefix(names.namespace(self.name, "")) for space in spaces
        } | self._cgroups():
            remove_cgroups(self.name, host)
        for space in spaces:
            network.delete(space.name)
        for mounted in _mounts_below(self.place):
            run(["umount", "--lazy", mounted], check=False)
        shutil.rmtree(self.place, ignore_errors=True)
        if RUN.is_dir() and not any(RUN.iterdir()):
            RUN.rmdir()

    def _cgroups(self) -> set[str]:
        prefix = names.namespace(self.name, "")
        return {
            entry.name.removeprefix(prefix) for root in cgroup_roots() for entry in root.glob(f"{prefix}*")
        }

    # faults

    def off(self, host: str) -> None:
        """Cut a host's power."""
        machine = self.host(host)
        self.leave(machine.name)
        machine.cut_power()

    def on(self, host: str, wait: bool = True) -> None:
        """Boot a host that is off."""
        machine = self.host(host)
        if machine.leader() is not None:
            return
        planned = next(one for one in self.planned if one.name == machine.name)
        remove_cgroups(self.name, machine.name)
        self.network.up_host(planned)
        machine.boot()
        if wait:
            machine.wait_booted()

    def reboot(self, host: str) -> None:
        """Reboot a host as `systemctl reboot` does, and wait until it is up again."""
        machine = self.host(host)
        before = machine.leader()
        self.leave(machine.name)
        machine.run(["systemctl", "reboot"], check=False)

        def changed() -> bool:
            return before is not None and not Path(f"/proc/{before}").exists()

        wait_for(changed, f"{machine.name}: shutdown", END_DEADLINE)
        machine.wait_booted()

    # the line

    def capture(self, where: str | None = None) -> Capture:
        """Capture what crosses the core, or what passes a site or a host."""
        space = NETNS / names.namespace(self.name, names.CORE)
        numbers = link_numbers(space)
        links = {numbers[link] for link in self.network.capture_point(where)}
        mesh = {str(address.ip) for host in self.planned for address in host.addresses}
        file = self.place / f"capture-{os.getpid()}.pcap"
        return Capture(space, links, where is None, mesh, file)

    def traffic(
        self, targets: Targets, interval: float = 0.05, moved: Mapping[str, Sequence[str]] | None = None
    ) -> Traffic:
        """Probe from hosts to targets, every `interval` seconds; every host of the lab answers.

        A host that is in `moved` does so from these addresses.
        """
        own = {host.name: [str(address.ip) for address in host.addresses] for host in self.planned}
        machines = {host.name: self.machines[host.name] for host in self.hosts}
        return Traffic(machines, {**own, **(moved or {})}, targets, interval)


def _empty(space: Path) -> None:
    """End every process in a namespace."""

    def gone() -> bool:
        left = in_namespace(space)
        kill(left)
        return not left

    wait_for(gone, f"the end of all processes in {space.name}", END_DEADLINE)


def _mounts_below(place: Path) -> list[str]:
    """Mount points at and below a directory, the deepest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [point for point in points if point == str(place) or point.startswith(f"{place}/")]
    return sorted(below, key=len, reverse=True)


@contextlib.contextmanager
def fresh(
    name: str,
    fleet: Path = DEFAULT_FLEET,
    plane: str = AUTO,
    master: bool = True,
    standing: Path | None = None,
) -> Iterator[Lab]:
    """Have a new lab, whatever is left of one of that name; it is taken down at the end."""
    Lab(name).down()
    lab = Lab(name, fleet, plane, master, standing)
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def started(name: str) -> Lab:
    """The lab of that name, which has to run."""
    lab = Lab(name)
    if not lab.running:
        raise LabError(f"no lab {name!r} is running; lab/lab --name {name} up")
    return lab


def labs() -> Sequence[str]:
    """The names of the labs that run."""
    return sorted(place.parent.name for place in RUN.glob("*/lab.json"))
