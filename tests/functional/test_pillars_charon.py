"""What is accepted of mutilated pillars one charon loads as it is meant, of ipsec.conf and by swanctl.

Each is in files of its own, as a host of it has them: no fault hides behind another.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from datetime import datetime, timezone
from functools import partial
from typing import NamedTuple

import pytest
import strongswan
from cryptography import x509
from strongswan import Host, wait_for

import authorities
from hostipsec.certificates import names
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.errors import ConfigError, HostIPsecError
from hostipsec.model import Connection
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import durations, identity, render, sections, swanctl
from hostipsec.strongswan.sections import Configuration, Secret
from mutilated import MADE, WAYS, mutilated

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces"),
    pytest.mark.filterwarnings("ignore:Attribute's length"),  # of a country, in a certificate
]

NONE_TAKEN = {"surrogates", "control", "long", "deep"}  # none of theirs is accepted
NUMBERS = {**{way: 460 for way in WAYS if way not in NONE_TAKEN}, "chosen": 320, "slight": 440}
FEW = 5
SAMPLE = 300  # at least, no two of which have one ipsec.conf
CA = "CN=Fleet CA"
PRINT = "0123456789abcdef"
EMPTY = "config setup\n"
CERTIFICATES = {"ipsec.d": ("certs", "cacerts"), "swanctl": ("x509", "x509ca")}
LOGGED = "charon { filelog { told {\n path = /tmp/charon.log\n default = 1\n flush_line = yes\n} } }\n"
SAID = re.compile(  # by charon, where nothing is wrong; no address of the pillars is the host's
    r"\d\d\[(CFG|KNL)\] ("
    r"received stroke: (add|delete) connection '.*'|(added|deleted) (configuration|connection) '.*'"
    r"|received stroke: (un)?route '.*'|(un)?installing '.*'"
    r"|error installing route with policy .*|installing trap failed"
    r"|(added|removed|replaced) vici connection: .*"
    r"|loaded certificate '.*'|  loaded certificate \".*\" from '.*'"
    r"|left nor right host is our side, assuming left=local"
    r"|loaded \d+ (entries for attr plugin configuration|RADIUS server configurations?)"
    r"|no RADIUS secret defined|RADIUS server '.*' misses (address|secret), skipped"
    r"|mapping attribute type .* failed)"
)
STARTER = re.compile(r"^.*(?:/ipsec\.conf|bad|unknown|invalid|fatal|error).*$", re.MULTILINE)
NEVER = 2**63  # what has no limit has one of 2**64 less the margin, of ipsec.conf


class Told(NamedTuple):
    """What a host of one pillar has."""

    connections: tuple[Connection, ...]
    value: Configuration


def told(way, number):
    """Return what one host of the pillar is told; None where the pillar is refused, or it has no peers."""
    try:
        fleet = pillar.read(mutilated(way, number))
    except HostIPsecError:
        return None
    several = [found for host in fleet.hosts if (found := topology.connections(fleet, host.id))]
    if not several:
        return None
    named = fleet.settings.connection.get("rightca", CA)
    if named != CA and identity.kind(named) == identity.DN:  # apply tells where the host has no such CA
        return None
    connections = several[number % len(several)]
    file, binding = f"{way}.pem", {"rightca": CA, "rightca2": PRINT}
    given = (fleet.settings, file, Secret("ECDSA", file))
    return Told(connections, sections.configuration(connections, *given, binding=binding))


@pytest.fixture(scope="module")
def sample():
    """Return what hosts are told by pillar, no two the same."""
    found = {}
    for way, numbers in NUMBERS.items():
        for number in range(numbers):
            if one := told(way, number):
                found.setdefault(render.ipsec_conf(one.value), (f"{way} {number}", one))
    assert {*NUMBERS} == {*WAYS, *MADE} - NONE_TAKEN
    assert len(found) >= SAMPLE
    return dict(found.values())


class Daemon:
    """A charon that both can tell, and what it and starter say meanwhile."""

    def __init__(self, place):
        self.host = Host("east", place / "east", over=strongswan.unpacked())
        self.now = datetime.now(timezone.utc)
        self.ca = authorities.authority(CA, self.now)
        self.key = self.ca.key
        for directory, (_, cas) in CERTIFICATES.items():
            self.host.write(f"/etc/{directory}/{cas}/{swanctl.authority_file(PRINT)}", self.ca.pem.decode())
        self.host.start(EMPTY, "", f"{strongswan.STRONGSWAN_CONF}{LOGGED}")
        self.backend = ViciBackend(self.host.vici)
        self.read = 0
        self.complaints()  # of its start

    def issue(self, subject, file):
        """Have a certificate that confirms an identity, as that of a host has to."""
        named, beside = x509.Name([]), ()
        if identity.kind(subject) == identity.DN:
            parts = [names._encoded(*part) for part in names.parse(subject)]
            named = x509.Name(
                x509.NameAttribute(
                    x509.ObjectIdentifier(part.oid),
                    part.value.decode(),
                    _type=authorities._ASN1Type(part.tag),
                    _validate=False,
                )
                for part in parts
            )
        elif subject.startswith("@"):
            beside = x509.DNSName(subject[1:])
        else:
            beside = x509.IPAddress(ipaddress.ip_address(subject))
        more = ((x509.SubjectAlternativeName([beside]), True),) if beside else ()
        own = authorities.host("", self.now, self.ca, named=named, extensions=more, key=self.key)
        for directory, (certificates, _) in CERTIFICATES.items():
            self.host.write(f"/etc/{directory}/{certificates}/{file}", own.pem.decode())

    def settings(self, one):
        """Give charon certificate and strongswan.conf of a host."""
        self.issue(one.connections[0].leftid, one.value.certificates[0])
        self.host.write("/etc/strongswan.d/hostipsec.conf", render.strongswan_conf(one.value))
        self.backend.reload_settings()

    def listed(self):
        """Return what charon has, by name."""
        with self.host.vici(60) as session:
            found = [strongswan._plain(one) for one in session.list_conns()]
        return {name: shown(conn) for one in found for name, conn in one.items()}

    def complaints(self):
        """Return what charon has said since the last time that it does not say where all is well."""
        text = (self.host.root / "tmp/charon.log").read_text()[self.read :]
        self.read += len(text)
        return [line for line in text.splitlines() if not SAID.fullmatch(line)]

    def by_ipsec_conf(self, text, wanted):
        return self.updated(EMPTY, {}) or self.updated(text, wanted)

    def updated(self, text, wanted):
        self.host.write("/etc/ipsec.conf", text)
        self.host.run("ipsec", "update")
        try:
            wait_for(lambda: self.listed() == wanted, "what is meant")
        except AssertionError:
            return differing(self.listed(), wanted)
        return {}

    def by_swanctl(self, text, wanted):
        return self.loaded("", {}) or self.loaded(text, wanted)

    def loaded(self, text, wanted):
        self.host.write("/etc/swanctl/conf.d/hostipsec.conf", text)
        said = self.host.process(["swanctl", "--load-all", "--noprompt"], 60)
        return {"status": said.text} if said.status else differing(self.listed(), wanted)


@pytest.fixture(scope="module")
def charon(tmp_path_factory):
    started = Daemon(tmp_path_factory.mktemp("pillars"))
    try:
        yield started
    finally:
        started.host.stop()


def shown(conn):
    """Return what is compared of a connection as charon lists it."""
    ((name, child),) = conn["children"].items()
    amounts = {key: int(child[key]) % NEVER if int(child[key]) < NEVER else 0 for key in AMOUNTS}
    return {
        **{key: conn.get(key) for key in ("local_addrs", "remote_addrs", "version", "unique", "dpd_delay")},
        **{key: int(conn.get(key, 0)) for key in ("reauth_time", "rekey_time")},
        **{end: (conn[end]["class"], conn[end]["id"]) for end in ("local-1", "remote-1")},
        "cas": conn["remote-1"]["cacerts"],
        "child": {"name": name, **{key: child[key] for key in CHILD}, **amounts},
    }


CHILD = ("mode", "dpd_action", "close_action", "rekey_time", "local-ts", "remote-ts")
AMOUNTS = ("rekey_bytes", "rekey_packets")


def meant(one):
    """Return the same as the configuration means it, by name."""
    return {conn.name: meaning(conn, one.value) for conn in one.connections}


def meaning(conn, value):
    has = {**DEFAULTS, **value.defaults, **value.connections[conn.name]}
    margin, ike, child = (durations.parse(has[key]) for key in ("margintime", "ikelifetime", "lifetime"))
    again = "reauth_time" if has["reauth"] == "yes" else "rekey_time"
    return {
        "local_addrs": [str(conn.left)],
        "remote_addrs": [str(conn.right)],
        "version": "IKEv2",
        "unique": f"UNIQUE_{UNIQUE.get(value.setup.get('uniqueids', 'yes'))}",
        "dpd_delay": str(durations.parse(has["dpddelay"])),
        "reauth_time": 0,
        "rekey_time": 0,
        again: ike - margin,
        "local-1": ("public key", printed(conn.leftid)),
        "remote-1": ("public key", printed(conn.rightid)),
        "cas": [CA],
        "child": {
            "name": conn.name,
            "mode": has["type"].upper(),
            "dpd_action": ACTIONS[has["dpdaction"]],
            "close_action": ACTIONS[has.get("closeaction", "none")],
            "rekey_time": str(child - margin),
            "local-ts": ["dynamic"],
            "remote-ts": ["dynamic"],
            "rekey_bytes": amount(has, "bytes"),
            "rekey_packets": amount(has, "packets"),
        },
    }


ACTIONS = {"none": "none", "clear": "none", "restart": "start"}
UNIQUE = {"yes": "REPLACE", "replace": "REPLACE", "no": "NO", "keep": "KEEP", "never": "NEVER"}


DEFAULTS = {  # of ipsec.conf(5)
    "margintime": "9m",
    "ikelifetime": "3h",
    "lifetime": "1h",
    "reauth": "yes",
    "dpddelay": "30s",
    "type": "tunnel",
}


def amount(has, unit):
    most = int(has.get(f"life{unit}", "0"))
    return most - int(has.get(f"margin{unit}", "0")) if most else 0


def printed(subject):
    """Return an identity as charon prints it: a name's parts in their order, what is not ASCII as ``?``."""
    if identity.kind(subject) != identity.DN:
        return subject.removeprefix("@")
    text = ", ".join(f"{attribute}={value}" for attribute, value in names.parse(subject))
    return "".join("?" * len(one.encode()) if not one.isascii() else one for one in text)


