"""A host's configuration as swanctl reads it, ``/etc/swanctl/conf.d/hostipsec.conf``: written and read back.

Options keep the names of ipsec.conf in all of the engine; this module alone knows what swanctl calls them
(stroke_config.c against vici_config.c of strongSwan 5.9.1 to 6.0.1). What all connections share stands once,
in sections that each refers to. Defaults of ipsec.conf are written out, swanctl has others: :func:`settled`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Optional

from ..affixes import without_prefix, without_suffix
from ..errors import ConfigError
from ..model import SWANCTL
from . import durations, parse, render
from .render import HEADER
from .sections import HELD, Configuration, Secret, merged

DEFAULTS, CHILD = "hostipsec-conn", "hostipsec-child"  # what all connections, and their children, share
LOADED, ASIDE = "connections", "hostipsec-held"  # swanctl loads what is below the first, and no other
JOURNAL = "charon-systemd"  # below it are the levels of what charon-systemd tells the journal
KEY = "private"  # section of the secrets that names the key's file; swanctl needs none to load it
_FILES = ("local.certs", "remote.cacerts")
_LISTS = (
    *("local_addrs", "remote_addrs", "proposals", "child.esp_proposals"),
    *("local.cert_policy", "local.groups", "remote.cert_policy"),
)
_NONE: Mapping[str, str] = MappingProxyType({})


# Options of one meaning ----------------------------------------------------------------------


class _Option(NamedTuple):
    """What an option of ipsec.conf is called here, its value where ipsec.conf has none, and its words."""

    name: str  # below a connection; what is of its child begins with "child."
    default: str = ""  # empty: it is left out
    words: Mapping[str, str] = _NONE  # those of ipsec.conf -> swanctl's; of equals the first is read back


def _same(words: str) -> dict[str, str]:
    return {word: word for word in words.split()}


_BOOL = _same("yes no")
_ASKED = {**dict.fromkeys(("ifasked", "always", "yes"), "yes"), **dict.fromkeys(("never", "no"), "no")}
_MODES = {**_same("transport tunnel beet transport_proxy pass drop"), "passthrough": "pass", "reject": "drop"}
_DPD = {"none": "none", "clear": "clear", "hold": "trap", "restart": "restart"}
OPTIONS: Mapping[str, _Option] = {
    "auto": _Option("child.start_action", "", {HELD: "", "add": "none", "route": "trap", "start": "start"}),
    "closeaction": _Option("child.close_action", "none", {**_DPD, "clear": "none"}),
    "compress": _Option("child.ipcomp", "no", _BOOL),
    "dpdaction": _Option("child.dpd_action", "none", _DPD),
    "dpddelay": _Option("dpd_delay", "30s"),
    "forceencaps": _Option("encap", "no", _BOOL),
    "fragmentation": _Option("fragmentation", "yes", _same("yes no accept force")),
    "ikedscp": _Option("dscp"),
    "inactivity": _Option("child.inactivity", "0"),
    "installpolicy": _Option("child.policies", "yes", _BOOL),
    "keyexchange": _Option("version", "ike", {"ike": "0", "ikev1": "1", "ikev2": "2"}),
    "keyingtries": _Option("keyingtries", "3", {"%forever": "0"}),
    "left": _Option("local_addrs"),
    "leftauth": _Option("local.auth", "pubkey"),
    "leftcert": _Option("local.certs"),
    "leftcertpolicy": _Option("local.cert_policy"),
    "leftgroups": _Option("local.groups"),
    "lefthostaccess": _Option("child.hostaccess", "no", _BOOL),
    "leftid": _Option("local.id"),
    "leftikeport": _Option("local_port"),
    "leftsendcert": _Option("send_cert", "ifasked", {**_same("always ifasked never"), "yes": "always"}),
    "leftupdown": _Option("child.updown"),
    "mobike": _Option("mobike", "yes", _BOOL),
    "replay_window": _Option("child.replay_window"),
    "reqid": _Option("child.reqid"),
    "right": _Option("remote_addrs"),
    "rightauth": _Option("remote.auth", "pubkey"),
    "rightcertpolicy": _Option("remote.cert_policy"),
    "rightid": _Option("remote.id"),
    "rightikeport": _Option("remote_port"),
    "rightsendcert": _Option("send_certreq", "ifasked", _ASKED),
    "sha256_96": _Option("child.sha256_96", "no", _BOOL),
    "tfc": _Option("child.tfc_padding", "0", {"%mtu": "mtu"}),
    "type": _Option("child.mode", "tunnel", _MODES),
}
SETUP: Mapping[str, _Option] = {  # of `config setup`, where swanctl has it at each connection
    "strictcrlpolicy": _Option("remote.revocation", "no", {"no": "", "yes": "strict", "ifuri": "ifuri"}),
    "uniqueids": _Option("unique", "yes", {"yes": "replace", **_same("replace no keep never")}),
}
_PROPOSALS = {"ike": "proposals", "esp": "child.esp_proposals"}
_TIMES = {"ikelifetime": "3h", "lifetime": "1h", "margintime": "9m", "rekeyfuzz": "100%", "reauth": "yes"}
_AMOUNTS = {"lifebytes": "bytes", "lifepackets": "packets"}
_MARGINS = {"lifebytes": "marginbytes", "lifepackets": "marginpackets"}
_CA, _CA_PRINT = "rightca", "rightca2"  # name, and beginning of the fingerprint, of the CA of all peers
# of these the package takes the one value that is also swanctl's way
_ALONE = "aggressive authby dpdtimeout leftallowany mediation modeconfig rekey rightallowany"
WITHOUT = frozenset(_ALONE.split())
KNOWN = frozenset((*OPTIONS, *_PROPOSALS, *_TIMES, *_AMOUNTS, *_MARGINS.values(), *WITHOUT, _CA, _CA_PRINT))


# Writing -------------------------------------------------------------------------------------


def conf(value: Configuration) -> str:
    """Return the file below /etc/swanctl/conf.d. Raises ConfigError for what swanctl cannot be told."""
    dotted = [name for name in sorted(value.names) if "." in name]
    if dotted:
        why = "its parser takes no dot in a name, and would load nothing at all"
        raise ConfigError(f"swanctl.conf cannot have a connection {dotted[0]!r}: {why}")
    shared = _flat(value.defaults, value.setup)
    loaded: dict[str, object] = {}
    held: dict[str, object] = {}
    sections: dict[str, object] = {
        DEFAULTS: _nested({name: text for name, text in shared.items() if not name.startswith("child.")}),
        CHILD: _nested(
            {without_prefix(name, "child."): shared[name] for name in shared if name.startswith("child.")}
        ),
        LOADED: loaded,
        ASIDE: held,
        "secrets": {KEY: {"file": value.secret.key}} if value.secret else {},
    }
    for name, own in value.connections.items():
        place = held if own.get("auto") == HELD else loaded
        place[f"{name} : {DEFAULTS}"] = _connection(f"{name} : {CHILD}", _less(every(value, name), shared))
    return f"{HEADER}\n{render.tree(sections)}"


def section(value: Configuration, name: str, files: Mapping[str, bytes]) -> dict[str, object]:
    """Return a connection as vici takes it, by itself: lists are lists, and files are their contents.

    ``files`` are the certificates and CAs that the configuration names, by file name.
    """
    flat = every(value, name)
    lists: dict[str, Sequence[object]] = {key: _listed(flat[key]) for key in _LISTS if key in flat}
    contents = {key: [files[file] for file in _listed(flat[key])] for key in _FILES if key in flat}
    return _connection(name, {**flat, **lists, **contents})


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")]


def every(value: Configuration, name: str) -> dict[str, str]:
    """Return all that a connection is told, by dotted names; what is of its child begins with ``child.``."""
    return _flat({**value.defaults, **value.connections[name]}, value.setup)


def _less(found: Mapping[str, str], shared: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in found.items() if shared.get(name) != text}


def _connection(child_title: str, flat: Mapping[str, object]) -> dict[str, object]:
    child = _nested({without_prefix(key, "child."): flat[key] for key in flat if key.startswith("child.")})
    own = _nested({key: text for key, text in flat.items() if not key.startswith("child.")})
    return {**own, "children": {child_title: child}}


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    """Return sections of dotted names, one in the other at most once."""
    inner: dict[str, dict[str, object]] = {}
    for name, text in flat.items():
        section, _, key = name.rpartition(".")
        inner.setdefault(section, {})[key] = text
    return {**inner.pop("", {}), **inner}


def strongswan_conf(value: Configuration) -> str:
    """Return the file for /etc/strongswan.d: our sections, and the levels of charon-systemd's own log."""
    levels = {kind: str(level) for kind, level in value.levels.items()}
    return render.strongswan_conf(value._replace(strongswan={**_tree(value), JOURNAL: {"journal": levels}}))


