"""Fleets that one file of tests has for itself: new hosts, after their first run of the state."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetlab import Lab, fresh, upgrade
from footprints import different, footprint

NAME = os.environ.get("LAB_NAME", "test")  # another one where two checkouts test at once


def own(file: str, fleet: Path, *options: str) -> contextlib.AbstractContextManager[Lab]:
    """Have a new lab for a file of tests, by a few letters of that file's name."""
    return fresh(f"{NAME[:6]}{file}", fleet, *options)


@dataclass
class Fleet:
    """Hosts after their first run of the state, and what some of them were before."""

    lab: Lab
    pristine: dict[str, dict[str, str]]

    def changed(self) -> dict[str, list[str]]:
        """Apply the state; return which states changed something, by host."""
        return {
            host: [one["__id__"] for one in states if one["changes"]]
            for host, states in self.lab.apply("*").items()
        }

    def clean(self, package: str, stays: Mapping[str, dict]) -> None:
        """Have all cleaned; hosts that were looked at lose the package and are as before, but what stays."""
        for host, states in self.lab.salt("*", "state.apply", "ipsec.clean", timeout=300).items():
            (did,) = states.values()
            assert did["result"] is True, (host, did)
            if host in self.pristine:
                assert f"package {package}" in did["changes"], host
                left = different(self.pristine[host], footprint(self.lab.host(host)))
                assert left == stays.get(host, {}), host

    def becomes_next(
        self, name: str, targets: Mapping[str, Mapping[str, str]], others: str
    ) -> dict[str, str]:
        """Have a host become one of the next release under traffic; return what was lost, by way.

        Tunnels come back by themselves, and those of ``others``, a host, with the third stay.
        """
        lab, before, become = self.lab, self.lab.ids(), upgrade.argv()
        with lab.traffic(targets) as traffic:
            lab.host(name).run(become, timeout=600)
            traffic.wait_flows()
            lab.wait_one_each()
        after, short = lab.ids(), name.partition(".")[0]
        kept = [key for key in before if key[0] == others and short not in key[1]]
        assert kept
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
        return {str(way): str(found) for way, found in traffic.figures.items()}

    def reboots_and_is_settled(self, name: str) -> None:
        """Have a host boot: its tunnels come back, and nothing is to apply."""
        self.lab.reboot(name)
        self.lab.wait_one_each()
        self.lab.wait_minions()
        assert [one["__id__"] for one in self.lab.apply(name)[name] if one["changes"]] == []


@contextlib.contextmanager
def settled(file: str, fleet: Path, looked_at: Collection[str]) -> Iterator[Fleet]:
    """Have new hosts, the state applied on all of them at once, and every connection up."""
    with own(file, fleet) as lab:
        pristine = {host: footprint(lab.host(host)) for host in looked_at}
        lab.apply("*")
        lab.wait_one_each()
        yield Fleet(lab, pristine)
