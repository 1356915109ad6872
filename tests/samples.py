"""Samples made by hand, as the keeper leaves them, which know all there is to know."""

from __future__ import annotations

from hostipsec.health.report import STATES
from hostipsec.health.sample import Decision, Process, Sample, Sampled, Traffic

NOW = 1764151200.0
KEYS = [
    *("ike-rekey-init", "ike-rekey-resp", "child-rekey", "invalid", "invalid-spi"),
    *(
        f"{exchange}-{way}-{kind}"
        for exchange in ("ike-init", "ike-auth", "create-child", "info")
        for way in ("in", "out")
        for kind in ("req", "resp")
    ),
]
PRIORITIES = ("critical", "high", "medium", "low")
PROCESS = Process(
    *("5.9.8", "vici", "kernel", NOW - 1000.5, 20 << 20, 16, 11),
    busy=dict.fromkeys(PRIORITIES, 1),
    queued=dict.fromkeys(PRIORITIES, 0),
    scheduled=281,
    ike_sas=140,
    half_open=0,
    heap={"total": 1 << 22, "used": 1 << 21, "free": 1 << 21},
)


def connection(number: int, **more: object) -> Sampled:
    """Return a connection that is up; ``more`` is what is otherwise."""
    peer = f"cp{number:04d}.codfw.example"
    told = {
        "stage": "start",
        "sites": "codfw-eqiad",
        "pair": f"cp1001-cp{number:04d}",
        "state": "established",
        "severity": "ok",
        "reason": "TRANSPORT",
        "expected": True,
        "up": True,
        "held": False,
        "established": NOW - 600.25,
        "rekey": NOW + 2000,
        "last_in": NOW - 1,
        "last_out": NOW - 2,
        "sequence": 0.01,
        "received": Traffic(840, 10),
        "sent": Traffic(2**40, 12),
        "clear_in": 0,
        "clear_out": 3,
    }
    return Sampled(f"cp{number:04d}_v4", peer, "v4", **{**told, **more})


def sample(number: int, **more: object) -> Sample:
    """Return a sample of so many connections."""
    errors = [f"XfrmInError{one}" for one in range(29)]
    told = {
        "site": "eqiad",
        "connections": tuple(map(connection, range(number))),
        "states": {**dict.fromkeys(STATES, 0), "established": number},
        "charon": PROCESS,
        "counters": dict.fromkeys(KEYS, 7),
        "errors": dict.fromkeys(errors, 0),
        "certificate": NOW + 86400,
        "loaded": True,
        "holds": (Decision("peer cp2*", "root", "T1", NOW - 60),),
        "guard_missing": 0,
        "actions": dict.fromkeys(("start", "end", "hold", "guard", "route"), 1),
        "applied": NOW - 5000,
        "took": 0.031,
        "failed": "",
    }
    return Sample(NOW - 3, "cp1001.eqiad.example", **{**told, **more})
