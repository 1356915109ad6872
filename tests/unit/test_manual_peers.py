"""What docs/pillar.md shows of hosts behind a NAT, of peers that Salt does not manage, and of identities."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from hostipsec.model import Fleet
from hostipsec.pillar import pillar, topology

MANUAL = (Path(__file__).parents[2] / "docs/pillar.md").read_text()
HUB = "dc1001.eqiad.example"


def applied(heading: str) -> Fleet:
    """Return the fleet of the first example below a heading, in which all pair with one host."""
    below = MANUAL.split(f"\n## {heading}\n")[1]
    found = re.search(r"\n\n((?:    .*\n)+)", below)
    assert found is not None
    example = yaml.safe_load(textwrap.dedent(found[1]))
    hosts = {HUB: {"site": "eqiad", "ipv4": "192.0.2.11"}, **example.pop("hosts")}
    everybody = {"id": sorted(hosts)}
    rules = [{"name": "all", "between": everybody, "and": everybody}]
    return pillar.read({"hosts": hosts, "rules": rules, "labels": ["site"], **example})


@pytest.mark.parametrize(
    ("heading", "host", "known"),
    [
        (
            "hosts behind a NAT",
            "vm1.cloud.example",
            {"dc1001_v4": ("10.0.0.7", "192.0.2.11"), "vm2_v4": ("10.0.0.7", "10.0.0.8")},
        ),
        ("peers that Salt does not manage", HUB, {"gw_v4": ("192.0.2.11", "203.0.113.9")}),
        ("identities", HUB, {"cp3001_v4": ("192.0.2.11", "10.20.0.11")}),
    ],
)
def test_the_example_gives_these_connections(heading, host, known):
    every = topology.connections(applied(heading), host)
    assert {one.name: (str(one.left), str(one.right)) for one in every} == known


def test_the_examples_give_these_identities():
    gateway, cache = (
        topology.connections(applied(heading), HUB)[0]
        for heading in ("peers that Salt does not manage", "identities")
    )
    assert (gateway.leftid, gateway.rightid) == (f"CN={HUB}", "@gw.partner.example")
    assert (cache.leftid, cache.rightid) == (f"@{HUB}", "O=Example, CN=cp3001")
