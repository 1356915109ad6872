"""What settings of strongswan.conf can be with which charon goes on to serve peers and this package.

strongSwan reads a number as it stands, and goes wrong later: with threads = -4 it answers nobody, with
max_packet = 10 it understands nobody. Sources: the same as of ``catalog``, and libcharon's reads of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..errors import Problem
from .kinds import Kind, is_safe, matching, numbers, only

_MOST = 2**31 - 1  # get_int returns an int
_WHOLE = re.compile(r"[0-9]{1,10}|0x[0-9a-fA-F]{1,8}", re.ASCII)


def number(text: str) -> int:
    """Return a whole number, decimal or hexadecimal, as strongSwan reads it."""
    return int(text, 16 if text.startswith("0x") else 10)


def between(low: int, high: int, nought: bool = False, reason: str = "") -> Kind:
    """Return the kind of whole numbers in a range; ``nought`` says that 0 is taken beside it."""

    def accepts(text: str) -> bool:
        return bool(_WHOLE.fullmatch(text)) and (low <= number(text) <= high or (nought and not number(text)))

    allowed = f"a whole number from {low} to {high}" if low < high else str(low)
    found = numbers(low, high, _WHOLE.pattern)
    json = {"anyOf": [*found["anyOf"], {"enum": [0]}]} if nought and low else found
    return Kind(accepts, f"{'0 or ' if nought else ''}{allowed}{reason and f'; {reason}'}", number, json=json)


def _decimal(low: float, high: float) -> Kind:
    digits = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
    return Kind(
        lambda text: digits.fullmatch(text) is not None and low <= float(text) <= high,
        f"a number from {low:g} to {high:g}, such as 1.2",
        float,
        json=numbers(low, high, digits.pattern, "number"),
    )


ANY = between(0, _MOST)
SIGNED = matching("-?[0-9]{1,10}|0x[0-9a-fA-F]{1,8}", "a whole number of up to ten digits", number)
LEVEL = matching("-1|[0-4]", "a level from -1 to 4", int)._replace(json=numbers(-1, 4, "-1|[0-4]"))
DECIMAL = _decimal(0, 999999999)


def _loaded(reason: str) -> Kind:
    return Kind(
        lambda text: text == "yes" or (bool(re.fullmatch("[0-9]{1,9}", text, re.ASCII)) and int(text) > 0),
        f"yes, or a priority above 0; {reason}",
    )


_NEEDED = _loaded("charon cannot serve peers or this package without it")
_UNLOADED = only(
    ("no", "0"), "it is for tests of strongSwan itself, and gives away or breaks what it protects"
)
_RANDOM = "keys are made of it, and what is not random makes them known"
_JUDGED = "without it whoever is revoked, or has a name that his CA may not give, is let in"
_JUDGING = _loaded(_JUDGED)
_PERCENT = between(0, 100)
_MARK = matching(
    "!?(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})(/(0x[0-9a-fA-F]{1,8}|[0-9]{1,10}))?", "a mark, as !0x42/0xff"
)
_COMMAND = Kind(
    lambda text: is_safe(text) and text.startswith("/"),
    "a command by its absolute path, without quotes, braces, '#' and '\\'",
)
# charon appends to it as root, and makes the directories that lack
_OURS_NOT = "etc|usr|bin|sbin|lib[a-z0-9]*|boot|dev|proc|sys|run|root|var/(?:lib|spool|run|cache|backups)"
_LOG = matching(
    rf"stdout|stderr|/(?!/|(?:{_OURS_NOT})/)(?!.*//)(?!.*/\.\.?/)[A-Za-z0-9._/@+-]*[A-Za-z0-9_-]",
    "stdout, stderr, or a file by its whole path, as /var/log/charon.log, not below /etc, /usr and the like",
)
_FIRST = "the first packets of each peer would be dropped"

# By name below `charon`. What is not here is any number from 0 that fits, below `plugins` any at all.
KINDS: Mapping[str, Kind] = {
    "threads": between(10, 1024, reason="with fewer it waits for itself"),
    "port": between(500, 500, reason="peers and 'verify' look for it there"),
    "port_nat_t": between(4500, 4500, reason="peers and 'verify' look for it there"),
    "max_packet": between(3000, 65535, reason="certificates have to fit in"),
    "fragment_size": between(512, 65535, nought=True),
    "fragment_size_v4": between(512, 65535, nought=True),
    "fragment_size_v6": between(512, 65535, nought=True),
    "block_threshold": between(2, _MOST, nought=True, reason=_FIRST),
    "cookie_threshold": ANY,
    "cookie_threshold_ip": ANY,
    "ikesa_limit": between(10, _MOST, nought=True, reason=_FIRST),
    "init_limit_half_open": between(10, _MOST, nought=True, reason=_FIRST),
    "init_limit_job_load": between(10, _MOST, nought=True, reason=_FIRST),
    "half_open_timeout": between(5, 3600),
    "ikesa_table_size": between(1, 2**20),
    "ikesa_table_segments": between(1, 2**12),
    "delete_rekeyed_delay": between(0, 3600),
    "host_resolver.min_threads": between(0, 64),
    "host_resolver.max_threads": between(1, 64),
    "ocsp_nonce_len": between(1, 32),
    "receive_delay": between(0, 1000, reason="milliseconds, for tests"),
    "send_delay": between(0, 1000, reason="milliseconds, for tests"),
    "replay_window": between(1, 4096, reason="with 0 packets could be played again"),
    "reqid_base": between(1, 8192, reason="a stop knows what charon made by a number below 16384"),
    "retransmit_tries": between(1, 100),
    "retransmit_base": _decimal(1, 10),
    "retransmit_timeout": _decimal(0.1, 60),
    "retransmit_jitter": _PERCENT,
    "retransmit_limit": between(1, 86400, nought=True),
    "filelog.<name>.path": _LOG,
    "syslog.<facility>.map_level": matching("-1|[0-7]", "a level from -1 to 7", int),
    "spi_min": between(0x100, 2**32 - 1),
    "spi_max": between(0x100, 2**32 - 1),
    "tls.version_min": _decimal(1, 1.3),
    "tls.version_max": _decimal(1, 1.3),
    **{
        f"processor.priority_threads.{name}": between(0, 64) for name in ("critical", "high", "medium", "low")
    },
    **dict.fromkeys(("plugins.android_log.loglevel", "plugins.sql.loglevel"), LEVEL),
    "plugins.openssl.fips_mode": between(0, 2),
    "plugins.stroke.max_concurrent": between(1, 64, reason="'ipsec' and this package ask by it"),
    "plugins.stroke.timeout": between(1000, _MOST, nought=True, reason="milliseconds"),
    "plugins.kernel-netlink.buflen": between(4096, 2**20, nought=True),
    "plugins.kernel-netlink.receive_buffer_size": between(4096, 2**30, nought=True),
    "plugins.kernel-netlink.mss": between(536, 65535, nought=True),
    "plugins.kernel-netlink.mtu": between(1280, 65535, nought=True),
    "plugins.kernel-netlink.retries": between(0, 100),
    "plugins.kernel-netlink.timeout": between(0, 60000),
    "plugins.kernel-netlink.xfrm_acq_expires": between(1, 3600),
    **{
        f"plugins.kernel-netlink.spdh_thresh.{family}.{bits}": between(0, most)
        for family, most in (("ipv4", 32), ("ipv6", 128))
        for bits in ("lbits", "rbits")
    },
    **dict.fromkeys(
        (f"plugins.{plugin}.fwmark" for plugin in ("kernel-netlink", "socket-default", "kernel-libipsec")),
        _MARK,
    ),
    "initiator_only": only(("no",), "one end of each pair only answers"),
    "i_dont_care_about_security_and_use_aggressive_mode_psk": only(("no",), "hosts have certificates"),
    "signature_authentication": only(("yes",), "without it hosts with RSA keys sign by SHA-1"),
    "plugins.whitelist.enable": only(("no",), "nobody would be let in: peers are those of 'rules'"),
    "plugins.load-tester.enable": only(("no",), "it is for tests of strongSwan itself"),
    **dict.fromkeys(("plugins.save-keys.esp", "plugins.save-keys.ike"), only(("no",), "it gives keys away")),
    "plugins.stroke.ignore_missing_ca_basic_constraint": only(
        ("no",), "any certificate there would be a CA, and whoever has its key could make peers"
    ),
    "plugins.stroke.prevent_loglevel_changes": only(("no",), "'charondebug' is set without a restart"),
    "plugins.stroke.socket": only(
        ("unix:///run/charon.ctl", "unix:///var/run/charon.ctl"), "'ipsec' and this package ask there"
    ),
    "plugins.vici.socket": only(
        ("unix:///run/charon.vici", "unix:///var/run/charon.vici"),
        "this package asks there; root alone may",
    ),
    "plugins.stroke.secrets_file": only(("/etc/ipsec.secrets",), "the private key is named there"),
    **dict.fromkeys(("start-scripts.<name>", "stop-scripts.<name>"), _COMMAND),
    "plugins.random.random": only(("/dev/random", "/dev/hwrng"), _RANDOM),
    "plugins.random.urandom": only(("/dev/urandom", "/dev/random", "/dev/hwrng"), _RANDOM),
    "plugins.gcrypt.quick_random": only(("no",), _RANDOM),
    **dict.fromkeys(
        (f"plugins.{plugin}.enable" for plugin in ("dnscert", "ipseckey")),
        only(("no",), "the pillar's CA vouches for peers, and not DNS"),
    ),
    "plugins.revocation.enable_crl": only(("yes",), _JUDGED),
    **{f"plugins.{plugin}.load": _JUDGING for plugin in ("constraints", "revocation")},
    "rdn_matching": only(("strict",), "a peer or a CA of a longer name would be taken for one that is named"),
    **{
        f"plugins.{plugin}.load": _NEEDED
        for plugin in ("stroke", "kernel-netlink", "socket-default", "nonce")
    },
    **{f"plugins.{plugin}.load": _UNLOADED for plugin in ("load-tester", "save-keys")},
}
_LOADED = ("stroke", "kernel-netlink", "socket-default", "nonce", "constraints", "revocation")
_LEAST, _LONGEST = 3, 86400  # seconds in which a peer that does not answer is given up


def contradictions(effective: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield what is wrong with settings together that are right one by one; defaults are in ``effective``."""
    yield from _patience(effective, path)
    yield from _threads(effective, path)
    yield from _plugins(effective, path)
    low, high = (number(str(effective.get(key, mean))) for key, mean in _SPIS)
    if high - low < 2**16:
        found = (
            f"found {effective.get('spi_min', 'nothing')}, with spi_max {effective.get('spi_max', 'nothing')}"
        )
        yield Problem(f"{path}:spi_min", found, "at least 65536 less than 'spi_max'")


