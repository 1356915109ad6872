"""The keys of the pillar, one line each: what the reader knows, docs/pillar.md and the JSON Schema. Pure.

Types and ranges of strongSwan's options are those by which they are checked; keys of strongswan.conf are in
``options.settings``.

``tests/pillar_reference.py`` writes those two anew. What a JSON Schema can say of a value is never narrower
than the reader, and mostly wider: that alone checks what values mean together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..model import BACKENDS, IPSEC_CONF, STAGES, START
from ..strongswan import catalog, defaults, options, ranges
from ..strongswan.kinds import Kind

MAINTENANCE = "in-the-clear"  # of a host in maintenance: a decision that nobody takes by the way
SOURCES = ("mine", "dns")
CERTIFICATES = PUPPET, FILES = ("puppet", "files")
EXISTING = ("keep", "replace")
MTU = (1280, 65535)  # RFC 8200 asks at least 1280 of each IPv6 link
WARN_DAYS = (1, 3650)
PEERS = (0, 10**6)
PAIRS = (0, 10**9)
ENCAPSULATIONS = ("udp",)
INHERITED = "that of `connection`"


class Type(NamedTuple):
    """What a value is: in words, and as JSON Schema."""

    says: str
    json: Mapping[str, Any]


class Key(NamedTuple):
    """One key: ``hosts:*:ipv4`` is that of every host, ``rules:*:stage`` that of every rule."""

    path: str
    type: Type
    says: str  # a sentence
    example: str  # a value of it, in YAML
    default: str = ""
    of: str = ""  # of certificates: the source that has it; empty: all

    @property
    def name(self) -> str:
        """Return the key itself."""
        return self.path.rpartition(":")[2]

    @property
    def above(self) -> str:
        """Return what it stands below; empty for a key of ``ipsec`` itself."""
        return self.path.rpartition(":")[0]


def _one_of(words: tuple[str, ...], *also: object) -> Type:
    return Type(", ".join(words), {"enum": [*words, *also]})


def _whole(low: int, high: int, unit: str = "") -> Type:
    said = f"a whole number from {low} to {high}{unit}"
    return Type(said, {"type": "integer", "minimum": low, "maximum": high})


def _or_null(kind: Type) -> Type:
    return kind._replace(json={"anyOf": [kind.json, {"type": "null"}]})


def _mapping(says: str, *also: str) -> Type:
    return Type(says, {"type": ["object", *also]})


_NUMBER_OR_TEXT = ["string", "number"]
_LABEL = {"type": _NUMBER_OR_TEXT}
_VALUES = {"anyOf": [_LABEL, {"type": "array", "items": _LABEL, "minItems": 1}]}
BOOLEAN = Type("true or false", {"type": "boolean"})
ADDRESS = Type("a unicast address", {"type": "string"})
TEXT = Type("a text", {"type": "string"})
_TEXT = Type("a text", {"type": ["string", "null"]})
PATH = Type("an absolute path", {"type": "string", "pattern": "^/"})
LABEL = Type("a word or a whole number", _LABEL)
TEMPLATE = Type("an absolute path; `{id}` and `{short}` are filled in", {"type": "string", "pattern": "^/"})
_ALL_BUT = {
    "type": "object",
    "properties": {"not": _VALUES},
    "required": ["not"],
    "additionalProperties": False,
}
LABELS = Type(
    "labels and their values, each a value, a list, or all but these",
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"anyOf": [*_VALUES["anyOf"], _ALL_BUT]},
    },
)
NAMES = Type(
    "names of labels, one or a list",
    {"anyOf": [_LABEL, {"type": "array", "items": _LABEL}, {"type": "null"}]},
)
LOOKED_UP = Type(
    f"{' or '.join(SOURCES)}, or a list of them",
    {"anyOf": [{"enum": [*SOURCES]}, {"type": "array", "items": {"enum": [*SOURCES]}, "minItems": 1}]},
)
PACKAGES = Type("a list of names", {"type": ["array", "null"], "items": {"type": "string"}})
WEAK = Type(
    "a word, or a list of them",
    {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}]},
)
LEVELS = Type(
    f"a mapping of types to {ranges.LEVEL.allowed.replace('a level', 'levels')}",
    {
        "type": "object",
        "properties": dict.fromkeys(sorted(catalog.CHARONDEBUG), ranges.LEVEL.json["anyOf"][0]),
        "additionalProperties": False,
    },
)
_EXCEPTION = {"type": "string", "pattern": "^(tcp|udp)/[1-9][0-9]{0,4}$"}
EXCEPTIONS = Type(
    "protocol and port, one or a list",
    {"anyOf": [_EXCEPTION, {"type": "array", "items": _EXCEPTION}, {"type": "null"}]},
)
_ONLY = {"anyOf": [_EXCEPTION, {"enum": ["icmp"]}]}
ONLY = Type(
    "protocol and port, or icmp, one or a list",
    {"anyOf": [_EXCEPTION, {"enum": ["icmp", None]}, {"type": "array", "items": _ONLY}]},
)
HOST_ID = Type("a minion id below `hosts`", {"type": "string"})


def _kind(kind: Kind) -> Type:
    return Type(kind.allowed, kind.json)


def _shared(name: str, says: str, example: str) -> Key:
    """Return the key of an option of all connections."""
    ours, theirs = defaults.CONNECTION.get(name), defaults.STARTER.get(name)
    default = f"`{ours}`" if ours else f"`{theirs}` (strongSwan's)" if theirs else ""
    return Key(f"connection:{name}", _kind(options.shareable(name)), says, example, default)


def _own(name: str, says: str, example: str) -> Key:
    """Return the key of an option that a rule has for its pairs."""
    return Key(f"rules:*:{name}", _kind(options.shareable(name)), says, example, INHERITED)


def _setup(name: str, says: str, example: str, default: str) -> Key:
    return Key(f"setup:{name}", _kind(options.SETUP[name]), says, example, f"`{default}` (strongSwan's)")


KEYS = (
    Key("hosts", _mapping("a mapping by minion id"), "The hosts of the fleet.", ""),
    Key("rules", Type("a list", {"type": "array", "minItems": 1}), "Which hosts pair up, and how.", ""),
    Key("labels", NAMES, "Labels that hosts may have, though no rule uses them.", "[rack]", "none"),
    Key("expect", Type("a list", {"type": ["array", "null"]}), "What must be true of the result.", ""),
    Key("addresses", LOOKED_UP, "Who is asked for the addresses of hosts that have none here.", "mine"),
    Key(
        "certificates", _mapping("a mapping", "null"), "By what hosts prove who they are.", "{source: puppet}"
    ),
    Key("connection", _mapping("a mapping", "null"), "Options of all connections.", "{lifetime: 2h}"),
    Key("weak", WEAK, "What is broken by its age, and taken all the same.", "[modp1024]", "none"),
    Key("setup", _mapping("a mapping", "null"), "`config setup` of ipsec.conf.", "{charondebug: {ike: 2}}"),
    Key("charon", _mapping("a mapping", "null"), "Keys of strongswan.conf.", "{retransmit_tries: 10}"),
    Key("sysctl", _mapping("a mapping", "null"), "Over docs/sysctls.md.", "{net.core.xfrm_acq_expires: 10}"),
    Key("packages", PACKAGES, "What is installed beside strongSwan's own.", "[tcpdump]", "none"),
    Key("vici", BOOLEAN, "Whether Salt's Python gets strongSwan's library.", "false", "true"),
    Key("mtu", _or_null(_whole(*MTU, " (bytes)")), "Locked for the routes to all peers.", "1450"),
    Key("existing", _one_of(EXISTING, None), "What becomes of a strongSwan that was there before.", "keep"),
    Key("metrics", _mapping("a mapping", "null"), "Where metrics go.", "{http: '[::]:9815'}", "nowhere"),
    Key("backend", _one_of(BACKENDS), "By what hosts run that are set up anew.", "auto", IPSEC_CONF),
    # a host
    Key("hosts:*:ipv4", ADDRESS, "The IPv4 address that peers use.", "192.0.2.11"),
    Key("hosts:*:ipv6", ADDRESS, "The IPv6 address that peers use.", "'2001:db8::11'"),
    Key(
        "hosts:*:maintenance",
        _one_of((MAINTENANCE,), True, False)._replace(says=f"true, false, or {MAINTENANCE}"),
        "Takes the host out of every peer.",
        "true",
        "false",
    ),
    Key("hosts:*:addresses", LOOKED_UP, "Who is asked, of a host without an address.", "[mine, dns]"),
    Key("hosts:*:name", TEXT, "What its connections are called at its peers.", "cp3001-b", "the id, short"),
    Key("hosts:*:subject", _TEXT, "By what its peers know it.", "'@cp3001.example'", "that of all hosts"),
    Key("hosts:*:alone", BOOLEAN, "Whether no rule is to fit it.", "true", "false"),
    Key("hosts:*:local_ipv4", ADDRESS, "The address that it has itself, behind a NAT.", "10.0.0.7"),
    Key("hosts:*:nat", LABEL, "A word for the network behind that NAT; a label as well.", "vpc-1"),
    Key("hosts:*:managed", BOOLEAN, "Whether Salt manages it.", "false", "true"),
    Key(
        "hosts:*:ca",
        _TEXT,
        "Where its peers have the CA of one not managed.",
        "/etc/ssl/p.pem",
        "the fleet's",
    ),
    Key("hosts:*:backend", _one_of(BACKENDS), "By what this one runs.", "swanctl", "that of all hosts"),
    # a rule
    Key("rules:*:name", TEXT, "A word for messages, of this rule alone.", "edge-to-core"),
    Key("rules:*:between", LABELS, "Labels that the one host of a pair must have.", "{site: [esams]}"),
    Key("rules:*:and", LABELS, "Labels that the other one must have.", "{site: [eqiad, codfw]}"),
    Key("rules:*:same", NAMES, "Labels of which both must share a value.", "[cluster]", "none"),
    Key("rules:*:different", NAMES, "Labels that both must have, and share no value of.", "[site]", "none"),
    Key(
        "rules:*:stage",
        _one_of(STAGES, False),
        "How far it is with the pairs that the rule decides.",
        "passive",
        START,
    ),
    _own("ike", "Proposals of its pairs' IKE SAs.", "aes256gcm16-prfsha384-ecp384!"),
    _own("esp", "Proposals of their CHILD SAs.", "chacha20poly1305-ecp384!"),
    _own("lifetime", "When a CHILD SA ends.", "4h"),
    _own("ikelifetime", "When an IKE SA is rekeyed at the latest.", "8h"),
    _own("lifebytes", "After so many bytes a CHILD SA ends; 0: never.", "0"),
    _own("lifepackets", "After so many packets it does; 0: never.", "0"),
    _own("margintime", "So long before its end an SA is rekeyed.", "20m"),
    _own("marginbytes", "So many bytes before.", "100000000"),
    _own("marginpackets", "So many packets before.", "429496729"),
    _own("rekeyfuzz", "By how much the margins grow at random.", "50%"),
    _own("dpddelay", "After so long without a packet a peer is asked.", "10s"),
    _own("compress", "Whether packets are compressed.", "'yes'"),
    _own("type", "`transport`, or `tunnel`.", "tunnel"),
    Key(
        "rules:*:encapsulation",
        _one_of(ENCAPSULATIONS),
        "`udp`: ESP goes in UDP, for a network that drops it.",
        "udp",
    ),
    Key("rules:*:clear", EXCEPTIONS, "What stays in the clear between the two.", "[tcp/22]", "nothing"),
    Key("rules:*:only", ONLY, "What alone is encrypted between the two.", "[tcp/6379]", "all"),
    Key("rules:*:mtu", _or_null(_whole(*MTU, " (bytes)")), "Locked for the routes between the two.", "1400"),
    # an assertion
    Key("expect:*:host", HOST_ID, "The host that it is about.", "cp3001.esams.example"),
    Key("expect:*:pairs_with", HOST_ID, "A host that it must pair with.", "cp1001.eqiad.example"),
    Key("expect:*:not_pairs_with", HOST_ID, "A host that it must not pair with.", "db1001.eqiad.example"),
    Key("expect:*:peers", _whole(*PEERS), "So many peers it must have.", "3"),
    Key("expect:*:rule", TEXT, "The rule that it is about.", "edge-to-core"),
    Key("expect:*:pairs", _whole(*PAIRS), "For so many pairs it must decide.", "6"),
    # certificates
    Key("certificates:source", _one_of(CERTIFICATES), "Where they are.", FILES, PUPPET),
    Key("certificates:ssldir", PATH, "Puppet's directory.", "/etc/puppet/ssl", "where it is", PUPPET),
    Key("certificates:certificate", TEMPLATE, "The certificate.", "'/etc/ssl/{id}.pem'", "", FILES),
    Key("certificates:key", TEMPLATE, "Its private key.", "'/etc/ssl/{id}.key'", "", FILES),
    Key("certificates:ca", TEMPLATE, "The CAs of all peers.", "/etc/ssl/ca.pem", "", FILES),
    Key("certificates:crl", TEMPLATE, "Revocation lists.", "/etc/ssl/crl.pem", "none", FILES),
    Key("certificates:subject", TEXT, "By what peers know each host.", "'@{id}'", "`CN={id}`"),
    Key(
        "certificates:warn_days",
        _whole(*WARN_DAYS),
        "So many days before its end a certificate is a warning.",
        "14",
        str(defaults.WARN_DAYS),
    ),
    # what all connections share
    _shared("ike", "Proposals of IKE SAs.", "aes256gcm16-prfsha384-ecp384!"),
    _shared("esp", "Proposals of CHILD SAs.", "chacha20poly1305-ecp384!"),
    _shared("type", "The mode of CHILD SAs.", "tunnel"),
    _shared("lifetime", "When a CHILD SA ends.", "2h"),
    _shared("keylife", "Another word for `lifetime`.", "2h"),
    _shared("lifebytes", "After so many bytes a CHILD SA ends.", "10000000000"),
    _shared("lifepackets", "After so many packets it does.", "3435973836"),
    _shared("ikelifetime", "When an IKE SA is rekeyed at the latest.", "8h"),
    _shared("margintime", "So long before its end an SA is rekeyed.", "20m"),
    _shared("rekeymargin", "Another word for `margintime`.", "20m"),
    _shared("marginbytes", "So many bytes before; with `lifebytes`.", "0"),
    _shared("marginpackets", "So many packets before; with `lifepackets`.", "0"),
    _shared("rekeyfuzz", "By how much the margins grow at random.", "50%"),
    _shared("rekey", "Whether an SA is rekeyed before it ends.", "'yes'"),
    _shared("reauth", "Whether that of an IKE SA authenticates anew.", "'no'"),
    _shared("dpddelay", "After so long without a packet a peer is asked.", "10s"),
    _shared("dpdtimeout", "Of IKEv1.", "150s"),
    _shared("keyingtries", "How often a start is tried.", "'%forever'"),
    _shared("closeaction", "What follows where the peer closes a CHILD SA.", "none"),
    _shared("compress", "Whether packets are compressed.", "'yes'"),
    _shared("tfc", "To what size packets are padded.", "'%mtu'"),
    _shared("replay_window", "So many packets late one is still taken.", "256"),
    _shared("sha256_96", "HMAC-SHA-256 is cut to 96 bits, for peers that do so wrongly.", "'no'"),
    _shared("forceencaps", "Whether ESP goes in UDP where there is no NAT.", "'yes'"),
    _shared("fragmentation", "Whether large IKE messages go in parts.", "'yes'"),
    _shared("mobike", "Whether addresses of an IKE SA may move.", "'no'"),
    _shared("ikedscp", "The DSCP of IKE packets.", "'101110'"),
    _shared("leftikeport", "The port of IKE here.", "500"),
    _shared("rightikeport", "The port of IKE at peers.", "500"),
    _shared("keyexchange", "The version of IKE.", "ikev2"),
    _shared("authby", "By what hosts prove who they are.", "pubkey"),
    _shared("leftauth", "By which kind of key and hash this end does.", "ecdsa-sha384"),
    _shared("rightauth", "By which kinds of key and hash peers must.", "ecdsa-384-sha384"),
    _shared("leftca", "The CA that this end's certificate is to be of.", "CN=Fleet CA"),
    _shared("rightca", "The CA to which peers are bound, in place of the fleet's own.", "CN=Fleet CA"),
    _shared("leftcertpolicy", "A policy that this end's certificate has to have.", "1.2.3.4"),
    _shared("rightcertpolicy", "A policy that certificates of peers have to have.", "1.2.3.4"),
    _shared("leftsendcert", "When this end sends its certificate.", "always"),
    _shared("rightsendcert", "When peers are asked for theirs.", "ifasked"),
    _shared("leftfirewall", "Whether strongSwan's script adds rules to iptables.", "'no'"),
    _shared("lefthostaccess", "Whether those are for the host itself as well.", "'no'"),
    _shared("leftupdown", "What is run when a CHILD SA comes and goes.", "/usr/local/sbin/updown"),
    _shared("leftallowany", "Whether this end may be at any address.", "'no'"),
    _shared("rightallowany", "Whether peers may be at any address.", "'no'"),
    _shared("inactivity", "After so long without a packet a CHILD SA ends.", "0"),
    _shared("installpolicy", "Whether charon puts policies into the kernel.", "'yes'"),
    _shared("mediation", "Of IKE mediation.", "'no'"),
    _shared("aggressive", "Of IKEv1.", "'no'"),
    _shared("modeconfig", "Of IKEv1.", "pull"),
    # config setup
    Key("setup:charondebug", LEVELS, "What charon logs, by type.", "{ike: 2}", "`{cfg: 2, dmn: 2}`"),
    _setup("cachecrls", "Whether CRLs that were fetched are kept on disk.", "'yes'", "no"),
    _setup("strictcrlpolicy", "Whether a peer without a fresh CRL is refused.", "ifuri", "no"),
    _setup("uniqueids", "What becomes of an IKE SA when its peer makes another.", "'yes'", "yes"),
    # metrics
    Key("metrics:textfile", _TEXT, "A directory that node_exporter reads.", "/var/lib/node"),
    Key("metrics:http", _TEXT, "ADDRESS:PORT to be scraped at.", "'[::]:9815'"),
    Key("metrics:graphite", _TEXT, "HOST:PORT of Graphite's plaintext.", "graphite.example:2003"),
    Key("metrics:clear_text", BOOLEAN, "Whether clear text between peers is counted.", "true", "false"),
)


def below(above: str = "", of: str = "") -> tuple[str, ...]:
    """Return the keys that stand below one, in their order; ``of`` a source of certificates."""
    return tuple(key.name for key in KEYS if key.above == above and (not of or key.of in ("", of)))
