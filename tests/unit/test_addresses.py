"""Addresses from the mine and from DNS: one question, side by side, in bounded time."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleets
from hostipsec import unicast
from hostipsec.errors import HostIPsecError
from hostipsec.pillar import addressed, addresses, membership, pillar
from hostipsec.pillar.found import Found
from hostipsec.store import record

BOTH = ("mine", "dns")


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
    return Found((ipaddress.ip_address(address),))


def resolve(hosts, mine, deadline=60):
    return addresses.resolve(dict.fromkeys(hosts, BOTH), mine, (), deadline)


def nowhere(host, why="no address in the pillar, the Salt mine or DNS"):
    return Found(wrong=((why, f"'ipv4' or 'ipv6' of host {host}"),))


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
    "answer", [{}, None, "text", [], {"network.ip_addrs": []}, {"network.ip_addrs": None}]
)
def test_a_mine_that_knows_nothing(answer):
    assert addresses.mined(lambda *_: answer, ["a"]) == {}


def test_a_mine_that_cannot_be_asked_is_an_error_in_a_sentence():
    """Salt raises where the master does not answer: a traceback."""

    def get(*_):
        raise RuntimeError("Request timed out\n on channel")

    with pytest.raises(
        HostIPsecError, match="the Salt mine cannot be asked for addresses: 'Request timed out on"
    ):
        addressed.fleet({**fleets.example(), "hosts": {"a.example": None}, "addresses": "mine"}, get)


def test_the_mine_comes_first_and_dns_is_asked_for_the_rest(dns):
    dns.update(a=["10.9.9.9"], b=["10.0.0.2"])
    found = resolve(["a", "b", "c"], lambda _: {"a": ["10.0.0.1"], "b": []})
    assert found == {"a": v4("10.0.0.1"), "b": v4("10.0.0.2"), "c": nowhere("c")}


def test_only_the_sources_that_a_host_names_are_asked(monkeypatch):
    """The mine, which hosts write themselves, was asked for every host that had no address in the pillar."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: asked.append(host) or [])

    def mine(hosts):
        asked.append(hosts)
        return {}

    found = addresses.resolve({"a": ("mine",), "b": ("dns",)}, mine)
    assert asked == [["a"], "b"]
    assert found["a"] == nowhere("a", "no address in the pillar or the Salt mine")
    assert found["b"] == nowhere("b", "no address in the pillar or DNS")


# what a minion wrote into its mine, and words of the sentence that comes of it
INJECTION = '2001:db8::66%x"\n  auto="start"\n  leftupdown="/bin/sh -c id"\nconn y"'
NONSENSE = [
    (["10.0.0.1", "10.0.0.2", "2001:db8::1"], "found 2 of IPv4: 10.0.0.1, 10.0.0.2"),
    (["10.0.0.1", "172.17.0.1"], "found 2 of IPv4: 10.0.0.1, 172.17.0.1"),
    ([INJECTION], "found '2001:db8::66%x\"\\n  auto"),
    (["2001:db8::66%eth0"], "found '2001:db8::66%eth0'"),
    (["fe80::1%\x1b[31m"], "found 'fe80::1%\\x1b[31m'"),
    (["0.0.0.0"], "found 0.0.0.0, a reserved address"),
    (["0.0.0.5"], "found 0.0.0.5, a reserved address"),
    (["255.255.255.255"], "found 255.255.255.255, a reserved address"),
    (["240.0.0.1"], "found 240.0.0.1, a reserved address"),
    (["224.0.0.1"], "found 224.0.0.1, an address of group"),
    (["::"], "found ::, a reserved address"),
    (["::1.2.3.4"], "a reserved address"),
    (["::ffff:10.0.0.1"], "an IPv4 address in IPv6 (10.0.0.1)"),
    (["::ffff:127.0.0.1"], "an IPv4 address in IPv6 (127.0.0.1)"),
    (["64:ff9c::1"], "a reserved address"),
    (["2001:db8::"], "found 2001:db8::, the address of a network"),
    (["10.0.0.0"], "found 10.0.0.0, the address of a network"),
    (["ff02::1"], "an address of group"),
    (["fec0::1"], "a reserved address"),
    (["10.0.0.1/8"], "found '10.0.0.1/8'"),
    (["10.0.0.010"], "found '10.0.0.010'"),
    (["::10.0.0.010"], "found '::10.0.0.010'"),
    ([" 10.0.0.1"], "found ' 10.0.0.1'"),
    (["10.0.0.1\n"], "found '10.0.0.1\\n'"),
    (["\u0661.2.3.4"], "found '\\u0661.2.3.4'"),
    ([""], "found ''"),
    (["10.9.9.9"], "found 10.9.9.9, which the Salt master has"),
    (["127.0.0.1", "::1", "fe80::1"], "found none that peers could use"),
    ([5], "found 5"),
    ([b"abcd"], "found b'abcd'"),
    ([None], "found None"),
    ([["10.0.0.1"]], "found ['10.0.0.1']"),
    ([{"10.0.0.1": 1}], "found {"),
    ([True], "found True"),
    (["x" * 10**7], "found 'xxxx"),
    (["10.0.0.1"] * 10**5, "found 100000 addresses"),
]


