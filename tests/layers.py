"""The layers of the tests: what runs each, which tests of it run again, and the lines at the end.

Pure: `tests/run` starts the processes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

TESTS_FAILED = 1  # pytest's exit status where all ran and some failed
FAILURES = 3  # a lab that went wrong fails every test after it, each at its deadline: pytest stops then
REASON = 300  # characters
DURATIONS = ("--durations=10", "--durations-min=10")
STAND = ["lab/lab", "standing"]  # what labs share: inside there is no network, and no speed, to make it
# whole files, two at a time: their tests wait for daemons, or use one processor
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
ALL = "--whole"
FUNCTIONAL_FILES = Path(__file__).resolve().parent / "functional"
# Files of the functional layer that know Salt, and are more of the host
OF_THE_HOST = ("minimal", "routes_kernel", "verify_charons")
QUICK = ("one_reading",)  # and of the integration layer, what tells whether it works at all
WORKS = "salt_that or not_synced or every_part or check or mirror or test_mode or table"
INSIDE = ("lab/with-esp", "--timeout", "2400", "--")
_SALT = re.compile(r"import salt|from minions import")
_COUNTS = re.compile(r"^=* ?(\d+ (?:passed|failed|skipped|errors?|deselected|warnings?)\b.*? in [\d.]+s).*$")


@dataclass(frozen=True)
class Layer:
    """One layer; a ``lab`` one starts hosts, in a kernel that has ESP where it is ``inside``.

    One of ``salt`` is run by another release of Salt; of its fleet, one minion has the Salt of ``edge``.
    """

    name: str
    lab: bool = False
    inside: bool = False
    walk: bool = False  # its tests are the steps of one walk
    folder: str = ""  # where its tests are (default: tests/NAME)
    options: tuple[str, ...] = ()  # of pytest
    salt: str = ""
    edge: str = ""

    @property
    def place(self) -> str:
        """Where its tests are."""
        return self.folder or f"tests/{self.name}"

    @property
    def whole(self) -> Layer:
        """The same with the tests that take long, and tell what others tell in less."""
        return self if ALL in self.options else replace(self, options=(*self.options, ALL))


LINT, UNIT = Layer("lint"), Layer("unit", options=SIDE_BY_SIDE)
SCENARIOS = Layer("scenarios", lab=True)
RELEASES = Layer("releases", lab=True)  # of Debian, and of this package
KERNEL = Layer("kernel", lab=True, inside=True)
ROLLOUT = Layer("rollout", lab=True, inside=True, walk=True)  # the steps that need the kernel
WALK = Layer("walk", lab=True, inside=True, walk=True, folder="tests/rollout", options=(ALL,))
RIG = Layer("rig", lab=True)  # of the lab itself
SOAK = Layer("soak", lab=True)  # months in minutes
FUNCTIONAL = Layer("functional", options=SIDE_BY_SIDE)
INTEGRATION = Layer("integration", options=("--edge-salt=.build/venv-3006",))
SALTS = (Layer("salt-3006", salt="3006", edge="venv"), Layer("salt-3007", salt="3007", edge="venv-3006"))
# Those that are quick come first: where one of them fails, nothing else is run. Then the longest first
FIRST = (LINT, UNIT)
USUAL = (*FIRST, SCENARIOS, FUNCTIONAL, KERNEL, ROLLOUT, RELEASES, *SALTS, RIG, INTEGRATION)
WHOLE = (
    *(*FIRST, SCENARIOS.whole, FUNCTIONAL.whole, WALK, KERNEL, SOAK, RELEASES.whole),
    *(*[salt.whole for salt in SALTS], RIG, INTEGRATION.whole),
)
LAYERS = {layer.name: layer for layer in (*USUAL, WALK, SOAK)}


def commands(layer: Layer, python: str, cache: str, tests: Sequence[str] = ()) -> list[list[str]]:
    """Return what runs a layer, or some tests of it by their ids: commands, one after another."""
    if layer is LINT:
        return [["tests/lint"]]
    if layer.salt and not tests:
        return _of_salt(layer, cache)
    if layer.salt:
        python = f".build/venv-{layer.salt}/bin/python"
    pytest = _pytest(python, cache)
    stop = [f"--maxfail={FAILURES}"] if layer.lab else []
    last = [*(INSIDE if layer.inside else ()), *pytest, *stop, *layer.options, *(tests or [layer.place])]
    return [*([STAND] if layer.inside else []), last]


def _pytest(python: str, cache: str) -> list[str]:
    return [python, "-m", "pytest", "-q", *DURATIONS, "-o", f"cache_dir={cache}"]


def knows_salt() -> tuple[str, ...]:
    """Return the names of functional files that know Salt: its loaders, renderer or compiler of states.

    Those of a helper that does are among them.
    """
    texts = {one.stem: one.read_text() for one in FUNCTIONAL_FILES.glob("*.py")}
    knowing = {name for name, text in texts.items() if _SALT.search(text)}
    helpers = re.compile(rf"^from ({'|'.join(sorted(knowing))}) import", re.MULTILINE)
    knowing |= {name for name, text in texts.items() if helpers.search(text)}
    found = {name.removeprefix("test_") for name in knowing if name.startswith("test_")}
    return tuple(sorted(found.difference(OF_THE_HOST)))


def _of_salt(layer: Layer, cache: str) -> list[list[str]]:
    """Return what runs tests by another Salt: the quick ones, or all that know Salt."""
    names = knows_salt() if ALL in layer.options else QUICK
    pytest = [*_pytest(f".build/venv-{layer.salt}/bin/python", cache), *layer.options]
    functional = [*pytest, *SIDE_BY_SIDE, *(f"tests/functional/test_{name}.py" for name in names)]
    some = [] if ALL in layer.options else ["-k", WORKS]
    fleet = [*pytest, *some, f"--edge-salt=.build/{layer.edge}", "tests/integration/test_fleet.py"]
    return [functional, fleet]


@dataclass(frozen=True)
class Result:
    """What became of a layer; ``failed`` are the ids of tests, ``said`` is how pytest closed."""

    layer: Layer
    status: int
    seconds: float
    said: str = ""
    failed: tuple[str, ...] = ()
    why: tuple[str, ...] = ()  # of each of those a line


def reasons(output: str) -> tuple[str, ...]:
    """Return pytest's line of each test that failed, no longer than REASON."""
    lines = (line for line in output.splitlines() if line.startswith(("FAILED tests", "ERROR tests")))
    return tuple(line if len(line) <= REASON else f"{line[:REASON]}..." for line in lines)


