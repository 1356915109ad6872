"""Values that the parts of the engine exchange. All frozen, all of the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Optional, Union

Address = Union[IPv4Address, IPv6Address]
FAMILIES = ("v4", "v6")
STAGES = ("off", "passive", "start", "require")


# What the pillar says ------------------------------------------------------------------------


@dataclass(frozen=True)
class Host:
    """A host of the fleet, by minion id."""

    id: str
    labels: Mapping[str, str]
    ipv4: Optional[IPv4Address] = None
    ipv6: Optional[IPv6Address] = None
    maintenance: bool = False

    @property
    def short(self) -> str:
        """Return the name up to the first dot."""
        return self.id.partition(".")[0]

    def address(self, family: str) -> Optional[Address]:
        """Return the address of a family (``v4`` or ``v6``), or None."""
        return self.ipv4 if family == "v4" else self.ipv6


Selector = tuple[tuple[str, frozenset[str]], ...]


@dataclass(frozen=True)
class Rule:
    """Pairs hosts that match ``between`` with hosts that match ``and_``."""

    name: str
    between: Selector
    and_: Selector
    same: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    stage: str = "start"


@dataclass(frozen=True)
class Expectation:
    """The operator's assertion: ``host`` pairs with ``pairs_with``, or has ``peers`` peers."""

    host: str
    pairs_with: Optional[str] = None
    peers: Optional[int] = None


@dataclass(frozen=True)
class Certificates:
    """Where the host's certificate, key and CA are found; templates with ``{id}``."""

    source: str
    certificate: str
    key: str
    ca: str
    subject: str
    crl: str = ""  # empty: none are looked for
    warn_days: int = 30


@dataclass(frozen=True)
class Settings:
    """All of the pillar but hosts, rules and expectations."""

    certificates: Certificates
    connection: Mapping[str, str] = field(default_factory=dict)
    setup: Mapping[str, str] = field(default_factory=dict)
    charondebug: Mapping[str, int] = field(default_factory=dict)
    charon: Mapping[str, object] = field(default_factory=dict)
    sysctl: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    vici: bool = True  # install strongSwan's Python library for Salt
    mtu: Optional[int] = None


@dataclass(frozen=True)
class Fleet:
    """The whole pillar, checked."""

    hosts: tuple[Host, ...]
    rules: tuple[Rule, ...]
    expectations: tuple[Expectation, ...]
    settings: Settings

    def host(self, minion_id: str) -> Optional[Host]:
        """Return the host of that id, or None."""
        return next((host for host in self.hosts if host.id == minion_id), None)


# What a host shall run -----------------------------------------------------------------------


@dataclass(frozen=True)
class Connection:
    """One connection of one host: to one peer, in one address family; left is this host."""

    name: str
    peer: str
    family: str
    left: Address
    right: Address
    leftid: str
    rightid: str
    initiator: bool
    stage: str


# What a host does run ------------------------------------------------------------------------


@dataclass(frozen=True)
class ChildSA:
    """A CHILD SA as charon shows it. Times in seconds, None where charon does not say."""

    name: str
    # as charon says: CREATED ROUTED INSTALLING INSTALLED UPDATING REKEYING REKEYED RETRYING DELETING DELETED
    state: str
    mode: str  # TRANSPORT or TUNNEL
    uniqueid: Optional[int] = None
    reqid: Optional[int] = None
    protocol: str = "ESP"
    udp_encap: bool = False
    spi_in: Optional[str] = None  # eight hexadecimal digits
    spi_out: Optional[str] = None
    proposal: str = ""  # AES_GCM_16_128/ECP_384_BP
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    use_in: Optional[int] = None  # seconds since the last packet
    use_out: Optional[int] = None
    rekey_time: Optional[int] = None  # seconds until
    life_time: Optional[int] = None  # seconds until
    install_time: Optional[int] = None  # seconds since
    local_ts: tuple[str, ...] = ()
    remote_ts: tuple[str, ...] = ()


@dataclass(frozen=True)
class IkeSA:
    """An IKE SA as charon shows it, with its CHILD SAs."""

    name: str
    uniqueid: int
    state: str  # CREATED CONNECTING ESTABLISHED PASSIVE REKEYING REKEYED DELETING DESTROYING
    local_host: str
    remote_host: str
    local_id: str = ""
    remote_id: str = ""
    initiator: bool = False
    initiator_spi: str = ""
    responder_spi: str = ""
    proposal: str = ""  # AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP
    established: Optional[int] = None  # seconds since
    rekey_time: Optional[int] = None  # seconds until
    reauth_time: Optional[int] = None
    tasks: tuple[str, ...] = ()
    children: tuple[ChildSA, ...] = ()


@dataclass(frozen=True)
class LoadedConnection:
    """A connection that charon has in its configuration."""

    name: str
    local_addrs: tuple[str, ...] = ()
    remote_addrs: tuple[str, ...] = ()
    local_id: str = ""
    remote_id: str = ""
    children: tuple[str, ...] = ()


@dataclass(frozen=True)
class Charon:
    """One look at a charon: what runs, what it has loaded, which SAs it holds."""

    version: str
    backend: str  # vici or stroke
    uptime: Optional[int] = None  # seconds
    workers_total: Optional[int] = None
    workers_idle: Optional[int] = None
    plugins: tuple[str, ...] = ()
    connections: tuple[LoadedConnection, ...] = ()
    ike_sas: tuple[IkeSA, ...] = ()
    routed: tuple[str, ...] = ()  # names of CHILD configurations with a trap installed


@dataclass(frozen=True)
class KernelState:
    """An SA in the kernel (``ip -s xfrm state``), one direction."""

    src: str
    dst: str
    spi: str  # eight hexadecimal digits
    mode: str
    reqid: int
    proto: str = "esp"
    bytes: int = 0
    packets: int = 0
    algorithm: str = ""

    @property
    def larval(self) -> bool:
        """Whether it has no key: the kernel asked for an SA, and goes on waiting for one."""
        return not self.algorithm


@dataclass(frozen=True)
class KernelPolicy:
    """A policy in the kernel (``ip xfrm policy``)."""

    src: str
    dst: str
    direction: str  # in, out, fwd
    priority: int
    action: str = "allow"  # allow or block
    mode: str = ""
    reqid: int = 0
    level: str = "required"
    template_src: str = ""
    template_dst: str = ""
    index: int = 0  # the kernel's own number for it; 0 where ``ip`` was not asked with ``-s``


@dataclass(frozen=True)
class Kernel:
    """One look at the kernel's IPsec state."""

    states: tuple[KernelState, ...] = ()
    policies: tuple[KernelPolicy, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)  # /proc/net/xfrm_stat
