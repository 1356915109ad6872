"""Options of ipsec.conf and strongswan.conf, as strongSwan documents them: checked, made plain, compared."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Dict, List, Optional, Tuple, Union

from ..affixes import without_suffix
from ..errors import Problem, nearest
from . import catalog, defaults, durations, proposals, ranges, shared
from .kinds import STRING, TEXT, TIME, Kind, checked, matching, one_of, shown, whole
from .kinds import word as text_of

Problems = List[Problem]
Checked = Tuple[Optional[str], Problems]

# Words that starter and charon take for one another (confread.c, starterstroke.c)
_SAME = {
    "authby": {"secret": "psk", "rsa": "pubkey", "rsasig": "pubkey", "ecdsa": "pubkey", "ecdsasig": "pubkey"},
    "leftsendcert": {"yes": "always", "no": "never"},
    "rightsendcert": {"yes": "always", "no": "never"},
    "type": {"passthrough": "pass", "reject": "drop"},
}
_NUMBER = "(0x[0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9})"
_PROTOCOL_PORT = "(%any|[a-z0-9-]+)(/(%any|%opaque|[a-z0-9-]+)?)?"


def _proposals(protocol: str) -> Kind:
    return Kind(
        lambda text: not proposals.faults(text, protocol), "proposals", proposals.canonical, json=STRING
    )


CONNECTION: Mapping[str, Kind] = {
    **dict.fromkeys(catalog.TEXTS, TEXT),
    **{key: one_of(words, _SAME.get(key, {})) for key, words in catalog.ENUMS.items()},
    **dict.fromkeys(catalog.TIMES, TIME),
    **dict.fromkeys(catalog.LONG_COUNTS, whole(0, 2**63 - 1)),
    **dict.fromkeys(catalog.COUNTS, whole(0, 2**32 - 1)),
    **dict.fromkeys(
        catalog.PERCENTS,
        matching("[0-9]{1,9}%", "a whole number with %", lambda text: int(text[:-1])),
    ),
    **dict.fromkeys(catalog.PORTS, whole(0, 65535)),
    **dict.fromkeys(
        catalog.MARKS,
        matching(f"(%unique|%unique-dir|{_NUMBER})(/{_NUMBER})?", "a mark or mark/mask, such as 0x42"),
    ),
    **dict.fromkeys(
        catalog.PROTOCOL_PORTS, matching(_PROTOCOL_PORT, "protocol or protocol/port, such as tcp/6379")
    ),
    "keyingtries": matching(
        "%forever|[0-9]{1,9}", "%forever, or a whole number", lambda text: int(text.replace("%forever", "0"))
    ),
    "tfc": matching("%mtu|[0-9]{1,9}", "%mtu, or a whole number of bytes"),
    "ikedscp": matching("[01]{6}", "six binary digits, such as 101110")._replace(literal=True, json=STRING),
    **{key: _proposals(key) for key in catalog.PROPOSALS},
}
SETUP: Mapping[str, Kind] = {key: one_of(words) for key, words in catalog.SETUP.items()}
_OF_SETUP = frozenset((*SETUP, "charondebug"))


# ipsec.conf ----------------------------------------------------------------------------------


def check_connection(given: Mapping[str, object], path: str) -> tuple[dict[str, str], Problems]:
    """Return the options of a conn section under their main names, and what is wrong with them."""
    found = {key: _connection_option(key, given[key], f"{path}:{key}") for key in sorted(given)}
    known = {catalog.SYNONYMS.get(key, key): text for key, (text, _) in found.items() if text is not None}
    return known, [*_contradictions(given, path), *_problems(found), *shared.contradictions(known, path)]


def _problems(found: Mapping[str, tuple[object, Problems]]) -> Problems:
    return [problem for _, problems in found.values() for problem in problems]


def _contradictions(given: Mapping[str, object], path: str) -> Iterator[Problem]:
    for key, main in catalog.SYNONYMS.items():
        if key in given and main in given:
            found = f"found {key!r} and {main!r}, which are one option"
            yield Problem(f"{path}:{key}", found, f"{main!r} only")
    for side in ("left", "right"):
        firewall, updown = f"{side}firewall", f"{side}updown"
        if firewall in given and updown in given:
            yield Problem(f"{path}:{firewall}", f"found {firewall!r} and {updown!r}", "one of the two")


def _connection_option(key: str, value: object, path: str) -> Checked:
    if key in catalog.COMPUTED:
        return None, [Problem(path, f"{key!r} is computed for each connection", catalog.COMPUTED[key])]
    if key in shared.REFUSED:
        return None, [Problem(path, f"found {shown(value)}", _refusal(key))]
    if key in catalog.PROPOSALS:
        return _proposal(key, value, path)
    return _option(key, value, path)


def _option(key: str, value: object, path: str) -> Checked:
    if key not in CONNECTION:
        return None, [Problem(path, f"unknown key {key!r}", _instead(key))]
    return checked(shareable(key), value, path)


def shareable(key: str) -> Kind:
    """Return what an option takes that all connections of a fleet, or of a rule, share."""
    return shared.KINDS.get(catalog.SYNONYMS.get(key, key), CONNECTION[key])


def _instead(key: str) -> str:
    """Say what is meant by a key that strongSwan does not document for connections."""
    if key in _OF_SETUP:
        return f"{key!r} of 'setup'"
    known = {*CONNECTION, *catalog.COMPUTED}
    said = former(key) or nearest(
        key, known, "as ipsec.conf(5) documents them, those that all connections can share"
    )
    refused = next((one for one in shared.REFUSED if said == f"did you mean {one!r}?"), "")
    return f"{said} {_refusal(refused)}" if refused else said


def former(key: str) -> str:
    """Say what does now what a key of before, or of other programs, did; empty for what is none."""
    return catalog.FORMER.get(key) or _FORMER.get(_bare(key), "")


def _bare(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


_FORMER = {_bare(key): said for key, said in catalog.FORMER.items()}


def _refusal(key: str) -> str:
    return f"no such option for all connections: {shared.REFUSED[key]}"


def _proposal(key: str, value: object, path: str) -> Checked:
    text, problems = checked(TEXT, value, path)
    if text is None:
        return None, problems
    faults = proposals.faults(text, key)
    return (None if faults else "".join(text.split())), [Problem(path, *fault) for fault in faults]


def check_setup(given: Mapping[str, object], path: str) -> tuple[dict[str, str], Problems]:
    """Return the options of config setup but ``charondebug``, and what is wrong with them."""
    found = {key: _setup_option(key, given[key], f"{path}:{key}") for key in sorted(given)}
    return {key: text for key, (text, _) in found.items() if text is not None}, _problems(found)


def _setup_option(key: str, value: object, path: str) -> Checked:
    if key not in SETUP:
        return None, [Problem(path, f"unknown key {key!r}", _instead_in_setup(key))]
    return checked(SETUP[key], value, path)


def _instead_in_setup(key: str) -> str:
    if key in catalog.COMPUTED:
        return catalog.COMPUTED[key]
    if key in shared.REFUSED:
        return _refusal(key)
    return f"{key!r} of 'connection'" if key in CONNECTION else former(key) or nearest(key, _OF_SETUP)


def check_charondebug(value: object, path: str) -> tuple[dict[str, int], Problems]:
    """Return the levels by type. An unknown type is fatal: charon prints its usage and ends."""
    if not isinstance(value, Mapping):
        known = ", ".join(catalog.CHARONDEBUG)
        allowed = f"a mapping such as {{cfg: 2, dmn: 2}}, of the types {known} to levels from -1 to 4"
        return {}, [Problem(path, f"found {shown(value)}", allowed)]
    levels = {text_of(kind): level for kind, level in value.items()}
    found = {kind: _debug_level(kind, level, f"{path}:{kind}") for kind, level in levels.items()}
    return {kind: found[kind][0] for kind in sorted(found) if not found[kind][1]}, _problems(found)


def _debug_level(kind: str, level: object, path: str) -> tuple[int, Problems]:
    if kind not in catalog.CHARONDEBUG:
        return 0, [Problem(path, f"unknown type {kind!r}", nearest(kind, catalog.CHARONDEBUG))]
    if isinstance(level, bool) or not isinstance(level, int) or level not in catalog.CHARONDEBUG_LEVELS:
        return 0, [Problem(path, f"found {shown(level)}", "a level from -1 to 4")]
    return level, []


# Lifetimes and their margins -------------------------------------------------------------------

_LIFETIMES = {key: defaults.STARTER[key] for key in ("lifetime", "ikelifetime", "margintime", "rekeyfuzz")}


def times(options: Collection[str]) -> frozenset[str]:
    """Return those of some options that say when SAs end, and how long before that they are rekeyed."""
    return frozenset(options) & {*_LIFETIMES, "lifebytes", "lifepackets", "marginbytes", "marginpackets"}


def check_times(effective: Mapping[str, str], path: str, written: Collection[str] = ()) -> Problems:
    """Return what is wrong with lifetimes and margins together, each at an option that is ``written``.

    charon rekeys a random time before the end of a lifetime, between the margin and the margin
    raised by rekeyfuzz per cent (stroke_config.c): that must lie after the beginning.
    ``effective`` holds the options with the package's defaults in them.
    """
    options = {**_LIFETIMES, **effective}
    if options.get("rekey") == "no":
        return []
    shorter = min("lifetime", "ikelifetime", key=lambda life: _amount(options[life]))
    margins = {"margintime": shorter, "marginbytes": "lifebytes", "marginpackets": "lifepackets"}
    return [
        problem
        for margin, life in margins.items()
        if life in options
        for problem in _margin_problems(options, margin, life, path, written)
    ]


def _margin_problems(
    options: Mapping[str, str], margin: str, life: str, path: str, written: Collection[str]
) -> Iterator[Problem]:
    before, end = _amount(options.get(margin, "0")), _amount(options[life])
    fuzz = _amount(options["rekeyfuzz"].rstrip("%"))
    if before == 0 and end > 0:
        found = f"found {options.get(margin, 'nothing')}, with {life} {options[life]}"
        allowed = "more than 0: what is not rekeyed before it ends cuts the pair off"
        yield Problem(f"{path}:{margin}", found, allowed)
    elif before * (100 + fuzz) >= end * 100 > 0 or end == 0 != before:
        spread = f"up to {100 + fuzz}% of it by rekeyfuzz {fuzz}%"
        if margin not in written and life in written:
            found = f"found {options[life]}, with {margin} {options[margin]}, {spread}"
            least = f"more than {before * (100 + fuzz) // 100}{' s' if margin == 'margintime' else ''}"
            yield Problem(f"{path}:{life}", found, f"{least}, or a smaller {margin!r} beside it")
        elif margin not in written and "rekeyfuzz" in written:
            found = f"found {fuzz}%, with {margin} {options[margin]} and {life} {options[life]}"
            most = f"less than {max(0, end * 100 // before - 100)}%"
            yield Problem(f"{path}:rekeyfuzz", found, f"{most}, or a smaller {margin!r} beside it")
        else:
            allowed = f"less than {100 / (100 + fuzz):.0%} of {life}, which is {options[life]}"
            yield Problem(f"{path}:{margin}", f"found {options[margin]}, {spread}", allowed)


def _amount(text: str) -> int:
    """Return a number or a time, both already checked."""
    return durations.parse(text) or 0 if text[-1].isalpha() else int(text)


# strongswan.conf -----------------------------------------------------------------------------


_LEVELS = 8  # of sections in strongswan.conf
Tree = Dict[str, Union[Kind, "Tree"]]
_LOAD = matching("yes|no|[0-9]{1,9}", "yes, no, or a priority")


def settings() -> dict[str, Kind]:
    """Return the keys below ``charon``, dotted, and what each takes; ``<name>`` stands for any word."""
    return {
        **dict.fromkeys(catalog.CHARON_BOOL, one_of(("yes", "no"))),
        **{name: ranges.SIGNED if "plugins." in name else ranges.ANY for name in catalog.CHARON_INT},
        **dict.fromkeys(catalog.CHARON_FLOAT, ranges.DECIMAL),
        **dict.fromkeys(catalog.CHARON_TIME, TIME),
        **dict.fromkeys(catalog.CHARON_TEXT, TEXT),
        **dict.fromkeys(catalog.CHARON_LEVEL, ranges.LEVEL),
        **dict.fromkeys((f"plugins.{plugin}.load" for plugin in catalog.PLUGINS), _LOAD),
        **ranges.KINDS,
    }


@lru_cache(maxsize=1)
def settings_tree() -> Tree:
    """Return the same as a tree; ``*`` stands for any word."""
    tree: Tree = {}
    for name, kind in settings().items():
        _put(tree, re.sub("<[^>]*>", "*", name).split("."), kind)
    return tree


def _put(tree: Tree, words: Sequence[str], kind: Kind) -> None:
    *above, last = words
    for word in above:
        below = tree.setdefault(word, {})
        if isinstance(below, Kind):
            raise ValueError(f"{'.'.join(words)}: {word} is an option and a section")
        tree = below
    tree[last] = kind


def _kind(tree: Tree, key: str) -> Union[Kind, Tree, None]:
    """Return what a key takes; ``include`` would be a statement to the parser, not a name."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", key) and key != "include":
        return tree.get(key, tree.get("*"))
    return None


