"""The text of ipsec.conf, ipsec.secrets and strongswan.conf, from values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..model import Connection, Settings
from . import defaults

HEADER = "# Written by Salt (state ipsec) from pillar 'ipsec'; changes made here are overwritten.\n"

AUTO = {"passive": "add", "start": "add", "require": "route"}  # stage -> auto=, at both ends
# The starter initiates an auto=start connection each time that it loads it: an option or a certificate that
# changes would give the pair a second IKE SA, so hostipsec-keeper starts connections. Where it cannot run
# (no systemd), the starter has to.
STARTER = "start"
HELD = "ignore"  # the starter does not load such a connection, and unloads it at an update


def auto(connection: Connection, kept: bool = True) -> str:
    """Return the value of ``auto=`` of a connection that is not held; ``kept`` where the keeper runs."""
    return STARTER if starts(connection) and not kept else AUTO[connection.stage]


def starts(connection: Connection) -> bool:
    """Say whether this host starts a connection without a trap."""
    return connection.initiator and connection.stage == "start"


def connection_options(connection: Connection, certificate: str, kept: bool = True) -> dict[str, str]:
    """Return the options of ipsec.conf that differ between the connections of a host."""
    again = connection.initiator and connection.stage != "passive"
    return {
        "left": str(connection.left),
        "leftid": connection.leftid,
        "leftcert": certificate,
        "right": str(connection.right),
        "rightid": connection.rightid,
        "auto": auto(connection, kept),
        "dpdaction": "restart" if again else "clear",
        # a responder that brings up what is missing tries once: to go on trying is the initiator's
        **({} if again else {"keyingtries": "1"}),
    }


def common_options(settings: Settings) -> dict[str, str]:
    """Return the options of ``conn %default``: ours, with the pillar's over them."""
    return {**defaults.CONNECTION, **settings.connection}


def ipsec_conf(
    connections: Sequence[Connection], settings: Settings, certificate: str, kept: bool = True
) -> str:
    """Return ipsec.conf; ``certificate`` is the file name below /etc/ipsec.d/certs."""
    debug = ", ".join(f"{kind} {level}" for kind, level in sorted(settings.charondebug.items()))
    setup = {**settings.setup, **({"charondebug": debug} if debug else {})}
    sections = [_section("config setup", setup), _section("conn %default", common_options(settings))]
    for connection in sorted(connections, key=lambda item: item.name):
        options = connection_options(connection, certificate, kept)
        sections.append(_section(f"conn {connection.name}", options))
    return HEADER + "".join(f"\n{section}" for section in sections)


def _section(title: str, options: Mapping[str, str]) -> str:
    return f"{title}\n" + "".join(f"    {key}={_quoted(options[key])}\n" for key in sorted(options))


def _quoted(value: str) -> str:
    """Quote what the parser of ipsec.conf would split or read as a comment."""
    return f'"{value}"' if re.search(r"[\s=#]", value) or not value else value


def ipsec_secrets(keyword: str, key: str) -> str:
    """Return ipsec.secrets for one private key file below /etc/ipsec.d/private.

    ``keyword`` is RSA, ECDSA or PKCS8 (which takes any type, Ed25519 among them).
    """
    return f'{HEADER}\n: {keyword} "{key}"\n'


def charon_settings(peers: int, settings: Settings) -> dict[str, object]:
    """Return the tree below ``charon`` in strongswan.conf: ours, with the pillar's over it."""
    return merged(defaults.charon(peers), settings.charon)


def merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Return a tree with the values of ``over`` laid over those of ``under``."""
    result = dict(under)
    for key, value in over.items():
        beneath = result.get(key)
        if isinstance(value, Mapping) and isinstance(beneath, Mapping):
            result[key] = merged(beneath, value)
        else:
            result[key] = value
    return result


def strongswan_conf(peers: int, settings: Settings) -> str:
    """Return the file for /etc/strongswan.d: only section ``charon``, over the packages' own."""
    return f"{HEADER}\n{_tree('charon', charon_settings(peers, settings), '')}"


def _tree(name: str, tree: Mapping[str, object], indent: str) -> str:
    lines = [f"{indent}{name} {{\n"]
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, Mapping):
            lines.append(_tree(key, value, indent + "    "))
        else:
            lines.append(f"{indent}    {key} = {_plain(str(value))}\n")
    return "".join([*lines, f"{indent}}}\n"])


def _plain(value: str) -> str:
    return f'"{value}"' if re.search(r"[\s#{}=,:]", value) or not value else value


def with_auto(text: str, autos: Mapping[str, str]) -> str:
    """Return an ipsec.conf with other values of ``auto=``, by connection; all else stays as it is.

    Reads what :func:`ipsec_conf` wrote. A connection that the text does not have is left out.
    """
    lines, name = [], ""
    for line in text.splitlines(keepends=True):
        title = _TITLE.match(line)
        if title:
            name = title.group(2)
        if name in autos and line.strip().partition("=")[0].rstrip() == "auto":
            line = f"    auto={autos[name]}\n"
        lines.append(line)
    return "".join(lines)


FOREIGN = "other"  # the section of lines that this package never writes
_TITLE = re.compile(r"(conn|config)\s+(\S+)\s*\Z")


def parse_ipsec_conf(text: str) -> dict[str, dict[str, str]]:
    """Read back what :func:`ipsec_conf` wrote, to compare meaning.

    Returns ``{"cp1001_v4": {"left": "10.64.0.11", ...}, "%default": {...}, "setup": {...}}``; lines of
    another kind (``include``, ``ca`` and its options) are keys of section ``other``.
    """
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.partition("#")[0].rstrip() if '"' not in raw else raw.rstrip()
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        title = _TITLE.match(line)
        key, equals, value = line.strip().partition("=")
        if title:
            current = sections.setdefault(title.group(2), {})
        elif line[0].isspace() and equals:
            current[key.strip()] = value.strip().strip('"')
        else:
            current = sections.setdefault(FOREIGN, {})
            current[line.strip()] = ""
    return sections


def parse_strongswan_conf(text: str) -> dict[str, object]:
    """Read back what :func:`strongswan_conf` wrote: ``{"charon": {"threads": "16", ...}}``."""
    top: dict[str, object] = {}
    stack = [top]
    for line in (raw.strip() for raw in text.splitlines()):
        if line.endswith("{"):
            section: dict[str, object] = {}
            stack[-1][line[:-1].strip()] = section
            stack.append(section)
        elif line == "}" and len(stack) > 1:
            stack.pop()
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            stack[-1][key.strip()] = value.strip().strip('"')
    return top
