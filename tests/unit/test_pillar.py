"""Bad pillar: one clear error each, which names the key, the value and what is allowed."""

from __future__ import annotations

import contextlib
import cProfile
import datetime
import ipaddress
import math
import pstats
import re
from pathlib import Path

import pytest
import yaml

import fleets
from hostipsec.errors import HostIPsecError, PillarError
from hostipsec.model import Metrics
from hostipsec.pillar import addressed, expected, membership, parts, pillar
from hostipsec.pillar import settings as settings_module
from hostipsec.pillar.found import Found
from hostipsec.strongswan import catalog, defaults

CP = "cp1001.eqiad.example"


def mutate(path: str, value: object) -> dict:
    """Return the example with a value put at a path of keys and indexes, joined by ':'."""
    data = fleets.example()
    *parents, last = path.split("/")
    node = data
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    if isinstance(node, list):
        node.insert(int(last), value)
    else:
        node[last] = value
    return data


# path of the mutation, value put there, path of the error, words the error must have
EMPTY = ("same", "different", "clear", "mtu")  # nothing behind them dropped what was meant in silence
CASES = [
    *((f"rules/0/{key}", None, f"ipsec:rules:0:{key}", ["found nothing"]) for key in EMPTY),
    (f"hosts/{CP}/cluster", None, f"ipsec:hosts:{CP}:cluster", ["found nothing"]),
    *(
        ("rules/0/name", bad, "ipsec:rules:0:name", ["a name for the rule, one line of text"])
        for bad in ("x\ud800", "a\nb", "\x1b[31m", "", "x" * 1001, None)
    ),
    ("rules/0/name", True, "ipsec:rules:0:name", ["as YAML reads yes, on and true", "in quotes"]),
    ("hostz", {}, "ipsec:hostz", ["unknown key 'hostz'", "hosts"]),
    ("rules/0/betweenn", {}, "ipsec:rules:0:betweenn", ["unknown key 'betweenn'", "between"]),
    ("expect/0/pairs_wit", "x", "ipsec:expect:0:pairs_wit", ["unknown key 'pairs_wit'", "pairs_with"]),
    ("certificates/sourc_e", "x", "ipsec:certificates:sourc_e", ["unknown key 'sourc_e'", "source"]),
    (
        f"hosts/{CP}/maintenanse",
        True,
        f"ipsec:hosts:{CP}:maintenanse",
        ["unknown key 'maintenanse'", "maintenance"],
    ),
    *(
        (f"hosts/{CP}/{key}", value, f"ipsec:hosts:{CP}:{key}", ["local_ipv4"])
        for key, value in (("local_ip", "10.0.0.1"), ("local_ipv6", "2001:db8::7"))
    ),
    (f"hosts/{CP}/ipv44", "10.0.0.1", f"ipsec:hosts:{CP}:ipv44", ["unknown key 'ipv44'", "ipv4"]),
    (f"hosts/{CP}/maintenance", "yes", f"ipsec:hosts:{CP}:maintenance", ["'yes'", "true or false"]),
    (f"hosts/{CP}/ipv4", "2001:db8::1", f"ipsec:hosts:{CP}:ipv4", ["2001:db8::1", "IPv4"]),
    (f"hosts/{CP}/ipv6", "10.0.0.1", f"ipsec:hosts:{CP}:ipv6", ["10.0.0.1", "IPv6"]),
    (f"hosts/{CP}/ipv4", "cp1001", f"ipsec:hosts:{CP}:ipv4", ["'cp1001'", "IPv4 address"]),
    (f"hosts/{CP}/ipv4", "127.0.0.1", f"ipsec:hosts:{CP}:ipv4", ["127.0.0.1", "not of loopback"]),
    (f"hosts/{CP}/ipv6", "fe80::1", f"ipsec:hosts:{CP}:ipv6", ["fe80::1", "not of loopback, link"]),
    ("hosts/bad host", {"ipv4": "10.0.0.9"}, "ipsec:hosts:bad host", ["minion id"]),
    ("hosts/new.example", {"site": "esams"}, "ipsec:hosts:new.example", ["no address", "new.example"]),
    (
        "hosts/new.example",
        {"ipv4": "10.64.0.11"},
        "ipsec:hosts:new.example:ipv4",
        ["10.64.0.11", CP, "address of its own"],
    ),
    ("rules/0/between", {"siet": "esams"}, "ipsec:rules:0:between", ["has the label 'siet'", "site"]),
    ("rules/0/same", ["clusder"], "ipsec:rules:0:same", ["the label 'clusder'", "'cluster' (of "]),
    ("rules/0/different", ["sites"], "ipsec:rules:0:different", ["the label 'sites'", "'site' (of "]),
    ("rules/0/stage", "on", "ipsec:rules:0:stage", ["'on'", "off, passive, start, require"]),
    ("rules/0/name", None, "ipsec:rules:0:name", ["nothing", "a name"]),
    ("rules/0/name", "core-to-core", "ipsec:rules:1:name", ["'core-to-core' again"]),
    ("rules", [], "ipsec:rules", ["no rule"]),
    ("rules", {"name": "x"}, "ipsec:rules", ["a mapping", "a list"]),
    ("hosts", {}, "ipsec:hosts", ["no host"]),
    ("expect/0", {"host": CP, "peers": 27}, "ipsec:expect:0", ["has 3 peers", "27 peers"]),
    (
        "expect/0",
        {"host": CP, "pairs_with": "db1001.eqiad.example"},
        "ipsec:expect:0",
        ["pairs with", "db1001.eqiad.example"],
    ),
    ("expect/0", {"host": "cp1009.eqiad.example", "peers": 1}, "ipsec:expect:0:host", ["cp1009", CP[:5]]),
    ("expect/0", {"host": 7, "peers": 1}, "ipsec:expect:0:host", ["found 7", "below 'hosts'; in quotes"]),
    *(
        ("expect/0", {"host": CP, key: CP}, f"ipsec:expect:0:{key}", [f"'{CP}', the host itself", "another"])
        for key in ("pairs_with", "not_pairs_with")
    ),
    ("setup/charondebug", "app 1", "ipsec:setup:charondebug", ["app", "cfg"]),
    ("setup/charondebug", {"app": 1}, "ipsec:setup:charondebug:app", ["unknown type 'app'", "cfg"]),
    ("setup/charondebug", {"cfg": 5}, "ipsec:setup:charondebug:cfg", ["5", "-1", "4"]),
    ("connection/keyingretries", 3, "ipsec:connection:keyingretries", ["keyingretries", "keyingtries"]),
    ("connection/mobike", "maybe", "ipsec:connection:mobike", ["maybe", "yes", "no"]),
    (
        "connection/lifetime",
        "5m",
        "ipsec:connection:lifetime",
        ["found 5m, with margintime 13m", "more than 1560 s, or a smaller 'margintime' beside it"],
    ),
    ("connection/ikelifetime", "20m", "ipsec:connection:ikelifetime", ["found 20m", "more than 1560 s"]),
    ("connection/rekeyfuzz", "400%", "ipsec:connection:rekeyfuzz", ["found 400%", "less than 361%"]),
    (
        "connection/margintime",
        "30m",
        "ipsec:connection:margintime",
        ["found 30m", "less than 50% of lifetime"],
    ),
    # keys of before, of others and of swanctl.conf: what does it now
    ("connection/pfsgroup", "modp2048", "ipsec:connection:pfsgroup", ["perfect forward secrecy", "'esp'"]),
    ("connection/auth", "esp", "ipsec:connection:auth", ["'esp' has its algorithms"]),
    ("connection/rekey_time", "1h", "ipsec:connection:rekey_time", ["'lifetime'", "'margintime'"]),
    ("connection/nonsense", 1, "ipsec:connection:nonsense", ["as ipsec.conf(5) documents them"]),
    ("setup/charonstart", True, "ipsec:setup:charonstart", ["strongSwan 5 has no use for it"]),
    ("setup/plutodebug", "all", "ipsec:setup:plutodebug", ["'charondebug' of 'setup'"]),
    *(
        (f"charon/{logger}", value, f"ipsec:charon:{logger}{below}", ["filelog: {main: {path: /var/log/"])
        for logger in ("filelog", "syslog")
        for value, below in (
            ({"/var/log/charon.log": {"default": 1}}, ":/var/log/charon.log"),
            ({"path": "/var/log/charon.log"}, ":path"),
        )
    ),
    # a certificate that is named, and no word on where it is
    (
        "certificates",
        {"certificate": "/c/{id}", "key": "/k/{id}", "ca": "/ca"},
        "ipsec:certificates:source",
        ["found ca, certificate, key, and no 'source'", "source: files"],
    ),
    *(
        (
            "certificates",
            {"source": "puppet", "subject": subject},
            "ipsec:certificates:subject",
            [subject, word],
        )
        for subject, word in (
            ("X={id}", "'X={id}' is no"),
            ("O=a,{id}", "'{id}'"),
            ("CN={id},", "''"),
            ("CN={id}, =x", "'=x' is no"),
            ("{id}", "a distinguished name"),
            ("/CN={id}/x", "'x'"),
        )
    ),
    *(
        ("labels", [label], "ipsec:labels", [label, "a key of hosts"])
        for label in ("ipv4", "maintenance", "name", "alone")
    ),
    ("labels", [True], "ipsec:labels", ["found True, as YAML reads yes, on and true", "in quotes"]),
    *(
        (f"hosts/{CP}/cluster", value, f"ipsec:hosts:{CP}:cluster", [said, "in quotes"])
        for value, said in (
            (True, "found True, as YAML reads yes, on and true"),
            (False, "found False, as YAML reads no, off and false"),
            (1.1, "found 1.1, as YAML reads 1.10 too"),
            (math.inf, "found inf"),
            (datetime.date(2026, 1, 2), "as YAML reads 2026-01-02"),
            (datetime.datetime(2026, 1, 2, 0, 0), "as YAML reads 2026-01-02"),  # as Salt sends a date
            (datetime.datetime(2026, 1, 2, 3, 4, 5), "as YAML reads 2026-01-02 03:04:05"),
        )
    ),
    ("rules/0/between", {"site": False}, "ipsec:rules:0:between:site", ["as YAML reads no", "in quotes"]),
    (
        "rules/0/between",
        {True: "x", "site": "esams"},
        "ipsec:rules:0:between:True",
        ["key True", "in quotes"],
    ),
    ("rules/0/between", {"site": {"nod": "x"}}, "ipsec:rules:0:between:site:nod", ["unknown key", "not"]),
    ("rules/0/between", {"site": {}}, "ipsec:rules:0:between:site", ["an empty mapping", "{not: VALUE}"]),
    ("rules/0/between", {"site": {"not": []}}, "ipsec:rules:0:between:site:not", ["empty list", "a value"]),
    (
        "rules/0/between",
        {"ipv4": "10.64.0.11"},
        "ipsec:rules:0",
        ["found the label 'ipv4'", "a key of hosts"],
    ),
    (f"hosts/{CP}/alone", "yes", f"ipsec:hosts:{CP}:alone", ["'yes'", "true or false"]),
    (f"hosts/{CP}/alone", True, f"ipsec:hosts:{CP}:alone", ["pair it with cp2001.codfw", "no such mark"]),
    *(
        (f"hosts/{CP}/{key}", value, f"ipsec:hosts:{CP}:{key}", [f"unknown key {key!r}", said])
        for key, value, said in (
            ("IPv6", "2001:db8:1::99", "did you mean 'ipv6'?"),
            ("addr", "10.64.0.99", "did you mean 'ipv4'?"),
            ("addr", "cp1001.mgmt.example", "did you mean 'addresses'?"),
            ("clutser", "text", "did you mean 'cluster'?"),  # codespell:ignore
            ("labels", ["rack"], "'labels' is a key below 'ipsec'"),
            ("mtu", 1400, "'mtu' is a key of rules and below 'ipsec'"),
            ("stage", "require", "'stage' is a key of rules"),
            ("rack", "a", "a label that no rule uses is declared, 'labels: [rack]' below 'ipsec'"),
        )
    ),
    ("connection/ikedscp", 46, "ipsec:connection:ikedscp", ["found 46", "in quotes"]),
    *(
        (f"hosts/{CP}/ipv4", address, f"ipsec:hosts:{CP}:ipv4", [address, "the address of a network"])
        for address in ("10.0.0.0", "172.16.0.0", "192.168.0.0", "100.64.0.0")
    ),
    (f"hosts/{CP}/ipv4", "0.1.2.3", f"ipsec:hosts:{CP}:ipv4", ["0.1.2.3", "a reserved address"]),
    (f"hosts/{CP}/ipv6", "fec0::1", f"ipsec:hosts:{CP}:ipv6", ["fec0::1", "a reserved address"]),
    (f"hosts/{CP}/ipv6", "2001:db8::", f"ipsec:hosts:{CP}:ipv6", ["2001:db8::", "the address of a network"]),
    (
        "connection/ike",
        "aes128gcm17-prfsha384-ecp384bp!",
        "ipsec:connection:ike",
        ["aes128gcm17", "aes128gcm16"],
    ),
    ("connection/esp", "aes128gcm16-ecp385bp", "ipsec:connection:esp", ["ecp385bp", "ecp384bp"]),
    ("connection/auto", "route", "ipsec:connection:auto", ["stage"]),
    (
        "charon/retramsmit_tries",
        15,
        "ipsec:charon:retramsmit_tries",
        ["retramsmit_tries", "retransmit_tries"],
    ),
    ("certificates/source", "vault", "ipsec:certificates:source", ["'vault'", "puppet, files"]),
    ("certificates/subject", "CN={name}", "ipsec:certificates:subject", ["{name}", "{id}"]),
    *(
        (
            "sysctl",
            {f"net.ipv4.conf.{name}": 1},
            f"ipsec:sysctl:net.ipv4.conf.{name}",
            ["found 1", "in the clear"],
        )
        for name in ("all.disable_xfrm", "eth0/100.disable_policy")
    ),
    (
        "sysctl",
        {"net.core//x": 1},
        "ipsec:sysctl:net.core//x",
        ["a name below 'net.'"],
    ),  # another than it seems
    ("sysctl/net.core.x", 10**200, "ipsec:sysctl:net.core.x", ["hundreds of digits", "a whole number"]),
    ("sysctl/net.core.default_qdisc", "fq;", "ipsec:sysctl:net.core.default_qdisc", ["'fq;'", "words"]),
    *(
        ("packages", [name], "ipsec:packages", [repr(name), "an IKE daemon of its own", "no second one"])
        for name in ("charon-systemd", "libreswan", "racoon", "isakmpd", "openswan")  # codespell:ignore
    ),
    *(  # which apt-get takes for that
        ("packages", [name], "ipsec:packages", [repr(name), "an IKE daemon of its own", "no second one"])
        for name in ("libreswan+", "libresw.n", "libreswa+n")
    ),
    *(
        ("packages", [name], "ipsec:packages", [repr(name), "charon-systemd on some", "by its own name"])
        for name in ("strongswan", "strongswan+")
    ),
    ("connection/keyexchange", "ike", "ipsec:connection:keyexchange", ["'ike'", "ikev2; with ike", "IKEv1"]),
    (
        "connection/mtu",
        1400,
        "ipsec:connection:mtu",
        ["unknown key", "'mtu' beside 'connection', or at a rule"],
    ),
    ("connection/clear", "tcp/22", "ipsec:connection:clear", ["unknown key", "that key at a rule"]),
    *(
        (f"rules/0/{key}", value, f"ipsec:rules:0:{key}", [f"unknown key {key!r}", said])
        for key, value, said in (
            ("forceencaps", True, "allowed: 'encapsulation: udp'"),
            ("encap", True, "allowed: 'encapsulation: udp'"),
            ("keylife", "2h", "allowed: 'lifetime'"),
            ("mobike", False, "allowed: 'mobike' below 'connection', for all pairs"),
            ("proposals", "aes256", "allowed: 'ike'"),
            ("leftsubnet", "10.0.0.0/8", "allowed: and, between"),
            ("stge", "off", "did you mean 'stage'?"),
        )
    ),
    # apt-get would remove it; would take each package whose name fits
    *(
        ("packages", [name], "ipsec:packages", [repr(name)])
        for name in ("strongswan-starter-", "lib.+", "a.")
    ),
    ("sysctl/kernel.panic", 1, "ipsec:sysctl:kernel.panic", ["kernel.panic", "net."]),
    (
        "sysctl/net.core.xfrm_larval_drop",
        "no way",
        "ipsec:sysctl:net.core.xfrm_larval_drop",
        ["no way", "number"],
    ),
    ("mtu", 100, "ipsec:mtu", ["100", "1280"]),
    ("vici", "yes", "ipsec:vici", ["'yes'", "true or false"]),
    ("hosts", None, "ipsec:hosts", ["nothing", "a mapping"]),
    ("hosts", ["cp1001"], "ipsec:hosts", ["a list", "a mapping"]),
    (f"hosts/{CP}", "10.0.0.1", f"ipsec:hosts:{CP}", ["'10.0.0.1'", "a mapping"]),
    (f"hosts/{CP}/ipv4", None, f"ipsec:hosts:{CP}:ipv4", ["nothing", "IPv4 address"]),
    (f"hosts/{CP}/ipv4", "224.0.0.1", f"ipsec:hosts:{CP}:ipv4", ["224.0.0.1", "unicast"]),
    (f"hosts/{CP}/ipv4", "10.0.0.1/24", f"ipsec:hosts:{CP}:ipv4", ["'10.0.0.1/24'", "unicast"]),
    (f"hosts/{CP}/ipv4", "0.0.0.0", f"ipsec:hosts:{CP}:ipv4", ["found 0.0.0.0", "unicast"]),
    (f"hosts/{CP}/ipv4", "255.255.255.255", f"ipsec:hosts:{CP}:ipv4", ["255.255.255.255", "unicast"]),
    (f"hosts/{CP}/ipv6", "::", f"ipsec:hosts:{CP}:ipv6", ["found ::", "unicast"]),
    (f"hosts/{CP}/ipv6", "::ffff:10.0.0.1", f"ipsec:hosts:{CP}:ipv6", ["an IPv4 address in IPv6 (10.0.0.1)"]),
    (f"hosts/{CP}/ipv6", '2001:db8::66%x"\nauto="start"', f"ipsec:hosts:{CP}:ipv6", ["\\nauto", "unicast"]),
    ("addresses", "minion", "ipsec:addresses", ["'minion'", "mine, dns"]),
    ("addresses", [], "ipsec:addresses", ["a list", "mine, dns"]),
    ("addresses", ["mine", 5], "ipsec:addresses", ["found 5", "mine, dns"]),
    ("addresses", True, "ipsec:addresses", ["True", "mine, dns"]),
    (f"hosts/{CP}/addresses", "minion", f"ipsec:hosts:{CP}:addresses", ["'minion'", "mine, dns"]),
    (f"hosts/{CP}/addresses", "mine", f"ipsec:hosts:{CP}:addresses", ["beside an address", "one of them"]),
    (f"hosts/{CP}/ipv6", 733420, f"ipsec:hosts:{CP}:ipv6", ["733420", "in quotes"]),
    (f"hosts/{CP}/ipv6", "2001:db8::1%eth0", f"ipsec:hosts:{CP}:ipv6", ["%eth0", "not of loopback, link"]),
    (f"hosts/{CP}/cluster", [["a"]], f"ipsec:hosts:{CP}:cluster", ["a list", "one word"]),
    (f"hosts/{CP}/cluster", [], f"ipsec:hosts:{CP}:cluster", ["an empty list", "a value, or a list"]),
    (f"hosts/{CP}/cluster", "a b", f"ipsec:hosts:{CP}:cluster", ["'a b'", "one word"]),
    (f"hosts/{CP}/site", ["eqiad", "codfw"], f"ipsec:hosts:{CP}:site", ["codfw and eqiad", "one value"]),
    (f"hosts/{CP}/id", "x", f"ipsec:hosts:{CP}:id", ["'id'", "minion id itself"]),
    ("rules", None, "ipsec:rules", ["no rule"]),
    ("rules/1", "edge-to-core", "ipsec:rules:1", ["'edge-to-core'", "a mapping"]),
    ("rules/0/between", {"site": []}, "ipsec:rules:0:between:site", ["an empty list", "a value"]),
    ("rules/0/between", {"site": None}, "ipsec:rules:0:between:site", ["nothing", "a value"]),
    ("rules/0/between", {}, "ipsec:rules:0:between", ["an empty mapping", "{site: esams}"]),
    ("rules/0/and", ["site"], "ipsec:rules:0:and", ["a list", "a mapping"]),
    ("rules/0/stage", "start ", "ipsec:rules:0:stage", ["'start '", "passive"]),
    ("expect", {"host": CP}, "ipsec:expect", ["a mapping", "a list"]),
    ("expect/0", {"host": CP}, "ipsec:expect:0", ["found host", "'not_pairs_with' or 'peers'"]),
    ("expect/0", {"rule": "core-to-core"}, "ipsec:expect:0", ["found rule", "'rule', with 'pairs'"]),
    (
        "expect/0",
        {"rule": "core-to-cor", "pairs": 1},
        "ipsec:expect:0:rule",
        ["'core-to-cor'", "core-to-core"],
    ),
    ("expect/0", {"host": CP, "pairs": 1}, "ipsec:expect:0", ["found host, pairs", "'rule', with 'pairs'"]),
    ("expect/0", {"rule": "core-to-core", "pairs": 3}, "ipsec:expect:0", ["decides for 2 pairs", "3 pairs"]),
    ("expect/0", {"rule": "core-to-core", "pairs": -1}, "ipsec:expect:0:pairs", ["-1", "0 or more"]),
    (
        "expect/0",
        {"host": CP, "not_pairs_with": "cp3001.esams.example"},
        "ipsec:expect:0",
        ["pairs with cp3001.esams.example", "no pair of the two"],
    ),
    ("expect/0", {"peers": 3}, "ipsec:expect:0", ["found peers", "'host'"]),
    ("expect/0", {"host": CP, "peers": "3"}, "ipsec:expect:0:peers", ["'3'", "0 or more"]),
    ("expect/0", {"host": [CP], "peers": 3}, "ipsec:expect:0:host", ["a list", "the minion id"]),
    ("connection", ["ike"], "ipsec:connection", ["a list", "a mapping"]),
    ("connection/margintime", "40m", "ipsec:connection:margintime", ["found 40m", "lifetime, which is 1h"]),
    ("setup/uniqueid", "no", "ipsec:setup:uniqueid", ["unknown key 'uniqueid'", "uniqueids"]),
    (
        "certificates",
        {"source": "files", "certificate": "/c", "key": "/k"},
        "ipsec:certificates:ca",
        ["nothing", "a text"],
    ),
    (
        "certificates",
        {"source": "puppet", "ssldir": "ssl"},
        "ipsec:certificates:ssldir",
        ["'ssl'", "absolute"],
    ),
    ("certificates", {"source": "puppet", "key": "/x"}, "ipsec:certificates:key", ["unknown key 'key'"]),
    ("certificates/source", ["puppet"], "ipsec:certificates:source", ["a list", "puppet, files"]),
    ("certificates/subject", "CN=host", "ipsec:certificates:subject", ["'CN=host'", "differs by host"]),
    ("certificates/subject", "{id}", "ipsec:certificates:subject", ["'{id}'", "a distinguished name"]),
    ("certificates/subject", 'CN="{id}"', "ipsec:certificates:subject", ["without quotes"]),
    ("sysctl", {"net.ipv4.ip_forward": True}, "ipsec:sysctl:net.ipv4.ip_forward", ["True", "a whole number"]),
    ("sysctl", {"net.ipv4.tcp_rmem": [1, 2]}, "ipsec:sysctl:net.ipv4.tcp_rmem", ["a list", "several"]),
    ("mtu", True, "ipsec:mtu", ["True", "1280"]),
    ("packages", "strongswan", "ipsec:packages", ["'strongswan'", "a list"]),
    ("metrics", "[::]:9815", "ipsec:metrics", ["'[::]:9815'", "a mapping"]),
    (
        "metrics",
        {"prometheus": 9815},
        "ipsec:metrics:prometheus",
        ["unknown key", "graphite, http, textfile"],
    ),
    ("metrics", {"clear_text": "yes"}, "ipsec:metrics:clear_text", ["'yes'", "true or false"]),
    *(
        ("metrics", {"textfile": value}, "ipsec:metrics:textfile", [repr(value), "an absolute path"])
        for value in (
            9,
            "prom",
            "/",
            "/a/../b",
            "/a b",
            "/a%i",
            "/a$HOME",
            "/a;b",
            "/home/x",
            "/tmp",
            "/a\n/b",
        )
    ),
    *(
        ("metrics", {"http": value}, "ipsec:metrics:http", [repr(value), "ADDRESS:PORT"])
        for value in (9815, ":9815", "*:9815", "::1:9815", "localhost:9815", "[10.0.0.1]:9815", "0.0.0.0:80")
    ),
    *(
        ("metrics", {"graphite": value}, "ipsec:metrics:graphite", [repr(value), "HOST:PORT"])
        for value in (
            "graphite",
            "a b:2003",
            "-a:2003",
            "a..b:2003",
            "1.2.3:2003",
            "g:0",
            "g:65536",
            "%h:2003",
        )
    ),
    ("packages", ["a b"], "ipsec:packages", ["'a b'"]),
]


