"""A fleet of 5,040 hosts with 60 peers each: what its master takes for it, and the part of each host.

Each step runs in a process of its own, which tells the seconds of its processor and its memory. What hosts
answer is made by another process, beforehand: a status of what real ones said, a plan by the engine of hosts.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Optional

import msgpack
import salt.utils.yaml
import yaml
from figures import table

import edits
import fleets
from hostipsec.edition import EDITION
from hostipsec.fleet import commands, fleetplan, outcome, planwords, targets
from hostipsec.fleet.asking import Asking
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.model import Connection, Fleet
from hostipsec.pillar import addressed, fleetfiles, pillar, topology

HOSTS, CLUSTER = 5040, 80  # a host pairs with the 60 of its cluster that are at the other three sites
PAIRS = HOSTS * 60 // 2
SITES = ("codfw", "eqiad", "esams", "ulsfo")
SECONDS, MEMORY, LINES = 30.0, 2048, 100  # of each step, at most; MiB; lines for people
RECORDED = json.loads((Path(__file__).parents[1] / "unit/data/answers/before-one-shape.json").read_text())
CA = {"key": "5f" * 32, "name": "CN=Puppet CA: puppet.eqiad.wmnet"}
AUTHENTICATION = {"chain": [CA], "trusts": [CA], "fault": ""}


def data(families: int = 2, **more: object) -> dict[str, Any]:
    """Return the pillar, below ``ipsec``."""
    hosts = {}
    for number in range(HOSTS):
        cluster, place = divmod(number, CLUSTER)
        site, subnet, own = place % len(SITES), number // 250, number % 250 + 1
        name = f"cp{1000 + number}.{SITES[site]}.wmnet"
        hosts[name] = {
            "site": SITES[site],
            "cluster": f"cluster{cluster}",
            "ipv4": f"10.{site}.{subnet}.{own}",
        }
        if families == 2:
            hosts[name]["ipv6"] = f"2620:0:86{site}:103:10:{site}:{subnet}:{own}"
    everywhere = {"site": [*SITES]}
    rule = {"name": "across-sites", "between": everywhere, "and": everywhere}
    rules = [{**rule, "same": ["cluster"], "different": ["site"]}]
    return {"hosts": hosts, "rules": rules, "certificates": {"source": "puppet"}, **more}


class Client:
    """Salt's client, over what hosts answered into a file: each comes as the engine asks for the next."""

    def __init__(self, path: Path) -> None:
        self._path, self.lines = path, 0

    def returns(self, *_: object) -> Iterator[tuple[str, object]]:
        """Yield each host and what it says."""
        with self._path.open("rb") as file:
            yield from msgpack.Unpacker(file)

    def say(self, _: str) -> None:
        """Count a line."""
        self.lines += 1

    clock, sleep = staticmethod(time.monotonic), staticmethod(time.sleep)


# What hosts answer ---------------------------------------------------------------------------


def connections(fleet: Fleet) -> dict[str, tuple[Connection, ...]]:
    """Return the connections of every host: what each computes for itself, of its peers alone."""
    hosts = {host.id: host for host in fleet.hosts}
    around = {host: [hosts[host]] for host in hosts}
    for one, other in topology.pairs(fleet):
        around[one].append(hosts[other])
        around[other].append(hosts[one])
    return {host: topology.connections(fleet._replace(hosts=(*some,)), host) for host, some in around.items()}


