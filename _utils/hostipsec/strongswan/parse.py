"""ipsec.conf, ipsec.secrets and strongswan.conf, read: as a value, or line by line to edit one in place.

What a renderer wrote is read back whole. What another hand wrote is read as far as it goes, and nothing is
refused: an emergency has to work with what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Optional

from .render import HEADER, INCLUDE, INCLUDE_SECRETS
from .sections import Configuration, Secret

SETUP, DEFAULTS = "config setup", "conn %default"
_BEGIN = re.compile(r"(?:conn|ca|config)\b")
_COMMENT = re.compile(r'("[^"]*(?:"|\Z))|#.*', re.DOTALL)  # but for a # in quotes
_DEEPEST = 50  # sections in one another: nobody writes more, and what walks a tree may go no deeper
_TITLE = re.compile(r"(conn|config)\s+(\S+)\s*\Z")


def configuration(
    conf: Optional[str], secrets: Optional[str] = None, strongswan: Optional[str] = None
) -> Configuration:
    """Return what the files of a host say; None stands for one that is not there.

    ``secret`` is read from an ipsec.secrets that is just what this package writes; of any other
    nothing is taken, as it may hold what is secret.
    """
    found: dict[str, dict[str, str]] = {SETUP: {}, DEFAULTS: {}, "": {}}
    for _, title, key, option in _lines(conf or ""):
        section = found.setdefault(title, {})
        if key:
            section[key] = option
    kept = found[""].pop(INCLUDE, None) is not None
    return Configuration(
        setup=found.pop(SETUP),
        defaults=found.pop(DEFAULTS),
        foreign=tuple(sorted(found.pop(""))),
        connections={title.partition(" ")[2]: options for title, options in found.items()},
        secret=_secret(secrets or ""),
        strongswan=strongswan_conf(strongswan or ""),
        ours=(conf or "").startswith(HEADER),
        kept=kept,
    )


def common(conf: str) -> str:
    """Return an ipsec.conf without its connections: the options of all of them stand first in ours."""
    return re.split(r"^conn (?!%default)", conf, maxsplit=1, flags=re.MULTILINE)[0]


def with_autos(conf: str, autos: Mapping[str, str]) -> str:
    """Return an ipsec.conf with other values of ``auto=``, by connection; every other line stays as it is.

    Of what a renderer wrote this is what it would write of the changed value. Of a file that is damaged or
    edited by hand nothing is lost. A connection that the text does not have is left out.
    """
    wanted = {f"conn {name}": f"    auto={auto}\n" for name, auto in autos.items()}
    return "".join(
        wanted.get(section, raw) if key == "auto" else raw for raw, section, key, _ in _lines(conf)
    )


def _lines(conf: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield each line, its section as ``conn cp1001_v4``, and the key and value of an option.

    A section ends where another begins, whatever stands in between: starter's lexer takes ``include``
    anywhere. One that is foreign has no name; the key of a line that is no option is all of it.
    """
    section = ""
    for raw in conf.splitlines(keepends=True):
        line = (_COMMENT.sub(lambda found: found[1] or "", raw) if "#" in raw else raw).rstrip()
        bare = line.lstrip()
        if not bare:
            yield raw, section, "", ""
        elif bare != line and "=" in bare:
            key, _, value = bare.partition("=")
            yield raw, section, key.rstrip(), value.lstrip().strip('"')
        else:
            title = _section(line)
            if title or _BEGIN.match(line):
                section = title
            yield raw, section if title else "", "" if title else bare, ""


def _section(line: str) -> str:
    title = _TITLE.match(line)
    found = " ".join(title.groups()) if title else ""
    return found if found == SETUP or found.startswith("conn ") else ""


def _secret(text: str) -> Optional[Secret]:
    text = text.replace(f"\n{INCLUDE_SECRETS}\n", "", 1)
    found = re.fullmatch(re.escape(HEADER) + r'\n: (\S+) "([^"\n]+)"\n', text)
    return Secret(found.group(1), found.group(2)) if found else None


def strongswan_conf(text: str) -> dict[str, object]:
    """Return the tree of a strongswan.conf: ``{"charon": {"threads": "16", ...}}``."""
    top: dict[str, object] = {}
    stack = [top]
    for line in (raw.strip() for raw in text.splitlines()):
        if line.endswith("{"):
            section: dict[str, object] = {}
            if len(stack) <= _DEEPEST:
                stack[-1][line[:-1].strip()] = section
            stack.append(section)
        elif line == "}" and len(stack) > 1:
            stack.pop()
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            stack[-1][key.strip()] = value.strip().strip('"')
    return top
