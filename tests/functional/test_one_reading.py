"""One run of states reads the pillar once and inspects the certificate once; the next run does so anew."""

from __future__ import annotations

import json
import socket
from collections import Counter

import pytest
import salt.loader
from minions import HOST

from hostipsec.certificates import source
from hostipsec.pillar import addresses, pillar


@pytest.fixture
def counts(monkeypatch):
    """Count how often the pillar is read, the mine asked, a host looked up and the source inspected."""
    found = Counter()

    def counted(module, name):
        original = getattr(module, name)

        def call(*arguments, **named):
            found[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(module, name, call)

    for module, name in ((pillar, "read"), (addresses, "mined"), (source, "inspect")):
        counted(module, name)
    return found


@pytest.fixture
def looked_up(monkeypatch):
    """Have DNS give HOST an address; returns who was looked up."""
    found = []

    def getaddrinfo(host, *_, **__):
        found.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.64.0.11", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


def test_a_run_reads_once_and_the_next_one_anew(minion, counts):
    """It read the pillar 29 times, and inspected the certificate 14 times."""
    for number in (1, 2):
        found = minion.apply("ipsec", test=True)
        assert found["ipsec-check-input"]["comment"] == "3 peers, 6 connections"
        assert {"ipsec-certs-reused", "ipsec-config-connections", "ipsec-guard-policies"} < {*found}
        assert counts == {"read": number, "inspect": number}


def test_a_run_asks_mine_and_dns_once(minion, data, counts, looked_up):
    del data["hosts"][HOST]["ipv4"], data["hosts"][HOST]["ipv6"]
    data["hosts"]["cp2001.codfw.example"].pop("ipv6")
    minion.pillar({**data, "expect": [], "addresses": ["mine", "dns"]})
    found = minion.apply("ipsec", test=True)
    assert found["ipsec-check-input"]["result"] is True, found["ipsec-check-input"]
    assert counts == {"read": 1, "mined": 1, "inspect": 1}
    assert looked_up == [HOST]


def test_a_wrong_pillar_is_read_once_as_well(minion, data, counts):
    minion.pillar({**data, "mtu": 9})
    (found,) = minion.apply("ipsec").values()
    assert found["result"] is False
    assert counts == {"read": 1}


def test_a_pillar_that_changes_on_the_way_is_not_taken_for_that_of_before(minion, data, counts):
    """With reload_pillar, Salt compiles it anew within the run."""
    text = json.dumps({"ipsec": {**data, "mtu": 9}})
    states = {
        "before": {"ipsec.checked": []},
        "edit": {
            "file.managed": [
                {"name": str(minion.place / "pillar/ipsec.sls")},
                {"contents": text},
                {"reload_pillar": True},
            ]
        },
        "after": {"ipsec.checked": []},
        "again": {"ipsec.esp_available": []},
    }
    (minion.place / "srv/edit.sls").write_text(json.dumps(states))
    found = minion.apply("edit")
    assert found["edit"]["result"] is True, found["edit"]
    assert (found["before"]["result"], found["before"]["comment"]) == (True, "3 peers, 6 connections")
    assert found["after"]["comment"].startswith("Nothing was changed.\n- ipsec:mtu: found 9; ")
    assert found["again"]["result"] is False
    assert counts == {"read": 2, "inspect": 1}


def test_nothing_is_kept_from_one_call_to_the_next(minion, data, counts):
    """A minion without processes of their own for its jobs has one context for all of them."""
    opts = {**minion.opts, "pillar": {"ipsec": data}}
    context = {}
    functions = salt.loader.minion_mods(opts, utils=minion.utils, context=context)
    for number in (1, 2, 3):
        assert functions["ipsec_host.facts"]()["member"] is True
        assert counts == {"read": number, "inspect": number}
    assert not [key for key in context if "hostipsec" in str(key)]
