"""The lab's network: a core that routes between sites, a bridge for each site, and a second network for Salt.

Everything is inside network namespaces of the lab. The core's namespace is "the line": what goes from one
site to another crosses it, and a capture there sees it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from . import names
from .addresses import PlannedHost, gateway, gateways
from .paths import NETNS
from .process import run

MANAGEMENT_BRIDGE = "mgmt"
BRIDGE = "type bridge forward_delay 0 mcast_snooping 0"
CORE_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.accept_dad=0",
)
HOST_SYSCTLS = ("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.accept_ra=0")


class Network:
    """The namespaces and links of one lab."""

    def __init__(self, lab: str, hosts: Sequence[PlannedHost]) -> None:
        self.lab = lab
        self.hosts = tuple(hosts)
        self.core = names.namespace(lab, names.CORE)
        self.bridges = names.bridges([host.site for host in hosts if host.site is not None])
        self.ports = names.ports([host.name for host in hosts if host.site is not None])

    def up_core(self) -> None:
        """Make the core with its bridges and gateway addresses, unless it is there."""
        if (NETNS / self.core).exists():
            return
        run(["ip", "netns", "add", self.core])
        sysctls(self.core, CORE_SYSCTLS)
        batch(self.core, self._core_lines())

    def _core_lines(self) -> list[str]:
        lines = [
            "link set lo up",
            f"link add {MANAGEMENT_BRIDGE} {BRIDGE}",
            f"link set {MANAGEMENT_BRIDGE} up",
        ]
        addresses = gateways(self.hosts)
        for site, bridge in self.bridges.items():
            lines += [f"link add {bridge} {BRIDGE}"]
            lines += [
                f"address add {address} dev {bridge}{nodad(address.version)}" for address in addresses[site]
            ]
            lines += [f"link set {bridge} up"]
        return lines

    def up_host(self, host: PlannedHost) -> None:
        """Make a fresh namespace for a host, with its links; its addresses are the host's own business."""
        own = names.namespace(self.lab, host.name)
        self.down_host(host.name)
        run(["ip", "netns", "add", own])
        sysctls(own, HOST_SYSCTLS)
        batch(self.core, self._port_lines(host, own))

    def _port_lines(self, host: PlannedHost, own: str) -> list[str]:
        management = self.management_port(host)
        lines = [
            f"link add {management} type veth peer name mgmt0 netns {own}",
            f"link set {management} master {MANAGEMENT_BRIDGE} up",
        ]
        if host.site is not None:
            port = self.ports[host.name]
            lines += [
                f"link add {port} type veth peer name eth0 netns {own}",
                f"link set {port} master {self.bridges[host.site]} up",
            ]
        return lines

    def management_port(self, host: PlannedHost) -> str:
        """The core's end of a host's link to the master."""
        return f"mgmt-{self.hosts.index(host)}"

    def down_host(self, host: str) -> None:
        """Remove a host's namespace; its links go with it, also where a process keeps the namespace alive."""
        known = [planned for planned in self.hosts if planned.name == host]
        for port in [self.management_port(planned) for planned in known] + [self.ports.get(host)]:
            if port is not None and (NETNS / self.core).exists():
                run(["ip", "-n", self.core, "link", "delete", port], check=False)
        delete(names.namespace(self.lab, host))

    def set_link(self, host: str, state: str) -> None:
        """Pull a host's mesh cable (`down`) or plug it in (`up`); the host keeps its addresses."""
        run(["ip", "-n", self.core, "link", "set", self.ports[host], state])

    def set_netem(self, host: str, arguments: Sequence[str]) -> None:
        """Delay, lose or reorder what goes to a host, in the words of tc-netem; without any, stop."""
        tc = ["tc", "-n", self.core, "qdisc"]
        if arguments:
            run([*tc, "replace", "dev", self.ports[host], "root", "netem", *arguments])
        else:
            run([*tc, "delete", "dev", self.ports[host], "root"], check=False)

    def capture_point(self, where: str | None) -> tuple[str, ...]:
        """The links of the core to capture on: a site's bridge, a host's port, or all bridges."""
        if where is None:
            return tuple(self.bridges.values())
        return (
            self.bridges[where]
            if where in self.bridges
            else self.ports[names.resolve(where, list(self.ports))],
        )


def host_lines(host: PlannedHost) -> list[str]:
    """The `ip -batch` lines that give a host its addresses and routes."""
    lines = [
        "link set lo up",
        "link set mgmt0 addrgenmode none",
        f"address add {host.management} dev mgmt0",
        "link set mgmt0 up",
    ]
    if host.site is None:
        return lines
    lines += [f"address add {address} dev eth0{nodad(address.version)}" for address in host.addresses]
    lines += ["link set eth0 up"]
    lines += [f"route add default via {gateway(address).ip} dev eth0" for address in host.addresses]
    return lines


def nodad(version: int) -> str:
    """An IPv6 address of the lab is there at once, without duplicate address detection."""
    return " nodad" if version == 6 else ""


def batch(namespace: str, lines: Iterable[str]) -> None:
    """Give lines to `ip -batch` in a namespace."""
    run(["ip", "-n", namespace, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))


def sysctls(namespace: str, settings: Sequence[str]) -> None:
    """Set sysctls of a network namespace."""
    run(["nsenter", f"--net={NETNS / namespace}", "sysctl", "-q", "-w", *settings])


def namespaces(lab: str) -> list[Path]:
    """The namespaces of a lab that exist, by the files that keep them."""
    return sorted(NETNS.glob(f"{names.namespace(lab, '')}*"))


def delete(namespace: str) -> None:
    """Remove a namespace, also one that a crash left half made."""
    path = NETNS / namespace
    if path.exists():
        run(["ip", "netns", "delete", namespace], check=False)
    path.unlink(missing_ok=True)
