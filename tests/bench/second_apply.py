"""The second `state.apply ipsec` of a host with 70 connections, against its core states alone.

One real host of the lab; its 35 peers do not exist, and nothing is initiated (stage `passive`). The other
side is the same run with the states of this package taken out: packages, sysctls, files, services.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from figures import median, rounds, table

import fleets
from fleetlab import Lab, fresh
from fleetlab.paths import BUILD
from fleetlab.plane import CHARON

HUB = "hub.core.example"
CONNECTIONS = 70
ROUNDS = 5
REQUISITES = ("require", "watch")


def pillar(peers: int) -> dict[str, Any]:
    """Return the pillar of the hub and its peers, or of the hub alone."""
    star = fleets.star(peers)
    star["hosts"] = {HUB: star["hosts"].pop(HUB), **star["hosts"]}
    star["rules"][0]["stage"] = "passive"
    return {"ipsec": {**star, "certificates": {"source": "puppet"}}}


def core(high: dict[str, Any]) -> dict[str, Any]:
    """Return the high data without this package's own states, and without what requires them."""
    return {
        identifier: {
            kind: [one for one in body if not (isinstance(one, dict) and {*one} & {*REQUISITES})]
            if isinstance(body, list)
            else body
            for kind, body in states.items()
        }
        for identifier, states in high.items()
        if "ipsec" not in states
    }


def unchanged(found: Any) -> dict[str, Any]:
    """Return the states of a run in which each is right and none changed anything."""
    assert isinstance(found, dict), found
    wrong = [one for one in found.values() if one["result"] is not True or one["changes"]]
    assert not wrong, wrong
    return found


def main() -> None:
    """Print what a second run takes, and how much of it is ours."""
    BUILD.mkdir(parents=True, exist_ok=True)
    fleet = BUILD / "bench-fleet.sls"
    fleet.write_text(yaml.safe_dump(pillar(0)))
    with fresh("bench", fleet, CHARON, master=False) as lab:
        measure(lab)


def measure(lab: Lab) -> None:
    """Apply twice, then measure both sides in turn."""
    lab.set_pillar(yaml.safe_dump(pillar(CONNECTIONS // 2)))
    lab.call(HUB, "saltutil.sync_all")
    first = lab.call(HUB, "state.apply", "ipsec")
    assert isinstance(first, dict) and all(one["result"] for one in first.values()), first
    assert len(lab.call(HUB, "ipsec.connections")) == CONNECTIONS
    high = core(lab.call(HUB, "state.show_sls", "ipsec"))
    runs: list[dict[str, Any]] = []
    seconds = rounds(
        {
            "state.apply ipsec": lambda: runs.append(unchanged(lab.call(HUB, "state.apply", "ipsec"))),
            "the core states alone": lambda: unchanged(lab.call(HUB, "state.high", json.dumps(high))),
        },
        ROUNDS,
    )
    whole, alone = map(median, seconds.values())
    states = median(
        [sum(one["duration"] for key, one in run.items() if key.startswith("ipsec_|")) for run in runs]
    )
    table(
        f"The second state.apply of a host with {CONNECTIONS} connections (median of {ROUNDS}): 0 changed",
        ["", "s", "times the core states"],
        [
            ["state.apply ipsec", f"{whole:.2f}", f"{whole / alone:.2f}"],
            ["its core states alone", f"{alone:.2f}", "1.00"],
            ["ours on top", f"{whole - alone:.2f}", f"{(whole - alone) / alone:.2f}"],
            ["of it in our states", f"{states / 1000:.2f}", f"{states / 1000 / alone:.2f}"],
        ],
    )
