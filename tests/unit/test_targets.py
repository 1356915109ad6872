"""Which hosts a command means: no site, host or state that does not exist is taken for one."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.errors import HostIPsecError
from hostipsec.fleet import targets
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.fleet.gone import Gone
from hostipsec.pillar import pillar

RESTING = "cp3002.esams.example"
EQIAD, ESAMS = ["cp1001.eqiad.example", "cp1002.eqiad.example"], ["cp3001.esams.example", RESTING]
CODFW = ["cp2001.codfw.example"]


def fleet():
    data = fleets.example()
    data["hosts"][RESTING]["maintenance"] = True
    return pillar.read(data)


def refused(call, *arguments):
    with pytest.raises(HostIPsecError) as caught:
        call(*arguments)
    return str(caught.value)


def test_hosts_in_maintenance_have_peers_and_do_not_serve():
    assert targets.paired(fleet()) == sorted([*EQIAD, *CODFW, *ESAMS])
    assert RESTING not in targets.serving(fleet())
    assert "db1001.eqiad.example" in targets.serving(fleet())


def switched_off():
    data = fleets.example()
    del data["expect"]
    for rule in data["rules"]:
        rule["stage"] = "off"
    return pillar.read(data)


def test_who_had_peers_by_rules_that_are_off_may_have_tunnels_yet():
    """With all rules off `down` asked nobody, and all was down, and proven."""
    found = targets.of_fleet(switched_off(), None)
    assert (found.hosts, found.former) == ([], sorted([*EQIAD, *CODFW, *ESAMS]))
    assert targets.of_fleet(fleet(), None).former == []
    assert targets.of_fleet(fleet(), None).hosts == targets.paired(fleet())


def test_each_minion_that_no_rule_has_may_have_left_the_pillar():
    """A host that was taken out of the pillar, or of all rules, and not cleaned, was not asked."""
    lonely, out = "db1001.eqiad.example", "cp9001.esams.example"
    accepted = [out, lonely, *EQIAD]
    gone = targets.of_fleet(fleet(), None, Gone(accepted)).gone
    assert (gone.hosts, gone.places, lonely in gone.known, out in gone.known) == (
        [out, lonely],
        [],
        True,
        False,
    )
    assert targets.of_fleet(switched_off(), None, Gone(accepted)).gone.hosts == [out, lonely]
    there = targets.of_fleet(fleet(), "esams", Gone(accepted)).gone
    assert (there.hosts, there.places) == ([out], ["esams"])  # the other one is at another site
    assert targets.of_fleet(fleet(), "eqiad", Gone(accepted)).gone.hosts == [out, lonely]
    nobody = pillar.read(fleets.example())._replace(rules=())
    assert targets.of_fleet(nobody, None, Gone(EQIAD)).gone.hosts == EQIAD
    assert targets.beside(fleet(), Gone(accepted)).hosts == [out]


@pytest.mark.parametrize(
    ("kind", "target", "unknown"),
    [
        ("list", "a,zz", ["zz"]),
        ("compound", "L@a,zz or b", ["zz"]),
        ("compound", "(a or zz) and not b", ["zz"]),
        ("compound", "N@some and G@os:Debian", ["zz"]),
        ("compound", "E@(a|zz) or z* or z? or G@os:(x)", []),
        ("nodegroup", "some", ["zz"]),
        ("nodegroup", "others", []),
        ("glob", "z*", []),
    ],
)
def test_a_name_that_no_minion_has_is_told_wherever_it_stands(kind, target, unknown):
    """Of a nodegroup, and by itself in a compound target, it was dropped without a word."""
    groups = {"some": "( L@a,zz ) or b", "others": "L@a,b"}
    found = targets.meant(target, kind, ["a"], ["a", "b"], groups.__getitem__)
    assert [*found.unknown] == unknown


def test_a_pillar_that_gives_nobody_a_peer_asks_nobody():
    nobody = pillar.read(fleets.example())._replace(rules=())
    assert "gives no host a peer; nothing was asked" in refused(targets.of_fleet, nobody, None)


def test_hosts_by_site():
    assert targets.by_site(fleet()) == {"eqiad": EQIAD, "codfw": CODFW, "esams": ESAMS}
    assert targets.at_sites(fleet(), "esams") == ESAMS
    assert targets.at_sites(fleet(), "esams, codfw,esams") == [*CODFW, *ESAMS]
    assert targets.at_sites(fleet(), ["codfw"]) == CODFW


@pytest.mark.parametrize(
    ("sites", "found"), [("nowhere", "'nowhere'"), ("esams,", "''"), ("", "''"), ([], "[]")]
)
def test_a_site_that_there_is_not(sites, found):
    assert refused(targets.at_sites, fleet(), sites) == f"site: found {found}; allowed: codfw, eqiad, esams"


def test_a_filter_that_no_pair_fits():
    """It said "0 connections of 0 pairs", and that all is well."""
    lonely = "db1001.eqiad.example"
    for site in (None, "eqiad"):
        assert refused(targets.chosen, fleet(), site, lonely, None, None).endswith(
            f"host={lonely}: no pair of hosts has that; nothing was asked of any host"
        )


def test_filters():
    assert targets.chosen(fleet(), "esams", RESTING, "up", None) == Filter("esams", RESTING, "up")
    assert targets.chosen(fleet(), None, None, None, "esams,codfw").within == ("esams", "codfw")
    assert refused(targets.chosen, fleet(), "x", None, None, None).startswith(
        "site: found 'x'; allowed: codfw"
    )
    assert refused(targets.chosen, fleet(), None, "x", None, None).startswith(
        "host: found 'x'; allowed: cp1001"
    )
    assert refused(targets.chosen, fleet(), None, None, "x", None).startswith("state: found 'x'; allowed: up")
    assert refused(targets.chosen, fleet(), None, None, None, ["x"]) == (
        "within: found 'x'; allowed: codfw, eqiad, esams"
    )


def test_a_target_is_text_or_a_list_of_names():
    """Anything else went to Salt, which logs a traceback on the operator's terminal and finds nobody."""
    assert targets.expression(1001, "glob") == "1001"
    assert targets.expression(["a", 5], "list") == ["a", "5"]
    for tgt, kind in ((True, "glob"), ("", "glob"), (["a"], "glob"), ({"a": 1}, "list"), (1.5, "pcre")):
        assert refused(targets.expression, tgt, kind).startswith(f"tgt: found {tgt!r}; allowed: a target ")
    for kind in ("name", None, [1], True):
        assert refused(targets.expression, "a", kind).startswith(f"tgt_type: found {kind!r}; allowed: glob")
