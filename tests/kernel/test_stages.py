"""A pair goes from stage to stage, up to `require` and down to `off` and back, under constant traffic.

Each step is what `salt-run ipsec.rollout` does on the two hosts: the end that answers first.
"""

import json

import pytest
from conftest import ADDRESSES, A, B
from test_require import rules

from fleetlab.paths import BUILD

FIGURES = BUILD / "stages.json"  # what docs/changing-the-fleet.md shows
STEPS = ("start", "require", "start", "passive", "off", "passive", "start")  # from the first to the last
SECOND = 10  # probes a second, on each family


@pytest.fixture(scope="module")
def steps(mesh):
    """What each step lost, and what the line showed of the pair once it was done."""
    found = {}
    ends = {*ADDRESSES[A], *ADDRESSES[B]}
    for before, after in zip(STEPS, STEPS[1:]):
        mesh.give({"rules": rules(core_to_core=after)})
        with mesh.traffic(A, B, 1 / SECOND) as traffic:
            traffic.wait_flows()
            for host in (B, A):
                mesh.apply(host)
            if after in ("start", "require"):
                mesh.wait_up(A, B)
            with mesh.lab.capture() as wire:
                traffic.wait_flows()
        kinds = [one.kind for one in wire.packets if {one.source, one.destination} <= ends]
        found[f"{before} to {after}"] = {
            "lost": traffic.lost,
            "sent": sum(traffic.sent.values()),
            "esp": kinds.count("esp"),
            "clear": kinds.count("clear"),
        }
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    yield found
    mesh.give({})


@pytest.mark.parametrize("step", [f"{one} to {two}" for one, two in zip(STEPS, STEPS[1:])])
def test_no_step_has_a_gap(steps, step):
    """A packet or two may meet an end that is not there yet; a second without traffic is a gap."""
    assert steps[step]["lost"] < SECOND, steps[step]


@pytest.mark.parametrize("step", ["start to require", "require to start", "passive to start"])
def test_where_it_is_started_it_is_encrypted(steps, step):
    assert steps[step]["clear"] == 0
    assert steps[step]["esp"] > 0


@pytest.mark.parametrize("step", ["passive to off", "off to passive"])
def test_where_nothing_starts_it_traffic_goes_in_the_clear(steps, step):
    assert steps[step]["clear"] > 0
    assert steps[step]["esp"] == 0
