"""Every example of docs/pillar.md is a pillar; what its first table speaks of gives the pairs it says."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import fleets
from hostipsec.model import Fleet
from hostipsec.pillar import pillar, topology

MANUAL = (Path(__file__).parents[2] / "docs/pillar.md").read_text()
OTHERS = {"errors", "keys"}  # what is printed, and lines for a shell or an editor
SITES = ("codfw", "drmrs", "eqiad", "esams", "ulsfo", "cloud")
ROLES = ("database", "application", "cache", "redis")


def blocks() -> Iterator[tuple[str, str]]:
    """Yield the indented blocks below each heading, dedented."""
    for part in MANUAL.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        for found in re.finditer(r"(?<=\n\n)(?:(?:    .*)?\n)*    .*\n", text):
            if heading not in OTHERS:
                yield heading, textwrap.dedent(found[0])


def some(number: int, site: str) -> dict:
    """Return a host at a site that has what rules of the manual ask for."""
    role = ROLES[number % len(ROLES)]
    own = {"site": site, "cluster": "text", "role": role, "ipv4": f"10.9.{number}.1"}
    return {**own, "ipv6": f"2001:db8:9::{number + 1}"}


def known() -> dict:
    """Return a fleet as the manual speaks of it."""
    names = ("cp3001.esams.example", "cp3002.esams.example", "cp1001.eqiad.example", "cp2001.codfw.example")
    hosts = {name: some(number, name.split(".")[1]) for number, name in enumerate(names)}
    more = {
        f"more{number}.{site}.example": some(number, site) for number, site in enumerate(SITES, len(hosts))
    }
    return {**hosts, **more, "db1001.eqiad.example": {**some(99, "eqiad"), "cluster": "db"}}


EDGES = {"name": "edge-to-core", "between": {"site": "esams"}, "and": {"site": ["eqiad", "codfw"]}}
CORE = {"name": "core-to-core", "between": {"site": "eqiad"}, "and": {"site": "codfw"}}
RULES = [{**EDGES, "same": "cluster"}, {**CORE, "different": "site"}]
LABELS = ["cluster", "role"]


def read(example: dict) -> Fleet:
    """Return the fleet that an example gives, with what it leaves out."""
    if "expect" in example:  # of the pillar that comes with the package
        return pillar.read({**fleets.example(), **example})
    hosts = {**known(), **example.get("hosts", {})}
    own = example.get("rules", [])
    rules = own or [*RULES, {"name": "further", "between": {"id": "*"}, "and": {"id": "cp1001.*"}}]
    labels = [*LABELS, *example.get("labels", [])]
    usual = {"certificates": {"source": "puppet"}}
    return pillar.read({**usual, **example, "hosts": hosts, "rules": rules, "labels": sorted({*labels})})


def parsed(text: str) -> Iterator[dict]:
    """Yield the mappings of a block; a key that stands there again begins the next one."""
    starts = [found.start() for found in re.finditer(r"^certificates:", text, re.MULTILINE)] or [0]
    for begin, end in zip(starts, [*starts[1:], None]):
        found = yaml.safe_load(text[begin:end])
        yield found if {*found} <= {*pillar.TOP_KEYS} else {"hosts": found}


EXAMPLES = [(heading, example) for heading, text in blocks() for example in parsed(text)]


@pytest.mark.parametrize(("heading", "example"), EXAMPLES)
def test_every_example_is_a_pillar(heading, example):
    fleet = read(example)
    assert {*example.get("hosts", {})} <= {host.id for host in fleet.hosts}
    decided = {rule.name for rule in topology.pairs(fleet, maintenance=True).values()}
    assert {rule["name"] for rule in example.get("rules", [])} <= decided


def test_there_are_examples_below_each_heading_that_fleets_need():
    told = {heading for heading, _ in EXAMPLES}
    needed = {found[1] for found in re.finditer(r"\]\(#([a-z-]+)\) \|$", MANUAL, re.MULTILINE)}
    assert needed <= {heading.lower().replace(",", "").replace(" ", "-") for heading in told}


# What fleets say -------------------------------------------------------------------------------


def pairs(example: dict) -> set[tuple[str, str]]:
    return {*topology.pairs(read(example))}


def example(heading: str, number: int = 0) -> dict:
    return [one for title, one in EXAMPLES if title == heading][number]


def test_a_host_that_is_in_two_shards_pairs_with_both():
    redis = {"rdb1005.eqiad.example", "rdb2005.codfw.example", "rdb2006.codfw.example"}
    assert {pair for pair in pairs(example("labels")) if redis & {*pair}} == {
        ("rdb1005.eqiad.example", "rdb2005.codfw.example"),
        ("rdb1005.eqiad.example", "rdb2006.codfw.example"),
    }


def test_all_but_a_site_and_hosts_by_their_ids():
    fleet = read(example("rules"))
    by_rule = {pair: rule.name for pair, rule in topology.pairs(fleet).items()}
    assert by_rule["cp1001.eqiad.example", "cp3001.esams.example"] == "canary"
    to_eqiad = {pair for pair, name in by_rule.items() if name == "to-eqiad"}
    sites = {host.id: host.label("site") for host in fleet.hosts}
    assert all(sorted((sites[one], sites[other])).count("eqiad") == 1 for one, other in to_eqiad)
    assert {sites[one] for pair in to_eqiad for one in pair} == {*SITES}


def test_tunnel_mode_for_the_pairs_of_one_rule():
    rules = [rule for _, one in EXAMPLES if "rules" in one for rule in read(one).rules]
    assert {rule.name for rule in rules if dict(rule.options).get("type") == "tunnel"} == {"inner"}
