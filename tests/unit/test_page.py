"""The page: what it tells, that nothing of a host's is markup, its size, its strip, and its file."""

from __future__ import annotations

import copy
import errno
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import fleets
import reports
from hostipsec.errors import HostIPsecError, Problem
from hostipsec.faces import page, pagefile, strip
from hostipsec.faces.page import Made
from hostipsec.faces.strip import Point, Strip

MADE = Made(reports.NOON, 300, reports.EDITION)
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&\u2028'\""


def text(mesh, made=MADE, before=Strip()):  # noqa: B008 - a value
    return page.page(mesh.fleet, mesh.found(), made, before)


def data(text):
    return json.loads(text.partition(page.DATA)[2].partition("</script>")[0])


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_fleet_of_2018_is_small():
    mesh = reports.troubled()
    found = mesh.found()
    made = page.page(mesh.fleet, found, MADE, Strip())
    assert len(made.encode()) < 300_000
    told = data(made)
    assert len(told["rows"]) == 2 * 1049
    assert len(told["hosts"]) == 92


def test_a_large_fleet_is_told_by_sites_and_its_trouble():
    mesh = reports.Mesh(fleets.sites(160))
    for peer in mesh.peers("h00001.site1.example"):
        mesh.between("h00001.site1.example", peer, reports.DOWN)
    told = data(text(mesh))
    number = sum(sum(counts.values()) for _, _, counts in told["sites"])
    assert (told["whole"], number, len(told["rows"])) == (False, 160 * 120 // 2, 120)
    assert told["causes"][0][4:] == [120, [*range(120)]]


def test_every_connection_in_trouble_is_in_one_cause_and_the_words_are_those_of_the_status():
    mesh = reports.troubled()
    found, told = mesh.found(), data(text(mesh))
    words, states = told["words"], told["states"]
    for row, told_row in zip(found.shown.rows, told["rows"]):
        assert (states[told_row[4]], told["severities"][told_row[5]]) == (row.state, row.severity)
        assert words[told_row[6]] == row.reason
        assert [told["severities"][end[1]] for end in told_row[10:]] == [end.severity for end in row.ends]
    numbers = [number for cause in told["causes"] for number in cause[5]]
    assert sorted(numbers) == [number for number, row in enumerate(found.shown.rows) if not row.ok]


@pytest.mark.parametrize("kind", ["well", "silent", "warned", "expiring", "stray"])
def test_the_heading_is_green_only_where_the_status_is(kind):
    mesh, host = reports.Mesh(fleets.star(3)), "hub.core.example"
    certificate = {"days_left": 3, "severity": "critical", "sentence": "ends"}
    said = {
        "warned": {"warnings": ["x"]},
        "expiring": {"certificate": certificate},
        "stray": {"unmanaged": {"a": {}}},
    }
    mesh.silent = {host} if kind == "silent" else set()
    mesh.own[host] = said.get(kind, {})
    found = mesh.found()
    assert found.ok(0) == (kind == "well")
    assert ('<body class="ok">' in text(mesh)) == found.ok(0)
    beside = {
        "well": "6 of 6 connections up; 4 of 4 hosts answered",
        "silent": "hub.core.example does not answer (6 connections); nothing else; 3 of 4 hosts answered",
        "warned": "6 of 6 connections up; 1 host with warnings; 4 of 4 hosts answered",
        "expiring": "6 of 6 connections up; 1 certificate that ends soon; 4 of 4 hosts answered",
        "stray": "6 of 6 connections up; 1 connection that no pillar gives; 4 of 4 hosts answered",
    }
    assert page.headline(mesh.fleet, found) == beside[kind]


def evil(host):
    return host._replace(
        id=f"{host.id}{EVIL}", labels={**host.labels, "site": (f"{host.label('site')}{EVIL}",)}
    )


def test_nothing_that_a_host_or_the_pillar_says_is_markup():
    plain = Elements(text(reports.Mesh(fleets.sites(4)))).found
    mesh = reports.Mesh(fleets.sites(4))
    # the pillar allows no such names; the page does not rely on it
    mesh.fleet = mesh.fleet._replace(hosts=tuple(map(evil, mesh.fleet.hosts)))
    one, other, third, _ = (host.id for host in mesh.fleet.hosts)
    for peer in mesh.peers(one):
        mesh.between(one, peer, {**reports.DOWN, "reason": EVIL, "state": EVIL, "stage": EVIL})
    mesh.own[one] = {
        "held": EVIL,
        "edition": EVIL,
        "strongswan": EVIL,
        "warnings": [EVIL],
        "unmanaged": {EVIL: {}},
        "certificate": {"days_left": 1, "severity": EVIL, "sentence": EVIL},
    }
    mesh.instead[other] = EVIL
    mesh.kill(third)
    made = text(mesh)
    assert any(EVIL[:20] in word for word in data(made)["words"])
    assert [tag for tag, _ in Elements(made).found] == [tag for tag, _ in plain]
    assert "<img" not in made
    assert made.count("</script>") == 2
    assert page.read(made).times == (reports.NOON,)


def test_answers_that_are_not_what_they_should_be():
    mesh = reports.Mesh(fleets.star(3))
    for host, one in zip(mesh.peers("hub.core.example"), ({1: 2}, ["a"], "text")):
        mesh.instead[host] = one
    mesh.own["hub.core.example"] = {"strongswan": {"a": [1]}, "certificate": None}
    mesh.rows["hub.core.example", "edge0001.edge.example"] = {
        "since": "long ago",
        "severity": "odd",
        "state": "new",
    }
    told = data(text(mesh))
    assert [one["id"] for one in told["hosts"] if told["words"][one["lost"]]] == [*mesh.instead]
    assert told["rows"][0][5] == told["severities"].index("critical")


def test_a_host_of_which_no_address_is_known_is_told():
    mesh = reports.Mesh(fleets.star(3))
    lost = (Problem("ipsec:hosts:hub", "nothing", "an address"),)
    mesh.fleet = mesh.fleet._replace(
        hosts=tuple(host._replace(lost=lost) if "edge0001" in host.id else host for host in mesh.fleet.hosts)
    )
    told = data(text(mesh))
    assert [told["words"][one] for one in told["notes"]] == [str(lost[0])]
    assert "1 host without a usable address" in page.headline(mesh.fleet, mesh.found())


def test_a_browser_runs_our_script_only_and_fetches_nothing():
    found = Elements(text(reports.Mesh(fleets.star(1)))).found
    (policy,) = [one["content"] for tag, one in found if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert {one["href"] for _, one in found if "href" in one} == {"data:,"}
    assert not [one for _, one in found if "src" in one or "style" in one]


def test_a_page_can_be_read_without_a_script():
    mesh = reports.troubled()
    (said,) = re.findall(r"<noscript><pre>(.*?)</pre></noscript>", text(mesh), re.DOTALL)
    assert said.splitlines()[0] == mesh.found().lines(reports.EDITION)[0]


# The strip ---------------------------------------------------------------------------------------


def after(before, times, mesh):
    shown = mesh.found().shown
    for one in times:
        before = strip.after(before, one, shown)
    return before


def test_the_strip_keeps_the_last_reports():
    mesh = reports.Mesh(fleets.star(2))
    found = after(Strip(), range(100), mesh)
    assert found.times == tuple(range(52, 100))
    assert found.pairs == {("core", "edge"): (Point(4, 4, 0),) * 48}


def test_pairs_of_sites_that_come_and_go():
    small, large = reports.Mesh(fleets.sites(2)), reports.Mesh(fleets.sites(3))
    found = after(after(Strip(), [1.0], small), [2.0], large)
    assert found.pairs["site1", "site2"] == (Point(1, 1, 0), Point(1, 1, 0))
    assert found.pairs["site2", "site3"] == (None, Point(1, 1, 0))
    assert set(after(found, [3.0], small).pairs) == {("site1", "site2")}


def test_a_clock_that_was_set_back():
    mesh = reports.Mesh(fleets.star(1))
    assert after(Strip(), [10.0, 20.0, 30.0, 15.0], mesh).times == (10.0, 15.0)


def test_a_strip_is_read_back():
    mesh = reports.troubled()
    found = after(Strip(), [1.0, 2.5], mesh)
    assert strip.parse(json.loads(json.dumps(strip.plain(found)))) == found
    assert page.read(text(mesh, before=found)).times == (1.0, 2.5, reports.NOON)


GOOD = {"times": [1, 2], "pairs": [["a", "b", [None, [1, 2, 0]]]]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("times",), None),
        (("times",), [2, 1]),
        (("times",), [1, float("inf")]),
        (("times",), ["1", "2"]),
        (("times",), [True, 2]),
        (("times",), [1]),
        (("pairs",), 5),
        (("pairs", 0), ["a", "b"]),
        (("pairs", 0, 0), None),
        (("pairs", 0, 2), [None]),
        (("pairs", 0, 2, 1), [3, 2, 0]),
        (("pairs", 0, 2, 1), [1, 2, 3]),
        (("pairs", 0, 2, 1), [1, 2]),
        (("pairs", 0, 2, 1), ["1", 2, 0]),
        (("pairs", 0, 2, 1), [-1, 2, 0]),
    ],
)
def test_a_strip_that_is_none_is_refused(path, value):
    assert strip.parse(GOOD).times == (1, 2)
    wrong = copy.deepcopy(GOOD)
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"\w"):
        strip.parse(wrong)
    for other in (None, [], "text", 5, {}):
        with pytest.raises(ValueError, match=r"\w"):
            strip.parse(other)


