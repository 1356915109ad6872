"""The pillar's settings: all of it but hosts, rules and expectations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Optional, TypeVar

from ..errors import Problem, nearest
from ..model import BACKENDS, IPSEC_CONF, Certificates, Settings
from ..strongswan import catalog, defaults, options, ranges, sections, strength
from ..strongswan.kinds import shown
from . import identity, metrics, schema, system
from .reader import Reader

CERTIFICATE_KEYS = {source: schema.below("certificates", source) for source in schema.CERTIFICATES}
_OF_FILES = ("certificate", "key", "ca", "crl")
_NO_CERTIFICATES = Certificates("files", "", "", "", "")
T = TypeVar("T")


def read(reader: Reader, top: Mapping[str, object]) -> Settings:
    """Return the settings below ``ipsec``."""
    setup = _section(reader, top, "setup")
    debug = setup.pop("charondebug", defaults.CHARONDEBUG)
    weak = _weak(reader, top.get("weak"))
    return Settings(
        certificates=_certificates(reader, top.get("certificates", {"source": "puppet"})),
        connection=options_of(reader, _section(reader, top, "connection"), "ipsec:connection", weak),
        weak=weak,
        setup=_kept(reader, options.check_setup(setup, "ipsec:setup")),
        charondebug=_kept(reader, options.check_charondebug(debug, "ipsec:setup:charondebug")),
        charon=_charon(reader, top),
        sysctl=_sysctls(reader, _section(reader, top, "sysctl")),
        packages=_packages(reader, top.get("packages")),
        vici=reader.boolean(top.get("vici", True), "ipsec:vici"),
        mtu=mtu(reader, top.get("mtu"), "ipsec:mtu"),
        existing=_existing(reader, top.get("existing")),
        metrics=metrics.read(reader, top.get("metrics")),
        backend=backend_of(reader, top, "ipsec:backend") or IPSEC_CONF,
    )


def backend_of(reader: Reader, entry: Mapping[str, object], path: str) -> str:
    """Return by what a host is to run; empty where nothing is said."""
    return reader.one_of(entry["backend"], path, BACKENDS) if "backend" in entry else ""


def _existing(reader: Reader, value: object) -> str:
    return "" if value is None else reader.one_of(value, "ipsec:existing", schema.EXISTING)


def _kept(reader: Reader, result: tuple[T, list[Problem]]) -> T:
    value, problems = result
    reader.problems += problems
    return value


def _section(reader: Reader, top: Mapping[str, object], key: str) -> dict[str, object]:
    return {} if top.get(key) is None else reader.mapping(top[key], f"ipsec:{key}")


def options_of(
    reader: Reader,
    given: Mapping[str, object],
    path: str,
    weak: Collection[str],
    under: Mapping[str, str] = defaults.CONNECTION,
) -> dict[str, str]:
    """Return options of connections, checked together with those that they are laid over."""
    chosen = _kept(reader, options.check_connection(given, path))
    if options.times(chosen):
        reader.problems += options.check_times({**under, **chosen}, path, chosen)
    for key in catalog.PROPOSALS:
        faults = strength.faults(chosen.get(key, ""), weak)
        reader.problems += [Problem(f"{path}:{key}", *fault) for fault in dict.fromkeys(faults)]
    return chosen


def _charon(reader: Reader, top: Mapping[str, object]) -> dict[str, object]:
    path = "ipsec:charon"
    chosen = _kept(reader, options.check_charon(_section(reader, top, "charon"), path))
    reader.problems += ranges.contradictions(sections.merged(defaults.charon(0), chosen), path)
    return chosen


def _weak(reader: Reader, value: object) -> tuple[str, ...]:
    """Return the words of algorithms that are broken by their age, and taken all the same."""
    words = set()
    for word in [value] if isinstance(value, str) else reader.items(value, "ipsec:weak"):
        if isinstance(word, str) and word in strength.WORDS:
            words.add(word)
        else:
            allowed = nearest(word if isinstance(word, str) else "", strength.WORDS)
            reader.wrong("ipsec:weak", f"found {shown(word)}", allowed)
    return tuple(sorted(words))


def _certificates(reader: Reader, value: object) -> Certificates:
    path = "ipsec:certificates"
    entry = {} if value is None else reader.mapping(value, path)
    named = sorted({*entry} & {*_OF_FILES})
    if "source" not in entry and named:
        reader.wrong(f"{path}:source", f"found {', '.join(named)}, and no 'source'", "source: files")
        return _NO_CERTIFICATES
    source = reader.one_of(entry.get("source", "puppet"), f"{path}:source", tuple(CERTIFICATE_KEYS))
    reader.mapping(entry, path, CERTIFICATE_KEYS[source])
    subject = identity.of_fleet(reader, entry.get("subject", "CN={id}"), f"{path}:subject")
    low, high = schema.WARN_DAYS
    allowed = f"a whole number of days from {low} to {high}"
    days = reader.count(entry.get("warn_days", defaults.WARN_DAYS), f"{path}:warn_days", low, high, allowed)
    days = defaults.WARN_DAYS if days is None else days
    if source == "files":
        pem, key, ca = (
            _file(reader, entry.get(name), f"{path}:{name}") for name in ("certificate", "key", "ca")
        )
        crl = _file(reader, entry["crl"], f"{path}:crl") if "crl" in entry else ""
        return Certificates("files", pem, key, ca, subject, crl, days)
    top = _file(reader, entry["ssldir"], f"{path}:ssldir") if "ssldir" in entry else "{ssldir}"
    return Certificates(
        "puppet",
        f"{top}/certs/{{id}}.pem",
        f"{top}/private_keys/{{id}}.pem",
        f"{top}/certs/ca.pem",
        subject,
        f"{top}/crl.pem",
        days,
    )


def _file(reader: Reader, value: object, path: str) -> str:
    name = identity.template(reader, value, path)
    if name and not name.startswith("/"):
        reader.wrong(path, f"found {name!r}", "an absolute path; {id} and {short} are filled in")
    return name


def _sysctls(reader: Reader, entry: Mapping[str, object]) -> dict[str, str]:
    taken = {}
    for key in sorted(entry):
        if wrong := system.sysctl(key, entry[key]):
            reader.wrong(f"ipsec:sysctl:{key}", *wrong)
        else:
            taken[key] = str(entry[key])
    return taken


def _packages(reader: Reader, value: object) -> tuple[str, ...]:
    names = set()
    for name in reader.items(value, "ipsec:packages"):
        if wrong := system.package(name):
            reader.wrong("ipsec:packages", *wrong)
        else:
            names.add(str(name))
    return tuple(sorted(names))


def mtu(reader: Reader, value: object, path: str) -> Optional[int]:
    """Return the MTU that routes lock, None for none."""
    low, high = schema.MTU
    allowed = f"a whole number from {low} to {high} (bytes)"
    return None if value is None else reader.count(value, path, low, high, allowed)