LABELS_OF_BEFORE = ("subject", "local_ipv4", "addresses", "backend", "nat", "managed", "ca", "alone")


@pytest.mark.parametrize("value", ["text", "rack-3", 7, ["a", "b"]])
@pytest.mark.parametrize("key", LABELS_OF_BEFORE)
def test_a_label_of_before_that_is_a_key_now_is_an_error_and_no_other_meaning(key, value):
    example = fleets.example()
    example["hosts"][CP][key] = value
    with pytest.raises(PillarError) as caught:
        pillar.read(example)
    assert f"ipsec:hosts:{CP}:{key}" in {one.path for one in caught.value.problems}


@pytest.mark.parametrize(("at", "value", "path", "words"), CASES, ids=[f"{c[0]}={c[1]}" for c in CASES])
def test_one_fault_gives_one_error_that_names_it(at, value, path, words):
    with pytest.raises(PillarError) as caught:
        pillar.read(mutate(at, value))
    assert [problem.path for problem in caught.value.problems] == [path]
    text = str(caught.value)
    assert not [word for word in words if word not in text], text


def test_all_errors_come_at_once():
    data = mutate("mtu", 1)
    data["hostz"] = {}
    data["hosts"][CP]["ipv4"] = "x"
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    assert {problem.path for problem in caught.value.problems} == {
        "ipsec:mtu",
        "ipsec:hostz",
        f"ipsec:hosts:{CP}:ipv4",
    }


