"""A host's configuration as the text of ipsec.conf, ipsec.secrets and strongswan.conf."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .sections import Configuration

INCLUDED = "/etc/ipsec.d/hostipsec-existing.conf"
INCLUDE, INCLUDE_SECRETS = f"include {INCLUDED}", "include /etc/ipsec.d/hostipsec-existing.secrets"
OWN_SECRET = re.compile(r': (\S+) "([^"\n]+)"\Z')
HEADER = "# Written by Salt (state ipsec) from pillar 'ipsec'; changes made here are overwritten.\n"


def ipsec_conf(value: Configuration) -> str:
    """Return ipsec.conf."""
    included = [f"{INCLUDE}\n"] if value.kept else []  # first, so that what ours says of all counts
    sections = [*included, _section("config setup", value.setup), _section("conn %default", value.defaults)]
    sections += [_section(f"conn {name}", value.connections[name]) for name in sorted(value.connections)]
    return HEADER + "".join(f"\n{section}" for section in sections)


def _section(title: str, options: Mapping[str, str]) -> str:
    return f"{title}\n" + "".join(f"    {key}={_quoted(options[key])}\n" for key in sorted(options))


def _quoted(value: str) -> str:
    """Quote what the parser of ipsec.conf would split or read as a comment."""
    return f'"{value}"' if re.search(r"[\s=#]", value) or not value else value


def ipsec_secrets(value: Configuration) -> str:
    """Return ipsec.secrets: it names the file of the private key."""
    included = f"\n{INCLUDE_SECRETS}\n" if value.kept else ""
    return HEADER + included + (f'\n: {value.secret.keyword} "{value.secret.key}"\n' if value.secret else "")


def strongswan_conf(value: Configuration) -> str:
    """Return the file for /etc/strongswan.d: our sections, over the packages' own."""
    return f"{HEADER}\n{tree(value.strongswan)}"


def tree(sections: Mapping[str, object], indent: str = "") -> str:
    """Return sections in one another, as strongswan.conf and swanctl.conf have them."""
    lines = []
    for key in sorted(sections):
        value = sections[key]
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key} {{\n{tree(value, indent + '    ')}{indent}}}\n")
        else:
            lines.append(f"{indent}{key} = {_plain(str(value))}\n")
    return "".join(lines)


def _plain(value: str) -> str:
    return f'"{value}"' if re.search(r"[\s#{}=,:]", value) or not value else value
