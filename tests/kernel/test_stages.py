"""A pair goes from stage to stage, up to `require` and down to `off`, under constant traffic.

The way up is the one that the other scenarios took (conftest).
"""

import pytest
from conftest import SECOND

UP, DOWN = ("off", "start", "require"), ("require", "start", "passive", "off")
STEPS = [f"{one} to {two}" for way in (UP, DOWN) for one, two in zip(way, way[1:])]


@pytest.fixture(scope="module")
def steps(required):
    """What each step lost, and what the line showed of the pair once it was done."""
    for stage in DOWN[1:]:
        required.step(stage)
    return required.steps


@pytest.mark.parametrize("step", STEPS)
def test_no_step_has_a_gap(steps, step):
    """A packet or two may meet an end that is not there yet; a second without traffic is a gap."""
    assert steps[step]["lost"] < SECOND, steps[step]


@pytest.mark.parametrize("step", [step for step in STEPS if step.endswith(("start", "require"))])
def test_where_it_is_started_it_is_encrypted(steps, step):
    assert steps[step]["clear"] == 0
    assert steps[step]["esp"] > 0


@pytest.mark.parametrize("step", ["passive to off"])
def test_where_nothing_starts_it_traffic_goes_in_the_clear(steps, step):
    assert steps[step]["clear"] > 0
    assert steps[step]["esp"] == 0
