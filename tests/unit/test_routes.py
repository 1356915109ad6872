"""Routes with a locked MTU: read from what ``ip`` of three releases printed, compared by value, said."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from hostipsec.errors import HostIPsecError
from hostipsec.health import observation
from hostipsec.health.look import Look
from hostipsec.kernel import guard, routes, routing
from hostipsec.kernel.routes import Entry, Hop, Route, Way
from hostipsec.model import Connection
from hostipsec.programs import keeper
from hostipsec.store import record as records
from hostipsec.store.record import Record
from hostipsec.system.processes import NOT_FOUND, Result

DATA = Path(__file__).parent / "data" / "routes"
NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)
VERSIONS = ("5.9.0", "6.1.0", "6.15.0")
GATEWAY = Hop("d0", "10.0.0.254")
BOTH = (Hop("d0", "10.0.0.254", weight=1), Hop("d1", "10.1.0.254", weight=2))


def read(version="6.1.0"):
    """Return what one release of ``ip`` printed of a table with everything in it."""
    tables = {family: (DATA / f"{version}-{family}.json").read_text() for family in (4, 6)}
    return routes.parse(
        tables, "".join((DATA / f"{version}-{family}.locks").read_text() for family in (4, 6))
    )


def connection(right, name=None):
    address = ip_address(right)
    left = "10.0.0.1" if address.version == 4 else "2001:db8::1"
    family = f"v{address.version}"
    return Connection(
        name or f"{right}_{family}",
        *(f"{right}.example", family, ip_address(left), address, "CN=left", "CN=right", True, "start"),
    )


# Reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_ours_with_way_mtu_and_lock(version):
    found = {str(route.destination): route for route in read(version).ours}
    assert [*found] == [
        *("10.0.0.5", "10.2.0.5", "10.9.0.5", "10.9.0.6"),
        *("2001:db8::5", "2001:db8:2::5", "2001:db8:9::5"),
    ]
    assert found["10.0.0.5"] == Route(ip_address("10.0.0.5"), Way((Hop("d0"),), "10.0.0.1"), 1450, True)
    assert found["10.2.0.5"].way.hops == BOTH
    assert found["10.9.0.5"].way.metrics == (("congestion", "cubic"), ("initcwnd", "20"), ("rto_min", "250"))
    assert (found["2001:db8:9::5"].mtu, found["2001:db8:9::5"].locked) == (1400, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_mtu_that_is_not_locked(version):
    """The JSON of ``ip`` says the same of both: production's check would have passed."""
    (route,) = (one for one in read(version).ours if str(one.destination) == "10.9.0.6")
    assert (route.mtu, route.locked) == (1450, False)


def test_a_network_of_that_protocol_is_not_ours():
    assert ip_network("10.9.0.0/30") in {entry.network for entry in read().entries}


def test_a_family_that_is_not_there():
    assert routes.parse({4: "", 6: "[{}]\n"}, "") == routes.Table()


def test_what_is_no_json_is_an_error():
    with pytest.raises(HostIPsecError, match="printed no JSON: 'Object"):
        routes.parse({4: 'Object "route" is unknown'}, "")


# Choosing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("destination", "hops"),
    [
        ("192.0.2.1", (GATEWAY,)),
        ("10.0.0.77", (Hop("d0"),)),
        ("10.2.3.4", BOTH),
        ("10.4.0.1", (Hop("d0", "203.0.113.1", onlink=True),)),
        ("10.6.0.1", (Hop("d0", "fe80::1"),)),
        ("10.9.0.5", (GATEWAY,)),  # ours is not counted: this is the network around it
        ("2001:db8:77::1", (Hop("d0", "2001:db8::fe"),)),
        ("2001:db8::5", (Hop("d0"),)),
        ("2001:db8:3::1", (Hop("d0", "fe80::1"),)),
    ],
)
def test_the_way_without_ours(version, destination, hops):
    assert routes.way(ip_address(destination), read(version).entries).hops == hops


@pytest.mark.parametrize("destination", ["10.5.0.1", "2001:db8:5::1"])
def test_no_way(destination):
    """A longer prefix that is unreachable, or a black hole, hides the default."""
    assert routes.way(ip_address(destination), read().entries) is None


def entry(network, device, **more):
    return replace(Entry(ip_network(network), "unicast", "boot", 0, 1, Way((Hop(device),)), None), **more)


