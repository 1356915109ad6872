"""Which of its addresses a host does not have, and what is said of that."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from hostipsec.fleet import ends, joined
from hostipsec.health.judge import evaluate
from hostipsec.kernel.addresses import absent, interfaces, parse
from hostipsec.kernel.kernel import KernelError
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, LoadedConnection
from hostipsec.system.processes import Result

V4, V6, AWAY = ip_address("10.0.0.1"), ip_address("2001:db8::1"), ip_address("10.0.0.9")
ETH0 = [
    {"family": "inet", "local": "10.0.0.1", "address": "10.0.0.2", "prefixlen": 32},  # point to point
    {"family": "inet6", "local": "2001:db8::1", "prefixlen": 64, "tentative": True},
    {"family": "inet6", "local": "2001:db8::2", "prefixlen": 64, "deprecated": True},
    {"family": "inet6", "local": "2001:db8::3", "prefixlen": 64, "dadfailed": True, "tentative": True},
    {"family": "mctp", "local": "9"},
]
LO = [{"family": "inet", "local": "10.0.0.7", "prefixlen": 32, "label": "lo:vip"}]
SHOWN = [{"ifname": "lo", "addr_info": LO}, {}, {"ifname": "eth0", "operstate": "DOWN", "addr_info": ETH0}]


def run(shown=SHOWN, local=(), asked=None):
    def answer(argv, timeout):
        if asked is not None:
            asked.append(" ".join(argv))
        if "route" in argv:
            kind = {"type": "local"} if argv[-1] in local else {"gateway": "10.0.0.254"}
            return Result(0, json.dumps([{"dst": argv[-1], **kind}]))
        return Result(0, shown if isinstance(shown, str) else json.dumps(shown))

    return answer


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.7", "2001:db8::1", "2001:db8::2"])
def test_what_an_interface_has_is_there(address):
    """On whichever interface; one that is tentative is ready within a second."""
    assert absent([ip_address(address)], run=run()) == {}


@pytest.mark.parametrize("address", ["10.0.0.9", "10.0.0.2", "2001:db8::9", "192.0.2.1"])
def test_what_none_has_is_not(address):
    found = absent([V4, ip_address(address)], run=run())
    assert found == {ip_address(address): f"no interface here has {address}"}


def test_at_which_interfaces_an_address_is():
    second = {"ifname": "eth1", "addr_info": ETH0[:1]}
    assert interfaces([V4, V6, AWAY], run=run([*SHOWN, second])) == {
        V4: ("eth0", "eth1"),
        V6: ("eth0",),
        AWAY: (),
    }


def test_what_another_host_has_as_well_is_of_no_use():
    doubled = ip_address("2001:db8::3")
    assert absent([doubled], run=run()) == {
        doubled: "another host on its link has 2001:db8::3 as well (dadfailed)"
    }
    well = {"ifname": "eth1", "addr_info": [{"family": "inet6", "local": "2001:db8::3"}]}
    for order in ([*SHOWN, well], [well, *SHOWN]):
        assert absent([doubled], run=run(order)) == {}


def test_what_a_route_takes_in_is_there():
    """``ip route add local 10.0.0.0/24 dev lo``: no interface has any of them."""
    assert absent([AWAY], run=run(local=["10.0.0.9"])) == {}


def test_ip_is_asked_once_and_for_nothing_not_at_all():
    asked = []
    absent([V4, V6, V4], run=run(asked=asked))
    assert asked == ["ip -j address show"]
    assert absent([], run=run(asked=asked)) == {}
    assert len(asked) == 1


@pytest.mark.parametrize(
    "text", ["no", "[1]", "{}x", '[{"addr_info": 3}]', '[{"addr_info": [{"family": "inet", "local": 7}]}]']
)
def test_what_cannot_be_read_is_said(text):
    with pytest.raises(KernelError, match="ip -j address show printed what cannot be read"):
        absent([V4], run=run(text))


def test_an_ip_that_fails_is_said():
    with pytest.raises(KernelError, match="status 127, ip: No such file"):
        absent([V4], run=lambda *_: Result(127, "", "ip: No such file or directory"))


def test_nothing_at_all_is_no_address():
    assert parse("") == {}


# The verdict ----------------------------------------------------------------------------------

CHILD = ChildSA("cp2_v4", "INSTALLED", "TRANSPORT")
SA = IkeSA("cp2_v4", 1, "ESTABLISHED", "10.0.0.9", "10.0.0.2", children=(CHILD,))
WHY = {AWAY: "no interface here has 10.0.0.9"}


def judged(*sas, stage="start", **more):
    one = Connection("cp2_v4", "cp2", "v4", AWAY, ip_address("10.0.0.2"), "CN=a", "CN=b", True, stage)
    loaded = () if "held" in more else (LoadedConnection("cp2_v4"),)
    charon = Charon("5.9.8", "vici", 99, connections=loaded, ike_sas=sas)
    (row,) = evaluate([one], charon, absent=WHY, **more).connections
    return row.state, row.severity, row.reason


@pytest.mark.parametrize("stage", ["passive", "start", "require"])
def test_sas_of_an_address_that_is_gone_are_not_up(stage):
    """All was up until dead-peer detection, minutes later."""
    state, severity, reason = judged(SA, stage=stage)
    assert (state, severity) == ("no address", "critical")
    assert reason.startswith(
        "no interface here has 10.0.0.9, which this connection is from; its SAs carry nothing"
    )


def test_without_sas_it_is_the_address_and_not_the_peer():
    assert judged(SA._replace(state="CONNECTING", children=())) == (
        "no address",
        "critical",
        "no interface here has 10.0.0.9, which this connection is from",
    )


def test_who_lacks_its_address_does_not_wait_for_the_peer():
    """The fleet would repeat what the peer says, who starts it, and not this."""
    one = Connection("cp2_v4", "cp2", "v4", AWAY, ip_address("10.0.0.2"), "CN=a", "CN=b", False, "start")
    charon = Charon("5.9.8", "vici", 99, connections=(LoadedConnection("cp2_v4"),))
    assert [evaluate([one], charon, absent=away).connections[0].cause for away in ({}, WHY)] == ["waits", ""]


def test_a_pair_says_whose_address_it_is():
    away = ends.End("cp1", "critical", state="no address", reason="no interface here has 10.0.0.9")
    waits = ends.End("cp2", "critical", state="down", reason="loaded, but no SA; the peer starts it")
    assert joined.judged(away, waits).said == (
        ("cp1", "says no address: no interface here has 10.0.0.9"),
        ("cp2", "says: loaded, but no SA; the peer starts it"),
    )


def test_what_is_held_is_held():
    assert judged(held={"cp2_v4": "since then"}) == ("held", "warning", "held since then")