@pytest.mark.parametrize("nothing", [None, {}, [], "", 0])
def test_a_vanished_pillar_is_an_error(nothing):
    with pytest.raises(PillarError, match="hosts"):
        pillar.read(nothing)


def bare(sources: object = "mine") -> dict:
    """Return the example, in which a host has no address, and where it is to be looked up."""
    data = fleets.example()
    del data["hosts"][CP]["ipv4"], data["hosts"][CP]["ipv6"]
    return {**data, "addresses": sources}


def test_addresses_come_from_elsewhere_where_the_pillar_has_none():
    expected = pillar.read(fleets.example())
    found = Found((expected.host(CP).ipv4, expected.host(CP).ipv6))
    assert pillar.unaddressed(bare()) == {CP: ("mine",)}
    assert pillar.read(bare(), {CP: found}) == expected


def test_the_pillar_names_whom_it_believes_for_the_fleet_or_for_a_host():
    data = bare(["dns", "mine"])
    data["hosts"]["new.example"] = {"addresses": "dns"}
    data["hosts"]["bad\n"] = None
    assert pillar.unaddressed(data) == {CP: ("dns", "mine"), "new.example": ("dns",)}
    del data["addresses"]
    assert pillar.unaddressed(data) == {"new.example": ("dns",)}
    assert pillar.unaddressed(bare("minion")) == pillar.unaddressed(bare([])) == {}


