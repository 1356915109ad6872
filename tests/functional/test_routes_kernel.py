"""Routes with a locked MTU in a real kernel, on a host of its own: by engine, keeper and state."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address

import pytest
import strongswan
from minions import HOST, ROOT, Remote
from strongswan import wait_for

from hostipsec.kernel import routes, routing
from hostipsec.model import Connection
from hostipsec.store import record as records
from hostipsec.store.record import Record
from hostipsec.system.processes import Result
from hostipsec.system.processes import run as process

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces")

LEFT = {4: ip_address("10.64.0.11"), 6: ip_address("2001:db8:1::11")}
FAR = ("10.192.0.11", "10.20.0.11", "2001:db8:2::11", "2001:db8:3::11")
NEAR = ("10.64.0.77", "2001:db8:1::77")
BACK = 60.0  # seconds: the keeper looks every 5, give or take a fifth; this machine may be busy


def connection(right: str) -> Connection:
    address = ip_address(right)
    family = f"v{address.version}"
    return Connection(
        *(f"{right}_{family}", f"{right}.example", family, LEFT[address.version], address),
        *("CN=left", "CN=right", True, "start"),
    )


PEERS = tuple(map(connection, (*FAR, *NEAR)))


class Network:
    """The network of one host: eth0 with a default gateway, eth1 with another one."""

    def __init__(self, host: strongswan.Host) -> None:
        self.host = host
        for number, (four, six) in enumerate((("10.64.0.11/24", "2001:db8:1::11/64"), ("10.99.0.2/24", ""))):
            self.ip("link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
            self.ip("address", "add", four, "dev", f"eth{number}")
            if six:
                self.ip("address", "add", six, "dev", f"eth{number}", "nodad")
            self.up(number)
        self.gateways()

    def up(self, number: int) -> None:
        for name in (f"far{number}", f"eth{number}"):
            self.ip("link", "set", name, "up")

    def gateways(self) -> None:
        self.ip("route", "replace", "default", "via", "10.64.0.1")
        self.ip("-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0")

    def run(self, argv, timeout) -> Result:
        """Run a program in the host's network only: its files are those of the test."""
        return process(["nsenter", "-t", str(self.host.pid), "-n", *argv], timeout)

    def ip(self, *words: str) -> str:
        result = self.run(["ip", *words], 60)
        assert result.status == 0, f"ip {' '.join(words)}: {result.text}"
        return result.stdout

    def ours(self) -> dict[str, str]:
        """The routes of ours, as the engine reads them."""
        return {str(route.destination): str(route) for route in routing.observe(self.run).ours}

    def apply(self, mtu, peers=PEERS) -> routes.Difference:
        changed = routing.apply(peers, mtu, self.run)
        assert routing.apply(peers, mtu, self.run).empty
        return changed


@pytest.fixture
def network(tmp_path):
    host = strongswan.Host("cp1001", tmp_path / "host")
    try:
        yield Network(host)
    finally:
        host.stop()


def test_each_peer_gets_one_and_the_kernel_obeys(network):
    changed = network.apply(1450)
    assert len(changed.added) == 6
    assert network.ours() == {
        "10.20.0.11": "via 10.64.0.1 dev eth0 mtu lock 1450",
        "10.64.0.77": "dev eth0 mtu lock 1450",
        "10.192.0.11": "via 10.64.0.1 dev eth0 mtu lock 1450",
        "2001:db8:1::77": "dev eth0 mtu lock 1450",
        "2001:db8:2::11": "via inet6 fe80::1 dev eth0 mtu lock 1450",
        "2001:db8:3::11": "via inet6 fe80::1 dev eth0 mtu lock 1450",
    }
    for address in (*FAR, *NEAR):
        assert "mtu lock 1450" in network.ip("route", "get", address)
    assert "mtu" not in network.ip("route", "get", "10.20.0.12")


def test_another_value_fewer_peers_and_none(network):
    network.apply(1450)
    assert len(network.apply(1400).replaced) == 6
    assert {text.split()[-1] for text in network.ours().values()} == {"1400"}
    assert [str(one.destination) for one in network.apply(1400, PEERS[1:]).deleted] == [FAR[0]]
    assert len(network.apply(None).deleted) == 5
    assert network.ours() == {}
    assert network.apply(None).empty


