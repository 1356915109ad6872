"""A fleet that the tree before this one set up goes on under this one, without a lost packet."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

import labs
from fleetlab import Lab
from fleetlab.paths import LAB, REPO

BEFORE = "ac62bac9d779ad734a4d04e9fb33961dc8344e5f"  # a commit of this repository: all modules in one folder
SERVED = ("_modules", "_states", "_utils", "_output", "_runners")
PLACE = "/srv/before"
CP1001, CP2001, CP3001 = "cp1001.eqiad.example", "cp2001.codfw.example", "cp3001.esams.example"
ENGINE = {
    *("ipsec-engine-files", "ipsec-engine-command", "ipsec-engine-vici", "ipsec-engine-check"),
    *("ipsec-guard-unit", "ipsec-keeper-unit", "ipsec-keeper-running"),
}


def serve(lab: Lab, source: str) -> None:
    """Have the master serve another tree, and every minion take its modules."""
    links = [f"ln -sfn {source}/{part} /srv/salt/{part}" for part in SERVED]
    links += [f"ln -sfn {source}/states/ipsec /srv/salt/ipsec", "salt-run fileserver.clear_file_list_cache"]
    lab.master.run(["sh", "-ec", "; ".join(links)], timeout=120)
    lab.master.run(["salt-run", "saltutil.sync_all"], timeout=120)
    lab.salt("*", "saltutil.sync_all", timeout=120)


@pytest.fixture
def fleet() -> Iterator[Lab]:
    """A small fleet whose hosts were set up by the tree before."""
    with labs.own("before", LAB / "fleets/small.sls") as lab:
        git = ["git", "-C", str(REPO), "archive", "--format=tar", BEFORE, *SERVED, "states"]
        lab.master.write("/srv/before.tar", subprocess.run(git, check=True, stdout=subprocess.PIPE).stdout)
        lab.master.run(["sh", "-ec", f"mkdir {PLACE}; tar -C {PLACE} -xf /srv/before.tar"])
        serve(lab, PLACE)
        lab.apply("*")
        lab.wait_one_each()
        yield lab


def test_it_goes_on(fleet):
    """Files of the engine change, and peers are bound to the CA; no SA is another one, no packet is lost.

    What is held stays held.
    """
    held = ["ipsec-global", "down", "--reason", "T1", "--peer", f"{CP1001}*"]
    fleet.host(CP2001).run(held)
    before = {key: ids for key, ids in fleet.ids().items() if ids}
    assert {key[0] for key in before} == {CP1001, CP2001, CP3001}
    assert before.keys() < fleet.ids().keys()
    with fleet.traffic({CP3001: {"v4": "10.64.0.11", "v6": "2001:db8:1::11"}}) as traffic:
        traffic.wait_flows()
        serve(fleet, "/srv/ipsec")
        found = fleet.apply("*")
        traffic.wait_flows()
    assert found.keys() == {CP1001, CP2001, CP3001}
    for host, states in found.items():
        changed = {state["__id__"]: state["changes"] for state in states if state["changes"]}
        bound = changed.pop("ipsec-config-connections")
        assert bound.keys() == {"all connections"}, host
        # the lab has an option of CHILD SAs for all (its mode), and so a name for these
        assert bound["all connections"].keys() == {"rightca", "rightca2", "leftgroups"}
        assert bound["all connections"]["rightca"] == {"old": None, "new": "CN=Lab CA"}
        assert "ipsec-engine-files" in changed, host
        assert changed.keys() <= ENGINE, host
    assert {key: ids for key, ids in fleet.ids().items() if ids} == before
    assert {way: found.lost for way, found in traffic.figures.items() if found.lost} == {}, traffic.figures
    said = fleet.host(CP2001).run(["ipsec-global", "hold"]).stdout
    assert "because T1" in said
    assert [state for state in fleet.apply("*")[CP2001] if state["changes"]] == []
    fleet.host(CP2001).run(["ipsec-global", "up"])
    fleet.wait_one_each()