# The file ----------------------------------------------------------------------------------------


def write(path, mesh=None, made=MADE):
    mesh = mesh or reports.Mesh(fleets.star(2))
    return pagefile.write(pagefile.ready(str(path), "/nowhere"), mesh.fleet, mesh.found(), made)


def test_a_page_is_written_and_replaced_and_mode_and_reports_before_stay(tmp_path):
    path = tmp_path / "ipsec.html"
    found = write(path)
    sentence = "4 of 4 connections up; 3 of 3 hosts answered"
    assert found == {
        "path": str(path),
        "sentence": sentence,
        "lines": [sentence, f"{path}: {path.stat().st_size:,} bytes"],
        "error": "",
        "retcode": 0,
    }
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    write(path, made=MADE._replace(time=reports.NOON + 300))
    assert path.stat().st_mode & 0o777 == 0o644
    assert page.read(path.read_text()).times == (reports.NOON, reports.NOON + 300)
    assert [one.name for one in tmp_path.iterdir()] == ["ipsec.html"]


def test_by_default_it_is_below_the_cache(tmp_path):
    path = pagefile.ready(None, str(tmp_path))
    assert path == tmp_path / "hostipsec/report.html"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_empty_may_be_prepared_with_its_mode(tmp_path):
    path = tmp_path / "ipsec.html"
    path.touch(0o640)
    assert write(path)["retcode"] == 0
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "damage", [b"", b'{"strip": 5}', b"{" * 100_000, b"\xff\xfe", b'{"strip": {"times": [NaN]}}']
)
def test_a_page_of_which_the_data_is_damaged_is_replaced_and_it_is_said(tmp_path, damage):
    path = tmp_path / "ipsec.html"
    write(path)
    head, _, _ = path.read_bytes().partition(page.DATA.encode())
    path.write_bytes(head + page.DATA.encode() + damage)
    found = write(path)
    assert found["retcode"] == 0
    assert "the reports before cannot be read" in found["lines"][1]
    assert page.read(path.read_text()).times == (reports.NOON,)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("report.html", "path: found 'report.html'; allowed: the absolute path of a file"),
        (5, "path: found 5; allowed: the absolute path of a file"),
        ("/srv/", "path: found '/srv/'; allowed: the absolute path of a file"),
        ("/a\0b", "allowed: the absolute path of a file"),
        ("/no/such/place.html", "path=/no/such/place.html: there is no directory /no/such; make it"),
        ("/proc/ipsec.html", "/proc"),
    ],
)
def test_where_no_page_can_be_put(path, sentence):
    with pytest.raises(HostIPsecError) as caught:
        write(Path(path)) if path == "/proc/ipsec.html" else pagefile.ready(path, "/nowhere")
        raise HostIPsecError("/proc: a file there")
    assert sentence in str(caught.value)


def test_what_is_no_page_of_ours_is_left_alone(tmp_path):
    note, link = tmp_path / "note.html", tmp_path / "link.html"
    note.write_text("<html>mine</html>")
    link.symlink_to(note)
    for path, why in (
        (note, "no report of ours"),
        (link, "a symbolic link to"),
        (tmp_path, "is a directory"),
    ):
        with pytest.raises(HostIPsecError, match=why):
            write(path)
    assert note.read_text() == "<html>mine</html>"
    assert link.is_symlink()


def test_a_full_disk_keeps_the_page_of_before(tmp_path, monkeypatch):
    path = tmp_path / "ipsec.html"
    write(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    found = write(path, made=MADE._replace(time=reports.NOON + 300))
    assert found["retcode"] == 1
    assert (
        found["error"] == f"{path}: cannot be written: No space left on device; what was there before stays"
    )
    assert found["lines"] == [found["sentence"], found["error"]]
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["ipsec.html"]