@pytest.mark.parametrize(
    ("others", "device"),
    [
        ([entry("0.0.0.0/0", "b", metric=50)], "a"),
        ([entry("0.0.0.0/0", "b", metric=5)], "b"),
        ([entry("10.0.0.0/8", "b", metric=5000)], "b"),
        ([entry("10.0.0.0/8", "b", way=Way(()))], "a"),  # all its hops are dead
        ([entry("0.0.0.0/0", "b", metric=10, preference=0)], "b"),
        ([entry("0.0.0.0/0", "b", metric=10)], "a"),  # the first of equals
        ([entry("::/0", "b", metric=0)], "a"),
    ],
)
def test_prefix_then_metric_then_preference(others, device):
    table = [entry("0.0.0.0/0", "a", metric=10), *others]
    assert routes.way(ip_address("10.0.0.1"), table).devices == (device,)


def test_a_route_with_an_encapsulation_of_its_own_is_not_copied():
    text = json.dumps([{"dst": "default", "dev": "a", "encap": "mpls", "flags": []}])
    assert routes.way(ip_address("10.0.0.1"), routes.parse({4: text}, "").entries) is None


def test_a_dead_hop_is_left_out():
    hops = [{"dev": "a", "flags": ["dead", "linkdown"]}, {"dev": "b", "weight": 3, "flags": ["linkdown"]}]
    text = json.dumps([{"dst": "default", "nexthops": hops}])
    assert routes.way(ip_address("10.0.0.1"), routes.parse({4: text}, "").entries).hops == (
        Hop("b", weight=3),
    )


# Comparing -----------------------------------------------------------------------------------


def differences(peers, mtu, table=None):
    found = table or read()
    return routes.difference(routes.wanted([connection(one) for one in peers], mtu, found).routes, found.ours)


def names(difference):
    return (
        [str(one.destination) for one in difference.added],
        [str(new.destination) for _, new in difference.replaced],
        [str(one.destination) for one in difference.deleted],
    )


OURS = [str(route.destination) for route in read().ours]
GOOD = [one for one in OURS if one not in ("10.9.0.6", "2001:db8:9::5")]


def test_what_is_missing_wrong_or_left_over():
    assert names(differences([*GOOD, "10.9.0.7"], 1450)) == (["10.9.0.7"], [], ["10.9.0.6", "2001:db8:9::5"])
    # one is not locked, one has another value
    assert names(differences(OURS, 1450)) == ([], ["10.9.0.6", "2001:db8:9::5"], [])


def test_another_value_replaces_all_and_none_deletes_all():
    assert names(differences(GOOD, 1400))[1] == GOOD
    assert names(differences(OURS, None)) == ([], [], OURS)
    assert differences([], None, routes.Table()).empty


def test_nothing_to_do():
    table = replace(read(), ours=tuple(one for one in read().ours if str(one.destination) in GOOD))
    assert differences(GOOD, 1450, table).empty
    assert differences(GOOD, 1450, table).as_changes() == {}
    assert differences(GOOD, 1450, table).batch() == ""


def test_a_changed_gateway_is_followed():
    table = read()
    moved = replace(
        table,
        entries=tuple(
            replace(one, way=Way((Hop("d1", "10.1.0.9"),))) if one.network.prefixlen == 0 else one
            for one in table.entries
        ),
    )
    (changed,) = (new for _, new in differences(["10.9.0.5"], 1450, moved).replaced)
    assert changed.way == Way((Hop("d1", "10.1.0.9"),))


def test_two_connections_to_one_address_want_one_route():
    found = routes.wanted([connection("10.9.0.5", "a"), connection("10.9.0.5", "b")], 1450, read())
    assert len(found.routes) == 1


def test_a_peer_without_a_way_and_a_route_of_somebody_else():
    found = routes.wanted([connection(one) for one in ("10.5.0.1", "10.7.0.1", "192.0.2.1")], 1450, read())
    assert [str(one.destination) for one in found.routes] == ["192.0.2.1"]
    assert found.warnings == ("no route to 10.5.0.1, so none with a locked MTU",)
    assert found.errors == (
        "10.7.0.1: a host route of protocol boot is there; remove it, or give it another metric",
    )


# Commands ------------------------------------------------------------------------------------


def test_commands():
    lines = differences(["10.9.0.6", "10.9.0.7", "10.2.0.9", "2001:db8:77::1"], 1450).batch().splitlines()
    assert lines[0] == "route del 10.9.0.6/32 table main proto 73"
    assert "route del 2001:db8::5/128 table main proto 73 metric 1" in lines
    metrics = "mtu lock 1450 congctl cubic initcwnd 20 rto_min 250ms"
    assert f"route add 10.9.0.7/32 table main proto 73 src 10.0.0.1 via 10.0.0.254 dev d0 {metrics}" in lines
    assert (
        "route add 10.2.0.9/32 table main proto 73 mtu lock 1450 "
        "nexthop via 10.0.0.254 dev d0 weight 1 nexthop via 10.1.0.254 dev d1 weight 2"
    ) in lines
    via = "via inet6 2001:db8::fe dev d0"
    assert f"route add 2001:db8:77::1/128 table main proto 73 metric 1 {via} mtu lock 1450" in lines


