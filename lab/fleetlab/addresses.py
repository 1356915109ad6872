"""The address plan: which subnets and gateways the fleet's addresses need, and the addresses for Salt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface

from .cache import SUITE
from .errors import LabError
from .fleet import FleetHost

PREFIX_LENGTH = {4: 24, 6: 64}
MANAGEMENT = IPv4Interface("198.18.0.1/15")  # the range for laboratories, RFC 2544

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True)
class PlannedHost:
    """A host with all that its network needs. The master has no site and no mesh address."""

    name: str
    site: str | None
    management: IPv4Interface
    addresses: tuple[Interface, ...] = ()
    debian: str = SUITE

    @property
    def short(self) -> str:
        """The first label of the name."""
        return self.name.split(".")[0]


def interface(address: IPv4Address | IPv6Address) -> Interface:
    """The address with the prefix length that every site of the lab has."""
    return ip_interface(f"{address}/{PREFIX_LENGTH[address.version]}")


def gateway(address: Interface) -> Interface:
    """The core's address in the subnet of a host: the first one."""
    return ip_interface(f"{address.network.network_address + 1}/{address.network.prefixlen}")


def plan(hosts: Sequence[FleetHost], master: str | None) -> tuple[PlannedHost, ...]:
    """Give every host its interfaces, the master first; raise `LabError` where the lab cannot route it."""
    planned = [PlannedHost(master, None, _management(0))] if master else []
    planned += [
        PlannedHost(
            host.name,
            host.site,
            _management(number),
            tuple(interface(address) for address in (host.ipv4, host.ipv6) if address is not None),
            host.debian,
        )
        for number, host in enumerate(hosts, start=1)
    ]
    _check(planned)
    return tuple(planned)


def _management(number: int) -> IPv4Interface:
    return IPv4Interface(f"{MANAGEMENT.ip + number}/{MANAGEMENT.network.prefixlen}")


def gateways(hosts: Iterable[PlannedHost]) -> dict[str, tuple[Interface, ...]]:
    """The core's addresses at each site, sorted."""
    found: dict[str, set[Interface]] = {}
    for host in hosts:
        if host.site is not None:
            found.setdefault(host.site, set()).update(gateway(address) for address in host.addresses)
    return {
        site: tuple(sorted(addresses, key=lambda address: (address.version, int(address))))
        for site, addresses in sorted(found.items())
    }


def _check(hosts: Sequence[PlannedHost]) -> None:
    owners: dict[Interface, str] = {}
    errors = []
    for host in hosts:
        for address in host.addresses:
            if address == gateway(address):
                errors.append(f"{host.name}: {address.ip} is the lab's gateway in {address.network}")
            if address in MANAGEMENT.network:
                errors.append(f"{host.name}: {address.ip} is in the lab's own network {MANAGEMENT.network}")
            if address in owners:
                errors.append(f"{host.name} and {owners[address]}: both have {address.ip}")
            owners[address] = host.name
    errors += _shared_subnets(hosts)
    if errors:
        raise LabError("the lab cannot build this fleet: " + "; ".join(errors))


def _shared_subnets(hosts: Sequence[PlannedHost]) -> list[str]:
    sites: dict[str, set[str]] = {}
    for host in hosts:
        for address in host.addresses:
            sites.setdefault(str(address.network), set()).add(str(host.site))
    return [
        f"subnet {network} is at {' and '.join(sorted(found))}"
        for network, found in sorted(sites.items())
        if len(found) > 1
    ]


def render_hosts_file(own: PlannedHost, hosts: Sequence[PlannedHost], master: str | None) -> str:
    """The content of a host's /etc/hosts: every host by its mesh addresses, and the master as `salt`."""
    shorts = [host.short for host in hosts]
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    if master:
        lines.append(f"{MANAGEMENT.ip} salt {master}")
    if not own.addresses and own.name != master:
        lines.append(f"{own.management.ip} {own.name} {own.short}")
    for host in sorted(hosts, key=lambda host: (host != own, host.name)):
        names = f"{host.name} {host.short}" if shorts.count(host.short) == 1 else host.name
        lines += [f"{address.ip} {names}" for address in host.addresses]
    return "\n".join(lines) + "\n"
