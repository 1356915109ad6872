"""The parts of a distinguished name that strongSwan reads: ``CN=a, O=b`` or ``/CN=a/O=b``. Pure.

identification.c, x501rdns: an attribute that it does not know makes the whole text another kind of identity.
"""

from __future__ import annotations

_ATTRIBUTES = frozenset(
    (
        *("nd", "uid", "dc", "cn", "c", "l", "st", "street", "o", "ou", "organizationidentifier", "t"),
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
ALLOWED = "attributes as CN, O, OU and C, each with '=' and a value, joined by ', ' or each after '/'"


MOST = 20  # parts that strongSwan reads (RDN_MAX): of one more the text is another kind of identity, too


def parts(text: str) -> list[str]:
    """Return the parts of a name: ``["CN=a", "O=b"]``."""
    return [part.strip() for part in (text[1:].split("/") if text.startswith("/") else text.split(","))]


def unknown(text: str) -> list[str]:
    """Return the parts of a name that have no attribute that strongSwan knows, or no value."""
    return [part for part in parts(text) if not _is_known(part)]


def plain(text: str) -> str:
    """Return one text for all that are the same name: ``/CN=a`` and ``cn = A`` are ``CN=a``."""
    return "\n".join("=".join(_plain(*part.partition("="))) for part in parts(text)).casefold()


def _plain(attribute: str, _: str, value: str) -> tuple[str, str]:
    name = attribute.strip().lower()
    return _SAME.get(name, name), value.lstrip(" =")


def _is_known(part: str) -> bool:
    attribute, _, value = part.partition("=")
    return attribute.strip().lower() in _ATTRIBUTES and bool(value.strip())