def statuses(families: int, site: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield what hosts say where those of one site are gone."""
    fleet = pillar.read(data(families))
    said, trouble = RECORDED["status"], RECORDED["status, trouble"]["connections"]
    up = next(iter(said["connections"].values()))
    down = next(row for row in trouble.values() if row["state"] == "down")
    for host, mine in connections(fleet).items():
        rows = {one.name: {**(down if f".{site}." in one.peer else up), **fleets.row(one)} for one in mine}
        worst = max(row["severity"] == "critical" for row in rows.values())
        summary = {**said["summary"], "severity": "critical" if worst else "ok"}
        if f".{site}." not in host:
            own = {"authentication": AUTHENTICATION, "edition": EDITION}
            yield host, {**said, "connections": rows, "summary": summary, **own}


def plans(families: int, edit: dict[str, Any], joins: str = "") -> Iterator[tuple[str, object]]:
    """Yield what hosts say of an edit: the first cluster by its files, all others the same of their peers.

    ``joins`` is a site that was not there before.
    """
    old = pillar.read({**data(families), "hosts": without(joins, families)})
    new = pillar.read({**data(families), **edit})
    had, gets = connections(old), connections(new)
    there = {host: edits.texts(old, host, mine) for host, mine in [*had.items()][:CLUSTER] if mine}
    for host, mine in gets.items():
        cluster, place = divmod(int(host[2:6]) - 1000, CLUSTER)
        double = f"cp{1000 + place}{host[6:]}"
        if not cluster:
            wanted = edits.texts(new, host, mine)
            first = edits.answer(there.get(host, edits.NOTHING), wanted, new, host)
            there[host, "said"] = first
        first = there[double, "said"]
        changes = re.sub(
            "cp([0-9]{4})",
            lambda found, more=cluster * CLUSTER: f"cp{int(found[1]) + more}",
            json.dumps(first["changes"]),
        )
        before_ = had.get(host, ())
        own = {"authentication": AUTHENTICATION, "pillar": "5f" * 8}
        said = fleetplan.answer(
            first["standing"], mine, before_, json.loads(changes), configured=len(before_)
        )
        yield host, {**said, **own}


# Steps ---------------------------------------------------------------------------------------


class Step:
    """Tells how long it took since the last time."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.again()

    def again(self, client: Client | None = None) -> None:
        """Begin anew; what it takes to read the file of a client is not counted."""
        self._begin = time.process_time()
        if client:
            for _ in client.returns():
                pass
            self._begin += 2 * (time.process_time() - self._begin)

    def took(self, name: str, most: float = SECONDS) -> None:
        """Note the seconds, which must be no more than these."""
        seconds = time.process_time() - self._begin
        self.found[name] = f"{seconds:.2f}"
        assert seconds <= most, f"{name}: {seconds:.1f} s, and {most} were asked for"
        self.again()


def no_mine(*_: object) -> object:
    """Refuse to be asked."""
    raise AssertionError("the mine was asked")


def read(families: int, step: Step) -> None:
    """Read the file, and make each host's part."""
    with tempfile.NamedTemporaryFile("w", suffix=".sls") as file:
        yaml.dump({"ipsec": data(families)}, file, yaml.CSafeDumper)
        file.flush()
        step.again()
        whole = fleetfiles.whole([file.name], salt.utils.yaml.safe_load, no_mine, tuple)
        step.took("pillar read", 3)
        found = [fleetfiles.part(host.id, [file.name], no_mine, no_mine, tuple) for host in whole.fleet.hosts]
        step.took("parts of all", HOSTS * 0.005)
        step.found["ms each"] = f"{float(step.found['parts of all']) / HOSTS * 1000:.2f}"
    most = max(len(msgpack.packb(one)) for one in found)
    assert most <= 10_000, f"a part of {most} bytes"
    step.found["bytes of a part"] = str(most)
    step.again()
    for host, part in list(zip(whole.fleet.hosts, found))[:100]:
        assert len(addressed.member(part, host.id, no_mine).peers) == len(part["hosts"]) - 1
    step.took("100 hosts, by part")


def pairs(families: int, step: Step) -> None:
    """Say who pairs up with whom, and the connections of every host."""
    fleet = pillar.read(data(families))
    step.again()
    assert len(topology.pairs(fleet)) == PAIRS
    step.took("pairs")
    topology.named(fleet)
    step.took("names of all")
    targets.paired(fleet)
    step.took("members")


def shown(families: int, step: Step, client: Client) -> None:
    """Bring together what all hosts say of their connections."""
    fleet = pillar.read(data(families))
    step.again(client)
    found = commands.status(Asking(client), fleet, Filter(), 0)
    told = found.as_dict(0, EDITION)
    step.took("status")
    assert len(told["connections"]) == families * PAIRS
    assert len(told["lines"]) < LINES
    step.found["says"] = told["lines"][0]


def planned(families: int, step: Step, client: Client, **edit: object) -> None:
    """Bring together what all hosts would change."""
    fleet = pillar.read({**data(families), **edit})
    step.again(client)
    found, heard = commands.plan(Asking(client), fleet, [host.id for host in fleet.hosts], whole=True)
    lines = [*planwords.lines(found), *outcome.lost(heard)]
    found.as_dict()
    step.took("plan")
    assert len(lines) < LINES
    step.found["says"] = lines[0]


def without(site: str, families: int) -> dict[str, Any]:
    """Return the hosts that are not at a site."""
    hosts: dict[str, Any] = data(families)["hosts"]
    return {name: host for name, host in hosts.items() if host["site"] != site}


OPTION = {"connection": {"margintime": "5m"}}
STEPS: Mapping[str, tuple[Callable[..., None], Optional[Callable[[int], Iterator[object]]]]] = {
    "read": (read, None),
    "topology": (pairs, None),
    "status": (shown, statuses),
    "status, a site gone": (shown, partial(statuses, site="esams")),
    "plan, nothing": (planned, partial(plans, edit={})),
    "plan, an option": (partial(planned, **OPTION), partial(plans, edit=OPTION)),
    "plan, a site more": (planned, partial(plans, edit={}, joins="esams")),
}


def _make(name: str, families: int, path: Path) -> None:
    """Write what hosts answer."""
    _, answers = STEPS[name]
    if answers is not None:
        with path.open("wb") as file:
            for one in answers(families):
                file.write(msgpack.packb(one))


def _measure(name: str, families: int, path: Path, told: Path) -> None:
    step, client = Step(), Client(path)
    run, answers = STEPS[name]
    run(families, step, *([client] if answers else []))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    assert memory <= MEMORY, f"{name}: {memory} MiB"
    told.write_text(json.dumps([{**step.found, "MiB": str(memory)}]))


def measured(name: str, families: int) -> dict[str, str]:
    """Return what a step took, by what."""
    print(f"-- {name}, {families}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as place:
        path, told = Path(place, "answers"), Path(place, "told")
        for work in (partial(_make, name, families, path), partial(_measure, name, families, path, told)):
            child = multiprocessing.get_context("spawn").Process(target=work)
            child.start()
            child.join()
            assert child.exitcode == 0, f"{name}: see above"
        found: dict[str, str] = json.loads(told.read_text())[0]
    return found


def main() -> None:
    """Print seconds and memory of each step."""
    found = {(name, families): measured(name, families) for name in STEPS for families in (1, 2)}
    rows = [[name, str(families), *each] for (name, families), said in found.items() for each in said.items()]
    table(f"{HOSTS} hosts, {PAIRS} pairs: seconds of the processor", ["", "families", "what", ""], rows)


if __name__ == "__main__":
    main()