def test_a_lock_that_was_lost_is_put_back(network):
    """``ip -j`` shows no locks: a check of the value alone would be content."""
    network.apply(1450)
    network.ip("route", "replace", FAR[0], "via", "10.64.0.1", "proto", "73", "mtu", "1450")
    ((old, new),) = network.apply(1450).replaced
    assert (str(old), str(new)) == ("via 10.64.0.1 dev eth0 mtu 1450", "via 10.64.0.1 dev eth0 mtu lock 1450")


def test_a_changed_default_gateway_is_followed(network):
    network.apply(1450)
    network.ip("route", "replace", "default", "via", "10.99.0.1")
    network.ip("-6", "route", "replace", "default", "via", "2001:db8:1::1")
    assert len(network.apply(1450).replaced) == 4
    assert network.ours()[FAR[0]] == "via 10.99.0.1 dev eth1 mtu lock 1450"
    assert network.ours()[FAR[2]] == "via inet6 2001:db8:1::1 dev eth0 mtu lock 1450"


def test_a_gateway_that_comes_on_the_link_is_no_gateway(network):
    """From a route with a gateway to one without, and back: IPv6 does not replace the one by the other."""
    network.apply(1450)
    for prefix in ("10.192.0.0/24", "2001:db8:2::/64"):
        network.ip("route", "add", prefix, "dev", "eth1")
    network.apply(1450)
    assert {network.ours()[FAR[0]], network.ours()[FAR[2]]} == {"dev eth1 mtu lock 1450"}
    for prefix in ("10.192.0.0/24", "2001:db8:2::/64"):
        network.ip("route", "del", prefix)
    network.apply(1450)
    assert network.ours()[FAR[0]] == "via 10.64.0.1 dev eth0 mtu lock 1450"


def test_source_metrics_and_several_ways_are_copied(network):
    network.ip("route", "replace", "default", "via", "10.64.0.1", "src", "10.64.0.11", "initcwnd", "20")
    hops = "nexthop via 10.64.0.1 dev eth0 weight 1 nexthop via 10.99.0.1 dev eth1 weight 3"
    network.ip("route", "add", "10.20.0.0/16", *hops.split())
    network.apply(1450)
    shown = network.ip("-o", "route", "show", "proto", "73")
    assert "10.192.0.11 via 10.64.0.1 dev eth0 src 10.64.0.11 mtu lock 1450 initcwnd 20" in shown
    assert "10.20.0.11 mtu lock 1450 \\\tnexthop via 10.64.0.1 dev eth0 weight 1 \\\tnexthop via" in shown


def test_without_a_way_there_is_none_and_it_comes_with_the_way(network):
    network.apply(1450)
    network.ip("route", "del", "default")
    assert [str(one.destination) for one in network.apply(1450).deleted] == ["10.20.0.11", "10.192.0.11"]
    network.gateways()
    assert len(network.apply(1450).added) == 2


def test_a_route_of_somebody_else_stays(network):
    network.ip("route", "add", FAR[0], "via", "10.64.0.9", "proto", "static")
    network.apply(1450)
    assert FAR[0] not in network.ours()
    assert "10.64.0.9" in network.ip("route", "get", FAR[0])
    rows = {row.address: row for row in routing.rows(PEERS, 1450, network.run)}
    assert (rows[FAR[0]].state, rows[FAR[1]].state) == ("in the way", "ok")


