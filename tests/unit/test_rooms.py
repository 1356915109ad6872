"""The rooms of the engine, and the direction of the doors between them: docs/design.md."""

from __future__ import annotations

import pytest

from engine import MODULES, imports, room

# from the top; a room may know those of lower lines
LINES = (
    {"programs", "apply"},
    {"emergency", "proof", "faces"},
    {"fleet", "health", "certificates"},
    {"pillar", "charon", "kernel", "store"},
    {"strongswan", "system"},
    {""},
)
BESIDE = {("programs", "apply"), ("fleet", "health")}  # on one line, the first knows the second
ENTRIES = {"check", "guard", "keeper"}  # what is typed; the names that units of the release before have
LINE = {name: number for number, line in enumerate(LINES) for name in line}


def test_every_room_has_a_line():
    assert {room(name) for name in MODULES} == set(LINE)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - ENTRIES))
def test_a_module_knows_lower_rooms_only(name):
    here = room(name)
    wrong = {
        other
        for other in imports(name)[1]
        if (there := room(other)) != here and LINE[there] <= LINE[here] and (here, there) not in BESIDE
    }
    assert wrong == set()
