"""Of each fault of the table every face says what the judge said.

Faces: ipsec-global, the plugin, the keeper's sample, metrics as Prometheus and Graphite read them, the
beacon, the page of the mesh (beside peers that see nothing wrong).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

import pytest
from downs import Peers
from faults import FAULTS
from faulty import CONF, Faulty
from prometheus_client.parser import text_string_to_metric_families
from strongswan import wait_for

import reports
from hostipsec.faces import exposition, metrics, page
from hostipsec.faces.strip import Strip
from hostipsec.health.report import CARRYING, SEVERITIES
from hostipsec.health.sample import parse
from shown import OK, Shown, rows, told

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

LONG = ("charon_hangs",)  # each look waits for it; the plugin in Icinga tells it in less


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    peers = Peers(place, 3, stage="start")
    try:
        peers.start()
        (peers.east.root / "run/hostipsec").mkdir(mode=0o700, exist_ok=True)
        peers.east.write(CONF, peers.conf("start"))  # as states write it where there is no systemd
        peers.east.run("ipsec", "update")
        wait_for(lambda: len(peers.established) == 3, "three connections")
        yield Faulty(peers, place)
    finally:
        peers.stop()


def troubles(found: Iterable[dict]) -> set[tuple[str, str]]:
    """Return what is not well, and why: {(name, reason)}."""
    return {(row["name"], row["reason"]) for row in found if row["severity"] != "ok"}


@pytest.mark.parametrize(
    "case", [pytest.param(one, marks=pytest.mark.whole if one in LONG else ()) for one in FAULTS]
)
def test_every_face_says_what_the_judge_said(host, case):
    make, expected = FAULTS[case]
    host.mend()
    with make(host):
        found = host.faces()
    verdict = expected.verdict(one.name for one in host.peers.connections)
    assert (told(found["command"][1]), told(found["plugin"][1])) == (verdict, verdict)
    assert found["command"][0] == found["eyes"][0] == (expected.status != OK or expected.severity != "ok")
    assert found["plugin"][0] == found["line"][0] == expected.status, found["line"]
    assert expected.said in found["line"][1]
    assert expected.said in found["eyes"][1]
    for text in found["samples"]:
        check_sample(text, verdict, expected)
        assert troubles(json.loads(text)["connections"]) == troubles(rows(found["plugin"][1]).values())
    assert troubles(rows(found["command"][1]).values()) == troubles(rows(found["plugin"][1]).values())
    if expected.known:
        check_page(rows(found["command"][1]), verdict)
    events = host.events(found["samples"])
    assert {one["tag"] for one in events} == expected.tags, events


def check_sample(text: str, verdict: dict, expected: Shown) -> None:
    """Look at a sample of the keeper, and at the metrics of it."""
    sample = parse(json.loads(text))
    assert {one.name: (one.state, one.severity) for one in sample.connections} == verdict
    assert (sample.severity, {*sample.unread}) == (expected.severity, {*expected.unread})
    told = metrics.families(metrics.seen(json.loads(text), time.time()))
    series = {one.metric.name: dict(one.series) for one in told}
    ups = {labels[0]: value for labels, value in series.get("ipsec_connection_up", {}).items()}
    assert ups == {one.peer: one.state in CARRYING for one in sample.connections}
    held = {labels[0]: value for labels, value in series.get("ipsec_connection_held", {}).items()}
    assert held == {one.peer: "held" in one.reason for one in sample.connections}
    assert series["ipsec_severity"] == {(sample.site,): SEVERITIES.index(expected.severity)}
    check_texts(told, sample.host)
    sources = {labels[1]: value for labels, value in series["ipsec_source_up"].items()}
    if not expected.known:  # nothing was looked at: it is absent, and not down
        assert sources == {"keeper": True, **dict.fromkeys(expected.unread, False)}
        assert not {"ipsec_connections", "ipsec_charon_up"} & {*series}
        return
    assert {source for source, up in sources.items() if not up} == {*expected.unread}
    counts = {labels[1]: value for labels, value in series["ipsec_connections"].items()}
    assert counts.pop("unmanaged") == expected.strays
    assert counts == {state: sum(one.state == state for one in sample.connections) for state in counts}
    assert (series["ipsec_charon_up"] == {(sample.site,): True}) == ("charon" not in expected.unread)


def check_texts(told: list, host: str) -> None:
    """Read the metrics as Prometheus does, and as Graphite does: each number is there, and no other."""
    text = exposition.prometheus(told)
    read = {
        (one.name, *one.labels.values()): one.value
        for all_ in text_string_to_metric_families(text)
        for one in all_.samples
    }
    assert read == {(one.metric.name, *labels): value for one in told for labels, value in one.series}
    lines = [line.split() for line in exposition.graphite(told, host, 1.0).splitlines()]
    numbers = [value for one in told if one.metric.name != "ipsec_info" for _, value in one.series]
    assert [float(value) for _, value, _ in lines] == [float(value) for value in numbers]
    assert len({path for path, _, _ in lines}) == len(lines)


def check_page(said: dict, verdict: dict) -> None:
    """Look at the page that a master makes of what this host says, and its peers, who see nothing wrong."""
    ends = {f"cp{number:04}.example": {"site": "edge", "ipv4": f"10.9.1.{1 + number}"} for number in range(3)}
    data = {
        "hosts": {"a.example": {"site": "core", "ipv4": "10.9.0.1"}, **ends},
        "rules": [{"name": "all", "between": {"site": "core"}, "and": {"site": "edge"}}],
    }
    mesh = reports.Mesh(data)
    mesh.own["a.example"] = {"connections": said}
    shown = json.loads(
        page.page(mesh.fleet, mesh.found(), page.Made(reports.NOON, 60.0, reports.EDITION), Strip())
        .partition(page.DATA)[2]
        .partition("</script>")[0]
    )
    words, hosts = shown["words"], [one["id"] for one in shown["hosts"]]
    assert len(shown["rows"]) == 3
    for row in shown["rows"]:
        one, other, severity, (state, ours, reason, *_) = row[0], row[1], row[5], row[-2]
        name_ = f"{hosts[other].partition('.')[0]}_v4"
        if name_ not in verdict:  # in maintenance at this host: the pillar of this page does not know of that
            continue
        assert (hosts[one], words[state], SEVERITIES[ours]) == ("a.example", *verdict[name_])
        assert words[reason] == said[name_]["reason"]
        assert severity >= ours
