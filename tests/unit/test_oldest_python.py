"""What runs on hosts by the system's Python runs on the oldest that a release has: Ubuntu 20.04's 3.8.

Annotations are no matter: none is evaluated. Everything else is looked at by vermin, aliases of types too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from hostipsec.system import platforms

FILES = Path(__file__).parents[2] / "states/ipsec/files"
# methods of a later Python, which vermin sees of a few types only
METHODS = {
    "bit_count",
    "hardlink_to",
    "is_relative_to",
    "randbytes",
    "removeprefix",
    "removesuffix",
    "with_stem",
}
PROGRAMS = ("check", "guard", "ipsec_global", "keeper", "metrics")  # those that hosts have


def reached() -> set[str]:
    """Return the modules that programs of hosts import, one by the other.

    Those of certificates need cryptography, which Salt's Python has alone: they are imported for states.
    """
    found, left = set(), {f"programs.{name}" for name in PROGRAMS}
    while left:
        found |= left
        left = set().union(*(engine.imports(name)[1] for name in left)) - found
    return {name for name in found if engine.room(name) != "certificates"}


class Bare(ast.NodeTransformer):
    """Takes away what is not evaluated (all modules import annotations from the future); tells of methods."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        assert node.attr not in METHODS, f"{ast.unparse(node)}: Python {platforms.PYTHON} has none"
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Name("object")
        return self.generic_visit(node)


def wanting(directory: Path) -> list[str]:
    """Return what sources below a directory need a later Python for."""
    argv = [
        *(sys.executable, "-c", "from vermin import main; main()", "--no-tips", "--no-config-file", "-vvv"),
        *("--eval-annotations", f"--target={platforms.PYTHON}-", str(directory)),
    ]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = found.stdout.splitlines()
    later = [line for line in lines if any(f"!2, 3.{minor}" in line for minor in range(9, 30))]
    assert found.returncode == (1 if later else 0), found.stdout[-2000:] + found.stderr
    return later


def bared(directory: Path, name: str, source: str) -> None:
    tree = ast.parse(source)
    path = directory / f"{name}.py"
    path.write_text(ast.unparse(ast.fix_missing_locations(Bare().visit(tree))))


def test_programs_of_hosts_run_by_the_oldest_python(tmp_path):
    for name in sorted(reached()):
        path = engine.PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        bared(tmp_path, name, path.read_text())
    for name in ("check_ipsec", "ipsec-global"):
        bared(tmp_path, name, (FILES / name).read_text())
    assert wanting(tmp_path) == []
    assert len(reached()) > 80


def test_what_a_later_python_brought_is_found(tmp_path):
    """Without what is evaluated, it would find nothing: aliases of types are."""
    bared(tmp_path, "a", "X = tuple[int, ...]")
    bared(tmp_path, "b", "from collections.abc import Mapping\nX = Mapping[str, int]")
    bared(tmp_path, "c", "def f(x: list[int]) -> list[str]: y: dict[str, int] = {}; return [*y, *x]")
    bared(tmp_path, "d", "from pathlib import Path\nPath('a').readlink()")
    assert [line.split("/")[-1] for line in wanting(tmp_path) if "/" in line] == ["a.py", "b.py", "d.py"]
    with pytest.raises(AssertionError, match="has none"):
        bared(tmp_path, "e", "def f(x): return x.removeprefix('a')")
