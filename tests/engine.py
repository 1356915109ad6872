"""The sources of the engine as trees: which modules there are, and what each imports."""

from __future__ import annotations

import ast
from pathlib import Path

import hostipsec

PACKAGE = Path(hostipsec.__file__).parent
MODULES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts): ast.parse(file.read_text())
    for file in PACKAGE.rglob("*.py")
    if file.stem != "__init__"
}


def room(name: str) -> str:
    """Return the room of a module, empty for the root: ``charon`` for ``charon.stroke``."""
    return name.rpartition(".")[0]


def imports(name: str) -> tuple[set[str], set[str]]:
    """Return the modules that a module imports from elsewhere, and those of the package."""
    outside, inside = set(), set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            outside |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            inside |= _meant(name, node)
        elif isinstance(node, ast.ImportFrom):
            outside.add(str(node.module).partition(".")[0])
    return outside, inside & MODULES.keys()


def _meant(name: str, node: ast.ImportFrom) -> set[str]:
    """Return what a relative import can mean: a module, or modules of a room."""
    above = name.split(".")[: -node.level]
    whole = ".".join([*above, *([node.module] if node.module else [])])
    return {whole, *(f"{whole}.{alias.name}".lstrip(".") for alias in node.names)}
