"""Pillars that are mutilated, and pillars with any options that strongSwan documents."""

from __future__ import annotations

import copy
import datetime
import random

import fleets
import slight
from hostipsec.strongswan import catalog, options, sections

RICH = {
    **fleets.example(),
    "connection": {"lifetime": "8h", "leftca": "CN=CA, O=x", "replay_window": 64, "mobike": False, "tfc": 0},
    "weak": ["3des"],
    "setup": {"uniqueids": "never", "charondebug": {"ike": 1}},
    "charon": {
        "threads": 40,
        "retransmit_base": 1.5,
        "plugins": {"vici": {"load": True}, "kernel-netlink": {"mtu": 1400}},
        "filelog": {"main": {"path": "/var/log/x.log", "time_format": "%b %e", "default": 1}},
        "syslog": {"daemon": {"cfg": 2}},
    },
    "sysctl": {"net.core.xfrm_larval_drop": 1, "net.core.default_qdisc": "fq"},
    "packages": ["strongswan-swanctl"],
    "certificates": {
        "source": "files",
        "certificate": "/a/{id}",
        "key": "/k/{id}",
        "ca": "/ca",
        "warn_days": 9,
    },
    "vici": False,
    "mtu": 1450,
    "addresses": ["mine", "dns"],
    "metrics": {
        "textfile": "/var/lib/x",
        "http": "[::]:9815",
        "graphite": "g.example:2003",
        "clear_text": True,
    },
}


def deep(levels: int, kind: type) -> object:
    value: object = "x"
    for _ in range(levels):
        value = {"x": value} if kind is dict else [value]
    return value


SURROGATES = ("\ud800", "/x\ud800", "\udfff", "CN={id}\udc80", "a\ud83d")
HUGE = (10**5000, -(10**5000), 1 << 16000, 2**31, 2**63, -1, 0, 10**300, float("inf"), float("nan"), 1e308)
CONTROL = ("\x00", "a\nb", "\x1b[31m", "a\tb", "\x7f", "\x85", "\u202e", "\u2028", "a\rb", "\x9b")
LONG = (
    "x" * 100_000,
    "/" + "a" * 5000,
    "a." * 40_000,
    "1" * 5000,
    "aes128-" * 3000,
    "CN={id}" + "{id}" * 5000,
)
TYPES = (None, True, False, 1, 1.5, "", "x", [], {}, [None], [[]], {"x": None}, b"x", (), (1,), {1, 2})
MORE = (
    datetime.date(2020, 1, 1),
    object,
    "{id}",
    "*",
    "include x",
    "%any",
    "yes",
    "no",
    "0x10",
    "1.10",
    "ü",
    "-",
)
DEEP = (deep(5000, dict), deep(5000, list), deep(60, dict))
JUNK = {
    "surrogates": SURROGATES,
    "huge": HUGE,
    "control": CONTROL,
    "long": LONG,
    "types": TYPES,
    "more": MORE,
    "deep": DEEP,
}
KEYS = (
    *SURROGATES,
    *CONTROL,
    *LONG[:3],
    10**5000,
    None,
    1,
    1.5,
    True,
    (),
    b"x",
    "",
    "*",
    "include",
    "a.b",
    "a b",
)


def places(value: object, levels: int = 8):
    """Yield each dictionary or list below a value, with a key in it."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if levels and isinstance(value[key], (dict, list)):
            yield from places(value[key], levels - 1)


def put(junk):
    def mutilate(parent, key, chance):
        parent[key] = chance.choice(junk)

    return mutilate


def removed(parent, key, _):
    del parent[key]


def renamed(parent, key, chance):
    if isinstance(parent, dict):
        parent[chance.choice(KEYS)] = parent.pop(key)
    else:
        parent.append(chance.choice(KEYS))


def flipped(parent, key, chance):
    """Put another character into a text, or take one away."""
    text = parent[key]
    if isinstance(text, str) and text:
        place = chance.randrange(len(text))
        parent[key] = text[:place] + chance.choice(("", *SURROGATES[:1], *CONTROL, '"', "#", "%", "é"))
        parent[key] += text[place + 1 :]
    else:
        parent[key] = chance.choice(TYPES)


VALUES = (
    *(
        "yes",
        "no",
        True,
        False,
        0,
        1,
        3,
        40,
        "13m",
        "1d",
        "100%",
        4096,
        10**6,
        1.5,
        "0x10",
        "2.0",
        "%forever",
    ),
    *(
        "always",
        "clear",
        "tunnel",
        "pubkey",
        "ecdsa-384-sha384",
        "101110",
        "1.2.3",
        "/usr/bin/x y",
        "CN=a, O=b",
    ),
    *("eth0,eth1", "it's", "a=b", "a;b", "$x", "[a]", "ü", "x" * 999, "%same", "unix:///run/charon.vici"),
)


def nested(name: str, value: object) -> dict:
    """Return ``{"a": {"b": value}}`` for ``a.b``; a word such as ``<name>`` stands for any."""
    *above, last = name.replace("<", "").replace(">", "").split(".")
    tree: dict = {last: value}
    for one in reversed(above):
        tree = {one: tree}
    return tree


def chosen(number: int) -> dict:
    """Return a pillar with documented options and settings, set to what they take one by one."""
    chance = random.Random(f"chosen {number}")
    connection, charon = {}, {}
    for key in chance.sample(sorted(options.CONNECTION), 6):
        value = chance.choice(VALUES)
        if not options.check_connection({key: value}, "p")[1]:
            connection[key] = value
    for name in chance.sample(SETTINGS, 6):
        tree = nested(name, chance.choice(VALUES))
        if not options.check_charon(tree, "p")[1]:
            charon = sections.merged(charon, tree)
    return {**fleets.example(), "connection": connection, "charon": charon}


_EVERY = (*catalog.CHARON_BOOL, *catalog.CHARON_INT, *catalog.CHARON_TEXT, *catalog.CHARON_TIME)
SETTINGS = tuple(name for name in _EVERY if "-scripts." not in name)  # whoever reads them runs them
WAYS = {**{name: put(junk) for name, junk in JUNK.items()}, "removed": removed, "renamed": renamed}
WAYS |= {"flipped": flipped}


MADE = {"chosen": chosen, "slight": slight.changed}  # anew, with most of them right


def mutilated(way: str, number: int) -> dict:
    if way in MADE:
        return MADE[way](number)
    chance, data = random.Random(f"{way} {number}"), copy.deepcopy(RICH)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        found = list(places(data))
        if found:
            WAYS[way](*chance.choice(found), chance)
    return data
