"""What an edit means for the whole fleet, from the files of all hosts: one more site of 16 hosts, beside 92.

The other side compares the text of all files line by line, as a `diff` of what is on the hosts would.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from figures import median, rounds, table

import fleets
from edits import NOTHING, Texts, answer, rendered
from hostipsec.fleet import fleetplan, planwords
from hostipsec.model import Fleet
from hostipsec.pillar import pillar

ROUNDS = 5


def ours(old: Mapping[str, Texts], new: Mapping[str, Texts], fleet: Fleet) -> list[str]:
    """Compare by meaning, host by host, bring the hosts together, and say it."""
    said = {host: answer(old.get(host, NOTHING), new[host], fleet, host) for host in new}
    return planwords.lines(fleetplan.join(fleet, said))


def line_by_line(old: Mapping[str, Texts], new: Mapping[str, Texts]) -> list[str]:
    """Compare the lines of every file."""
    return [
        line
        for host, files in new.items()
        for was, text in zip(old.get(host, NOTHING), files)
        for line in difflib.unified_diff((was or "").splitlines(), (text or "").splitlines())
    ]


def main() -> None:
    """Print seconds, the ratio, and how much there is to read."""
    data = fleets.production_2018()
    fleet = pillar.read(fleets.with_drmrs(data))
    old, new = rendered(pillar.read(data)), rendered(fleet)
    assert (len(old), len(new)) == (92, 108)
    told: dict[str, list[str]] = {}
    seconds = rounds(
        {
            "the plan": lambda: told.update(plan=ours(old, new, fleet)),
            "line by line": lambda: told.update(naive=line_by_line(old, new)),
        },
        ROUNDS,
    )
    own, other = map(median, seconds.values())
    table(
        f"What a site of 16 hosts more means for 92, from the files of all (median of {ROUNDS})",
        ["", "s", "times line by line", "lines to read"],
        [
            ["the plan", f"{own:.2f}", f"{own / other:.2f}", str(len(told["plan"]))],
            ["line by line", f"{other:.2f}", "1.00", str(len(told["naive"]))],
        ],
    )
    print("\n".join(told["plan"]))
