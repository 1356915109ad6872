"""The tables of keys in docs/pillar.md, and docs/ipsec.schema.json: of the engine. Run, this writes them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs/pillar.md"
SCHEMA = ROOT / "docs/ipsec.schema.json"
MARKED = re.compile(r"(<!-- keys of (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
COLUMNS = "| key | what it says | value | default | example |\n|---|---|---|---|---|\n"
SCALAR = {"$ref": "#/definitions/scalar"}


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


# JSON Schema ---------------------------------------------------------------------------------


def json_schema() -> dict:
    """Return what editors check a file of the pillar by; a file may hold a part of the fleet."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pillar ipsec",
        "description": "Made by tests/pillar_reference.py. What it passes, the check can still refuse.",
        "definitions": {"scalar": {"type": ["string", "number", "boolean"]}},
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
        "connection": _scalars(_connection_options()),
        "setup": {"properties": {**_scalars(_setup_options())["properties"], "charondebug": _levels()}},
        "charon": _charon(),
        "sysctl": {"additionalProperties": {"type": ["string", "integer"]}},
    }
    inner["setup"]["additionalProperties"] = False
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


def _scalars(names) -> dict:
    return {"properties": dict.fromkeys(names, SCALAR), "additionalProperties": False}


def _connection_options() -> list[str]:
    from hostipsec.strongswan import catalog, options, shared

    refused = {*shared.REFUSED, *catalog.COMPUTED}
    return sorted(name for name in options.CONNECTION if catalog.SYNONYMS.get(name, name) not in refused)


def _setup_options() -> list[str]:
    from hostipsec.strongswan import options

    return sorted(options.SETUP)


def _levels() -> dict:
    from hostipsec.strongswan import catalog

    low, high = min(catalog.CHARONDEBUG_LEVELS), max(catalog.CHARONDEBUG_LEVELS)
    level = {"type": "integer", "minimum": low, "maximum": high}
    kinds = dict.fromkeys(sorted(catalog.CHARONDEBUG), level)
    return {"type": "object", "properties": kinds, "additionalProperties": False}


def _charon() -> dict:
    from hostipsec.strongswan import options

    return {**_section(options.settings_tree()), "type": ["object", "null"]}


def _section(tree) -> dict:
    below = {
        name: _section(kind) if isinstance(kind, dict) else SCALAR for name, kind in sorted(tree.items())
    }
    return {"type": "object", "additionalProperties": below.pop("*", False), "properties": below}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "_utils"))
    FILE.write_text(reference())
    SCHEMA.write_text(json.dumps(json_schema(), indent=1) + "\n")
