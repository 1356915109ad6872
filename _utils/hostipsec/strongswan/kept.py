"""Connections and secrets of others in ipsec.conf and ipsec.secrets: taken apart, and written anew.

starter lays every ``conn %default`` of all files over all connections (conf_parser.c). So those of others get
a section of their own instead, which also takes back what ours says: an option without a value is as if
nobody had set it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Optional

from . import catalog, render

BASE = "hostipsec-existing"
HEADER = (
    "# Connections that were here before Salt's (state ipsec), kept by 'existing: keep' of pillar 'ipsec'.\n"
)
# as starter's lexer.l has them: a name may stand in quotes, and a comment behind it
_BEGIN = re.compile(r"(conn|ca|config)\s*(?:(?<=\s)([^\s\"#=]+)|\"([^\"]+)\")\s*(?:#.*)?\Z")
_INCLUDE = re.compile(r"include\s+(?:\"([^\"]+)\"|((?:\\.|[^\s\"#\\])+))\s*(?:#.*)?\Z")
_ESCAPED = re.compile(r"\\([\"#} ])")
_BY_KEY = (
    "pubkey",
    "rsa",
    "ecdsa",
    "ed25519",
    "ed448",
    "bliss",
    "ike:",
    "eap-tls",
)  # what a certificate can prove
_RESET = (
    *catalog.ENUMS,
    *catalog.TIMES,
    *catalog.COUNTS,
    *catalog.LONG_COUNTS,
    *catalog.PERCENTS,
    *catalog.PORTS,
    *catalog.PROTOCOL_PORTS,
    *catalog.PROPOSALS,
    *catalog.MARKS,
    *catalog.TEXTS,
    "keyingtries",
)


class Section(NamedTuple):
    """One section as it stands: ``conn``, ``vpn``, and the lines below."""

    kind: str  # conn, ca, config, include
    name: str
    lines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The line that it begins with."""
        return f'{self.kind} "{self.name}"' if re.search(r"\s", self.name) else f"{self.kind} {self.name}"

    @property
    def says_nothing(self) -> bool:
        """Whether it is one that only has what holds for others, or nothing."""
        return self.name == "%default" or self.kind == "config" or not self.lines


def sections(conf: str) -> tuple[Section, ...]:
    """Return the sections of an ipsec.conf, and its includes, as they stand."""
    found: list[Section] = []
    for raw in conf.splitlines():
        line, bare = raw.rstrip(), raw.strip()
        begin, include = _BEGIN.match(line), _INCLUDE.match(bare)
        if begin:
            found.append(Section(begin[1], begin[2] or begin[3]))
        elif include:
            path = include[1] or _ESCAPED.sub(r"\1", include[2])
            found.append(Section("include", path, (raw,)))
        elif bare and not bare.startswith("#") and found and found[-1].kind != "include":
            found[-1] = found[-1]._replace(lines=(*found[-1].lines, line))
    return tuple(found)


def said(found: Iterable[Section]) -> tuple[str, ...]:
    """Return the names of connections and CAs, as an operator knows them."""
    named = (one for one in found if not one.says_nothing and one.kind != "include")
    return tuple(sorted({one.name if one.kind == "conn" else f"ca {one.name}" for one in named}))


def conf(found: Collection[Section]) -> str:
    """Return the file that has them, to be included by ours."""
    lines = [HEADER.rstrip("\n"), "", f"conn {BASE}", *(f"    {key}=" for key in sorted({*_RESET}))]
    lines += [line for one in found if one.kind == "conn" and one.name == "%default" for line in one.lines]
    for one in found:
        if one.kind == "include" or (one.kind, one.name) == ("conn", "%default"):
            continue
        also = [f"    also={BASE}"] if one.kind == "conn" else []  # first: what comes later counts more
        lines += ["", one.title, *also, *one.lines]
    return "".join(f"{line}\n" for line in lines)


def unbound(found: Collection[Section]) -> tuple[str, ...]:
    """Return the connections that take a peer whichever CA of those that charon has vouches for it."""
    named = {one.name: one for one in found if one.kind == "conn"}
    every = [one for one in named.values() if not one.says_nothing and one.name != BASE]
    above = named.get("%default", Section("conn", "%default"))
    told = ((one.name, {**_options(above, named, ()), **_options(one, named, ())}) for one in every)
    return tuple(sorted(name for name, options in told if _takes_any(options)))


def _options(one: Section, named: Mapping[str, Section], above: tuple[str, ...]) -> dict[str, str]:
    """Return what a section says, with what it takes from others."""
    said: dict[str, str] = {}
    for line in one.lines:
        key, _, value = (part.strip() for part in line.partition("#")[0].partition("="))
        if key != "also":
            said[key] = value.strip('"')
        elif value in named and value not in above:
            said.update(_options(named[value], named, (*above, one.name)))
    return said


def _takes_any(options: Mapping[str, str]) -> bool:
    by_key = options.get("rightauth") or options.get("authby") or "pubkey"
    shunt = (
        options.get("type") in ("pass", "passthrough", "drop", "reject") or options.get("auto") == "ignore"
    )
    named = any(options.get(key) for key in ("rightca", "rightcert", "rightsigkey", "rightrsasigkey"))
    return not (named or shunt) and by_key.startswith(_BY_KEY)


def raw(found: Iterable[Section]) -> str:
    """Return sections as they stood."""
    return "".join(f"\n{one.title}\n" + "".join(f"{line}\n" for line in one.lines) for one in found)


def secrets(text: str, ours: bool = False) -> tuple[str, ...]:
    """Return the lines of an ipsec.secrets that say something of another than ours.

    ``ours`` says that this package wrote it, also where its first line is lost.
    """
    own = render.OWN_SECRET if ours or text.startswith(render.HEADER) else None
    return tuple(_secrets(text, own))


def _secrets(text: str, own: Optional[re.Pattern[str]]) -> Iterator[str]:
    for line in text.splitlines():
        bare = line.strip()
        ours = own is not None and (own.match(bare) or bare == render.INCLUDE_SECRETS)
        if bare and not bare.startswith("#") and not ours:
            yield line
