"""Fleets as their hosts answer, with faults: for the page, and for the matrix on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import fleets
from hostipsec.answer import Answer
from hostipsec.fleet import answers, fleetstatus
from hostipsec.fleet.asking import Heard
from hostipsec.fleet.fleetstatus import Filter, FleetStatus
from hostipsec.model import Fleet
from hostipsec.pillar import pillar, topology

EDITION = "1.0-abcdef01"
NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC
UP = {"state": "established", "severity": "ok", "reason": "", "since": 11520, "last_in": 5, "last_out": 65}
DOWN = {
    "state": "down",
    "severity": "critical",
    "reason": "no answer from the peer yet (3 tries)",
    "since": None,
}
HELD = {
    "state": "held",
    "severity": "warning",
    "reason": "held since 2026-11-26 07:25 UTC by root because T1",
    "since": None,
}
DEAD, HOLDER, BROKEN = "cp3040.esams.wmnet", "cp2002.codfw.wmnet", "cp4021.ulsfo.wmnet"
NONSENSE = "cp5001.eqsin.wmnet"


class Mesh:
    """The answers of a fleet's hosts; all is well until a test says otherwise."""

    def __init__(self, data: dict | None = None) -> None:
        self.fleet: Fleet = pillar.read(data or fleets.production_2018())
        self.silent: set[str] = set()
        self.instead: dict[str, object] = {}  # what a host says instead of a status
        self.own: dict[str, dict] = {}  # further keys of its status
        self.rows: dict[tuple[str, str], dict] = {}  # by host and peer

    def status(self, host: str) -> dict:
        """Return what a host answers."""
        rows = {
            one.name: {**fleets.row(one), **UP, **self.rows.get((host, one.peer), {})}
            for one in topology.connections(self.fleet, host)
        }
        days = 300 + len(host) % 7
        return {
            "connections": rows,
            "unmanaged": {},
            "summary": {"sentence": "words", "severity": "ok"},
            "held": None,
            "certificate": {
                "days_left": days,
                "severity": "ok",
                "sentence": f"certificate ends in {days} days",
            },
            "warnings": [],
            "strongswan": "5.9.8",
            "edition": EDITION,
            **self.own.get(host, {}),
        }

    def between(
        self, one: str, other: str, row: Mapping[str, object], back: Mapping[str, object] | None = None
    ) -> None:
        """Have two hosts say this of what is between them."""
        self.rows[one, other], self.rows[other, one] = dict(row), dict(back or row)

    def peers(self, host: str) -> Iterator[str]:
        """Yield the peers of a host."""
        for pair in topology.pairs(self.fleet):
            if host in pair:
                yield pair[pair[0] == host]

    def kill(self, host: str) -> None:
        """Have a host be gone: silent, and down for its peers."""
        self.silent.add(host)
        for peer in self.peers(host):
            self.rows[peer, host] = dict(DOWN)

    def heard(self) -> Heard:
        """Return what came of asking."""
        hosts = [host.id for host in self.fleet.hosts if host.id not in self.silent and not host.maintenance]
        said = {
            host: answers.read("ipsec.status", self.instead.get(host) or self.status(host)) for host in hosts
        }
        return Heard(
            {host: one for host, one in said.items() if isinstance(one, Answer)},
            {host: one.text for host, one in said.items() if not isinstance(one, Answer)},
            silent=tuple(sorted(self.silent)),
        )

    def found(self) -> FleetStatus:
        """Return the status of the fleet."""
        return fleetstatus.join(self.fleet, self.heard(), Filter())


def troubled() -> Mesh:
    """Return production's mesh with one of each: dead, held, one-way, nonsense, old."""
    mesh = Mesh()
    mesh.kill(DEAD)
    for peer in mesh.peers(HOLDER):
        mesh.between(HOLDER, peer, HELD, DOWN)
    mesh.own[HOLDER] = {"held": "since 2026-11-26 07:25 UTC by root because T1"}
    peer, other, third, *_ = mesh.peers(BROKEN)
    mesh.between(BROKEN, peer, DOWN)
    mesh.between(
        BROKEN, other, {**UP, "state": "one-way", "severity": "warning", "reason": "nothing comes back"}, UP
    )
    mesh.between(BROKEN, third, UP, {**DOWN, "state": "no xfrm", "reason": "its SA is not in the kernel"})
    mesh.own[BROKEN] = {
        "certificate": {"days_left": 9, "severity": "warning", "sentence": "certificate ends in 9 days"},
        "warnings": ["hostipsec-keeper does not run"],
    }
    mesh.instead[NONSENSE] = {"connections": []}
    mesh.own["cp1071.eqiad.wmnet"] = {"edition": "0.9-00000000", "strongswan": "5.9.1"}
    return mesh
