"""East and west, in stage require, whose rule comes to say what alone is encrypted, and then no more.

Each end takes the edit as a roll-out brings it, and their SAs are made anew, though no option of IKE differs.
Datagrams go from both ends to two ports all the time. Prints how they went at each step, what was said, and
which were lost.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import changing_ciphers
from changing_clear import Flows, kinds, pillar
from changing_rule import Changing, End, apply, up
from excepted import ENDS
from proofs import EAST, WEST
from spaces import hosts
from strongswan import line, unpacked

import authorities
from hostipsec.model import PASSIVE, REQUIRE

ONLY = {"only": ["udp/7022"]}


def rolled_out(ends, own):
    """Bring an edit about, stage by stage: both ends take both, then send as the pillar says."""
    for stage in (PASSIVE, REQUIRE):
        for end in ends:
            before = end.member.connections
            end.read(pillar(own))
            end.member = end.member.limited(stage, before)
            apply(end)


def anew(ends):
    """Have both ends make their SAs anew at one moment; return what became of it, by connection."""
    east, west = ends
    reasons = changing_ciphers.replaced(End(east, west.host), End(west, east.host), together=True)
    for end in ends:  # as its keeper does
        assert end.program("guard").status == 0
    return reasons


def said(ends):
    """Return what each end says of its connection."""
    return ["; ".join(row["reason"] for row in end.status().values()) for end in ends]


def main():
    """Do so."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    with hosts("east", "west", over=unpacked()) as spaces, tempfile.TemporaryDirectory() as place:
        line(*spaces, [f"{EAST['v4']}/24"], [f"{WEST['v4']}/24"])
        ends = [Changing(one, pillar({}), host, Path(place)) for one, host in zip(spaces, ENDS)]
        for end in ends:
            end.begin(ca, now)
        up(ends)
        flows = Flows(ends)
        try:
            found = {"before": kinds(ends)}
            rolled_out(ends, ONLY)
            found["waiting"] = [kinds(ends), said(ends)]
            found["anew"] = [anew(ends), said(ends)]
            found["after"] = kinds(ends)
            rolled_out(ends, {})
            found["again"] = kinds(ends)
        finally:
            found["lost"] = flows.end()
    sys.stdout.write(json.dumps({**found, "many": flows.sent > 50}) + "\n")


if __name__ == "__main__":
    main()
