"""Pure modules read no clock, no file, no process, no network and no chance: they cannot even import them."""

from __future__ import annotations

import ast

import pytest

from engine import MODULES, imports

PURE = (
    "affixes",
    "answer",
    "arguments",
    "calls",
    "certificates.chains",
    "certificates.constraints",
    "certificates.demands",
    "certificates.der",
    "certificates.facts",
    "certificates.findings",
    "certificates.names",
    "certificates.revocation",
    "certificates.rules",
    "charon.credentials",
    "charon.listing",
    "charon.meanings",
    "charon.reasons",
    "charon.states",
    "charon.statusall",
    "charon.vicimessage",
    "emergency.orders",
    "emergency.pins",
    "emergency.stopped",
    "errors",
    "faces.exposition",
    "faces.firewall",
    "faces.measures",
    "faces.metrics",
    "faces.page",
    "faces.pagegrids",
    "faces.pagescript",
    "faces.pagestyle",
    "faces.plugin",
    "faces.strip",
    "fleet.aim",
    "fleet.alike",
    "fleet.answers",
    "fleet.asking",
    "fleet.authentication",
    "fleet.batches",
    "fleet.broken",
    "fleet.causes",
    "fleet.checked",
    "fleet.commands",
    "fleet.ends",
    "fleet.fleetplan",
    "fleet.fleetrollout",
    "fleet.fleetstatus",
    "fleet.gone",
    "fleet.hostnames",
    "fleet.joined",
    "fleet.marks",
    "fleet.minions",
    "fleet.objections",
    "fleet.outcome",
    "fleet.planwords",
    "fleet.rendering",
    "fleet.shapes",
    "fleet.tamed",
    "fleet.targets",
    "health.carried",
    "health.expiry",
    "health.found",
    "health.judge",
    "health.look",
    "health.repair",
    "health.report",
    "health.sample",
    "health.sampling",
    "health.selectors",
    "health.totals",
    "health.winning",
    "kernel.ciphers",
    "kernel.cleartext",
    "kernel.guardpolicies",
    "kernel.kernelnames",
    "kernel.leftovers",
    "kernel.overhead",
    "kernel.routes",
    "kernel.xfrm",
    "model",
    "owner",
    "pillar.covering",
    "pillar.digest",
    "pillar.doubts",
    "pillar.expected",
    "pillar.faults",
    "pillar.found",
    "pillar.identity",
    "pillar.labels",
    "pillar.lines",
    "pillar.lost",
    "pillar.matching",
    "pillar.membership",
    "pillar.merged",
    "pillar.metrics",
    "pillar.parts",
    "pillar.pillar",
    "pillar.reader",
    "pillar.rendered",
    "pillar.schema",
    "pillar.selection",
    "pillar.selectors",
    "pillar.settings",
    "pillar.spelling",
    "pillar.system",
    "pillar.terms",
    "pillar.topology",
    "pillar.translated",
    "pillar.unmanaged",
    "plane",
    "proof.packets",
    "proof.verdict",
    "store.hold",
    "strongswan.abilities",
    "strongswan.algorithms",
    "strongswan.autos",
    "strongswan.catalog",
    "strongswan.childname",
    "strongswan.defaults",
    "strongswan.difference",
    "strongswan.durations",
    "strongswan.exceptions",
    "strongswan.identity",
    "strongswan.kept",
    "strongswan.kinds",
    "strongswan.options",
    "strongswan.parse",
    "strongswan.proposals",
    "strongswan.ranges",
    "strongswan.rdn",
    "strongswan.render",
    "strongswan.sections",
    "strongswan.sequence",
    "strongswan.shared",
    "strongswan.strength",
    "strongswan.swanctl",
    "system.platforms",
    "system.sysctlconf",
    "unicast",
)
IMPURE = {
    *(
        "asyncio",
        "builtins",
        "concurrent",
        "contextvars",
        "ctypes",
        "fcntl",
        "fileinput",
        "ftplib",
        "getpass",
    ),
    *(
        "glob",
        "http",
        "importlib",
        "io",
        "locale",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "pwd",
    ),
    *("random", "salt", "secrets", "select", "selectors", "shelve", "shutil", "signal", "socket", "sqlite3"),
    *(
        "ssl",
        "subprocess",
        "sys",
        "syslog",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
        "vici",
        "warnings",
    ),
    *("cryptography",),
}
CLOCKS = {"now", "utcnow", "today"}
CALLS = {"open", "input", "print", "exec", "eval", "__import__", "breakpoint", "globals"}


def effects(tree: ast.Module) -> set[str]:
    """Return the calls of a module that read a clock or touch the world."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.add(node.func.id)
    return found


def reasons(name: str) -> set[str]:
    """Say what makes a module impure, itself or by what it imports."""
    found, seen, todo = set(), set(), [name]
    while todo:
        here = todo.pop()
        if here not in seen and here in MODULES:
            seen.add(here)
            outside, inside = imports(here)
            found |= (outside & IMPURE) | effects(MODULES[here])
            todo += inside
    return found


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_touches_nothing(name):
    assert name in MODULES
    assert reasons(name) == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_knows_pure_modules_only(name):
    assert imports(name)[1] <= set(PURE)


def test_every_module_that_could_be_pure_is_named():
    pure = {name for name in MODULES if not reasons(name)}
    assert pure == set(PURE), "PURE names exactly the modules that touch nothing"


def test_modules_are_named_once_and_in_order():
    assert list(PURE) == sorted(set(PURE))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os", "os"),
        ("from pathlib import Path", "pathlib"),
        ("def f():\n    import time", "time"),
        ("from datetime import datetime\nx = datetime.now()", "now"),
        ("x = open('f')", "open"),
    ],
)
def test_what_is_forbidden_is_found(source, reason, monkeypatch):
    monkeypatch.setitem(MODULES, "probe", ast.parse(source))
    assert reason in reasons("probe")