def test_rows_tell_what_is_wanted_there_and_used(network):
    network.apply(1450)
    network.ip("route", "del", FAR[0])
    network.ip("route", "replace", FAR[1], "via", "10.64.0.1", "proto", "73", "mtu", "1400")
    # another table comes first for one peer
    network.ip("route", "add", FAR[2], "via", "2001:db8:1::1", "table", "100")
    network.ip("-6", "rule", "add", "to", FAR[2], "lookup", "100", "priority", "99")
    rows = {row.address: row for row in routing.rows(PEERS, 1450, network.run)}
    assert {address: (row.state, row.used) for address, row in rows.items()} == {
        FAR[0]: ("missing", False),
        FAR[1]: ("differs", True),
        FAR[2]: ("ok", False),
        FAR[3]: ("ok", True),
        NEAR[0]: ("ok", True),
        NEAR[1]: ("ok", True),
    }
    assert rows[FAR[1]].there == "via 10.64.0.1 dev eth0 mtu 1400"
    assert rows[FAR[1]].wanted == "via 10.64.0.1 dev eth0 mtu lock 1450"
    network.ip("route", "del", "default")
    rows = {row.address: row.state for row in routing.rows(PEERS[2:], 1450, network.run)}
    assert (rows[FAR[1]], rows[FAR[3]]) == ("unwanted", "ok")
    assert {row.state for row in routing.rows(PEERS[:1], None, network.run) if row.peer} == {"not wanted"}
    assert {row.state for row in routing.rows(PEERS[:1], 1450, network.run) if row.peer} == {"no way"}


# The keeper ----------------------------------------------------------------------------------


@pytest.fixture
def kept(network, tmp_path):
    """Run the keeper on the host, with a record of long ago, as after a boot: there are no routes."""
    record = network.host.root / "var/lib/hostipsec/mesh.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(records.render(Record(tuple(PEERS), 1450)))
    os.utime(record, (0, 0))
    with (tmp_path / "keeper.log").open("wb") as log:
        running = subprocess.Popen(
            network.host.argv(
                ["env", f"PYTHONPATH={ROOT}/_utils", sys.executable, "-B", "-m", "hostipsec.programs.keeper"]
            ),
            stdout=log,
            stderr=log,
        )
    yield tmp_path / "keeper.log"
    running.kill()
    running.wait()


def test_the_keeper_brings_routes_up_after_a_boot_a_flap_and_a_new_gateway(network, kept):
    wait_for(lambda: len(network.ours()) == 6, "routes after a boot", BACK)
    network.ip("link", "set", "eth0", "down")
    assert network.ours() == {}
    network.up(0)
    network.ip("address", "replace", "2001:db8:1::11/64", "dev", "eth0", "nodad")  # the kernel took it away
    network.gateways()
    wait_for(lambda: len(network.ours()) == 6, "routes after a flap", BACK)
    network.ip("route", "replace", "default", "via", "10.99.0.1")
    moved = "via 10.99.0.1 dev eth1 mtu lock 1450"
    wait_for(lambda: network.ours().get(FAR[0]) == moved, "a route by the new gateway", BACK)
    added = "ip route add 10.192.0.11/32 table main proto 73 via 10.99.0.1 dev eth1 mtu lock 1450"
    wait_for(lambda: added in kept.read_text(), "the line of the log about it", BACK)
    assert "Traceback" not in kept.read_text()


# The state -----------------------------------------------------------------------------------


@pytest.fixture
def remote(network, data, tmp_path):
    found = Remote(network.host.argv, tmp_path / "log", place="/tmp/minion", identifier=HOST)
    found.pillar({**data, "mtu": 1450})
    yield found
    found.stop()


def applied(remote):
    """Run the state in test mode, for real, and again; return what the real run returned."""
    would = remote.state("ipsec.routes_present", "mtu", test=True)
    did = remote.state("ipsec.routes_present", "mtu")
    assert would["changes"] == did["changes"]
    assert would["result"] is (None if did["changes"] and did["result"] else did["result"])
    again = remote.state("ipsec.routes_present", "mtu")
    assert (again["result"], again["changes"]) == (did["result"], {})
    return did


