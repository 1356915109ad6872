"""The parts of a distinguished name that strongSwan reads: ``CN=a, O=b`` or ``/CN=a/O=b``. Pure.

identification.c, x501rdns: an attribute that it does not know makes the whole text another kind of identity.
"""

from __future__ import annotations

import re

_ATTRIBUTES = frozenset(
    (
        *("nd", "uid", "dc", "cn", "c", "l", "st", "street", "o", "ou", "t"),
        *("sn", "serialnumber", "d", "n", "g", "i", "id", "en", "employeenumber"),
        *("e", "email", "emailaddress", "un", "unstructuredname", "ua", "unstructuredaddress", "tcgid"),
        *("postaladdress", "postalcode", "dnqualifier", "dmdname", "pseudonym"),
    )
)
_SAME = {
    "employeenumber": "en",
    "email": "e",
    "emailaddress": "e",
    "unstructuredname": "un",
    "unstructuredaddress": "ua",
}
_MEANT = {"gn": "G", "givenname": "G", "2.5.4.42": "G"}  # as others write it
_JOINED = re.compile(r" *\+ *(?=([A-Za-z]+) *=)")
ALLOWED = "attributes as CN, O, OU and C, each with '=' and a value, joined by ', ' or each after '/'"


MOST = 20  # parts that strongSwan reads (RDN_MAX): of one more the text is another kind of identity, too


def parts(text: str) -> list[str]:
    """Return the parts of a name: ``["CN=a", "O=b"]``."""
    return [part.strip() for part in (text[1:].split("/") if text.startswith("/") else text.split(","))]


def unknown(text: str) -> list[str]:
    """Return the parts of a name that have no attribute that strongSwan knows, or no value."""
    return [part for part in parts(text) if not _is_known(part)]


def meant(part: str) -> str:
    """Return a part as strongSwan reads it that others write in another way; empty for any other."""
    attribute, _, value = part.partition("=")
    name = _MEANT.get(attribute.strip().lower())
    return f"{name}={value}" if name else ""


def joined(text: str) -> tuple[str, str]:
    """Return a part in which ``+`` stands before a second attribute, and how it is written as parts."""
    between = "/" if text.startswith("/") else ", "
    for part in parts(text):
        written = _JOINED.sub(lambda one: between if one[1].lower() in _ATTRIBUTES else one[0], part)
        if written != part:
            return part, written
    return "", ""


def plain(text: str) -> str:
    """Return one text for all that are the same name: ``/CN=a`` and ``cn = A`` are ``CN=a``."""
    return "\n".join("=".join(_plain(*part.partition("="))) for part in parts(text)).casefold()


def _plain(attribute: str, _: str, value: str) -> tuple[str, str]:
    name = attribute.strip().lower()
    return _SAME.get(name, name), value.lstrip(" =")


def _is_known(part: str) -> bool:
    attribute, _, value = part.partition("=")
    return attribute.strip().lower() in _ATTRIBUTES and bool(value.strip())