def test_a_pillar_that_relied_on_the_mine_is_told_what_to_write():
    data = bare()
    del data["addresses"]
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    assert [str(problem) for problem in caught.value.problems if problem.path.startswith("ipsec:hosts")] == [
        f"ipsec:hosts:{CP}: no address in the pillar; allowed: 'ipv4' or 'ipv6' of host {CP}; or "
        "'addresses: mine' (or dns), to have what that says"
    ]


LOST = Found(wrong=(("the Salt mine: found 0.0.0.0, a reserved address", "one"),))


def test_what_is_wrong_with_an_address_that_was_looked_up_stops_no_other_host():
    """One host's mine made the pillar of the whole fleet wrong."""
    fleet = pillar.read(bare(), {CP: LOST})
    assert [host.id for host in fleet.hosts if host.lost] == [CP]
    with pytest.raises(PillarError, match=f"ipsec:hosts:{CP}: the Salt mine: found 0.0.0.0"):
        membership.of(fleet, CP)
    other = membership.of(fleet, "cp3001.esams.example")
    assert other.connections
    assert CP not in other.peers
    assert other.lost == (
        f"ipsec:hosts:{CP}: the Salt mine: found 0.0.0.0, a reserved address; allowed: one; what stands here "
        "stays",
    )


def test_with_a_peer_of_which_no_address_is_known_everything_stays_as_it_was():
    before = membership.of(pillar.read(fleets.example()), "cp3001.esams.example")
    lost = pillar.read(bare(), {CP: LOST})
    now = membership.of(addressed.of_host(lost, lambda: before.connections), "cp3001.esams.example")
    assert now.connections == before.connections
    fine = pillar.read(fleets.example())
    assert addressed.of_host(fine, pytest.fail) is fine