def check_charon(given: Mapping[str, object], path: str) -> tuple[dict[str, object], Problems]:
    """Return the tree below ``charon`` in strongswan.conf as texts, and what is wrong with it."""
    return _check_section(settings_tree(), given, path)


def _check_section(tree: Tree, given: Mapping[str, object], path: str) -> tuple[dict[str, object], Problems]:
    found = {key: _setting(tree, key, given[key], f"{path}:{key}") for key in sorted(given)}
    return {key: value for key, (value, _) in found.items() if value is not None}, _problems(found)


def _setting(tree: Tree, key: str, value: object, path: str) -> tuple[object, Problems]:
    kind = _kind(tree, key)
    if kind is None:
        return None, [Problem(path, f"unknown key {shown(key)}", _known(tree, key, path))]
    if isinstance(kind, Kind):
        return checked(kind, value, path)
    if not isinstance(value, Mapping):
        allowed = _LOGGER if path.rpartition(":")[0].endswith(_LOGGERS) else f"a mapping of {_some(kind)}"
        return None, [Problem(path, f"found {shown(value)}", allowed)]
    return _check_section(kind, {text_of(name): item for name, item in value.items()}, path)


_LOGGERS = (":filelog", ":syslog")
_LOGGER = (
    "a name of letters, digits, '_' and '-', and below it the levels; of 'filelog' with the file as 'path': "
)
_LOGGER += "filelog: {main: {path: /var/log/charon.log, default: 1}}"


