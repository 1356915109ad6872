"""Fleets for tests and the benchmark: production's of 2018, generated ones, and small ones by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from hostipsec.model import Connection, Fleet, Host
from hostipsec.pillar import topology

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "pillar" / "ipsec.sls"
SITES_2018 = ("codfw", "eqiad", "eqsin", "esams", "ulsfo")


def example() -> dict:
    """Return the example pillar, below ``ipsec``."""
    return yaml.safe_load(EXAMPLE.read_text())["ipsec"]


def production_2018() -> dict:
    """Return production's 92 hosts and rules of 2018; the addresses are made up, two a host."""
    data = yaml.safe_load((HERE / "unit/data/wikimedia-caches-2018.yaml").read_text())
    hosts = {}
    for site, clusters in sorted(data.items()):
        for cluster, names in sorted(clusters.items()):
            for name in names:
                number = int(name.partition(".")[0][2:])
                site_number = SITES_2018.index(site)
                hosts[name] = {
                    "site": site,
                    "cluster": cluster,
                    "ipv4": f"10.{site_number}.{number // 256}.{number % 256}",
                    "ipv6": f"2001:db8:{site_number}::{number}",
                }
    edges, core = {"site": ["esams", "ulsfo", "eqsin"]}, {"site": ["eqiad", "codfw"]}
    return {
        "hosts": hosts,
        "rules": [
            {"name": "edge-to-core", "between": edges, "and": core, "same": ["cluster"]},
            {
                "name": "core-to-core",
                "between": {"site": "eqiad"},
                "and": {"site": "codfw"},
                "same": ["cluster"],
            },
        ],
    }


def star(peers: int) -> dict:
    """Return a fleet in which ``hub.core.example`` pairs with that many hosts, and they with none else."""
    hosts = {
        f"edge{number:04d}.edge.example": {
            "site": "edge",
            "ipv4": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
            "ipv6": f"2001:db8:1::{number:x}",
        }
        for number in range(1, peers + 1)
    }
    hosts["hub.core.example"] = {"site": "core", "ipv4": "10.255.0.2", "ipv6": "2001:db8::2"}
    rule = {"name": "spokes", "between": {"site": "edge"}, "and": {"site": "core"}}
    return {"hosts": hosts, "rules": [rule]}


def sites(number: int) -> dict:
    """Return a fleet of so many hosts at four sites: each pairs with all of other sites, by IPv4."""
    hosts = {
        f"h{host:05d}.site{host % 4}.example": {
            "site": f"site{host % 4}",
            "role": "all",
            "ipv4": f"10.{host // 65536}.{host // 256 % 256}.{host % 256}",
        }
        for host in range(1, number + 1)
    }
    everywhere = {"role": "all"}
    rule = {"name": "sites", "between": everywhere, "and": everywhere, "different": ["site"]}
    return {"hosts": hosts, "rules": [rule]}


class Counted(Host):
    """A host that counts how often its id and its labels are asked for, over all hosts."""

    looks = 0

    @property
    def id(self) -> str:
        """Return its id."""
        Counted.looks += 1
        return self[0]

    @property
    def labels(self) -> Mapping[str, str]:
        """Return its labels."""
        Counted.looks += 1
        return self[1]


def row(one: Connection) -> dict[str, object]:
    """Return what a host's status says of a connection that it has, before what the judge says of it."""
    return {"peer": one.peer, "family": one.family, "stage": one.stage, "initiator": one.initiator}


def rows(fleet: Fleet, host: str, **more: object) -> dict[str, dict]:
    """Return the connections of a host as its status has them, and more of each."""
    return {one.name: {**row(one), **more} for one in topology.connections(fleet, host)}


def counted(fleet: Fleet) -> Fleet:
    """Return the fleet with hosts that count, from zero."""
    hosts = tuple(Counted(*host) for host in fleet.hosts)
    Counted.looks = 0
    return fleet._replace(hosts=hosts)


def with_drmrs(data: dict) -> dict:
    """Return production's fleet with one site more: 16 hosts, 8 a cluster, paired as an edge."""
    hosts = {
        f"cp{number}.drmrs.wmnet": {
            "site": "drmrs",
            "cluster": "text" if number <= 6008 else "upload",
            "ipv4": f"10.136.0.{number - 6000}",
            "ipv6": f"2001:db8:136::{number}",
        }
        for number in range(6001, 6017)
    }
    edges, *others = data["rules"]
    between = {"site": [*edges["between"]["site"], "drmrs"]}
    return {**data, "hosts": {**data["hosts"], **hosts}, "rules": [{**edges, "between": between}, *others]}
