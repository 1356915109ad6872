"""The table that counts what goes in the clear: what is made of connections, what is read of the kernel."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from hostipsec.apply import clean
from hostipsec.errors import HostIPsecError
from hostipsec.kernel import cleartext, counting
from hostipsec.kernel.cleartext import CHAINS, NAMED, SETS, Packets, Table
from hostipsec.model import Connection
from hostipsec.system import processes


def connection(right, family="v4"):
    left = "10.0.0.1" if family == "v4" else "2001:db8::1"
    ends = (ip_address(left), ip_address(right), "CN=a", "CN=b")
    return Connection(f"{right}_{family}", "peer", family, *ends, True, "start")


TWO, THREE, SIX = connection("10.0.0.2"), connection("10.0.0.3"), connection("2001:db8::2", "v6")


def listed(sets, rules=None, **named):
    """Return what nft 1.0.6 prints of a table with these sets: ``{name: {address: packets}}``."""
    numbers = {name: sum("hook" not in line for line in lines) for name, lines in CHAINS.items()}
    parts = [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "hostipsec"}}]
    for name, found in {**{key: {} for key in NAMED}, **sets}.items():
        elements = [
            {"elem": {"val": a, "counter": {"packets": n, "bytes": 9}}} for a, n in dict(found).items()
        ]
        elements = [*named[name]] if name in named else elements
        parts.append({"set": {"name": name, **({"elem": elements} if elements else {})}})
    parts += [{"chain": {"name": name}} for name in CHAINS]
    parts += [
        {"rule": {"chain": n, "expr": []}}
        for n, many in {**numbers, **(rules or {})}.items()
        for _ in range(many)
    ]
    return json.dumps({"nftables": parts})


THERE = {"out4": {"10.0.0.2": 7}, "in4": {"10.0.0.2": 3}, "out6": {}, "in6": {}}


def test_a_table_is_read_by_address():
    there = cleartext.parse(listed(THERE))
    assert there.whole
    assert cleartext.counted([TWO, THREE, SIX], there) == {TWO.name: Packets(received=3, sent=7)}


def test_nothing_is_done_where_all_is_there():
    assert cleartext.changes([TWO], cleartext.parse(listed(THERE))) == ""


def test_peers_come_and_go_and_the_rest_is_not_touched():
    lines = cleartext.changes([TWO, THREE, SIX], cleartext.parse(listed(THERE))).splitlines()
    assert lines == [
        "add element inet hostipsec out4 { 10.0.0.3 }",
        "add element inet hostipsec out6 { 2001:db8::2 }",
        "add element inet hostipsec in4 { 10.0.0.3 }",
        "add element inet hostipsec in6 { 2001:db8::2 }",
    ]
    gone = cleartext.changes([], cleartext.parse(listed(THERE))).splitlines()
    assert gone == [f"delete element inet hostipsec {name} {{ 10.0.0.2 }}" for name in ("out4", "in4")]


RULED = [TWO._replace(clear=("tcp/22",)), SIX._replace(only=("icmp", "udp/53"))]
NAMES = {  # as nft 1.0.6 and 0.9.8 print what is of several parts, and what is not
    "clear4": [{"concat": ["10.0.0.2", "tcp", 22]}],
    "only6": [{"concat": ["2001:db8::2", "udp", 53]}],
    "kinds6": [{"concat": ["2001:db8::2", "ipv6-icmp"]}],
    "some6": ["2001:db8::2"],
}


def test_what_rules_leave_in_the_clear_is_named_and_not_counted():
    there = {**THERE, "out6": {"2001:db8::2": 1}, "in6": {"2001:db8::2": 1}}
    lines = cleartext.changes(RULED, cleartext.parse(listed(there))).splitlines()
    assert lines == [
        "add element inet hostipsec clear4 { 10.0.0.2 . 6 . 22 }",
        "add element inet hostipsec only6 { 2001:db8::2 . 17 . 53 }",
        "add element inet hostipsec kinds6 { 2001:db8::2 . 58 }",
        "add element inet hostipsec some6 { 2001:db8::2 }",
    ]
    assert cleartext.changes(RULED, cleartext.parse(listed(there, **NAMES))) == ""
    gone = cleartext.changes([TWO, SIX], cleartext.parse(listed(there, **NAMES))).splitlines()
    assert [line.split()[:5] for line in gone] == [["delete", *line.split()[1:5]] for line in lines]


@pytest.mark.parametrize(
    "there",
    [
        Table(),
        cleartext.parse(listed({**THERE, "more": {}})),
        cleartext.parse(listed({"out4": {}})),
        cleartext.parse(listed(THERE, {"came": 2})),
        cleartext.parse(listed(THERE, {"left": 0})),
    ],
    ids=["none", "a set more", "sets less", "rules less", "no rules"],
)
def test_a_table_that_is_not_whole_is_made_anew(there):
    text = cleartext.changes([TWO, SIX], there)
    assert text.startswith("add table inet hostipsec\ndelete table inet hostipsec\ntable inet hostipsec {\n")
    for name in SETS:
        assert f"set {name} {{ type ipv{name[-1]}_addr; counter; elements = {{" in text


def test_it_can_only_count():
    """No rule of it ends what others decide: each either counts or leaves its own chain."""
    rules = [line for lines in CHAINS.values() for line in lines]
    verdicts = {line.rsplit(" ", 1)[1] for line in rules if not line.rsplit(" ", 1)[1].startswith("@")}
    assert verdicts == {"accept;", "return", *CHAINS.keys() - {"left", "input", "forward"}}
    assert all(CHAINS[chain] for chain in verdicts - {"accept;", "return"})
    assert [line for line in rules if "policy" in line and "policy accept;" not in line] == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nftables": [{"set": {}}]}', '{"nftables": 5}', "null"])
def test_what_is_no_table_is_told(text):
    with pytest.raises(HostIPsecError, match="nft -j list table inet hostipsec: cannot be read"):
        cleartext.parse(text)


def test_an_element_without_a_counter_is_told():
    """Linux before 5.7 takes the set, and gives its elements none."""
    text = '{"nftables": [{"set": {"name": "out4", "elem": ["10.0.0.2"]}}]}'
    with pytest.raises(HostIPsecError, match="cannot be read"):
        cleartext.parse(text)


# In the kernel -------------------------------------------------------------------------------


class Nft:
    """A kernel as nft shows it: the table, and what was asked."""

    def __init__(self):
        self.table, self.asked, self.result = None, [], None

    def __call__(self, argv, timeout, stdin=""):
        self.asked.append((*argv, stdin))
        if self.result:
            return self.result
        if argv[1] == "-f":
            self.table = THERE if "set out4" in stdin else self.table
            self.table = None if stdin == cleartext.removal() else self.table
            return processes.Result(0, "")
        if self.table is None:
            return processes.Result(1, "", "Error: No such file or directory\nlist table inet hostipsec\n")
        return processes.Result(0, listed(self.table))


@pytest.fixture
def nft(monkeypatch):
    found = Nft()
    monkeypatch.setattr(processes, "run", found)
    return found


def test_the_table_is_made_once_and_read(here, nft):
    found = [counting.settle([TWO], True) for _ in range(2)]
    assert found == [{TWO.name: Packets(3, 7)}] * 2
    assert [one[1] for one in nft.asked] == ["-j", "-f", "-j", "-j"]
    assert here.counting.exists()


def test_it_is_removed_where_it_is_no_longer_asked_for(here, nft):
    counting.settle([TWO], True)
    assert [counting.settle([TWO], False) for _ in range(2)] == [{}, {}]
    assert nft.table is None
    assert len([one for one in nft.asked if one[-1] == cleartext.removal()]) == 1
    assert not here.counting.exists()


def test_where_it_was_never_asked_for_nothing_is_run(here, nft):
    assert counting.settle([TWO], False) == {}
    assert nft.asked == []


@pytest.mark.parametrize(
    "result",
    [
        processes.Result(processes.NOT_FOUND, "", "nft: No such file or directory"),
        processes.Result(processes.TIMED_OUT, "", "no end after 5 s: nft"),
        processes.Result(1, "", "Error: Could not process rule: Operation not supported"),
        processes.Result(1, "", ""),
    ],
)
def test_what_cannot_be_counted_is_told_with_what_it_needs(here, nft, result):
    nft.result = result
    with pytest.raises(HostIPsecError, match="needs package nftables") as told:
        counting.settle([TWO], True)
    assert (result.stderr or "status 1") in str(told.value)


def test_it_is_told_whether_there_is_a_table(here, nft):
    assert not counting.is_there()
    counting.keep([TWO])
    assert counting.is_there()


def test_taking_the_package_off_takes_the_table_along(here, nft):
    assert clean._counters().traces == {}
    counting.keep([TWO])
    part = clean._counters()
    assert part.traces == {"nftables table inet hostipsec": "deleted"}
    part.remove()
    assert (nft.table, clean._counters().traces) == (None, {})
