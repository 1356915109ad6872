"""A pillar of which charon hears much, with a few values changed to what may just be taken."""

from __future__ import annotations

import copy
import random

import yaml

TOLD = yaml.safe_load("""
hosts:
  cp1.eqiad.example: {site: eqiad, ipv4: 10.1.0.1, ipv6: "2001:db8::1", name: cp1}
  cp2.eqiad.example: {site: eqiad, ipv4: 10.1.0.2, subject: "CN=cp2, O=x"}
  vm1.cloud.example: {site: cloud, ipv4: 192.0.2.7, local_ipv4: 10.7.0.1, nat: vpc}
  gw.esams.example: {site: esams, ipv4: 10.3.0.1, ipv6: "2001:db8:3::1", managed: false, subject: "@gw.a"}
rules:
  - {name: edge, between: {site: esams}, and: {site: [eqiad, cloud]}, type: tunnel, lifetime: 2h, dpddelay: 7}
  - {name: cloud, between: {site: cloud}, and: {site: eqiad}, stage: require, encapsulation: udp,
     esp: aes256gcm16-ecp384!, ike: aes256gcm16-prfsha384-ecp384!}
  - {name: core, between: {id: cp1*}, and: {id: cp2*}, only: [tcp/6379], stage: passive}
connection: {lifetime: 8h, ikelifetime: 1d, replay_window: 64, leftcertpolicy: 1.2.3}
certificates: {source: files, certificate: /a, key: /k, ca: /ca}
charon: {threads: 40, plugins: {kernel-netlink: {mtu: 1400}}}
setup: {uniqueids: never, charondebug: {ike: 1}}
weak: [3des]
""")
SUBJECTS = (
    *("CN={0}, O=b/c", "/CN={0}/O=x, y", "@{0}", "ip:{1}", "C=DE, O=Ü, CN={0}", "UID={0}, E=a@b.example"),
    *("cn = {0} ,O= x", "CN={0}, OU=a=b", "DC=example, DC=x, CN={0}", "CN='{0}'", "CN={0}, L=a b  c"),
    *("CN={0}, ST=$x;y|z", "serialNumber={0}", "CN={0}+OU=x", "CN=={0}", "CN={0}, O=漢字", "CN={0}, O=%any"),
    *("CN={0}, O=0x00", "CN={0}, O=@x", "/CN={0}", "CN={0}, L=" + "x" * 900, "asn1dn:{0}", "CN={0}, C=x:y"),
)
NAMES = ("cp1-b", "A.b", "x_y", "0", "1.10", "a" * 60, "include", "conn", "default", "setup", "v4", "a_v4")
ADDRESSES = ("10.1.0.9", "192.0.2.7", "::ffff:10.0.0.1", "10.1.0.09", 0x0A010009, "100.64.0.1", "1.1.1.1")
OF_RULES: dict[str, tuple] = {
    "esp": (
        *("aes256gcm16-ecp384", "aes128gcm16,aes256-sha256!", "aes128-sha256-modp2048, aes256gcm16"),
        *("chacha20poly1305-x25519-esn-noesn", "3des-sha1", "aes256ctr-sha512", "aes128ccm8-noesn"),
    ),
    "ike": (
        *("aes256gcm16-prfsha384-ecp384", "aes128-sha256-modp3072!", "3des-sha1-modp2048"),
        *("aes256-aes128-sha512-sha256-ecp256-curve448", "aes256ccm16-prfaesxcbc-modp4096 !"),
    ),
    "type": ("tunnel", "transport", "beet"),
    "lifetime": ("8h", 3600, "45m", "1d", "86400s", "10s", "365d"),
    "ikelifetime": ("8h", 86400, "10s", "365d", "90m"),
    "margintime": ("9m", 1, "0", "30s", "5h"),
    "rekeyfuzz": ("0%", "100%", "33%", "50"),
    "dpddelay": ("1s", 60, "1d", "20"),
    "compress": (True, "yes", "no"),
    "lifebytes": (0, 10**12, 2**63 - 1),
    "marginbytes": (0, 10**9),
    "lifepackets": (0, 10**6, 2**62),
    "marginpackets": (0, 10**5),
}
PLACES: dict[str, dict[str, tuple]] = {
    "hosts": {
        "name": NAMES,
        "subject": tuple(text.format("host.example", "192.0.2.1") for text in SUBJECTS),
        "ipv4": ADDRESSES,
        "local_ipv4": ADDRESSES,
        "ipv6": ("2001:DB8::A", "2001:db8::0:0:9", "fd00::1", "64:ff9b::1", "2001:db8::10.0.0.1", "fe80::1"),
        "maintenance": (True,),
    },
    "rules": {
        **OF_RULES,
        "name": NAMES,
        "encapsulation": ("udp", "auto"),
        "stage": ("passive", "start", "require", "off"),
        "clear": (["tcp/22"], "icmp", ["udp/53", "tcp/80"]),
        "only": (["tcp/6379"], ["udp/53"]),
    },
    "connection": {
        **OF_RULES,
        "replay_window": (1, 4096, "32"),
        "tfc": (0, "%mtu", 1400),
        "fragmentation": ("force", "accept", "no"),
        "leftcertpolicy": ("1.2.3", "1.2.3,2.5"),
        "leftauth": ("ecdsa-384-sha384", "pubkey-sha384-sha256", "rsa-3072-sha256", "ike:pubkey-sha256"),
        "rightauth": ("ecdsa", "rsa-4096-ecdsa-384-sha384"),
        "rightca": ("CN=Fleet CA", "CN=Other", "%same", "Fleet CA"),
        "ikedscp": ("000000", "101110"),
        "leftsendcert": ("always", "ifasked"),
        "closeaction": ("none", "clear"),
        "leftupdown": ("/usr/bin/x y", "ipsec _updown iptables"),
        "keyingtries": ("%forever", 3),
        "forceencaps": (True,),
        "sha256_96": (True,),
        "reauth": (True, "no"),
    },
    "certificates": {"subject": tuple(text.format("{id}", "{ipv4}") for text in SUBJECTS)},
}
ODD = (*"',/=@;:+~$&([<|!%*`^.-_0 Aüé漢", ", O=", "//", "::", "  ", "CN=")


def changed(number: int) -> dict:
    """Return the pillar with a few other values, some with a character more or less."""
    chance, data = random.Random(f"slight {number}"), copy.deepcopy(TOLD)
    for _ in range(chance.choice((1, 2, 3, 4))):
        section = chance.choice([*PLACES])
        parent = data[section]
        if section == "hosts" and chance.random() < 0.2:
            host = chance.choice([*parent])
            parent[spliced(host, chance)] = parent.pop(host)
            continue
        if section in ("hosts", "rules"):
            parent = chance.choice([*(parent.values() if section == "hosts" else parent)])
        key = chance.choice([*PLACES[section]])
        value = chance.choice(PLACES[section][key])
        parent[key] = spliced(value, chance) if isinstance(value, str) and chance.random() < 0.35 else value
    return data


def spliced(text: str, chance: random.Random) -> str:
    """Put another character into a text, or in the place of one."""
    place = chance.randrange(len(text) + 1)
    return text[:place] + chance.choice(ODD) + text[place + chance.choice((0, 0, 1)) :]