def _known(tree: Tree, key: str, path: str) -> str:
    if without_suffix(path, f":{key}").endswith(_LOGGERS):
        return _LOGGER
    if 0 < key.count(".") < _LEVELS:
        return f"one mapping a level, as {{{key.replace('.', ': {')}: ...{'}' * (1 + key.count('.'))}"
    return (
        nearest(key, {*tree} - {"*"}, "as strongswan.conf(5) documents them")
        or "a word of letters, digits, '_' and '-'"
    )


def _some(tree: Tree) -> str:
    names = sorted(name for name in tree if name != "*")
    return "names to values" if not names else ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


# Meaning -------------------------------------------------------------------------------------


def canonical(key: str, value: str) -> object:
    """Return what a value of ipsec.conf means: ``1h`` and ``3600`` are one."""
    if key == "charondebug":
        return frozenset(tuple(item.split()) for item in value.split(","))
    kind = CONNECTION.get(key)
    return kind.meaning(value) if kind and kind.accepts(value) else value


def canonical_setting(name: str, value: str) -> object:
    """Return what a value of strongswan.conf means; ``name`` is dotted, as ``charon.threads``."""
    kind: Union[Kind, Tree, None] = {"charon": settings_tree()}
    for word in name.split("."):
        kind = _kind(kind, word) if isinstance(kind, dict) else None
    return kind.meaning(value) if isinstance(kind, Kind) and kind.accepts(value) else value
