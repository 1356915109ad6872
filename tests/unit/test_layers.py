"""The test run's own pure part: commands, which tests run again, the last lines."""

from pathlib import Path

import pytest

import layers
from layers import FUNCTIONAL, KERNEL, LINT, ROLLOUT, SCENARIOS, UNIT, Result

TESTS = Path(__file__).resolve().parents[1]
ONE, TWO, THREE = (f"tests/scenarios/test_x.py::test_{name}[a b]" for name in ("one", "two", "three"))


def result(layer, status=0, *failed, said=""):
    return Result(layer, status, 61.2, said, failed)


def test_a_layer_is_run_by_pytest_over_its_folder():
    (found,) = layers.commands(UNIT, "python", "cache")
    assert found[:3] == ["python", "-m", "pytest"]
    assert found[-7:] == ["-o", "cache_dir=cache", "-n", "2", "--dist", "loadfile", "tests/unit"]
    assert layers.commands(LINT, "python", "cache") == [["tests/lint"]]


def test_a_lab_stops_at_the_third_failure_and_may_need_another_kernel():
    (scenarios,) = layers.commands(SCENARIOS, "python", "cache")
    stand, kernel = layers.commands(KERNEL, "python", "cache", [ONE])
    assert scenarios[-2:] == ["--maxfail=3", "tests/scenarios"]
    assert stand == ["lab/lab", "standing"]
    assert kernel[:4] == ["lab/with-esp", "--timeout", "2400", "--"]
    assert kernel[-1] == ONE


def test_what_takes_long_is_in_everything_and_in_its_second_run():
    (usual,), (whole,) = (
        layers.commands(one, "python", "cache", [ONE]) for one in (SCENARIOS, SCENARIOS.whole)
    )
    assert "--whole" not in usual
    assert whole[-2:] == ["--whole", ONE]
    assert layers.WALK.whole is layers.WALK
    assert {one.name for one in layers.WHOLE} >= {one.name for one in layers.USUAL if one is not ROLLOUT}


def test_another_salt_runs_what_knows_salt():
    functional, fleet = layers.commands(layers.SALTS[0], "python", "cache")
    assert functional[0] == fleet[0] == ".build/venv-3006/bin/python"
    assert functional[-2:] == ["loadfile", "tests/functional/test_one_reading.py"]
    assert fleet[-2:] == ["--edge-salt=.build/venv", "tests/integration/test_fleet.py"]
    whole, fleet = layers.commands(layers.SALTS[0].whole, "python", "cache")
    assert {"--whole", "tests/functional/test_runner.py"} < {*whole}
    assert "--whole" in fleet
    (again,) = layers.commands(layers.SALTS[0], "python", "cache", [ONE])
    assert (again[0], again[-1]) == (".build/venv-3006/bin/python", ONE)


def test_every_file_that_knows_salt_is_run_by_the_others():
    found = layers.knows_salt()
    assert {"module", "sls", "states", *layers.QUICK} < {*found}
    assert not {"probe", "overhead_kernel", *layers.OF_THE_HOST} & {*found}


@pytest.mark.parametrize("layer", [one for one in layers.WHOLE if layers.ALL in one.options and not one.salt])
def test_who_is_asked_for_everything_knows_the_word(layer):
    assert "from whole import" in (TESTS.parent / layer.place / "conftest.py").read_text()


@pytest.mark.parametrize(
    ("failed", "tests"),
    [
        (result(SCENARIOS, 1, ONE), (ONE,)),
        (result(SCENARIOS, 1, ONE, TWO), (ONE, TWO)),
        (result(SCENARIOS, 1, ONE, TWO, THREE), ()),  # stopped: what comes after was not run
        (result(SCENARIOS, 2, ONE), ()),  # interrupted, or a file that cannot be read
        (result(SCENARIOS, 1), ()),
        (result(KERNEL, 124, ONE), ()),  # out of time
        (result(KERNEL, 1, ONE), (ONE,)),
        (result(ROLLOUT, 1, ONE), ("tests/rollout",)),
        (result(FUNCTIONAL, 1, ONE), (ONE,)),
        (result(UNIT, 1, ONE), ()),
        (result(SCENARIOS), ()),
    ],
)
def test_what_failed_waiting_for_daemons_gets_a_second_run(failed, tests):
    assert layers.again(failed) == tests


def test_what_passes_then_is_told_and_no_failure():
    results, second = [result(SCENARIOS, 1, ONE, TWO), result(KERNEL)], [result(SCENARIOS)]
    assert layers.broken(results, second) == []
    assert layers.unsteady(results, second) == [ONE, TWO]
    assert layers.broken(results, [result(SCENARIOS, 1, ONE)]) == [SCENARIOS]
    assert layers.unsteady(results, [result(SCENARIOS, 1, ONE)]) == []
    assert layers.broken(results, []) == [SCENARIOS]


def test_the_last_lines_say_all():
    results = [result(UNIT, said="9 passed in 3.10s"), result(SCENARIOS, 1, ONE), result(ROLLOUT, 1, TWO)]
    second = [result(SCENARIOS), result(ROLLOUT, 1, TWO)]
    left_out = {KERNEL: "no kernel"}
    assert layers.summary(left_out, results, second, 1300.0, ".build/test") == [
        "unit                61 s  passed   9 passed in 3.10s",
        "scenarios           61 s  FAILED",
        "rollout             61 s  FAILED",
        "scenarios again     61 s  passed",
        "rollout again       61 s  FAILED",
        "kernel          not run: no kernel",
        "all               1300 s",
        f"unsteady: {ONE}",
        "FAILED: rollout; log: .build/test/rollout.log",
    ]
    assert layers.summary({}, [result(UNIT)], [], 3.0, "x")[-1] == "passed"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("57 passed in 1420.11s (0:23:40)", "57 passed in 1420.11s"),
        ("=== 1 failed, 2 passed, 1 error in 3.02s ===", "1 failed, 2 passed, 1 error in 3.02s"),
        ("2 skipped in 0.01s", "2 skipped in 0.01s"),
        ("no tests ran in 0.01s", ""),
    ],
)
def test_how_pytest_closed(line, said):
    assert layers.closing(f"1 passed before\n{line}\nwith-esp: gone\n") == said


def test_the_last_lines_say_why_of_each_test_that_failed():
    long = f"FAILED {ONE} - LabError: {'x' * 400}"
    output = f"some log\n{long}\nERROR {TWO} - Deadline\nERROR: not of a test\n1 failed, 1 error in 4s\n"
    why = layers.reasons(output)
    assert why == (f"{long[: layers.REASON]}...", f"ERROR {TWO} - Deadline")
    lost = Result(SCENARIOS, 1, 61.2, "1 failed, 1 error in 4s", (ONE, TWO), why)
    lines = layers.summary({}, [lost], [lost], 70.0, "logs")
    assert lines[-5:-1] == [*why, *why]
    well = Result(SCENARIOS, 0, 5.0)
    assert not {*why} & {*layers.summary({}, [lost], [well], 70.0, "logs")}
