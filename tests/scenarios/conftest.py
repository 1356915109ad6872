"""One lab with the example fleet for all scenarios: real hosts, real Salt, real strongSwan."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

import labs
from fleetlab import Lab, demo, fresh
from fleetlab.paths import DEFAULT_FLEET
from footprints import footprint
from operators import Master
from whole import pytest_addoption, pytest_collection_modifyitems  # noqa: F401

CLEANED = "cp3002"  # the host whose disk is compared before the first run and after ipsec.clean


@dataclass
class Mesh:
    """The lab after `state.apply ipsec`, with what the first runs said."""

    lab: Lab
    predicted: dict[str, dict] = field(default_factory=dict)  # host -> states of test=True, on new hosts
    first: dict[str, dict] = field(default_factory=dict)  # host -> states of the first real run
    pristine: dict[str, str] = field(
        default_factory=dict
    )  # of one host before: path or command -> what it is
    fleet: Path = DEFAULT_FLEET
    changed: bool = False  # whether the pillar is another one
    touched: str = ""  # the hosts that may have applied it
    ciphers: bool = False  # whether SAs have others than those of the usual pillar

    @property
    def pillar(self) -> dict:
        """The example pillar, to be changed and given to `give`."""
        return yaml.safe_load(self.fleet.read_text())

    def give(self, pillar: dict, hosts: str = demo.MEMBERS, refreshed: bool = True) -> None:
        """Give the fleet another pillar until the end of the test, when `hosts` apply the usual one."""
        self.changed, self.touched = True, hosts
        self.lab.set_pillar(yaml.safe_dump(pillar), refreshed)

    def settled(self) -> None:
        """Every host runs the usual pillar again: at the end of the test there is nothing to apply."""
        self.changed = False

    def apply(self, target: str = demo.MEMBERS, *arguments: str) -> dict[str, dict]:
        """Run `state.apply ipsec`; the states of each host by id, whatever their results."""
        found = self.lab.salt(target, "state.apply", "ipsec", *arguments, timeout=300)
        return {
            host: {state["__id__"]: state for state in states.values()}
            if isinstance(states, dict)
            else states
            for host, states in found.items()
        }

    def status(self, target: str = demo.MEMBERS) -> dict[str, dict]:
        """Each host's `ipsec.status`."""
        return self.lab.salt(target, "ipsec.status")


@pytest.fixture(scope="session")
def everything() -> Iterator[Mesh]:
    """Start the lab, and apply the state on new hosts: in test mode first."""
    if os.geteuid():
        pytest.fail("scenarios need root: run make test as root")
    with fresh(labs.NAME) as lab:
        mesh = Mesh(lab)
        mesh.pristine = footprint(lab.host(CLEANED))
        mesh.predicted = mesh.apply(demo.MEMBERS, "test=True")
        mesh.first = mesh.apply()
        mesh.lab.wait_one_each()
        yield mesh


@pytest.fixture
def asking(everything: Mesh) -> Master:
    """The master's shell, for what changes nothing: no host is looked after afterwards.

    Tests that only look take the lab itself from `everything`.
    """
    return Master(everything.lab)


@pytest.fixture
def master(mesh: Mesh) -> Master:
    """The master's shell."""
    return Master(mesh.lab)


@pytest.fixture
def mesh(everything: Mesh) -> Iterator[Mesh]:
    """The mesh as the example pillar has it; afterwards it is so again, whatever the test did to it."""
    yield everything
    _look_after(everything.lab)
    if everything.changed:
        everything.changed = False
        everything.lab.set_pillar(everything.fleet.read_text())
        if everything.touched:
            everything.apply(everything.touched)
    if everything.ciphers:
        everything.ciphers = False
        everything.lab.salt(demo.MEMBERS, "ipsec.reauthenticate", timeout=90)
    statuses = everything.lab.statuses()
    for name, found in statuses.items():
        if found["held"] or any(one["state"] != "established" for one in found["connections"].values()):
            everything.lab.host(name).run(["ipsec-global", "up"], check=False)
    if everything.lab.not_one_each(statuses):
        everything.lab.wait_one_each()


def _look_after(lab: Lab) -> None:
    """Every host on, with its cable and its minion."""
    hosts = [lab.host(host.name) for host in lab.hosts]
    off = [host for host in hosts if host.leader() is None]
    for host in off:
        lab.on(host.name)
    for host in hosts:
        lab.network.set_link(host.name, "up")
    active = ["systemctl", "is-active", "--quiet", "salt-minion"]
    dead = [host for host in hosts if host.run(active, check=False).returncode]
    for host in dead:
        host.run(["systemctl", "start", "salt-minion"])
    if off or dead:
        lab.wait_minions()
