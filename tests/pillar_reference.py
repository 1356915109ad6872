"""Tables of keys in docs/pillar.md and docs/strongswan-conf.md, and docs/ipsec.schema.json: of the engine.

Run, this writes them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs/pillar.md"
CHARON = ROOT / "docs/strongswan-conf.md"
SCHEMA = ROOT / "docs/ipsec.schema.json"
MARKED = re.compile(r"(<!-- keys of (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
COLUMNS = "| key | what it says | value | default | example |\n|---|---|---|---|---|\n"
HEADS = "| key | value | default |\n|---|---|---|\n"
ANYWHERE = "plugins.<plugin>.load"


def reference() -> str:
    """Return docs/pillar.md as it is, with the tables of now between its marks."""
    return MARKED.sub(lambda found: found[1] + _table(found[2]) + found[3], FILE.read_text())


def _table(above: str) -> str:
    from hostipsec.pillar import schema

    above = "" if above == "ipsec" else above
    return COLUMNS + "".join(_line(one) for one in schema.KEYS if one.above == above)


def _line(key) -> str:
    source = f" (source: {key.of})" if key.of else ""
    example = f"`{key.name}: {key.example}`" if key.example else "below"
    return f"| `{key.name}`{source} | {key.says} | {key.type.says} | {key.default} | {example} |\n"


def charon() -> str:
    """Return docs/strongswan-conf.md as it is, with the table of now between its marks."""
    return MARKED.sub(lambda found: found[1] + HEADS + _settings() + found[3], CHARON.read_text())


def _settings() -> str:
    """Return the keys of strongswan.conf; plugins that are loaded as all others are have one row."""
    from hostipsec.strongswan import catalog, options, ranges

    kinds, ours = options.settings(), _defaults()
    alike = {f"plugins.{plugin}.load" for plugin in catalog.PLUGINS} - {*ranges.KINDS}
    rows = {ANYWHERE: kinds[min(alike)], **{name: kinds[name] for name in {*kinds} - alike}}
    return "".join(f"| `{name}` | {rows[name].allowed} | {ours.get(name, '')} |\n" for name in sorted(rows))


def _defaults() -> dict[str, str]:
    """Return what this package says of keys of strongswan.conf by itself."""
    from hostipsec.strongswan import defaults

    few, many = (dict(_flat(defaults.charon(peers))) for peers in (1, 1000))
    return {name: f"`{few[name]}`" if few[name] == many[name] else "by the number of peers" for name in few}


def _flat(tree, above=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


# JSON Schema ---------------------------------------------------------------------------------


def json_schema() -> dict:
    """Return what editors check a file of the pillar by; a file may hold a part of the fleet."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pillar ipsec",
        "description": "Made by tests/pillar_reference.py. What it passes, the check can still refuse.",
        "definitions": dict(_definitions()),
        "type": "object",
        "properties": {"ipsec": {"type": "object", "properties": _top(), "additionalProperties": False}},
    }


def _top() -> dict:
    from hostipsec.pillar import schema

    hosts = {"type": "object", "additionalProperties": _host()}
    rule = {**_closed("rules:*"), "required": ["name", "between", "and"]}
    lists = {"rules": rule, "expect": {**_closed("expect:*")}}
    inner = {
        "certificates": _closed("certificates"),
        "metrics": _closed("metrics"),
        "connection": _closed("connection"),
        "setup": _closed("setup"),
        "charon": _charon(),
        "sysctl": {"additionalProperties": {"type": ["string", "integer"]}},
    }
    found = {}
    for key in schema.KEYS:
        if not key.above:
            more = {"items": lists[key.name]} if key.name in lists else inner.get(key.name, {})
            found[key.name] = {**_value(key), **more}
    return {**found, "hosts": {**found["hosts"], **hosts}}


def _value(key) -> dict:
    return {"description": key.says, **key.type.json}


def _closed(above: str) -> dict:
    return {"properties": _properties(above), "additionalProperties": False}


def _properties(above: str) -> dict:
    from hostipsec.pillar import schema

    return {key.name: _value(key) for key in schema.KEYS if key.above == above}


def _host() -> dict:
    """Return a host; what is no key of ours is a label."""
    label = {"type": ["string", "number", "array"]}
    return {"type": ["object", "null"], "properties": _properties("hosts:*"), "additionalProperties": label}


def _definitions():
    """Yield what many keys of strongswan.conf take, by a name."""
    from hostipsec.strongswan import kinds, options, ranges

    yield from {
        "scalar": kinds.SCALAR,
        "text": kinds.STRING,
        "switch": kinds.one_of(("yes", "no")).json,
        "level": ranges.LEVEL.json,
        "number": ranges.ANY.json,
        "signed": ranges.SIGNED.json,
        "load": options.settings()["plugins.vici.load"].json,
    }.items()


def _named(json) -> dict:
    return next(({"$ref": f"#/definitions/{name}"} for name, one in _definitions() if one == json), json)


def _charon() -> dict:
    from hostipsec.strongswan import options

    return {**_section(options.settings_tree()), "type": ["object", "null"]}


def _section(tree) -> dict:
    below = {
        name: _section(kind) if isinstance(kind, dict) else _named(kind.json)
        for name, kind in sorted(tree.items())
    }
    return {"type": "object", "additionalProperties": below.pop("*", False), "properties": below}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "_utils"))
    FILE.write_text(reference())
    CHARON.write_text(charon())
    SCHEMA.write_text(json.dumps(json_schema(), indent=1) + "\n")
