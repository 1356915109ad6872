"""What hosts answer, of whatever release, as one value: here, and nowhere else, it is told from nonsense.

The module ``ipsec`` of a host answers in the one shape (:mod:`hostipsec.answer`). One of before that shape
said the same under other keys. Where the function could not be called, Salt answers with a text. And a host
whose module is half written, or that is not ours at all, may answer anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, cast

from ..answer import Answer
from . import fleetplan
from .shapes import (
    DICTIONARY,
    NUMBER,
    SWITCH,
    TEXT,
    TEXTS,
    Shape,
    anything,
    each,
    found,
    is_a,
    keys,
    many,
    one_of,
    optional,
)
from .tamed import tamed

OLDER = "an older one"  # an edition that does not say what it is
SYNC = "older modules or none; run saltutil.sync_all there"
NONSENSE = "answered nonsense"
_TELL_EDITION = ("status", "down", "up")
SCREEN = 30  # lines about one host
_FIVE = ("ok", "sentence", "connections", "problems", "notes")


@dataclass(frozen=True)
class Instead:
    """What a host said instead of an answer: an error of its own, a text of Salt's, nonsense."""

    text: str
    unknown: frozenset[str] = frozenset()  # the arguments that it does not know; nothing was done then
    outdated: bool = False  # it does not have the function: older modules, or none


# Shapes: what is read of an answer has to be there, and of its type ----------------------------

_CERTIFICATE = keys({"days_left": NUMBER, "severity": TEXT, "sentence": TEXT})
_CAS = many(keys({"key": TEXT, "name": TEXT}))
_AUTHENTICATION = keys({"chain": _CAS, "trusts": _CAS, "fault": TEXT})
_BESIDE = {
    "ok": SWITCH,
    "sentence": TEXT,
    "problems": TEXTS,
    "notes": TEXTS,
    "edition": TEXT,
    "overruled": TEXT,
    "later": optional(NUMBER),
    "ahead": TEXT,
    "absent": TEXTS,
    "unable": TEXTS,
    "pillar": TEXT,
    "running": SWITCH,
    "held": optional(TEXT),
    "certificate": optional(_CERTIFICATE),
    "authentication": optional(_AUTHENTICATION),
}
_DONE = {"ok": SWITCH, "sentence": TEXT}
_SEEN = {"state": TEXT, "reason": TEXT}
_CHANGED = each(keys({"old": anything, "new": anything}))  # by option
_CONFIGURED = keys(
    beside={
        "connections": keys(beside={"added": TEXTS, "removed": TEXTS, "changed": each(_CHANGED)}),
        **dict.fromkeys(("all connections", "config setup", "strongswan.conf"), _CHANGED),
        "modes": DICTIONARY,
    },
    rest=lambda value: TEXTS(value) if isinstance(value, list) else TEXT(value),
)
_CHANGES = keys(
    beside={
        fleetplan.CONFIGURED: _CONFIGURED,
        fleetplan.CERTIFICATES: each(TEXT),
        **{state: each(is_a(list, dict)) for state in (fleetplan.GUARD, fleetplan.ROUTES)},
        fleetplan.SYSCTL: _CHANGED,
        fleetplan.PACKAGES: DICTIONARY,
    },
    rest=DICTIONARY,
)
_PLANNED = dict.fromkeys(("left", "right", "leftid", "rightid"), anything)


def _rows(needed: Mapping[str, Shape], beside: Mapping[str, Shape]) -> Shape:
    return each(keys({"peer": TEXT, "family": TEXT, **needed}, beside))


_SHAPES = {
    "status": keys(
        {
            "connections": _rows(_SEEN, {"severity": TEXT, "ends": TEXTS}),
            "unmanaged": DICTIONARY,
            "summary": keys({"sentence": TEXT}),
        },
        {**_BESIDE, "warnings": TEXTS, "site": TEXT},
    ),
    "down": keys({"connections": _rows({}, {"left": TEXT}), **_DONE}, _BESIDE),
    "up": keys({"connections": _rows({**_SEEN, "up": SWITCH}, {}), **_DONE}, _BESIDE),
    "verify": keys({"connections": _rows({"ok": SWITCH, "reason": TEXT}, {}), "problems": TEXTS}, _BESIDE),
    "reauthenticate": keys(
        {"connections": _rows({"reason": TEXT}, {}), **_DONE},
        {**_BESIDE, "answered": _rows({"reason": TEXT}, {})},
    ),
    "rollback": keys({"connections": _rows({}, {}), **_DONE}, _BESIDE),
    "restart": keys({"connections": _rows({"ok": SWITCH, "reason": TEXT}, {}), **_DONE}, _BESIDE),
    "plan": keys(
        {
            "standing": one_of(*fleetplan.STANDINGS),
            "connections": _rows({"stage": TEXT, "initiator": SWITCH, **_PLANNED}, {}),
            "former": _rows({"stage": TEXT}, {}),
            "changes": _CHANGES,
            "configured": NUMBER,
            "warnings": TEXTS,
        },
        _BESIDE,
    ),
    "previous": keys({"connections": TEXTS, "mark": optional(TEXT), "when": optional(TEXT)}, _BESIDE),
}


# Reading ---------------------------------------------------------------------------------------