@pytest.mark.parametrize(("said", "words"), NONSENSE, ids=[words for _, words in NONSENSE])
def test_what_is_no_address_of_a_host_is_told_of_that_host_and_stops_no_other(said, words):
    """A zone's text, with line ends and quotes, became lines of every peer's ipsec.conf; 5 a traceback."""
    found = addresses.resolve(
        {"a": ("mine",), "b": ("mine",)},
        lambda _: {"a": said, "b": ["10.0.0.2", "fe80::2", "127.0.0.1"]},
        ["10.9.9.9"],
    )
    assert found["b"] == v4("10.0.0.2")
    assert found["a"].addresses == ()
    ((what, allowed),) = found["a"].wrong
    assert what.startswith("the Salt mine: found ")
    assert words in what
    assert what.isprintable()
    assert len(what) < 200
    assert allowed.startswith("one unicast address of a family; or 'ipv4', 'ipv6'")


@pytest.mark.parametrize("value", [5, "10.0.0.1", True, {"a": 1}])
def test_what_is_no_list_is_told_as_what_it_is(value):
    answer = {"network.ip_addrs": {"a": value}, "network.ip_addrs6": 7}
    found = addresses.resolve({"a": ("mine",)}, lambda hosts: addresses.mined(lambda *_: answer, hosts))
    assert bool(found["a"].wrong) is (value != "10.0.0.1")


def test_dns_is_trusted_no_more(dns):
    dns.update(a=["10.0.0.1", "10.0.0.2", "fd00::1", "fe80::1"], b=["0.0.0.0"], c=["fe80::1%2"])
    found = addresses.resolve(dict.fromkeys("abc", ("dns",)), pytest.fail, (), 60)
    assert [found[host].wrong[0][0] for host in "abc"] == [
        "DNS: found 2 of IPv4: 10.0.0.1, 10.0.0.2",
        "DNS: found 0.0.0.0, a reserved address",
        "DNS: found 'fe80::1%2'",
    ]


MASTERS = [
    ({}, []),
    ({"master": "salt", "master_ip": None}, []),
    ({"master": "salt.example", "master_ip": "10.9.9.9"}, ["10.9.9.9"]),
    ({"master_ip": "[2001:db8::9]"}, ["2001:db8::9"]),
    ({"master": "2001:db8::9"}, ["2001:db8::9"]),
    ({"master": ["10.9.9.9", "10.9.9.10:4506", "[2001:db8::9]:4506", "salt2"]}, ["10.9.9.10", "2001:db8::9"]),
    ({"master_ip": "10.9.9.9", "master_list": ["10.9.9.9", "10.9.9.10"]}, ["10.9.9.9", "10.9.9.10"]),
    ({"local_masters": ("10.9.9.10",)}, ["10.9.9.10"]),
    ({"master": ipaddress.ip_address("10.9.9.9")}, ["10.9.9.9"]),
    ({"master_uri": "tcp://10.9.9.9:4506"}, ["10.9.9.9"]),
    ({"master_uri_list": ["tcp://10.9.9.9:4506", "tcp://[2001:db8::9]:4506"]}, ["10.9.9.9", "2001:db8::9"]),
    ({"master": {"a": 1}, "master_list": 5, "master_uri_list": [None, 7, "tcp://"]}, []),
]


