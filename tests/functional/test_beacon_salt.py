"""The beacon as Salt runs it: its loader, configuration and events, and the reactor that the docs show."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest
import salt._logging.impl
import salt.beacons
import salt.config
import salt.loader
import salt.utils.reactor

from hostipsec.health import sample as samples
from hostipsec.health.sample import Process, Sample, Sampled

salt._logging.impl.shutdown_temp_handler()  # it would print all it kept when the process ends

ROOT = Path(__file__).parents[2]
HOST = "cp1001.eqiad.example"
STAGE = ("v4", "start", "codfw-eqiad", "cp1001-cp2001")


class Minion:
    """A minion's beacons, and what its keeper leaves."""

    def __init__(self, place):
        self.sample = place / "state.json"
        paths = {"root_dir": place, "cachedir": place / "cache", "extension_modules": place / "ext"}
        self.opts = {
            **salt.config.DEFAULT_MINION_OPTS,
            **{name: str(path) for name, path in paths.items()},
            "id": HOST,
            "beacons_dirs": [str(ROOT / "_beacons")],
            "grains": {"id": HOST},
        }
        (place / "cache").mkdir()
        self.looks = 0
        self.refresh()

    def refresh(self):
        """Load beacons anew, as after a refresh of the pillar."""
        self.beacons = salt.beacons.Beacon(self.opts, {})

    def look(self, *states):
        """Leave what a look of the keeper found, and process beacons; the events."""
        self.looks += 1
        rows = tuple(
            Sampled(
                f"cp200{number}_v4",
                f"cp200{number}.codfw.example",
                *STAGE,
                state,
                "ok",
                "why",
                True,
                state == "established",
                False,
            )
            for number, state in enumerate(states)
        )
        made = Sample(time.time() - 20 + self.looks, HOST, connections=rows, charon=Process())
        self.sample.write_text(json.dumps(samples.plain(made)))
        return self.process([{"sample": str(self.sample)}])

    def process(self, config):
        return self.beacons.process({"ipsec": config}, self.opts["grains"])


@pytest.fixture
def minion(tmp_path):
    return Minion(tmp_path)


def test_salt_fires_what_changed_and_a_refresh_fires_nothing(minion):
    minion.look("established", "down")
    (event,) = minion.look("established", "down")
    assert event["tag"] == f"salt/beacon/{HOST}/ipsec/connection/down"
    assert (event["data"]["connection"], event["data"]["id"]) == ("cp2001_v4", HOST)
    minion.refresh()
    assert minion.look("established", "down") == []
    (event,) = minion.look("established", "established")
    assert event["tag"] == f"salt/beacon/{HOST}/ipsec/connection/up"


def test_a_key_that_there_is_not_is_said_and_starts_nothing(minion, caplog, monkeypatch):
    monkeypatch.setattr(salt.beacons, "log", logging.getLogger("test"))
    assert minion.process([{"every": 10}]) == []
    assert "beacons: ipsec: found every; allowed: " in caplog.text


def reaction(place, data):
    """Return what the master's reactor would do for an event."""
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "cachedir": str(place), "root_dir": str(place)}
    opts["extension_modules"] = str(place / "ext")
    reactor = salt.utils.reactor.Reactor.__new__(salt.utils.reactor.Reactor)
    salt.state.Compiler.__init__(reactor, opts, salt.loader.render(opts, {}))
    sls = ROOT / "docs/monitoring/reactor.sls"
    return reactor.render_template(str(sls), tag=f"salt/beacon/{HOST}/ipsec/connection/down", data=data)


def test_the_reactor_that_is_shown_notifies_and_does_nothing_else(tmp_path):
    said = 'no "answer": {{ 1 }} it\'s\n- down: <b>\u2028'
    found = reaction(tmp_path, {"id": HOST, "reason": said, "since": 1.5})
    assert [*found] == ["ipsec-notify"]
    assert [name for name in found["ipsec-notify"] if name[:2] != "__"] == ["runner"]
    given, function = found["ipsec-notify"]["runner"]
    assert function == "http.query"
    named = {key: value for one in given["args"] for key, value in one.items()}
    assert sorted(named) == ["data", "header_dict", "method", "url"]
    assert json.loads(named["data"]) == {
        "event": "connection/down",
        "host": HOST,
        "data": {"id": HOST, "reason": said, "since": 1.5},
    }