def read(function: str, value: object) -> Union[Answer, Instead]:
    """Return what a host answered, or said instead; ``function`` is what it was asked for, ``ipsec.down``."""
    verb = function.rpartition(".")[2]
    try:
        value = tamed(value)
    except ValueError as error:
        return Instead(f"{NONSENSE}: {error}")
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = "\n".join(value)  # how Salt says why it does not begin
    if isinstance(value, str) and value.strip():
        return _salt(function, value)
    if isinstance(value, dict) and value.get("error"):
        said = value["error"]
        return (
            Instead(said, _unknown(value)) if isinstance(said, str) else Instead(f"{NONSENSE}: {found(said)}")
        )
    wrong = _SHAPES[verb](value)
    return Instead(f"{NONSENSE}: {wrong}") if wrong else _answer(verb, cast("dict[str, Any]", value))


def _answer(verb: str, value: Mapping[str, Any]) -> Answer:
    rows, notes = value["connections"], value.get("notes", ())
    return Answer(
        ok=(value["ok"] if "ok" in value else _ok(value)) and not _belied(verb, value),
        sentence=value["sentence"] if "sentence" in value else _sentence(value),
        connections=rows if isinstance(rows, dict) else {name: {} for name in rows},  # of previous: names
        problems=tuple(value.get("problems", ())),
        notes=tuple(notes),
        own={
            **({"edition": OLDER} if verb in _TELL_EDITION else {}),
            **_told_ahead(notes),
            **{key: one for key, one in value.items() if key not in _FIVE},
        },
    )


def _belied(verb: str, value: Mapping[str, Any]) -> bool:
    """Whether something is left of what was to be ended, or not proven, whatever else is said."""
    rows = value["connections"]
    if verb == "down":
        return any(row.get("left") for row in rows.values())
    return verb == "verify" and bool(value["problems"] or not all(row["ok"] for row in rows.values()))


def _told_ahead(notes: Sequence[str]) -> Mapping[str, str]:
    """Return what a host of before the key ``ahead`` says in a note alone, under that key."""
    return next(({"ahead": one} for one in notes if one.startswith("asked=")), {})


def _ok(value: Mapping[str, Any]) -> bool:
    """Whether all is well, by a status, a verification or a plan of before the one shape."""
    summary = value.get("summary")
    well = not isinstance(summary, dict) or summary.get("severity") == "ok"
    rows = value["connections"]
    each_well = not isinstance(rows, dict) or all(row.get("ok", True) for row in rows.values())
    return well and each_well and not value.get("problems")


def _sentence(value: Mapping[str, Any]) -> str:
    """Return the sentence of a status or a verification of before the one shape; others had none."""
    summary = value.get("summary", "")
    return str(summary.get("sentence", "") if isinstance(summary, dict) else summary)


def _unknown(value: Mapping[object, object]) -> frozenset[str]:
    """Return the arguments that a host does not know, if that is what it says.

    Hosts of before the one shape say so in a sentence only.
    """
    names = value.get("unknown", [])
    if isinstance(names, list) and names:
        return frozenset(map(str, names))
    said = re.fullmatch(r"unknown argument (.*); nothing was done", str(value["error"]))
    return frozenset(said.group(1).split(", ")) if said else frozenset()


def _salt(function: str, value: str) -> Instead:
    """Return what Salt says of a function that it cannot call, and any other text, on one line.

    It has no other way to say it than these texts, which are the same in 3006.9, 3007.1 and 3008.4
    (``salt/loader/lazy.py``, ``salt/minion.py``).
    """
    text = " ".join(value.split())
    if text == f"'{function}' is not available." or text.startswith("Passed invalid arguments to "):
        return Instead(f"{function}: {SYNC}", outdated=True)
    if text.startswith(f"'{function.partition('.')[0]}' __virtual__ returned False"):
        return Instead(text, outdated=True)
    given = re.search(r"The following keyword arguments are not valid: (.*)", text)
    names = (one.partition("=")[0] for one in given.group(1).split(", ")) if given else ()
    return Instead(text, frozenset(names))


# A state run -----------------------------------------------------------------------------------

_STATES = each(keys({"result": optional(SWITCH), "comment": anything}))


def wrong_states(value: object) -> list[str]:
    """Return what is wrong in the answer of ``state.apply``; what only follows from it is left out."""
    try:
        value = tamed(value)
    except ValueError as error:
        return [f"{NONSENSE}: {error}"]
    if isinstance(value, (str, list)) and value:
        told = [value] if isinstance(value, str) else value
        return _few([" ".join(one.split()) if isinstance(one, str) else found(one) for one in told])
    wrong = _no_states(value)
    if wrong:
        return [f"{NONSENSE}: {wrong}"]
    failed = [
        f"{one.get('__id__', name)}: {' '.join(str(one['comment']).split())}"
        for name, one in cast("dict[str, dict[str, Any]]", value).items()
        if one["result"] is False and "requisite failed" not in str(one["comment"])
    ]
    return _few(failed)


def _few(lines: list[str]) -> list[str]:
    more = len(lines) - SCREEN
    return lines if more <= 0 else [*lines[:SCREEN], f"and {more} more"]


def changed_states(value: object) -> bool:
    """Whether `state.apply` changed the host, or may have; what Salt says in a list it says beforehand."""
    try:
        value = tamed(value)
    except ValueError:
        return True
    if isinstance(value, list) and value:
        return False
    if isinstance(value, str) or _no_states(value):
        return True
    return any(one.get("changes", True) for one in cast("dict[str, dict[str, Any]]", value).values())


def _no_states(value: object) -> str:
    return _STATES(value) or ("" if value else found(value))
