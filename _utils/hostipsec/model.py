"""Values that the parts of the engine exchange. All frozen, all of the standard library.

Named tuples: each start of ``ipsec-global`` makes these classes, and dataclasses take six times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Any, NamedTuple, Optional, Tuple, Union

from .errors import Problem

Address = Union[IPv4Address, IPv6Address]
_NONE: Mapping[str, Any] = MappingProxyType({})
FAMILIES = ("v4", "v6")
STAGES = OFF, PASSIVE, START, REQUIRE = ("off", "passive", "start", "require")


# What the pillar says ------------------------------------------------------------------------


# by what strongSwan is told what to run, and what the pillar may say of it
IPSEC_CONF, SWANCTL, AUTO = BACKENDS = ("ipsec.conf", "swanctl", "auto")


class Host(NamedTuple):
    """A host of the fleet, by minion id."""

    id: str
    labels: Mapping[str, tuple[str, ...]]  # of a label that it has all values, one at least
    ipv4: Optional[IPv4Address] = None
    ipv6: Optional[IPv6Address] = None
    maintenance: bool = False
    lost: tuple[Problem, ...] = ()  # why it has no address: of what was looked up for it, nothing can be used
    clear: bool = False  # in maintenance its peers of stage require let packets go in the clear
    name: str = ""  # in connections, where the pillar gives it one
    subject: str = ""  # its identity, where it is not by the template of all hosts
    local_ipv4: Optional[IPv4Address] = None  # the one that it has itself, where ipv4 is a NAT's
    nat: str = ""  # a word for the network behind that NAT
    alone: bool = False  # marked as one that no rule fits
    managed: bool = True  # by Salt; nobody asks of another what it runs
    ca: str = ""  # where members have the CA of one that is not managed; empty for that of the fleet
    backend: str = ""  # of BACKENDS; empty for that of the fleet

    @property
    def short(self) -> str:
        """Return the name up to the first dot."""
        return self.id.partition(".")[0]

    @property
    def called(self) -> str:
        """Return its name in connections: it follows from the host alone, whoever joins or leaves."""
        return self.name or self.short

    def label(self, name: str, otherwise: str = "") -> str:
        """Return a label to be shown, its values joined; ``site`` has one."""
        return "+".join(self.labels.get(name, ())) or otherwise

    def address(self, family: str) -> Optional[Address]:
        """Return the address of a family (``v4`` or ``v6``), or None."""
        return self.ipv4 if family == "v4" else self.ipv6


class Choice(NamedTuple):
    """The values of a label that are meant, one of which a host has; all but these with ``but``."""

    values: frozenset[str]
    but: bool = False
    patterns: tuple[str, ...] = ()  # for shell, of ids


Selector = Tuple[Tuple[str, Choice], ...]  # by label; a host without the label is never meant
Options = Tuple[Tuple[str, str], ...]  # of ipsec.conf, by name


class Rule(NamedTuple):
    """Pairs hosts that match ``between`` with hosts that match ``and_``."""

    name: str
    between: Selector
    and_: Selector
    same: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    stage: str = START
    options: Options = ()  # of the connections of its pairs, over those of all
    mtu: Optional[int] = None  # that routes between the two lock, in place of that of all
    clear: tuple[str, ...] = ()  # what stays in the clear between the two: tcp/22
    only: tuple[str, ...] = ()  # what alone is encrypted between the two; empty: all


class Expectation(NamedTuple):
    """The operator's assertion on a host and its peers, or on a rule and the pairs that it decides."""

    host: str = ""
    pairs_with: Optional[str] = None
    peers: Optional[int] = None
    not_pairs_with: Optional[str] = None
    rule: str = ""
    pairs: Optional[int] = None


class Certificates(NamedTuple):
    """Where the host's certificate, key and CA are found; templates with ``{id}``."""

    source: str
    certificate: str
    key: str
    ca: str
    subject: str
    crl: str = ""  # empty: none are looked for
    warn_days: int = 30


class Meant(NamedTuple):
    """What SAs are to be like, beside their ends; empty where that is not known."""

    mode: str = ""  # option type: transport, tunnel
    esp: str = ""  # options esp and ike
    ike: str = ""
    weak: tuple[str, ...] = ()  # words of the pillar for what is broken by its age, and taken all the same
    kept: frozenset[str] = frozenset()  # connections of others, which go on beside ours