def differing(found, wanted):
    """Return what differs, by connection: what there is, and what is meant."""
    if {*found} != {*wanted}:
        return {"names": (sorted(found), sorted(wanted))}
    pairs = {name: items(found[name], wanted[name]) for name in found}
    return {name: pair for name, pair in pairs.items() if pair}


def items(one, other):
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def wrong_of(charon, several):
    """Return what is wrong, by pillar, of the first few that are not loaded as they are meant."""
    wrong = {}
    for name, one, load in several:
        charon.settings(one)
        differs = load(meant(one))
        lacks = f'CA certificate "{one.value.defaults.get("leftca")}" not found, discarding CA constraint'
        said = [
            line for line in charon.complaints() if not line.endswith(lacks)
        ]  # the host has its own alone
        if said or differs:
            wrong[name] = (differs, said)
        if len(wrong) > FEW:
            break
    return wrong


def test_charon_loads_what_is_accepted_of_ipsec_conf(charon, sample):
    texts = ((name, one, render.ipsec_conf(one.value)) for name, one in sample.items())
    several = ((name, one, partial(charon.by_ipsec_conf, text)) for name, one, text in texts)
    wrong = wrong_of(charon, several)
    assert charon.updated(EMPTY, {}) == {}
    assert wrong == {}
    assert STARTER.findall(charon.host.log) == []


def test_charon_loads_what_is_accepted_by_swanctl(charon, sample):
    """What swanctl cannot be told is refused with a sentence."""
    texts = {}
    for name, one in sample.items():
        with contextlib.suppress(ConfigError):
            texts[name] = swanctl.conf(one.value)
    assert len(texts) > SAMPLE / 2
    several = ((name, sample[name], partial(charon.by_swanctl, text)) for name, text in texts.items())
    wrong = wrong_of(charon, several)
    assert charon.loaded("", {}) == {}
    assert wrong == {}
