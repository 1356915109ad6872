"""What hosts of a lab answer, by Salt and without it; waiting for them."""

import contextlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import disks, names
from .errors import LabError
from .inventory import Inventory
from .process import Completed, wait_for

NOT_FOUND = 127  # what a shell says of a command that is not there
PING = 10  # seconds
PUBLISHED = 4505  # the port of the master at which minions hear of jobs
# Seconds until every minion answers: one waits for its pillar up to 3 times 60 where the master is too slow
# for it at first, and then asks anew
READY_DEADLINE = 480.0


class Asked(Inventory):
    """The fleet as Salt knows it."""

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

    def set_pillar(self, text: str, refreshed: bool = True) -> None:
        """Give the fleet another pillar; minions keep the one in memory until they are ``refreshed``."""
        holders = [self.master] if self.with_master else list(self.machines.values())
        for machine in holders:
            machine.write(f"{disks.PILLAR_ROOT}/ipsec.sls", text.encode())
        if self.with_master and refreshed:
            self.salt("*", "saltutil.refresh_pillar", "wait=True")


def _first_json(done: Completed) -> dict[str, Any]:
    """The object that a command printed, whatever stands before it."""
    start = done.stdout.find("{")
    if start < 0:
        raise LabError(f"no JSON, but: {(done.stderr or done.stdout).strip()}")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[start:])[0]
    return found