class Metrics(NamedTuple):
    """Where the metrics of a host go; empty: not there."""

    textfile: str = ""  # a directory that node_exporter reads
    http: str = ""  # ADDRESS:PORT to be scraped at
    graphite: str = ""  # HOST:PORT that takes Graphite's plaintext
    clear_text: bool = False  # count what goes in the clear between hosts of the mesh

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the command line of the program that serves them; empty where nobody asks for any."""
        asked = {"--textfile": self.textfile, "--http": self.http, "--graphite": self.graphite}
        return tuple(f"{option}={value}" for option, value in asked.items() if value)


class Settings(NamedTuple):
    """All of the pillar but hosts, rules and expectations."""

    certificates: Certificates
    connection: Mapping[str, str] = _NONE
    weak: tuple[str, ...] = ()
    setup: Mapping[str, str] = _NONE
    charondebug: Mapping[str, int] = _NONE
    charon: Mapping[str, object] = _NONE
    sysctl: Mapping[str, str] = _NONE
    packages: tuple[str, ...] = ()
    vici: bool = True  # install strongSwan's Python library for Salt
    mtu: Optional[int] = None
    existing: str = ""  # keep or replace: connections that a host had before; empty: nobody has decided
    metrics: Metrics = Metrics()
    backend: str = IPSEC_CONF  # of BACKENDS


class Part(NamedTuple):
    """Whose part of the pillar it is, and what the master warns of, which had the whole."""

    of: str  # minion id
    warnings: tuple[str, ...] = ()
    looked_up: tuple[str, ...] = ()  # ids of hosts whose addresses are those of a mine or DNS


class Fleet(NamedTuple):
    """The whole pillar, checked; or as much of it as one host is given."""

    hosts: tuple[Host, ...]
    rules: tuple[Rule, ...]
    expectations: tuple[Expectation, ...]
    settings: Settings
    part: Optional[Part] = None
    labels: tuple[str, ...] = ()  # that are declared, beside those that rules use

    def host(self, minion_id: str) -> Optional[Host]:
        """Return the host of that id, or None; of a part no other than whose it is."""
        if self.part and self.part.of != minion_id:
            return None
        return next((host for host in self.hosts if host.id == minion_id), None)


# What a host shall run -----------------------------------------------------------------------


class Connection(NamedTuple):
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
    options: Options = ()  # of its rule, over those of all connections
    mtu: Optional[int] = None  # of its rule, in place of that of all
    clear: tuple[str, ...] = ()  # of its rule: what stays in the clear
    only: tuple[str, ...] = ()  # of its rule: what alone is encrypted; empty: all
    # the same two of what comes in, while a roll-out changes them: both ends take it before either sends it
    taken: Optional[tuple[tuple[str, ...], tuple[str, ...]]] = None

    @property
    def taking(self) -> Connection:
        """Return it with what stays in the clear of what comes in."""
        return self._replace(clear=self.taken[0], only=self.taken[1], taken=None) if self.taken else self

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values, without its name, and without what its rule does not say."""
        usual = self._field_defaults
        every = self._asdict().items()
        said = {key: value for key, value in every if key not in usual or value != usual[key]}
        plain = {"left": str(self.left), "right": str(self.right), "options": dict(self.options)}
        return {key: plain.get(key, value) for key, value in said.items() if key != "name"}


# What a host does run ------------------------------------------------------------------------


class ChildSA(NamedTuple):
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


class IkeSA(NamedTuple):
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


class LoadedConnection(NamedTuple):
    """A connection that charon has in its configuration."""

    name: str
    local_addrs: tuple[str, ...] = ()
    remote_addrs: tuple[str, ...] = ()
    local_id: str = ""
    remote_id: str = ""
    children: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()  # TRANSPORT or TUNNEL, of each child
    remote_cas: tuple[str, ...] = ()  # the chain of the peer's certificate has to have one of these


class Load(NamedTuple):
    """How much charon has to do, and its memory; stroke and vici tell the same of it."""

    busy: Mapping[str, int] = _NONE  # threads, by priority: critical, high, medium, low
    queued: Mapping[str, int] = _NONE  # jobs, by priority
    scheduled: Optional[int] = None  # jobs
    ike_sas: Optional[int] = None
    half_open: Optional[int] = None
    heap: Mapping[str, int] = _NONE  # bytes, by kind: total, used, free


class Charon(NamedTuple):
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
    load: Load = Load()


class KernelState(NamedTuple):
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
    age: Optional[int] = None  # seconds
    mark: str = ""  # what packets must have, or get: a mark, an interface's number; charon gives ours none
    replays: int = 0  # packets that came twice, or after the window had passed them
    failures: int = 0  # packets that did not pass the integrity check
    sequence: Optional[int] = None  # number of the last packet out; None with ESN, whose numbers do not end

    @property
    def larval(self) -> bool:
        """Whether it has no key: the kernel asked for an SA, and goes on waiting for one."""
        return not self.algorithm


class KernelPolicy(NamedTuple):
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
    number: int = 0  # the kernel's own number for it; 0 where ``ip`` was not asked with ``-s``
    icmp_type: str = ""  # of the packets it is for, where it is for one type of ICMP
    narrow: str = ""  # what else packets must have than the addresses: a protocol, a port, a mark, a device
    proto: str = "esp"  # of its templates: esp, comp esp
    mark: str = ""  # the marks and the interface's number in ``narrow``

    @property
    def protects(self) -> bool:
        """Whether what goes by it goes in ESP, or not at all."""
        template = bool(self.mode or self.reqid or self.template_src)
        esp = template and "esp" in self.proto.split()
        return esp and self.action == "allow" and self.level == "required"


class Kernel(NamedTuple):
    """One look at the kernel's IPsec state."""

    states: tuple[KernelState, ...] = ()
    policies: tuple[KernelPolicy, ...] = ()
    errors: Mapping[str, int] = _NONE  # /proc/net/xfrm_stat


class CertificateInUse(NamedTuple):
    """The certificate that a host runs with: the name of its file in ``/etc/ipsec.d/certs``, and its end."""

    name: str
    ends: datetime