def _tree(value: Configuration) -> Mapping[str, object]:
    """Return the tree of strongswan.conf with what ipsec.conf has of it in ``config setup``."""
    cached = value.setup.get("cachecrls")
    return merged(value.strongswan, {"charon": {"cache_crls": cached}}) if cached else value.strongswan


# From options to names -----------------------------------------------------------------------


def _flat(options: Mapping[str, str], setup: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted({*options} - KNOWN)
    if unknown:
        raise ConfigError(f"swanctl.conf has nothing for {', '.join(unknown)} of ipsec.conf")
    odd = next((f"{options[key]!r} ({key})" for key in sorted(options) if not options[key].isascii()), "")
    if odd:  # vici_message.c, vici_stringify
        raise ConfigError(f"swanctl.conf cannot have {odd}: charon takes ASCII alone from it")
    plain = {**dict(_plain(OPTIONS, options)), **dict(_plain(SETUP, setup))}
    proposed = {name: _proposals(options.get(key, "")) for key, name in _PROPOSALS.items()}
    return {**plain, **proposed, **_lifetimes(options), **_authority(options)}


def _plain(table: Mapping[str, _Option], options: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for key, option in table.items():
        text = options.get(key, option.default)
        if word := option.words.get(text, text):
            yield option.name, word


def _proposals(text: str) -> str:
    """Return the list of proposals; ``default`` in it are charon's own, which ``!`` leaves out."""
    singles = [one for one in without_suffix(text, "!").split(",") if one]
    return ", ".join(singles if text.endswith("!") else [*singles, "default"])


def _authority(options: Mapping[str, str]) -> dict[str, str]:
    """Return the file of the CA that peers are bound to: it is called by its fingerprint."""
    if _CA in options and not options.get(_CA_PRINT):
        raise ConfigError(f"swanctl.conf takes a CA by its file, not by its name {options[_CA]!r} (rightca)")
    return {"remote.cacerts": authority_file(options[_CA_PRINT])} if options.get(_CA_PRINT) else {}


def authority_file(fingerprint: str) -> str:
    """Return the file of a CA below /etc/swanctl/x509ca."""
    return f"hostipsec-{fingerprint[:8]}.pem"


def _lifetimes(options: Mapping[str, str]) -> dict[str, str]:
    times = {**_TIMES, **options}
    margin, ike, child = (_seconds(times[key]) for key in ("margintime", "ikelifetime", "lifetime"))
    fuzz = int(times["rekeyfuzz"].rstrip("%"))
    again, never = ("reauth", "rekey") if times["reauth"] == "yes" else ("rekey", "reauth")
    return {
        f"{again}_time": f"{ike - margin}s",
        f"{never}_time": "0s",
        "over_time": f"{margin}s",
        "rand_time": f"{margin * fuzz // 100}s",
        "child.life_time": f"{child}s",
        "child.rekey_time": f"{child - margin}s",
        "child.rand_time": f"{margin * fuzz // 100}s",
        **{name: text for life in _AMOUNTS for name, text in _amount(options, life, fuzz)},
    }


def _seconds(text: str) -> int:
    found = durations.parse(text)
    if found is None:
        raise ConfigError(f"{text!r} is no time")
    return found


def _amount(options: Mapping[str, str], life: str, fuzz: int) -> Iterable[tuple[str, str]]:
    most, margin = int(options.get(life, "0")), int(options.get(_MARGINS[life], "0"))
    if most:
        yield f"child.life_{_AMOUNTS[life]}", str(most)
        yield f"child.rekey_{_AMOUNTS[life]}", str(most - margin)
        yield f"child.rand_{_AMOUNTS[life]}", str(margin * fuzz // 100)


# Reading back --------------------------------------------------------------------------------


def configuration(text: Optional[str], strongswan: Optional[str] = None) -> Configuration:
    """Return what the files say; None stands for one that is not there. Nothing is refused."""
    tree, beside = (parse.strongswan_conf(one or "") for one in (text, strongswan))
    shared = {**_dotted(tree, DEFAULTS), **_dotted(tree, CHILD, "child.")}
    common = _options(shared)
    connections = {
        **{name: _own(shared, common, flat) for name, flat in _connections(tree, LOADED)},
        **{name: {**_own(shared, common, flat), "auto": HELD} for name, flat in _connections(tree, ASIDE)},
    }
    return Configuration(
        setup={**_worded(SETUP, shared), **_debug(beside.pop(JOURNAL, None))},
        defaults=common,
        connections=connections,
        secret=_secret(tree),
        strongswan=beside,
        ours=(text or "").startswith(HEADER),
        backend=SWANCTL,
    )


def settled(value: Configuration) -> Configuration:
    """Return a value as it is read back: ipsec.conf's defaults in it, in seconds, one word of several.

    What is compared with what was read has to be settled, too. Connections of others are no part of it:
    they are in files of their own, which swanctl reads beside ours.
    """
    return configuration(conf(value), strongswan_conf(value))


def intact(text: str) -> bool:
    """Say whether a file of ours is just what is written of what it says: swanctl stops at a damaged one."""
    try:
        return conf(configuration(text)) == text
    except (ConfigError, ValueError):
        return False


def _section(tree: object, name: str) -> Mapping[str, object]:
    found = tree.get(name) if isinstance(tree, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _dotted(tree: object, name: str, above: str = "") -> dict[str, str]:
    """Return what stands in a section and in the sections in it, by dotted names."""
    found: dict[str, str] = {}
    for key, item in _section(tree, name).items():
        inner = item.items() if isinstance(item, Mapping) else ((None, item),)
        found.update({f"{above}{key}.{last}" if last else f"{above}{key}": str(text) for last, text in inner})
    return found


def _connections(tree: object, section: str) -> Iterable[tuple[str, dict[str, str]]]:
    """Yield name and dotted names of each connection below a section."""
    for title, own in _section(tree, section).items():
        children = _section(own, "children")
        child = {key: text for title in children for key, text in _dotted(children, title, "child.").items()}
        plain = {
            key: item for key, item in _section(_section(tree, section), title).items() if key != "children"
        }
        yield title.partition(":")[0].strip(), {**_dotted({"": plain}, ""), **child}


def _own(shared: Mapping[str, str], common: Mapping[str, str], flat: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a connection that are not those of all."""
    return _less(_options({**shared, **flat}), common)


def _options(flat: Mapping[str, str]) -> dict[str, str]:
    proposed = {key: _bang(flat[name]) for key, name in _PROPOSALS.items() if name in flat}
    plain = {**_worded(OPTIONS, flat), **{key: text for key, text in proposed.items() if text}}
    return {**plain, **_spans(flat), **_print(flat)}


def _worded(table: Mapping[str, _Option], flat: Mapping[str, str]) -> dict[str, str]:
    found = {key: (option, flat[option.name]) for key, option in table.items() if option.name in flat}
    return {key: _back(option.words).get(text, text) for key, (option, text) in found.items()}


def _back(words: Mapping[str, str]) -> dict[str, str]:
    """Return the words of ipsec.conf by swanctl's."""
    return {theirs: word for word, theirs in reversed(tuple(words.items()))}


def _bang(text: str) -> str:
    """Return a list of proposals as ipsec.conf has it."""
    singles = text.replace(" ", "").split(",")
    rest = [one for one in singles if one != "default"]
    return ",".join(rest) + ("!" if rest == singles else "")


def _print(flat: Mapping[str, str]) -> dict[str, str]:
    found = re.fullmatch(r"hostipsec-(\w+)\.pem", flat.get("remote.cacerts", ""))
    return {_CA_PRINT: found[1]} if found else {}


def _spans(flat: Mapping[str, str]) -> dict[str, str]:
    """Return lifetimes and margins."""
    found = {name: _number(text) for name, text in flat.items() if _TIMED.fullmatch(name)}
    if not found:
        return {}
    margin, end = found.get("over_time", 0), found.get("reauth_time") or found.get("rekey_time", 0)
    amounts = [life for life, unit in _AMOUNTS.items() if f"child.life_{unit}" in found]
    before = {_MARGINS[life]: _margin(found, _AMOUNTS[life]) for life in amounts}
    jitters = {"time": margin, **{_AMOUNTS[life]: before[_MARGINS[life]] for life in amounts}}
    return {
        "reauth": "yes" if found.get("reauth_time") else "no",
        "ikelifetime": f"{margin + end}s",
        "lifetime": f"{found.get('child.life_time', 0)}s",
        "margintime": f"{margin}s",
        "rekeyfuzz": f"{_fuzz((found.get(f'child.rand_{unit}', 0), of) for unit, of in jitters.items())}%",
        **{life: str(found[f"child.life_{_AMOUNTS[life]}"]) for life in amounts},
        **{name: str(number) for name, number in before.items()},
    }


def _margin(found: Mapping[str, int], unit: str) -> int:
    return found[f"child.life_{unit}"] - found.get(f"child.rekey_{unit}", 0)


def _fuzz(jitters: Iterable[tuple[int, int]]) -> int:
    """Return the least per cent of which each jitter is what is left of its margin, rounded off."""
    return max((-(-100 * jitter // margin) for jitter, margin in jitters if margin > 0), default=100)


_TIMED = re.compile(r"(child\.)?(re(key|auth)|over|rand|life)_(time|bytes|packets)")


def _number(text: str) -> int:
    found = durations.parse(text)
    return int(text) if found is None and text.isdecimal() else found or 0


def _debug(levels: object) -> dict[str, str]:
    pairs = [f"{kind} {level}" for kind, level in sorted(_section(levels, "journal").items())]
    return {"charondebug": ", ".join(pairs)} if pairs else {}


def _secret(tree: object) -> Optional[Secret]:
    """Return the private key; swanctl finds out its type, as PKCS8 does in ipsec.secrets."""
    file = _section(_section(tree, "secrets"), KEY).get("file")
    return Secret("PKCS8", file) if isinstance(file, str) else None