@pytest.mark.parametrize(("opts", "known"), MASTERS, ids=[str(number) for number in range(len(MASTERS))])
def test_no_address_of_any_master_that_the_minion_knows_is_taken_from_a_mine(opts, known):
    """The second of two masters in the minion's configuration could be claimed: only the first was known."""
    for address in known:
        found = addresses.resolve(
            {"a": ("mine",)}, lambda _, one=address: {"a": [one]}, addressed.masters(opts)
        )
        assert found["a"].wrong[0][0] == f"the Salt mine: found {address}, which the Salt master has"
    found = addresses.resolve({"a": ("mine",)}, lambda _: {"a": ["10.0.0.1"]}, addressed.masters(opts))
    assert found["a"] == v4("10.0.0.1")


def test_nobody_is_asked_for_nothing():
    assert addresses.resolve({}, pytest.fail) == {}


def test_look_ups_are_made_side_by_side(monkeypatch):
    """Each waits until all others are under way: one after the other, none would ever end."""
    together = threading.Barrier(5, timeout=60)

    def getaddrinfo(host, *_, **__):
        together.wait()
        return [entry(f"10.0.0.{host}")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hosts = ["1", "2", "3", "4", "5"]
    assert resolve(hosts, lambda _: {}) == {host: v4(f"10.0.0.{host}") for host in hosts}


def test_more_hosts_than_look_ups_at_once(dns):
    dns.update({f"h{number}": [f"10.0.{number // 250}.{number % 250 + 1}"] for number in range(500)})
    found = resolve(sorted(dns), lambda _: {})
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
    found = resolve(["b", "c", "hangs"], lambda _: {}, 2.0)
    late = nowhere("hangs", "no address in the pillar or the Salt mine, and DNS did not answer in time")
    assert found == {"b": v4("10.0.0.2"), "c": nowhere("c"), "hangs": late}
    assert time.monotonic() - begin < 60
    over.set()


def test_a_record_with_more_in_it_than_an_address_is_a_damaged_one():
    """Its addresses go to ``ip -batch`` and into ipsec.conf."""
    one = membership.of(pillar.read(fleets.example()), "cp1001.eqiad.example").connections[0]
    text = record.render(record.Record((one,)))
    assert record.parse(text).connections == (one,)
    with pytest.raises(HostIPsecError, match=r"mesh\.json cannot be read"):
        record.parse(text.replace(str(one.right), "2001:db8::66%x\\nxfrm policy flush"))


SAID = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=16)
    | st.ip_addresses().map(str)
    | st.from_regex(r"[0-9a-f:.%/x]{1,20}"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=1500)
@given(
    st.dictionaries(
        st.sampled_from([*addresses.MINED, "x"]), SAID | st.dictionaries(st.sampled_from("ab"), SAID)
    )
)
def test_whatever_a_mine_says_is_an_address_or_told(answer):
    found = addresses.resolve(
        dict.fromkeys("ab", ("mine",)), lambda hosts: addresses.mined(lambda *_: answer, hosts)
    )
    for one in found.values():
        assert bool(one.addresses) is not bool(one.wrong)
        assert len({address.version for address in one.addresses}) == len(one.addresses)
        for address in one.addresses:
            assert unicast.misfit(unicast.parse(str(address))) == ""
        assert all(text.isprintable() for told in one.wrong for text in told)