def test_where_nobody_knows_what_a_host_was_given_only_a_lost_peer_stops_it():
    """A record that is damaged is brought back by the next run; of a peer that is lost that knew alone."""

    def damaged():
        raise HostIPsecError("mesh.json is damaged")

    data = bare()
    there = pillar.read(data, {CP: Found((ipaddress.ip_address("10.64.0.11"),))})
    assert addressed.of_host(there, damaged, data, CP) is there
    with pytest.raises(HostIPsecError, match="damaged"):
        addressed.of_host(pillar.read(data, {CP: LOST}), damaged, data, CP)


def test_who_claims_the_address_of_a_peer_that_is_lost_does_not_get_it():
    """A minion took it by its mine: the peer's connection was gone, and its stage with it."""
    here, other = "cp3001.esams.example", "cp1002.eqiad.example"
    before = membership.of(pillar.read(fleets.example()), here)
    theirs = pillar.read(fleets.example()).host(CP).ipv4
    data = bare()
    data["hosts"][other] = {"site": "eqiad", "cluster": "text", "addresses": "mine"}
    claimed = pillar.read(data, {CP: LOST, other: Found((theirs,))})
    now = membership.of(addressed.of_host(claimed, lambda: before.connections, data), here)
    assert now.connections == before.connections
    assert [found.count(f"found {theirs}, which {CP} had") for found in now.lost] == [0, 1]
    with pytest.raises(PillarError, match=f"ipsec:hosts:{other}: found {theirs}, which {CP} had"):
        membership.of(addressed.of_host(claimed, lambda: before.connections, data), other)
    data["hosts"][other] = {"site": "eqiad", "cluster": "text", "ipv4": str(theirs)}  # the pillar's own word
    given = addressed.of_host(pillar.read(data, {CP: LOST}), lambda: before.connections, data)
    assert f"{CP.partition('.')[0]}_v4" not in {one.name for one in membership.of(given, here).connections}


