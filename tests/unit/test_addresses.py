"""Addresses from the mine and from DNS: one question, side by side, in bounded time."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

import pytest

from hostipsec.pillar import addresses


def entry(address):
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))


@pytest.fixture
def dns(monkeypatch):
    """Have DNS answer from a dictionary; a host that is not in it has no address."""
    known = {}

    def getaddrinfo(host, *_, **__):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [entry(address) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def v4(address):
    return {"v4": ipaddress.ip_address(address)}


def test_the_mine_is_asked_once_for_all_hosts_and_both_families():
    asked = []

    def get(*arguments):
        asked.append(arguments)
        return {
            "network.ip_addrs": {"a": ["10.0.0.1"], "b": ["10.0.0.2"]},
            "network.ip_addrs6": {"a": ["fd::1"]},
        }

    assert addresses.mined(get, ["a", "b", "c"]) == {"a": ["10.0.0.1", "fd::1"], "b": ["10.0.0.2"]}
    assert asked == [("a,b,c", ["network.ip_addrs", "network.ip_addrs6"], "list")]


@pytest.mark.parametrize(
    "answer", [{}, None, "text", {"network.ip_addrs": {"a": "no list"}}, {"network.ip_addrs": None}]
)
def test_a_mine_that_knows_nothing(answer):
    assert [*filter(None, addresses.mined(lambda *_: answer, ["a"]).values())] == []


def test_the_mine_comes_first_and_dns_is_asked_for_the_rest(dns):
    dns.update(a=["10.9.9.9"], b=["10.0.0.2"])
    found = addresses.resolve(["a", "b", "c"], lambda _: {"a": ["10.0.0.1"], "b": []})
    assert found == {"a": v4("10.0.0.1"), "b": v4("10.0.0.2"), "c": {}}


def test_several_addresses_of_a_family_are_none(dns):
    dns["a"] = ["10.0.0.1", "10.0.0.2", "fd00::1", "fe80::1"]
    assert addresses.resolve(["a"], lambda _: {}) == {"a": {"v6": ipaddress.ip_address("fd00::1")}}


def test_nobody_is_asked_for_nothing():
    assert addresses.resolve([], pytest.fail) == {}


def test_look_ups_are_made_side_by_side(monkeypatch):
    """Each waits until all others are under way: one after the other, none would ever end."""
    together = threading.Barrier(5, timeout=60)

    def getaddrinfo(host, *_, **__):
        together.wait()
        return [entry(f"10.0.0.{host}")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hosts = ["1", "2", "3", "4", "5"]
    assert addresses.resolve(hosts, lambda _: {}, 60) == {host: v4(f"10.0.0.{host}") for host in hosts}


def test_more_hosts_than_look_ups_at_once(dns):
    dns.update({f"h{number}": [f"10.0.{number // 250}.{number % 250}"] for number in range(500)})
    found = addresses.resolve(sorted(dns), lambda _: {}, 60)
    assert found == {host: v4(address) for host, (address,) in dns.items()}


def test_a_host_of_which_dns_says_nothing_in_time_is_told_from_one_without_an_address(monkeypatch, dns):
    answered, over = socket.getaddrinfo, threading.Event()
    dns["b"] = ["10.0.0.2"]

    def getaddrinfo(host, *_, **__):
        if host == "hangs":
            over.wait(60)
            return []
        return answered(host)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    begin = time.monotonic()
    found = addresses.resolve(["b", "c", "hangs"], lambda _: {}, 2.0)
    assert found == {"b": v4("10.0.0.2"), "c": {}, "hangs": None}
    assert time.monotonic() - begin < 60
    over.set()
