"""Of each fault of the table every face says what the judge said.

Faces: ipsec-global, the plugin, the keeper's sample, metrics, the beacon.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

import pytest
from downs import Peers, name
from faults import FAULTS, OK, WELL, Shown
from faulty import CONF, Faulty
from strongswan import wait_for

from hostipsec.faces import metrics
from hostipsec.health.report import CARRYING, SEVERITIES
from hostipsec.health.sample import parse

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


def rows(text: str) -> dict:
    """Return the connections of a face that prints JSON, by name; none where it prints an error."""
    return json.loads(text).get("connections", {}) if text else {}


def told(text: str) -> dict:
    """Return the verdicts of it: {name: (state, severity)}."""
    return {one: (row["state"], row["severity"]) for one, row in rows(text).items()}


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
    configured = {one.name: WELL for one in host.peers.connections} if expected.known else {}
    if case == "one_in_maintenance":
        del configured[name(2)]
    verdict = {**configured, **expected.rows}
    assert (told(found["command"][1]), told(found["plugin"][1])) == (verdict, verdict)
    assert found["command"][0] == found["eyes"][0] == (expected.status != OK or expected.severity != "ok")
    assert found["plugin"][0] == found["line"][0] == expected.status, found["line"]
    assert expected.said in found["line"][1]
    assert expected.said in found["eyes"][1]
    for text in found["samples"]:
        check_sample(text, verdict, expected)
        assert troubles(json.loads(text)["connections"]) == troubles(rows(found["plugin"][1]).values())
    assert troubles(rows(found["command"][1]).values()) == troubles(rows(found["plugin"][1]).values())
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