@pytest.mark.parametrize("by_part", [False, True])
@pytest.mark.parametrize("stage", ["start", "require"])
@pytest.mark.parametrize("here", ["cp3001.esams.example", CP])
def test_a_mine_that_leaves_out_a_family_takes_no_pair_out_of_require(here, stage, by_part):
    """The connection over IPv6 was gone at every host, in silence, and its guard with it; so by a part."""
    data = bare()
    for rule in data["rules"]:
        rule["stage"] = stage
    both = ["10.64.0.11", "2001:db8:1::11"]

    def member(said, before):
        mine = {"network.ip_addrs": {CP: said}}
        whole = {**data, "addresses": "mine"}
        if by_part:
            fleet = addressed.fleet(whole, lambda *_: mine)
            return addressed.member(
                parts.Whole(whole, fleet).part(here), here, pytest.fail, (), lambda: before
            )
        return addressed.member(whole, here, lambda *_: mine, (), lambda: before)

    before = member(both, ()).connections
    if stage == "require":  # an edit of the stage counts at once
        for rule in data["rules"]:
            rule["stage"] = "start"
        assert not member(both[:1], before).lost
        for rule in data["rules"]:
            rule["stage"] = stage
    assert [one.family for one in before if CP in (one.peer, here)].count("v6")
    if stage == "start":
        assert "v6" not in {one.family for one in member(both[:1], before).connections if one.peer == CP}
    elif here == CP:
        with pytest.raises(PillarError, match="found no address of IPv6, by which it has connections"):
            member(both[:1], before)
    else:
        now = member(both[:1], before)
        assert now.connections == before
        assert "found no address of IPv6" in now.lost[0]
        assert now.unpaired(before) == ()


@pytest.mark.parametrize("hosts", ["cp3001.esams.example", "cp1002.eqiad.example"])
def test_an_address_that_another_host_has_is_an_error_at_the_host_that_says_so(hosts):
    theirs = pillar.read(fleets.example()).host(hosts)
    fleet = pillar.read(bare(), {CP: Found((theirs.ipv4,))})
    assert [(host.id, str(host.lost[0])) for host in fleet.hosts if host.lost] == [
        (
            CP,
            f"ipsec:hosts:{CP}: found {theirs.ipv4}, which {hosts} has too; allowed: an address of its own",
        )
    ]
    assert fleet.host(hosts) == theirs


HUB = "hub.example"


def looked_up(address: str, template: str = "", **hub: object):
    """Return a fleet of two, of whom one's address is looked up."""
    data = {
        "hosts": {HUB: hub, CP: {"addresses": "mine"}},
        "rules": [{"name": "all", "between": {"id": HUB}, "and": {"id": CP}}],
        **({"certificates": {"source": "puppet", "subject": template}} if template else {}),
    }
    return pillar.read(data, {CP: Found((ipaddress.ip_address(address),))})


@pytest.mark.parametrize(
    ("fleet", "said"),
    [
        (lambda: looked_up("2001:db8::7", ipv4="10.0.0.1"), f"no address family in common with {HUB}"),
        (lambda: looked_up("10.0.0.7", ipv6="2001:db8::1"), f"no address family in common with {HUB}"),
        (
            lambda: looked_up("10.0.0.7", ipv4="192.0.2.1", local_ipv4="10.0.0.7", nat="east"),
            f"found 10.0.0.7, which {HUB} has too",
        ),
        (
            lambda: looked_up("10.0.0.7", "ip:{ipv6}", ipv4="10.0.0.1", ipv6="2001:db8::1"),
            f"gives 'ip:' to {CP}",
        ),
        (
            lambda: looked_up("10.0.0.7", "ip:{ipv4}", ipv4="10.0.0.1", subject="ip:10.0.0.7"),
            f"gives '10.0.0.7' to {HUB} and {CP}",
        ),
    ],
)
def test_whatever_a_mine_says_of_one_host_the_pillar_of_the_others_is_good(fleet, said):
    """A minion that left out a family, or gave a peer's inner address, made the pillar of all hosts wrong."""
    found = fleet()
    (host,) = (host for host in found.hosts if host.lost)
    assert host.id == CP and said in str(host.lost[0])
    assert (host.ipv4, host.ipv6) == (None, None)
    assert membership.of(found, HUB).lost


def test_of_two_hosts_to_which_the_mine_gives_one_address_none_is_believed():
    data = bare()
    other = "cp1002.eqiad.example"
    del data["hosts"][other]["ipv4"]
    data["hosts"][other].pop("ipv6", None)
    twice = Found((ipaddress.ip_address("10.9.9.9"),))
    fleet = pillar.read(data, {CP: twice, other: twice})
    assert [host.id for host in fleet.hosts if host.lost] == [CP, other]
    assert not [host for host in fleet.hosts if ipaddress.ip_address("10.9.9.9") in (host.ipv4, host.ipv6)]