def test_changes_in_words():
    changes = differences(["10.0.0.5", "10.9.0.6"], 1450).as_changes()
    assert changes["replaced"] == {
        "10.9.0.6": {"old": "via 10.0.0.254 dev d0 mtu 1450", "new": "via 10.0.0.254 dev d0 mtu lock 1450"}
    }
    assert changes["deleted"]["2001:db8::5"] == "dev d0 mtu lock 1450"
    assert "added" not in changes


# Reading and changing by ip ------------------------------------------------------------------


class Ip:
    """Answers as ``ip`` does, of a table that never changes."""

    def __init__(self, **answers):
        self.asked, self.answers = [], answers

    def __call__(self, argv, timeout):
        words = " ".join(argv[1:])
        self.asked.append(words)
        if "-batch" in argv:
            return Result(1, "", "RTNETLINK answers: Operation not permitted\nCommand failed x:1\n")
        family = 4 if "-4" in argv else 6
        kind = "json" if "-j" in argv else "locks"
        return Result(0, (DATA / f"6.1.0-{family}.{kind}").read_text())


def test_what_is_asked():
    ip = Ip()
    assert routing.observe(ip) == read()
    assert ip.asked == [
        "-j -d -4 route show table main",
        "-j -d -6 route show table main",
        "-d -o -4 route show table main proto 73",
        "-d -o -6 route show table main proto 73",
    ]


def test_what_is_not_changed_is_an_error_with_the_reason():
    with pytest.raises(routing.RouteError) as raised:
        routing.apply([connection(one) for one in OURS], 1450, Ip())
    assert str(raised.value) == (
        "routes to 10.9.0.6, 2001:db8:9::5 cannot be changed: "
        "RTNETLINK answers: Operation not permitted Command failed x:1"
    )


def test_without_ip():
    with pytest.raises(routing.RouteError, match=r"status 127, .* needs iproute2"):
        routing.observe(lambda argv, timeout: Result(NOT_FOUND, "", "ip: No such file or directory"))


# Keeping -------------------------------------------------------------------------------------


@pytest.fixture
def record(here):
    """Return a record that was written an hour ago."""
    return here.record


def write(record, mtu, age=3600.0):
    record.write_text(records.render(Record(tuple(map(connection, OURS)), mtu)))
    os.utime(record, (time.time() - age,) * 2)


def test_the_record_has_the_mtu():
    with_mtu = Record((connection("10.9.0.5"),), 1450)
    assert json.loads(records.render(with_mtu))["mtu"] == 1450
    for one in (with_mtu, with_mtu._replace(mtu=None), with_mtu._replace(warn_days=14), Record()):
        assert records.parse(records.render(one)) == one
    assert records.render(Record()) == '{"connections": [\n\n]}\n'


@pytest.fixture
def applied(here, monkeypatch, told):
    """Return what the keeper made of the routes, in each of its passes."""
    seen = []
    monkeypatch.setattr(routing, "apply", lambda *asked: seen.append(asked) or routes.Difference())
    monkeypatch.setattr(guard, "amend", lambda *_: 0)
    observe = lambda found, mtu, *_: Look(tuple(found), NOW, mtu=mtu)  # noqa: E731
    monkeypatch.setattr(observation, "observe", observe)
    return seen


def test_the_keeper_applies_the_record(record, applied):
    for mtu, age in ((None, 3600), (1450, 3), (1450, -60), (1450, 3600)):
        write(record, mtu, age)
        keeper.Keeper().once()
    # nothing without an MTU, or while the state that wrote it is at work; a clock may have been set back
    assert [len(connections) for connections, _ in applied] == [len(OURS)] * 2


def test_the_keeper_leaves_routes_to_a_state_that_wrote_the_record_since_the_look(record, applied):
    """It laid routes again that the state had just removed: seen where a pass takes seconds."""
    write(record, 1450)
    keeping = keeper.Keeper()
    keeping.parts = {lambda _: write(record, None, 0): "hold"}
    keeping.once()
    keeping.parts = {lambda _: record.unlink(): "hold"}
    write(record, 1450)
    keeping.once()
    assert applied == []


def test_the_keeper_without_a_record_or_with_a_broken_one(record, applied, told):
    keeping = keeper.Keeper()
    keeping.once()
    assert told.messages == []
    write(record, 1450)
    stamp = record.stat().st_mtime
    record.write_text("{")
    os.utime(record, (stamp, stamp))
    for _ in range(2):
        keeping.once()
    (said,) = told.messages
    assert said.startswith("mesh.json cannot be read")
    assert applied == []
