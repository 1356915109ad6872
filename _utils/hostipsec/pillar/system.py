"""What the pillar may ask of a host's system beside strongSwan: sysctls and packages. Pure."""

from __future__ import annotations

import re
from typing import Optional

from ..strongswan.kinds import is_huge, shown

Wrong = Optional[tuple[str, str]]  # what was found and what is allowed; None where all is right
_NAME = re.compile(r"net(\.[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)+\Z")  # eth0/100 is the interface eth0.100
_NUMBERS = re.compile(r"-?[0-9]{1,20}([ \t,-]{1,8}[0-9]{1,20}){0,199}\Z")
_NUMBER_WORDS = "a whole number, or several with blanks or ',' between"
# sysctls that hold words: queues, schedulers, congestion controls, keys, addresses
_WORDED = frozenset(
    (
        *("default_qdisc", "tcp_congestion_control", "tcp_allowed_congestion_control", "tcp_fastopen_key"),
        *("stable_secret", "flow_limit_cpu_bitmap", "rps_default_mask"),
        *("scheduler", "path_manager", "cookie_hmac_alg"),
    )
)
_LOGGERS = "net.netfilter.nf_log."  # one a family, by its number
_WORDS = re.compile(r"[A-Za-z0-9_.:,-]{1,200}( [A-Za-z0-9_.:,-]{1,200}){0,31}\Z")
_PAST_POLICIES = ("disable_policy", "disable_xfrm")

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{0,126}[a-z0-9+]\Z")
_PATTERN = re.compile(r"\.[+]|\+[+.]{2}")  # apt-get takes what is no name for a pattern of names
_EITHER = "strongswan"  # Debian's and Ubuntu's package of packages
# packages with a daemon that takes UDP port 500, or charon's control, for itself
IKE_DAEMONS = frozenset(
    (
        *("charon-systemd", "strongswan-ikev1", "strongswan-nm", "network-manager-strongswan"),
        *("libreswan", "openswan", "freeswan", "racoon", "racoon2", "vpnc"),  # codespell:ignore
        *("ike", "iked", "isakmpd", "openbsd-iked", "openiked"),
    )
)


def sysctl(key: str, value: object) -> Wrong:
    """Say what is wrong with a sysctl; whether the kernel has it, the host alone can say."""
    if not _NAME.match(key):
        return f"unknown key {key!r}", "a name below 'net.'"
    last = key.rpartition(".")[2]
    if isinstance(value, bool) or not isinstance(value, (int, str)) or is_huge(value):
        return f"found {shown(value)}", _NUMBER_WORDS
    if last in _PAST_POLICIES and str(value) != "0":
        return f"found {shown(value)}", "0: packets would go past the policies, in the clear"
    worded = last in _WORDED or key.startswith(_LOGGERS)
    if not (_WORDS if worded else _NUMBERS).match(str(value)):
        return f"found {shown(value)}", "words or numbers" if worded else _NUMBER_WORDS
    return None


def package(name: object) -> Wrong:
    """Say what is wrong with the name of a package."""
    if not isinstance(name, str) or not _PACKAGE.match(name) or _PATTERN.search(name):
        return f"found {shown(name)}", "names of packages"
    meant = _meant(name)
    if meant == _EITHER:
        return (
            f"found {name!r}, which is charon-systemd on some releases, and starter's charon on others",
            "what you need beside it by its own name: strongSwan itself is installed without a word",
        )
    if meant:
        return (
            f"found {name!r}, an IKE daemon of its own",
            "no second one: strongSwan's charon is here, by the back end that the host has",
        )
    return None


def _meant(name: str) -> str:
    """Return which of the packages that are refused apt-get takes a name for; empty for none of them.

    Where there is no package of a name, ``name+`` is ``name``, and one with ``.`` or ``+`` is an expression
    that any part of a package's name may match.
    """
    refused = (_EITHER, *sorted(IKE_DAEMONS))
    plain = name.rstrip("+")
    if plain in refused or not {*plain} & {*".+"}:
        return plain if plain in refused else ""
    try:
        return next((one for one in refused if re.search(plain, one)), "")
    except re.error:
        return ""