def test_an_address_that_a_peer_had_and_another_host_has_now_is_not_kept():
    before = membership.of(pillar.read(fleets.example()), "cp3001.esams.example")
    data = bare()
    data["hosts"]["cp2001.codfw.example"]["ipv4"] = str(pillar.read(fleets.example()).host(CP).ipv4)
    fleet = addressed.of_host(pillar.read(data, {CP: LOST}), lambda: before.connections)
    assert fleet.host(CP).ipv4 is None


def test_maintenance_does_not_break_an_expectation():
    data = fleets.example()
    data["hosts"]["cp3001.esams.example"]["maintenance"] = True
    pillar.read(data)


def test_a_pair_without_a_common_family_is_an_error():
    data = fleets.example()
    del data["hosts"]["cp2001.codfw.example"]["ipv4"]
    del data["hosts"][CP]["ipv6"]
    with pytest.raises(PillarError, match="no address family in common with cp2001"):
        pillar.read(data)


def test_certificates_may_be_left_open_and_subjects_in_both_spellings():
    assert pillar.read({**fleets.star(1), "certificates": None}).settings.certificates.source == "puppet"
    for subject in ("CN={id}", "O=a, CN={id}", "/O=a, b/CN={id}", "cn={short}", "C=DE, O=x, CN={id}, E=a@b"):
        found = pillar.read({**fleets.star(1), "certificates": {"subject": subject}}).settings.certificates
        assert found.subject == subject


def test_an_address_by_nat64_is_one():
    assert str(pillar.read(mutate(f"hosts/{CP}/ipv6", "64:ff9b::1")).host(CP).ipv6) == "64:ff9b::1"


def test_sysctls_with_words_and_lists_are_taken():
    given = {"net.ipv4.ip_local_reserved_ports": "500,4500", "net.core.default_qdisc": "fq"}
    more = {"net.ipv4.conf.eth0/100.disable_xfrm": 0, "net.ipv4.tcp_allowed_congestion_control": "reno cubic"}
    more |= {"net.netfilter.nf_log.2": "nf_log_ipv4", "net.mptcp.scheduler": "default"}
    more |= {"net.sctp.cookie_hmac_alg": "sha1", "net.mptcp.path_manager": "kernel"}
    found = pillar.read({**fleets.star(1), "sysctl": {**given, **more}}).settings.sysctl
    assert found == {**given, **more, "net.ipv4.conf.eth0/100.disable_xfrm": "0"}


def test_subjects_that_two_hosts_would_share_are_an_error():
    data = fleets.example()
    twin = {"site": "codfw", "cluster": "text", "ipv4": "10.192.0.9", "name": "cp1001-codfw"}
    data["hosts"]["cp1001.codfw.example"] = twin
    data["expect"] = []
    data["certificates"] = {"source": "puppet", "subject": "CN={short}"}
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    (problem,) = caught.value.problems
    assert problem.path == "ipsec:certificates:subject"
    assert problem.found == "gives 'CN=cp1001' to cp1001.codfw.example and cp1001.eqiad.example"


def test_every_key_of_the_pillar_is_read():
    data = {
        **fleets.example(),
        "connection": {"lifetime": "8h", "reauth": False},
        "setup": {"uniqueids": "never", "charondebug": {"ike": 1}},
        "charon": {"threads": 40, "plugins": {"vici": {"load": True}}},
        "sysctl": {"net.core.xfrm_larval_drop": 1, "net.ipv4.tcp_rmem": "4096 131072 6291456"},
        "packages": ["strongswan-swanctl", "libcharon-extra-plugins", "strongswan-swanctl"],
        "certificates": {"source": "puppet", "ssldir": "/etc/puppet/ssl", "subject": "O=Example, CN={id}"},
        "vici": False,
        "mtu": 1450,
    }
    settings = pillar.read(data).settings
    assert settings.connection == {"lifetime": "8h", "reauth": "no"}
    assert settings.setup == {"uniqueids": "never"}
    assert settings.charondebug == {"ike": 1}
    assert settings.charon == {"threads": "40", "plugins": {"vici": {"load": "yes"}}}
    assert settings.sysctl == {"net.core.xfrm_larval_drop": "1", "net.ipv4.tcp_rmem": "4096 131072 6291456"}
    assert settings.packages == ("libcharon-extra-plugins", "strongswan-swanctl")
    assert settings.certificates.certificate == "/etc/puppet/ssl/certs/{id}.pem"
    assert settings.certificates.subject == "O=Example, CN={id}"
    assert (settings.certificates.crl, settings.certificates.warn_days) == ("/etc/puppet/ssl/crl.pem", 30)
    assert (settings.vici, settings.mtu) == (False, 1450)


@pytest.mark.parametrize("other", ["cp3001_esams.example", "cp3001.esams_example"])
def test_hosts_that_graphite_would_have_under_one_name_are_refused_there(other):
    """The one would have written over what the other tells."""
    data = {**fleets.example(), "expect": []}
    data["hosts"][other] = {"site": "esams", "cluster": "text", "ipv4": "10.20.0.77", "name": "another"}
    assert pillar.read({**data, "metrics": {"http": "[::]:9815"}}).hosts
    with pytest.raises(PillarError) as raised:
        pillar.read({**data, "metrics": {"graphite": "graphite.example:2003"}})
    (problem,) = [one for one in raised.value.problems if one.path == "ipsec:metrics:graphite"]
    assert str(problem).startswith("ipsec:metrics:graphite: found hosts cp3001")
    assert "which are both cp3001_esams_example there; allowed: ids that differ by more" in str(problem)


def test_where_metrics_go():
    asked = {
        "textfile": "/var/lib/prometheus/node-exporter",
        "http": "[::]:9815",
        "graphite": "graphite.example:2003",
    }
    found = pillar.read({**fleets.star(1), "metrics": {**asked, "clear_text": True}}).settings.metrics
    assert found == Metrics(**asked, clear_text=True)
    assert found.arguments == tuple(f"--{key}={value}" for key, value in asked.items())
    for none in ({}, {"metrics": None}, {"metrics": {}}, {"metrics": {"clear_text": True}}):
        assert pillar.read({**fleets.star(1), **none}).settings.metrics.arguments == ()


