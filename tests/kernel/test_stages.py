"""A pair goes through the stages and back by `salt-run ipsec.rollout`, under constant traffic.

off, passive, start, require: configured at both ends, then started, then nothing goes in the clear any more.
"""

import contextlib
import copy
import json

import pytest
import yaml
from conftest import ADDRESSES, FLEET, A, B, C
from test_require import rules

from fleetlab import Lab
from fleetlab.paths import BUILD
from fleetlab.plane import KERNEL

FIGURES = BUILD / "stages.json"  # what docs/changing-the-fleet.md shows
TARGETS = {one: dict(zip(("v4", "v6"), ADDRESSES[other], strict=True)) for one, other in ((A, B), (B, A))}
NO_GAP = 1.0  # seconds
# name of the step, stage of the pair's rule in the pillar, what the roll-out is told
STEPS = (
    ("off to passive", "require", "stage=passive"),
    ("passive to start", "require", "stage=start"),
    ("start to require", "require", ""),
    ("require to start", "start", ""),
    ("start to passive", "passive", ""),
    ("passive to off", "off", ""),
)


class Fleet:
    """Three hosts and a master; C has its tunnels all the while."""

    def __init__(self, lab):
        self.lab = lab
        self.pillar = yaml.safe_load(FLEET.read_text())

    def give(self, stage):
        """Give the pair A and B a stage."""
        pillar = copy.deepcopy(self.pillar)
        pillar["ipsec"]["rules"] = rules(core_to_core=stage)
        self.lab.set_pillar(yaml.safe_dump(pillar))

    def roll(self, *arguments):
        """Roll out; the lines that an operator reads."""
        command = ["salt-run", "ipsec.rollout", "timeout=60", "deadline=120", *filter(None, arguments)]
        done = self.lab.master.run(command, check=False, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def steps():
    """What each step lost, and what of the pair was in the clear at its end."""
    lab = Lab("stages", FLEET, KERNEL)
    lab.down()
    found = {}
    try:
        lab.up()
        fleet = Fleet(lab)
        for name, stage, told in STEPS:
            fleet.give(stage)
            with contextlib.ExitStack() as stack:
                traffic = stack.enter_context(lab.traffic(TARGETS))
                found[name] = {"said": fleet.roll(told)}
                with lab.capture() as wire:
                    traffic.wait_flows(A, B)
            figures = traffic.figures.values()
            ends = {*ADDRESSES[A], *ADDRESSES[B]}
            found[name] |= {
                "lost": sum(one.lost for one in figures),
                "sent": sum(one.sent for one in figures),
                "gap": max(one.gap for one in figures),
                "clear": sum({one.source, one.destination} <= ends for one in wire.clear()),
                "esp": sum(
                    {one.source, one.destination} <= ends for one in wire.packets if one.kind == "esp"
                ),
            }
        FIGURES.write_text(json.dumps(found, indent=1) + "\n")
        yield found
    finally:
        lab.down()


@pytest.mark.parametrize("name", [name for name, _, _ in STEPS])
def test_no_step_has_a_gap(steps, name):
    assert steps[name]["gap"] < NO_GAP, steps[name]


@pytest.mark.parametrize("name", ["off to passive", "passive to off"])
def test_below_start_traffic_goes_in_the_clear(steps, name):
    assert steps[name]["clear"] > 0
    assert steps[name]["esp"] == 0


@pytest.mark.parametrize("name", ["passive to start", "start to require", "require to start"])
def test_from_start_on_it_is_encrypted(steps, name):
    assert steps[name]["clear"] == 0
    assert steps[name]["esp"] > 0


def test_each_step_is_told_host_by_host(steps):
    """The end that answers comes before the end that starts."""
    said = [line for line in steps["start to require"]["said"] if line.startswith("== ")]
    assert said == [f"== stage require, canary: {B}", f"== stage require, eqiad: {A}"]
    assert steps["off to passive"]["said"][-1] == "3 hosts changed, every connection as it should be"
    assert not any(C in line for line in steps["require to start"]["said"])