def closing(output: str) -> str:
    """Return the last line of pytest's that counts tests, without its frame."""
    found = [match[1] for line in output.splitlines() if (match := _COUNTS.match(line))]
    return found[-1] if found else ""


def again(result: Result) -> tuple[str, ...]:
    """Return the tests that get a second run: those that failed waiting for daemons, where all ran.

    A step of a walk needs the steps before it: the whole walk is gone again.
    """
    ran_to_the_end = result.status == TESTS_FAILED and 0 < len(result.failed) < FAILURES
    if result.layer in FIRST or not ran_to_the_end:
        return ()
    return (result.layer.place,) if result.layer.walk else result.failed


def broken(results: Collection[Result], seconds: Collection[Result]) -> list[Layer]:
    """Return the layers that failed, and did not pass on their second run."""
    steady = {result.layer for result in seconds if result.status == 0}
    return [result.layer for result in results if result.status and result.layer not in steady]


def unsteady(results: Collection[Result], seconds: Collection[Result]) -> list[str]:
    """Return the tests that failed at first, of layers that passed on their second run."""
    steady = {result.layer for result in seconds if result.status == 0}
    return [test for result in results if result.layer in steady for test in result.failed]


def summary(
    left_out: Mapping[Layer, str],
    results: Sequence[Result],
    seconds: Sequence[Result],
    total: float,
    logs: str,
) -> list[str]:
    """Return the last lines: what each layer took and how it ended, what is unsteady, what failed.

    ``left_out`` says of layers that were not run why.
    """
    rows = [(result.layer.name, result) for result in results]
    rows += [(f"{result.layer.name} again", result) for result in seconds]
    lines = [_line(name, result.seconds, _word(result), result.said) for name, result in rows]
    lines += [f"{layer.name:16}not run: {why}" for layer, why in left_out.items()]
    lines += [_line("all", total, "", "")]
    lines += [f"unsteady: {test}" for test in unsteady(results, seconds)]
    lost = broken(results, seconds)
    lines += [line for result in (*results, *seconds) if result.layer in lost for line in result.why]
    lines += [f"FAILED: {layer.name}; log: {logs}/{layer.name}.log" for layer in lost]
    return [*lines, *([] if lost else ["passed"])]


def _line(name: str, seconds: float, word: str, said: str) -> str:
    return f"{name:16}{seconds:6.0f} s  {word:7}  {said}".rstrip()


def _word(result: Result) -> str:
    return "FAILED" if result.status else "passed"
