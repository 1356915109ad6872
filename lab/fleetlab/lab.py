"""A lab: hosts, their network and their Salt; kept below RUN/NAME so that any process can go on with it."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from . import addresses, cache, disks, names, network
from .authority import Authority
from .capture import Capture, link_numbers
from .client import Client
from .errors import LabError
from .fleet import FleetHost, read_fleet
from .machine import END_DEADLINE, Machine, cgroup_roots, remove_cgroups
from .network import Network
from .paths import DEFAULT_FLEET, NETNS, RUN
from .plane import AUTO, SAYS, choose_plane
from .process import Completed, in_namespace, kill, run, wait_for, with_argument
from .progress import say
from .traffic import Targets, Traffic

MEMORY = "60%"  # of the machine's, at most, for all disks of a lab
WATCHERS = 16  # inotify instances a host
NOT_FOUND = 127  # what a shell says of a command that is not there
PING = 10  # seconds
PUBLISHED = 4505  # the port of the master at which minions hear of jobs
# Seconds until every minion answers: one waits for its pillar up to 3 times 60 where the master is too slow
# for it at first, and then asks anew
READY_DEADLINE = 480.0
NEIGHBOURS = {"gc_thresh2": 8192, "gc_thresh3": 16384}  # how many the kernel may know


class Lab:
    """A fleet on this machine. With ``master=False`` every host serves itself (salt-call --local).

    ``standing`` are disks of hosts that were set up already (`standing.ready`).
    """

    def __init__(
        self,
        name: str = "lab",
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

    # what there is

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

    # up and down

    def up(self) -> None:
        """Start it, or what is off in it; returns when every minion answers."""
        if self.running and not (self.place / "ready").exists():
            say("an earlier start was cut short: starting anew")
            fleet, plane = self._asked
            self.down()
            self.__init__(self.name, fleet, plane, self.with_master)  # type: ignore[misc]
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
        self._wait_ready()

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
        _watchers(len(planned))
        let_know_neighbours()
        if self._standing is not None:
            disks.unpack(self._standing, self.place)
        say("network and disks")
        self.network.up_core()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self._new_host, planned))
        say("booting")
        for machine in self.machines.values():
            machine.boot()
        self._wait_ready()

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

    def wait_minions(self, timeout: float = READY_DEADLINE) -> None:
        """Wait until every minion answers the master."""
        expected = {host.name for host in self.hosts}
        keys = self.master.place / "upper/etc/salt/pki/master/minions"

        def accepted() -> bool:
            return keys.is_dir() and expected <= {key.name for key in keys.iterdir()}

        wait_for(accepted, "keys of all minions at the master", timeout)
        # who is not connected yet never hears of a job, and the asking goes on without an answer
        wait_for(self._all_listen, "minions that listen to the master", timeout)
        self._wait_answers("test.ping", PING, timeout)

    def _all_listen(self) -> bool:
        """Whether every minion has the connection over which it hears of jobs."""
        listens = ["sh", "-c", f"ss -Htn state established dport = :{PUBLISHED} | grep -q ."]

        def listening(name: str) -> bool:
            return self.machines[name].run(listens, check=False).returncode == 0

        return all(listening(host.name) for host in self.hosts)

    def _wait_answers(self, function: str, each: float, timeout: float) -> None:
        """Ask all minions, each time for so long, until every one answers."""
        expected = {host.name for host in self.hosts}
        missing: set[str] = set()

        def answered() -> bool:
            missing.clear()
            missing.update(expected)
            with contextlib.suppress(LabError):
                found = self._answers(",".join(sorted(expected)), function, timeout=each, expr="list")
                missing.difference_update(found)
            return not missing

        wait_for(answered, lambda: f"answers of all minions{''.join(map(self._silent, missing))}", timeout)

    def _take_modules(self) -> None:
        """Have the master, and every minion, take the modules that it serves; they keep them."""
        self.master.run(["salt-run", "saltutil.sync_all"], timeout=120)
        self._wait_answers("saltutil.sync_all", 120, READY_DEADLINE)

    def _silent(self, host: str) -> str:
        """What there is to know of a host whose minion does not answer."""
        look = ["sh", "-c", "systemctl status --no-pager salt-minion; tail -n 20 /var/log/salt/minion"]
        with contextlib.suppress(LabError):
            return f"\n-- {host} does not:\n{self.host(host).run(look, check=False, timeout=20).stdout}"
        return f"\n-- {host} does not, and has no shell"

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

    # Salt

    def salt(
        self, target: str, function: str, *arguments: str, timeout: float = 60, expr: str = "glob"
    ) -> dict[str, Any]:
        """Run a function on minions; what each returned. `LabError` where one of the target said nothing."""
        found = self._answers(target, function, *arguments, timeout=timeout, expr=expr)
        silent = names.unanswered(target, expr, [host.name for host in self.hosts], found)
        if silent:
            raise LabError(f"{function} on {target}: no answer of {', '.join(silent)} within {timeout:g} s")
        return found

    def _answers(
        self, target: str, function: str, *arguments: str, timeout: float, expr: str
    ) -> dict[str, Any]:
        """Run a function on minions; what those returned that answered."""
        job = {
            "target": target,
            "kind": expr,
            "function": function,
            "arguments": arguments,
            "timeout": timeout,
        }
        return self._clients[names.MASTER].answer(job, timeout + 60)

    def apply(self, target: str) -> dict[str, list[dict[str, Any]]]:
        """Apply the state on minions; the states of each, or `LabError` with what failed."""
        results = self.salt(target, "state.apply", "ipsec", timeout=300)
        for host, states in sorted(results.items()):
            if not isinstance(states, dict):
                raise LabError(f"{host}: {states}")
            for state in states.values():
                if state["result"] is not True:
                    raise LabError(f"{host}: state {state['__id__']} failed: {state['comment']}")
        return {host: list(states.values()) for host, states in results.items()}

    def call(self, host: str, function: str, *arguments: str, timeout: float = 300) -> Any:
        """Run a function on a host, as salt-call does; what it returned."""
        if not self.with_master:
            return self._clients[self.host(host).name].answer(
                {"function": function, "arguments": arguments}, timeout
            )
        command = ["salt-call", "--out=json", "--log-level=error", function, *arguments]
        done = self.host(host).run(command, check=False, timeout=timeout)
        return _first_json(done).get("local")

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What `ipsec-global status` says on each host that is on; without Salt, it can be asked often.

        A host without it has no connections; `LabError` where it is there and says nothing.
        """
        command = ["sh", "-c", "exec /usr/local/sbin/ipsec-global status --json"]  # sh: it may not be there

        def ask(name: str) -> dict[str, Any]:
            done = self.machines[name].run(command, check=False)
            if done.returncode == NOT_FOUND:
                return {"connections": {}, "held": ""}
            return _first_json(done)

        names = [one.name for one in self.hosts if self.machines[one.name].leader() is not None]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return dict(zip(names, pool.map(ask, names), strict=True))

    def ids(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """The ids of IKE SAs, by host and connection."""
        return {
            (host, name): tuple(one["ike_ids"])
            for host, found in self.statuses().items()
            for name, one in found["connections"].items()
        }

    def not_one_each(self, statuses: Mapping[str, dict[str, Any]]) -> list[str]:
        """Say where a host is off, or a connection is not established by one IKE SA and one CHILD SA.

        `statuses` are those of all hosts that are on.
        """
        rows = {
            f"{host} {name}": one
            for host, found in statuses.items()
            for name, one in found["connections"].items()
        }
        return [
            *(f"{host.name} is off" for host in self.hosts if host.name not in statuses),
            *["no host has a connection"] * (not rows),
            *(
                f"{name}: {one['state']}, IKE {one['ike_ids']}, CHILD {one['child_ids']}, {one['reason']}"
                for name, one in rows.items()
                if (one["state"], len(one["ike_ids"]), len(one["child_ids"])) != ("established", 1, 1)
            ),
        ]

    def wait_one_each(self, timeout: float = 90) -> None:
        """Wait until every host is on, and each connection established by one IKE SA and one CHILD SA."""
        missing: list[str] = []

        def whole() -> bool:
            missing[:] = self.not_one_each(self.statuses())
            return not missing

        wait_for(whole, lambda: f"established: {'; '.join(missing)}", timeout, 0.5)

    def set_pillar(self, text: str, refreshed: bool = True) -> None:
        """Give the fleet another pillar; minions keep the one in memory until they are ``refreshed``."""
        holders = [self.master] if self.with_master else list(self.machines.values())
        for machine in holders:
            machine.write(f"{disks.PILLAR_ROOT}/ipsec.sls", text.encode())
        if self.with_master and refreshed:
            self.salt("*", "saltutil.refresh_pillar", "wait=True")

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


def _watchers(hosts: int) -> None:
    """Let root have as many inotify instances as the hosts' systemd need; without, it stops in mid-boot.

    The machine counts those of all labs together.
    """
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    wanted = len(labs()) * WATCHERS * 8 + WATCHERS * hosts
    if int(limit.read_text()) < wanted:
        limit.write_text(str(wanted))


def let_know_neighbours(place: Path = Path("/proc/sys/net")) -> None:
    """Let the kernel know more neighbours than it does by default: all network namespaces share one table.

    Where a test beside this lab asks for a thousand peers that are not there, it was full, and every packet
    of IPv4 that a host of the lab sent in those seconds was refused.
    """
    for family in ("ipv4", "ipv6"):
        for name, wanted in NEIGHBOURS.items():
            limit = place / family / "neigh/default" / name
            if limit.exists() and int(limit.read_text()) < wanted:  # only the machine's own namespace has it
                limit.write_text(str(wanted))


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


def _first_json(done: Completed) -> dict[str, Any]:
    """The object that a command printed, whatever stands before it."""
    start = done.stdout.find("{")
    if start < 0:
        raise LabError(f"no JSON, but: {(done.stderr or done.stdout).strip()}")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[start:])[0]
    return found


def started(name: str) -> Lab:
    """The lab of that name, which has to run."""
    lab = Lab(name)
    if not lab.running:
        raise LabError(f"no lab {name!r} is running; lab/lab --name {name} up")
    return lab


def labs() -> Sequence[str]:
    """The names of the labs that run."""
    return sorted(place.parent.name for place in RUN.glob("*/lab.json"))