@pytest.mark.parametrize("text", ["10.0.0.1:2003", "[2001:db8::1]:1", "g:65535", "a-b.example.:2003"])
def test_where_graphite_can_be(text):
    assert pillar.read({**fleets.star(1), "metrics": {"graphite": text}}).settings.metrics.graphite == text


def test_certificates_from_files():
    templates = {"certificate": "/pki/{id}.pem", "key": "/pki/{id}.key", "ca": "/pki/ca.pem"}
    given = {"source": "files", **templates, "crl": "/pki/crl.pem", "warn_days": 14}
    found = pillar.read({**fleets.star(1), "certificates": given}).settings.certificates
    assert (found.crl, found.warn_days) == ("/pki/crl.pem", 14)
    given.pop("crl")
    assert pillar.read({**fleets.star(1), "certificates": given}).settings.certificates.crl == ""


@pytest.mark.parametrize("days", [0, 4000, "30d", True, None])
def test_when_to_be_warned_is_checked(days):
    with pytest.raises(
        PillarError, match=r"ipsec:certificates:warn_days: .*whole number of days from 1 to 3650"
    ):
        pillar.read({**fleets.star(1), "certificates": {"source": "puppet", "warn_days": days}})


def test_what_the_pillar_leaves_out_has_a_default():
    settings = pillar.read(fleets.star(1)).settings
    assert settings.certificates.certificate == "{ssldir}/certs/{id}.pem"
    assert settings.certificates.subject == "CN={id}"
    assert settings.charondebug == {"cfg": 2, "dmn": 2}
    assert (settings.connection, settings.setup, settings.charon, settings.sysctl) == ({}, {}, {}, {})
    assert (settings.packages, settings.vici, settings.mtu) == ((), True, None)


def test_empty_sections_are_no_sections():
    data = {**fleets.star(1), "expect": None, "connection": None, "setup": None, "charon": {}, "sysctl": None}
    assert pillar.read(data) == pillar.read(fleets.star(1))


def test_files_may_be_anywhere():
    chosen = {
        "source": "files",
        "certificate": "/etc/ssl/{short}.pem",
        "key": "/etc/ssl/k.pem",
        "ca": "/ca.pem",
    }
    certificates = pillar.read({**fleets.star(1), "certificates": chosen}).settings.certificates
    assert (certificates.source, certificates.certificate) == ("files", "/etc/ssl/{short}.pem")


# What the manual says --------------------------------------------------------------------------

MANUAL = (Path(__file__).parents[2] / "docs/pillar.md").read_text()


def section(title: str) -> str:
    return MANUAL.partition(f"## {title}\n")[2].partition("\n## ")[0]


def indented(text: str) -> str:
    return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))


def test_the_defaults_in_the_manual_are_ours():
    told = yaml.safe_load(indented(section("connection, setup, charon")))
    settings = pillar.read({**fleets.star(3), **told}).settings
    assert settings.connection == defaults.CONNECTION
    assert settings.charondebug == defaults.CHARONDEBUG
    derived = {key: value for key, value in defaults.charon(3).items() if key not in settings.charon}
    assert {**settings.charon, **derived} == defaults.charon(3)
    assert not [key for key in derived if f"`{key}`" not in MANUAL]


def test_the_errors_in_the_manual_are_ours():
    data = fleets.example()
    data["hosts"]["cp1002.eqiad.example"]["ipv4"] = "10.64.0.11"
    data.update(connection={"keyingretries": 3}, setup={"charondebug": {"cfg": 5}}, mtu=100)
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    assert str(caught.value) == indented(section("errors"))


def test_the_manual_tells_every_key():
    keys = {*pillar.TOP_KEYS, *pillar.RULE_KEYS, *expected.KEYS, *pillar.HOST_KEYS, *catalog.COMPUTED}
    keys |= {key for names in settings_module.CERTIFICATE_KEYS.values() for key in names}
    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", MANUAL)) == []


def test_a_host_without_a_name_is_the_only_error_of_its_kind():
    data = {**fleets.example(), "hosts": {"": None}}
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    assert {problem.path for problem in caught.value.problems} == {"ipsec:hosts:"}


# Work --------------------------------------------------------------------------------------------

ALL = {"name": "all", "between": {"all": "x"}, "and": {"all": "x"}}
HUBS = {"name": "hubs", "between": {"kind": "hub"}, "and": {"kind": "spoke"}}
WORK = {
    "a label that all hosts lack": ([{**ALL, "same": ["rack"]}], ()),
    "a label that most hosts lack": ([{**ALL, "same": ["some"]}], ()),
    "one value of what has to differ": ([{**ALL, "different": ["all"]}], ()),
    "one expectation a host": ([HUBS], ({"peers": 2},)),
    "two unmet ones a host": ([HUBS], ({"peers": 77}, {"pairs_with": "h00002.x"})),
    "nobody that is expected": ([HUBS], ({"host": "q", "peers": 1},)),
    "a label each": ([{**ALL, "same": ["id"]}], ()),
}


def large(size: int, rules: list, expectations: tuple) -> dict:
    hosts = {
        f"h{number:05}.x": {
            "ipv4": f"10.1.{number // 250}.{number % 250 + 1}",
            "all": "x",
            "kind": "hub" if number < 2 else "spoke",
            **({"some": f"s{number}"} if number % 10 == 0 else {}),
        }
        for number in range(size)
    }
    expect = [{**one, "host": one.get("host", "") + name} for name in hosts for one in expectations]
    return {"hosts": hosts, "rules": rules, "expect": expect}


@pytest.mark.parametrize("name", WORK)
def test_reading_takes_work_in_proportion_to_the_hosts(name):
    """It was quadratic: 4,000 hosts with one expectation each took 15 s."""

    def calls(size: int) -> int:
        profile, data = cProfile.Profile(), large(size, *WORK[name])
        with contextlib.suppress(PillarError):
            profile.runcall(pillar.read, data)
        return pstats.Stats(profile).total_calls

    small, double = calls(300), calls(600)
    assert double < 2.5 * small
