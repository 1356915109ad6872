"""What explains trouble, and the fleet in a sentence: never better than what the hosts said."""

from __future__ import annotations

import time

import fleets
import reports
from hostipsec.fleet import causes, joined
from hostipsec.fleet.causes import DEAD, FAILED, GONE, HOST, SAME, SILENT, SITES

CP3040, CP2002 = reports.DEAD, reports.HOLDER


def explained(mesh):
    found, heard = mesh.found(), mesh.heard()
    sites = {}
    for host in mesh.fleet.hosts:
        sites.setdefault(host.label("site"), []).append(host.id)
    told = causes.causes(found.shown, heard.silent, heard.failed, sites)
    rows = [row for one in told for row in one.rows]
    assert sorted(map(str, rows)) == sorted(map(str, found.shown.trouble)), "each once, and none left out"
    asked = len({*heard.answers, *heard.silent, *heard.failed})
    return told, causes.sentence(found.shown, told, len(heard.answers), asked)


def test_all_is_well():
    told, sentence = explained(reports.Mesh())
    assert (told, sentence) == ((), "2,098 of 2,098 connections up; 92 of 92 hosts answered")


def test_no_fleet():
    assert causes.sentence(joined.View(), (), 0, 0) == "no connections; 0 of 0 hosts answered"


def test_a_dead_host():
    mesh = reports.Mesh()
    mesh.kill(CP3040)
    (one,), sentence = explained(mesh)
    assert (one.kind, one.who, one.severity) == (DEAD, CP3040, "critical")
    assert sentence == f"{CP3040} is dead (34 connections); else 2,064 of 2,064 up; 91 of 92 hosts answered"


def test_two_dead_hosts_that_have_each_other():
    mesh = reports.Mesh()
    other = next(iter(mesh.peers(CP3040)))
    mesh.kill(CP3040)
    mesh.kill(other)
    told, _ = explained(mesh)
    assert {(one.kind, one.who) for one in told} == {(DEAD, CP3040), (DEAD, other)}


def test_a_minion_that_is_silent_while_its_peers_have_their_tunnels_is_not_dead():
    mesh = reports.Mesh()
    mesh.silent.add(CP3040)
    (one,), sentence = explained(mesh)
    assert (one.kind, one.severity) == (SILENT, "warning")
    assert str(one) == f"{CP3040} does not answer; its peers have 34 of 34 connections up"
    assert sentence.startswith(f"{CP3040} does not answer (34 connections); else 2,064 of 2,064 up")


def test_nor_is_one_of_which_a_single_peer_has_a_tunnel_or_that_is_held():
    mesh = reports.Mesh()
    mesh.kill(CP3040)
    first, second, *_ = mesh.peers(CP3040)
    mesh.rows[first, CP3040] = dict(reports.UP)
    assert explained(mesh)[0][0].kind == SILENT
    mesh.rows[first, CP3040] = dict(reports.DOWN)
    assert explained(mesh)[0][0].kind == DEAD
    mesh.rows[second, CP3040] = dict(reports.HELD)
    assert explained(mesh)[0][0].kind == SILENT


def test_nor_where_nobody_is_left_to_say_so():
    mesh = reports.Mesh()
    mesh.silent = {host.id for host in mesh.fleet.hosts}
    told, sentence = explained(mesh)
    assert {one.kind for one in told} == {SILENT}
    assert sentence.endswith("0 of 92 hosts answered")


def test_what_a_host_said_instead():
    mesh = reports.Mesh()
    mesh.instead[CP3040] = "The minion function caused an exception"
    (one,), _ = explained(mesh)
    assert (one.kind, str(one)) == (
        FAILED,
        f"{CP3040} gave no status: The minion function caused an exception",
    )


def test_a_dead_charon_is_its_host_and_a_hold_is_no_fault_of_a_host():
    mesh = reports.Mesh()
    for peer in mesh.peers(CP2002):
        mesh.between(CP2002, peer, {**reports.DOWN, "reason": "charon does not answer"}, reports.DOWN)
    (one,), sentence = explained(mesh)
    assert (one.kind, one.who) == (HOST, CP2002)
    assert str(one).startswith(f"{CP2002} has 70 of its 70 connections in trouble: charon does not answer")
    assert sentence.startswith(f"{CP2002} is in trouble (70 connections); else 2,028 of 2,028 up")
    for peer in mesh.peers(CP2002):
        mesh.between(CP2002, peer, reports.HELD, reports.DOWN)
    (one,), sentence = explained(mesh)
    assert (one.kind, one.who) == (SAME, "")
    assert sentence == "2,028 of 2,098 connections up; 70 held; 92 of 92 hosts answered"