def test_the_state(network, remote, data):
    assert remote.state("ipsec.routes_present", "mtu", test=True)["result"] is None
    assert network.ours() == {}
    did = applied(remote)
    assert did["changes"]["added"]["10.20.0.11"] == "via 10.64.0.1 dev eth0 mtu lock 1450"
    assert did["comment"] == "6 routes with mtu lock 1450"
    assert {*did["changes"]["added"]} == {*network.ours()}
    shown = remote.call("ipsec.routes")
    assert shown["cp3001_v4"]["state"] == "ok"
    assert shown["cp3001_v4"]["wanted"] == shown["cp3001_v4"]["there"]

    remote.pillar({**data, "mtu": 1400})
    assert [*applied(remote)["changes"]] == ["replaced"]
    data["hosts"]["cp3001.esams.example"]["maintenance"] = True
    remote.pillar({**data, "mtu": 1400, "expect": []})
    assert [*applied(remote)["changes"]["deleted"]] == ["10.20.0.11", "2001:db8:3::11"]
    remote.pillar({**data, "expect": []})
    assert len(applied(remote)["changes"]["deleted"]) == 4
    assert applied(remote) == {"result": True, "changes": {}, "comment": "no MTU is locked"}
    assert {row["state"] for row in remote.call("ipsec.routes").values()} == {"not wanted"}


def test_the_state_says_what_it_cannot_do(network, remote):
    network.ip("route", "add", "10.20.0.11", "via", "10.64.0.9")
    network.ip("route", "del", "default")
    did = applied(remote)
    assert did["result"] is False
    assert did["comment"].startswith("10.20.0.11: a host route of protocol boot is there; remove it")
    assert "10.20.0.11" not in network.ours()
    assert len(network.ours()) == 3
    network.ip("route", "del", "10.20.0.11")
    did = applied(remote)
    assert did["result"] is True
    assert did["warnings"] == [
        f"no route to {one}, so none with a locked MTU" for one in ("10.20.0.11", "10.20.0.12", "10.192.0.11")
    ]


# The calculator, as an operator asks it ----------------------------------------------------------


def test_overhead_takes_the_mtu_of_the_pillar(minion, data):
    assert {name: one["packet"] for name, one in minion.call("ipsec.overhead").items()} == {
        "v4": 1466,
        "v6": 1466,
    }
    minion.pillar({**data, "mtu": 1450})
    found = minion.call("ipsec.overhead", "cp3001")
    assert [*found] == ["cp3001_v4", "cp3001_v6"]
    sizes = ("mtu", "packet", "icmp_payload", "udp_payload", "tcp_mss", "wire", "overhead", "overhead_most")
    assert {key: value for key, value in found["cp3001_v4"].items() if key not in sizes} == {
        "mode": "transport",
        "esp": "aes128gcm16-ecp384bp-noesn!",
        "family": "v4",
        "udp": False,
    }
    assert [found["cp3001_v4"][size] for size in sizes] == [1450, 1414, 1386, 1386, 1374, 1448, 34, 37]
    found = minion.call("ipsec.overhead", "cp3001", mtu=9000, family="v6", mode="tunnel")["cp3001_v6"]
    assert [found[size] for size in sizes] == [9000, 8926, 8878, 8878, 8866, 9000, 74, 77]


def test_overhead_where_charon_does_esp(minion, data):
    plugin = {"plugins": {"kernel-libipsec": {"load": "yes"}}}
    minion.pillar({**data, "charon": plugin, "connection": {"type": "tunnel"}})
    found = minion.call("ipsec.overhead", family="v4")["v4"]
    assert (found["mode"], found["udp"], found["packet"]) == ("tunnel", True, 1400)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mtu": 100}, "mtu=100: a link with IPv4 has 576 to 65535 bytes"),
        ({"mtu": "big"}, "mtu=big: a whole number of bytes is needed"),
        ({"mode": "beet"}, "mode=beet: allowed: transport, tunnel"),
        ({"family": "ipv4"}, "family=ipv4: allowed: v4, v6"),
        ({"esp": "aes127"}, "esp: unknown algorithm 'aes127'"),
        ({"peer": "db1001"}, f"db1001.eqiad.example is no peer of {HOST}: no rule pairs the two"),
        ({"peer": "cp9999"}, "no host of the pillar is called cp9999"),
    ],
)
def test_overhead_of_nonsense(minion, arguments, said):
    found = minion.call("ipsec.overhead", **arguments)
    assert said in found["error"]
    assert minion.retcode == 2