_SPIS = (("spi_min", "0xc0000000"), ("spi_max", "0xcfffffff"))


def _patience(effective: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Look at how long charon waits for an answer: timeout * base^i after try i."""
    tries = number(str(effective.get("retransmit_tries", 5)))
    base, first = (float(str(effective.get(f"retransmit_{key}", mean))) for key, mean in _WAITS)
    limit = number(str(effective.get("retransmit_limit", 0))) or _LONGEST
    total = sum(min(limit, first * base**done) for done in range(tries + 1))
    if not _LEAST <= total <= _LONGEST:
        found = f"found {tries} tries, {first:g} s before the first, each wait {base:g} times the one before"
        allowed = f"retransmissions that give up after {_LEAST} s to a day: these do after {total:.0f} s"
        yield Problem(f"{path}:retransmit_tries", found, allowed)


_WAITS = (("base", 1.8), ("timeout", 4.0))


def _threads(effective: Mapping[str, object], path: str) -> Iterator[Problem]:
    processor = effective.get("processor")
    kept = processor.get("priority_threads") if isinstance(processor, Mapping) else None
    reserved = sum(number(str(text)) for text in kept.values()) if isinstance(kept, Mapping) else 0
    threads = number(str(effective.get("threads", 16)))
    if reserved + 3 > threads:
        found = f"found {threads}, of which 'processor' keeps {reserved} free for some jobs"
        yield Problem(f"{path}:threads", found, "3 more than that, at least")


def _plugins(effective: Mapping[str, object], path: str) -> Iterator[Problem]:
    """See that a list of plugins has those that are needed; with ``load_modular`` charon looks at none."""
    listed = effective.get("load") if effective.get("load_modular") == "no" else None
    names = {name.rstrip("!") for name in str(listed).split()}
    missing = [name for name in _LOADED if name not in names]
    if listed is not None and missing:
        why = "without, charon serves neither peers nor this package, or lets in whoever is revoked"
        yield Problem(f"{path}:load", f"found {listed!r}", f"with {', '.join(missing)}: {why}")
