"""What options of ipsec.conf can mean that all connections share, at both ends: the pillar's ``connection``.

strongSwan documents more than that (``catalog``). The rest is refused here, with the reason and what does it
instead: it is for one connection, for one end, for another kind of VPN, or switches encryption off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..errors import Problem
from . import durations, identity
from .kinds import STRING, Kind, is_safe, numbers, only, whole

_CERTIFICATES = "hosts prove themselves by 'certificates'"
_IKEV1 = "it is of IKEv1, and these connections are IKEv2"
_VIRTUAL = "hosts have the addresses 'ipv4' and 'ipv6', and no virtual ones"
_HOSTS = "between two hosts all packets are encrypted; which hosts, 'rules' say"
_MARK = "only marked packets would be encrypted, and all others go in the clear"
_MEDIATION = "hosts reach each other by 'ipv4' and 'ipv6', and no mediation server"
_ROUND = "there is one round of authentication, by 'certificates'"
_OTHER_END = "it speaks of the other end, whose own option is the one that begins with 'left'"

# What a rule may say of the connections of its pairs; both ends are given the same
OF_A_RULE = (
    "compress",
    "dpddelay",
    "esp",
    "forceencaps",
    "ike",
    "ikelifetime",
    "lifebytes",
    "lifepackets",
    "lifetime",
    "marginbytes",
    "marginpackets",
    "margintime",
    "rekeyfuzz",
    "type",
)

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("aaa_identity", "eap_identity"), f"it is of EAP; {_CERTIFICATES}"),
    **dict.fromkeys(("xauth", "xauth_identity"), _IKEV1),
    **dict.fromkeys(("me_peerid", "mediated_by"), _MEDIATION),
    **dict.fromkeys(("mark", "mark_in", "mark_out"), _MARK),
    "reqid": "one number for all connections would mix their policies; charon numbers them itself",
    **{
        f"{side}{key}": reason
        for side in ("left", "right")
        for key, reason in (
            *dict.fromkeys(("auth2", "ca2", "cert2", "id2", "groups2"), _ROUND).items(),
            *dict.fromkeys(("dns", "sourceip"), _VIRTUAL).items(),
            *dict.fromkeys(("subnet", "subnetwithin", "protoport"), _HOSTS).items(),
            *dict.fromkeys(("rsasigkey", "sigkey"), _CERTIFICATES).items(),
            ("groups", "nobody here has attribute certificates; which hosts pair up, 'rules' say"),
        )
    },
    "rightcert": f"one certificate cannot be that of every peer; {_CERTIFICATES}",
    **dict.fromkeys(("rightfirewall", "righthostaccess", "rightupdown"), _OTHER_END),
}


def _lasting(low: str, high: str, reason: str) -> Kind:
    """Return the kind of times in a range."""
    least, most = durations.parse(low) or 0, durations.parse(high) or 0
    allowed = f"{durations.ALLOWED}, from {low} to {high}; {reason}"
    json = numbers(least, most, durations.PATTERN)
    return Kind(lambda text: least <= (durations.parse(text) or 0) <= most, allowed, json=json)


def _amount(least: int, what: str) -> Kind:
    counted = whole(least, 2**63 - 1)
    allowed = f"0 (no limit), or {counted.allowed}; with fewer {what} SAs would do nothing but rekey"
    json = {"anyOf": [*counted.json["anyOf"], {"enum": [0]}]}
    return Kind(lambda text: set(text) == {"0"} or counted.accepts(text), allowed, json=json)


_PUBLIC = ("pubkey", "rsa", "rsasig", "ecdsa", "ecdsasig")
_KEY = "(ike:)?(pubkey|rsa(/pss)?(-[1-9][0-9]{2,4})?|ecdsa(-[1-9][0-9]{2})?"  # with the least bits of a key
_METHOD = re.compile(rf"{_KEY})(-(sha(224|256|384|512)|identity|{_KEY}|ed25519|ed448)))*", re.ASCII)
_AUTH = Kind(
    lambda text: _METHOD.fullmatch(text) is not None,
    f"pubkey, rsa or ecdsa, with bits and hashes such as ecdsa-384-sha384, and no SHA-1 "
    f"('ike:' before it leaves the hashes of certificates open); {_CERTIFICATES}",
)
_POLICY = re.compile(r"[0-2](\.[0-9]{1,20}){1,30}(, ?[0-2](\.[0-9]{1,20}){1,30}){0,15}", re.ASCII)
_POLICIES = Kind(
    lambda text: _POLICY.fullmatch(text) is not None,
    "OIDs of certificate policies, as 1.2.3.4",
    literal=True,
    json=STRING,
)
_CA = Kind(
    lambda text: is_safe(text) and identity.kind(text) == identity.DN and identity.wrong(text) is None,
    "the distinguished name of a CA, without '*', quotes, braces, '#' and '\\'; peers are bound to one CA",
    literal=True,
    json=STRING,
)
_SCRIPT = Kind(
    lambda text: is_safe(text) and text.startswith(("/", "ipsec _updown")),
    "a command by its absolute path, or 'ipsec _updown ...', without quotes, braces, '#' and '\\'",
)

# Kinds that are narrower than those that strongSwan documents
KINDS: Mapping[str, Kind] = {
    "aggressive": only(("no",), _IKEV1),
    "authby": only(_PUBLIC, f"{_CERTIFICATES}; stage 'off' or 'passive' is what takes a pair out"),
    "closeaction": only(
        ("none", "clear"), "what an operator ends would come back; a stage says when a pair is up"
    ),
    "dpddelay": _lasting("1s", "1d", "without it nobody notices that a peer is gone"),
    "dpdtimeout": _lasting("1s", "1d", "it is of IKEv1, and without effect"),
    "ikelifetime": _lasting("10s", "365d", "keys that are never changed are worn out"),
    "inactivity": Kind(
        lambda text: durations.parse(text) == 0,
        "0: an idle pair would be taken down and started anew; a stage says when a pair is up",
    ),
    "installpolicy": only(
        ("yes",),
        "without policies nothing is encrypted; stage 'off' or 'passive', or 'maintenance', takes a pair out",
    ),
    "keyexchange": only(("ikev2",), "with ike or ikev1 charon answers IKEv1, which is not spoken here"),
    "leftsendcert": only(("always", "ifasked", "yes"), "no end has certificates of its peers on disk"),
    "lifebytes": _amount(10**6, "bytes"),
    "lifepackets": _amount(10**3, "packets"),
    "lifetime": _lasting("10s", "365d", "keys that are never changed are worn out"),
    "mediation": only(("no",), _MEDIATION),
    "modeconfig": only(("pull",), _IKEV1),
    "rekey": only(("yes",), "what is not rekeyed before it ends cuts the pair off; see 'lifetime'"),
    "replay_window": whole(1, 4096),  # 0: packets could be played again; the kernel takes no more than 4096
    "tfc": Kind(
        lambda text: text == "%mtu" or whole(0, 65535).accepts(text),
        "%mtu, or a whole number of bytes from 0 to 65535",
    ),
    "type": only(
        ("transport", "tunnel"),
        "pass, drop and reject encrypt nothing: stage 'off' or 'passive', or 'maintenance', takes a pair out",
    ),
    **dict.fromkeys(
        ("leftallowany", "rightallowany"),
        only(("no",), "anybody could come from any address; addresses are 'ipv4' and 'ipv6' of hosts"),
    ),
    **dict.fromkeys(("leftauth", "rightauth"), _AUTH),
    **dict.fromkeys(("leftca", "rightca"), _CA),
    **dict.fromkeys(("leftcertpolicy", "rightcertpolicy"), _POLICIES),
    "leftupdown": _SCRIPT,
    **dict.fromkeys(("leftikeport", "rightikeport"), only(("500", "4500"), "peers listen there")),
}


def contradictions(known: Mapping[str, str], path: str) -> Iterator[Problem]:
    """Yield what is wrong with options together that are right one by one."""
    ports = (known.get("leftikeport", "500"), known.get("rightikeport", "500"))
    if len({*map(int, ports)}) > 1:
        key = "leftikeport" if "leftikeport" in known else "rightikeport"
        found = f"found {known[key]}, with {' to '.join(ports)}"
        yield Problem(f"{path}:{key}", found, "one number for 'leftikeport' and 'rightikeport'")
    if known.get("leftsendcert") == "ifasked" and known.get("rightsendcert") in ("never", "no"):
        found = f"found {known['rightsendcert']!r}, with leftsendcert 'ifasked': no certificate would be sent"
        yield Problem(f"{path}:rightsendcert", found, "always, ifasked, yes; or leftsendcert: always")
