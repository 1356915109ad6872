"""What a firewall has to let through so that charon and its peers meet, in the words of two firewalls. Pure.

IKE (UDP 500), IKE and ESP behind a translation of addresses (UDP 4500), and ESP itself, with the peers alone.
Chains are printed for the firewall that is there to jump to: an ``accept`` in a table of ours would open
nothing, since a packet has to pass the tables of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from ..model import Address, Connection

_SAID = "# IKE and ESP with the peers of the IPsec mesh, by ipsec.firewall. It opens, and drops nothing.\n"
_NFTABLES = """\
# In an inet table of yours: include this file, and jump to its chains where you drop by default:
#     include "/etc/nftables/ipsec.nft"
#     chain input { type filter hook input priority 0; policy drop; jump ipsec_in; ... }
#     chain output { type filter hook output priority 0; policy drop; jump ipsec_out; ... }
"""
_FERM = """\
# In ferm.conf: include this file, and jump to its chains where you drop by default:
#     @include 'ipsec.ferm';
#     domain (ip ip6) table filter { chain INPUT jump ipsec-in; chain OUTPUT jump ipsec-out; }
"""
_BY_VERSION = ((4, "ip"), (6, "ip6"))


def nftables(connections: Iterable[Connection]) -> str:
    """Return chains ``ipsec_in`` and ``ipsec_out`` of nftables, to be included in a table of family inet."""
    peers = _peers(connections)
    chains = (
        _nft_chain("ipsec_in", "saddr", "dport", peers),
        _nft_chain("ipsec_out", "daddr", "sport", peers),
    )
    return "".join((_SAID, _NFTABLES, *chains))


def _nft_chain(name: str, end: str, port: str, peers: Mapping[str, list[str]]) -> str:
    lines = [
        f"    {family} {end} {{ {', '.join(found)} }} {what} accept\n"
        for family, found in peers.items()
        for what in (f"udp {port} {{ 500, 4500 }}", "meta l4proto esp")
    ]
    return f"chain {name} {{\n{''.join(lines)}}}\n"


def ferm(connections: Iterable[Connection]) -> str:
    """Return chains ``ipsec-in`` and ``ipsec-out`` of table filter, as ferm reads them."""
    peers = _peers(connections)
    parts = [
        f"domain {family} table filter {{\n"
        f"{_ferm_chain('ipsec-in', 'saddr', 'dport', peers.get(family, []))}"
        f"{_ferm_chain('ipsec-out', 'daddr', 'sport', peers.get(family, []))}"
        "}\n"
        for _, family in _BY_VERSION
    ]
    return "".join((_SAID, _FERM, *parts))


def _ferm_chain(name: str, end: str, port: str, peers: list[str]) -> str:
    with_peers = f"{end} ({' '.join(peers)})"
    rules = f"{with_peers} proto udp {port} (500 4500) ACCEPT; {with_peers} proto esp ACCEPT;"
    return f"    chain {name} {{ {rules} }}\n" if peers else f"    chain {name} {{ }}\n"


def _peers(connections: Iterable[Connection]) -> dict[str, list[str]]:
    """Return the peers' addresses by family as both firewalls call it, sorted; no family without one."""
    there: set[Address] = {one.right for one in connections}
    found = {
        family: [str(one) for one in sorted(there, key=int) if one.version == version]
        for version, family in _BY_VERSION
    }
    return {family: addresses for family, addresses in found.items() if addresses}


FORMS: Mapping[str, Callable[[Iterable[Connection]], str]] = MappingProxyType(
    {"nftables": nftables, "ferm": ferm}
)
