"""What a firewall is told to let through."""

from __future__ import annotations

from ipaddress import ip_address

from hostipsec.faces import firewall
from hostipsec.model import Connection


def connection(peer, right, family="v4"):
    left = {"v4": "10.64.0.11", "v6": "2001:db8:1::11"}[family]
    ends = (ip_address(left), ip_address(right), "CN=me", "CN=peer", True, "start")
    return Connection(f"{peer}_{family}", peer, family, *ends)


FLEET = (
    connection("b", "10.20.0.12"),
    connection("a", "10.20.0.2"),
    connection("a", "2001:db8:3::11", "v6"),
)


def told(text):
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_chains_for_nftables():
    assert told(firewall.nftables(FLEET)) == [
        "chain ipsec_in {",
        "    ip saddr { 10.20.0.2, 10.20.0.12 } udp dport { 500, 4500 } accept",
        "    ip saddr { 10.20.0.2, 10.20.0.12 } meta l4proto esp accept",
        "    ip6 saddr { 2001:db8:3::11 } udp dport { 500, 4500 } accept",
        "    ip6 saddr { 2001:db8:3::11 } meta l4proto esp accept",
        "}",
        "chain ipsec_out {",
        "    ip daddr { 10.20.0.2, 10.20.0.12 } udp sport { 500, 4500 } accept",
        "    ip daddr { 10.20.0.2, 10.20.0.12 } meta l4proto esp accept",
        "    ip6 daddr { 2001:db8:3::11 } udp sport { 500, 4500 } accept",
        "    ip6 daddr { 2001:db8:3::11 } meta l4proto esp accept",
        "}",
    ]


def test_chains_for_ferm():
    into, out = "saddr (10.20.0.2 10.20.0.12)", "daddr (10.20.0.2 10.20.0.12)"
    assert told(firewall.ferm(FLEET[:2])) == [
        "domain ip table filter {",
        f"    chain ipsec-in {{ {into} proto udp dport (500 4500) ACCEPT; {into} proto esp ACCEPT; }}",
        f"    chain ipsec-out {{ {out} proto udp sport (500 4500) ACCEPT; {out} proto esp ACCEPT; }}",
        "}",
        "domain ip6 table filter {",
        "    chain ipsec-in { }",
        "    chain ipsec-out { }",
        "}",
    ]


def test_a_host_without_peers_has_the_chains_that_others_jump_to():
    assert told(firewall.nftables(())) == ["chain ipsec_in {", "}", "chain ipsec_out {", "}"]


def test_nothing_is_dropped():
    for write in firewall.FORMS.values():
        assert not {"drop", "reject", "policy"} & {*" ".join(told(write(FLEET))).lower().split()}