def test_a_line_that_is_cut_is_said_once():
    mesh = reports.Mesh()
    site = {host.id: host.label("site") for host in mesh.fleet.hosts}
    for one in site:
        for other in mesh.peers(one):
            if {site[one], site[other]} == {"codfw", "esams"}:
                mesh.between(one, other, reports.DOWN)
    (one,), sentence = explained(mesh)
    assert (one.kind, one.who, len(one.rows)) == (SITES, "codfw - esams", 376)
    assert sentence.startswith("codfw - esams have nothing up between them (376 connections); else 1,722 of")


def ulsfo(mesh):
    return [host.id for host in mesh.fleet.hosts if host.label("site") == "ulsfo"]


def test_a_site_that_nobody_sees_is_no_number_of_dead_hosts():
    """Cut off from the master and from every peer its hosts may well live: they were said to be dead."""
    mesh = reports.Mesh()
    for host in ulsfo(mesh):
        mesh.kill(host)
    (one,), sentence = explained(mesh)
    assert (one.kind, one.lost, one.severity) == (GONE, tuple(sorted(ulsfo(mesh))), "critical")
    unseen = "12 hosts of ulsfo do not answer, nor does anybody see them: a line or the site"
    assert str(one) == f"{unseen}; none of 456 connections is up"
    assert sentence == f"{unseen} (456 connections); else 1,642 of 1,642 up; 80 of 92 hosts answered"


def test_of_a_site_one_of_whose_hosts_is_seen_the_others_are_dead():
    mesh = reports.Mesh()
    first, *rest = ulsfo(mesh)
    for host in rest:
        mesh.kill(host)
    told, sentence = explained(mesh)
    assert {one.kind for one in told} == {DEAD}
    dead = "cp[4022-4032].ulsfo.wmnet are dead (414 connections)"
    assert sentence == f"{dead}; else 1,684 of 1,684 up; 81 of 92 hosts answered"
    mesh.silent.add(first)  # its peers have their tunnels with it
    told, _ = explained(mesh)
    assert {one.kind for one in told} == {DEAD, SILENT}


def test_a_host_of_a_site_that_has_peers_in_it_alone_is_not_told_of_beside_the_site():
    data = {
        "hosts": {
            name: {"site": site, "ipv4": f"10.9.{number}.1"}
            for number, (name, site) in enumerate([("a", "east"), ("b", "west"), ("c", "west")])
        },
        "rules": [
            {"name": "far", "between": {"site": "east"}, "and": {"id": "b"}},
            {"name": "near", "between": {"site": "west"}, "and": {"site": "west"}},
        ],
    }
    mesh = reports.Mesh(data)
    mesh.kill("b")
    mesh.kill("c")
    (one,), sentence = explained(mesh)
    assert (one.kind, one.lost, len(one.rows)) == (GONE, ("b", "c"), 2)
    assert "nothing else" in sentence


def test_one_connection_alone_is_told_in_full():
    mesh = reports.Mesh(fleets.star(40))
    mesh.between("edge0007.edge.example", "hub.core.example", reports.DOWN)
    told, sentence = explained(mesh)
    assert [one.kind for one in told] == [SAME]
    assert sentence == "78 of 80 connections up; 2 down; 41 of 41 hosts answered"


def test_a_warning_of_what_is_up_is_in_the_sentence():
    mesh = reports.Mesh(fleets.star(3))
    mesh.between("edge0001.edge.example", "hub.core.example", {**reports.UP, "severity": "warning"})
    assert explained(mesh)[1] == (
        "6 of 6 connections up; 2 of those that are up with a warning; 4 of 4 hosts answered"
    )


def test_maintenance_is_said_and_is_no_trouble():
    data = fleets.star(3)
    data["hosts"]["edge0001.edge.example"]["maintenance"] = True
    told, sentence = explained(reports.Mesh(data))
    assert (told, sentence) == ((), "4 of 6 connections up; 2 maintenance; 3 of 3 hosts answered")


def test_what_a_fleet_that_is_all_silent_takes_grows_with_its_connections_only():
    """All of the trouble was gone through for each silent host."""
    mesh = reports.Mesh(fleets.sites(200))
    mesh.silent = {host.id for host in mesh.fleet.hosts}
    found = mesh.found()
    begin = time.process_time()
    told = causes.causes(found.shown, sorted(mesh.silent))
    assert time.process_time() - begin < 5
    assert sum(len(one.rows) for one in told) == 200 * 150 // 2
