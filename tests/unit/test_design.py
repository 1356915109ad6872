"""What docs/design.md says of the sources: names that are there, and files that can be read at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine import MODULES, PACKAGE, room

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs/design.md").read_text()
ROOMS = "|".join(sorted({room(name) for name in MODULES} - {""}))
NAMED = sorted({*re.findall(rf"`((?:{ROOMS})/\w+(?:\.\w+)*)", DESIGN.replace(".py`", "`"))})
LINES = {PACKAGE: 400, **{ROOT / one: 800 for one in ("_modules", "_states", "_runners", "_beacons")}}


@pytest.mark.parametrize("name", NAMED)
def test_what_it_names_is_there(name):
    """A row of its table named a function that had moved to another room."""
    place, _, rest = name.partition("/")
    module, *names = rest.split(".")
    text = (PACKAGE / place / f"{module}.py").read_text()
    assert [one for one in names if not re.search(rf"\b{one}\b", text)] == []


def test_each_thing_to_add_has_one_row():
    rows = re.findall(r"^\| ([^|]+) \|", DESIGN.partition("## To do X, touch Y")[2], re.MULTILINE)
    assert len(rows) > 15
    assert len(rows) == len({*rows})


@pytest.mark.parametrize(("place", "most"), LINES.items(), ids=[place.name for place in LINES])
def test_no_file_is_too_long(place, most):
    lines = {str(file): len(file.read_text().splitlines()) for file in place.rglob("*.py")}
    assert lines
    assert {name: found for name, found in lines.items() if found > most} == {}
