"""Distinguished names, read, compared and printed as strongSwan does it. Pure.

strongSwan compares names part by part, in the order of the certificate (identification.c, ``compare_dn``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .der import Part

Name = tuple[tuple[str, str], ...]  # (attribute, value) in the order of the DER encoding

# identification.c, x501rdns: every name that strongSwan reads, and one name for each object identifier
_ATTRIBUTES = (
    "ND UID DC CN SN serialNumber C L ST STREET O OU T D "  # codespell:ignore
    "postalAddress postalCode N G I dnQualifier dmdName pseudonym ID EN E UN UA TCGID"
)
_ALIASES = {
    "employeenumber": "EN",
    "email": "E",
    "emailaddress": "E",
    "unstructuredname": "UN",
    "unstructuredaddress": "UA",
}
_KNOWN = {**{name.lower(): name for name in _ATTRIBUTES.split()}, **_ALIASES}
# the same attributes by object identifier, as certificates carry them; the one of 2.5.4.97 it only shows
ATTRIBUTE_OIDS: Mapping[str, str] = {
    "0.2.262.1.10.7.20": "ND",  # codespell:ignore
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.13": "D",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "N",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "2.5.4.45": "ID",
    "2.5.4.46": "dnQualifier",
    "2.5.4.54": "dmdName",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "2.16.840.1.113730.3.1.3": "EN",
    "1.2.840.113549.1.9.1": "E",
    "1.2.840.113549.1.9.2": "UN",
    "1.2.840.113549.1.9.8": "UA",
    "1.3.6.1.4.1.1201.1.1.2.2.75": "TCGID",
}


_OIDS = {name: oid for oid, name in ATTRIBUTE_OIDS.items()}
_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16  # tags of strings
_PRINTED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")
_EMAIL = "1.2.840.113549.1.9.1"
_PLAIN = ("CN", "O", "OU", "C", "L", "ST")  # called so in both directions
_AS_IA5 = ("E", "UN")  # x501rdns


def parse(text: str) -> Name:
    """Read a distinguished name as strongSwan does: ``CN=a, O=b`` or ``/CN=a/O=b``.

    Returns ``(("CN", "a"), ("O", "b"))``. Raises ValueError for what strongSwan would not take as
    a name. There is no escape for the separator: use the form with slashes for a value with a comma.
    """
    separator = "/" if text.lstrip().startswith("/") else ","
    parts = [part.strip(" ") for part in text.split(separator)]
    name = tuple(_parse_part(part) for part in parts if part)
    if not name:
        raise ValueError("it is empty")
    return name


def _parse_part(part: str) -> tuple[str, str]:
    attribute, equals, value = part.partition("=")
    known = _KNOWN.get(attribute.strip(" ").lower())
    if not equals:
        raise ValueError(f"{part!r} has no '='")
    if known is None:
        raise ValueError(f"strongSwan knows no attribute {attribute.strip()!r}")
    return known, value.lstrip(" =")


def confirms(parts: Sequence[Part], name: Name) -> bool:
    """Say whether a certificate with this subject confirms an identity (identification.c, ``compare_dn``).

    charon encodes the identity, and compares bytes: upper and lower case are the same in two PrintableStrings
    only, and a BMPString is like nothing that it encodes.
    """
    return alike(parts, [_encoded(*part) for part in name])


def alike(one: Sequence[Part], other: Sequence[Part]) -> bool:
    """Say whether two names are one to charon, by which it finds the issuer of a certificate."""
    return len(one) == len(other) and all(map(_equal, one, other))


def _encoded(attribute: str, value: str) -> Part:
    """Encode a part as strongSwan does (identification.c, ``atodn``)."""
    content = value.encode("utf-8", "surrogatepass")
    plain = _IA5 if attribute in _AS_IA5 else _PRINTABLE
    return Part(
        _OIDS.get(attribute, ""), plain if {*content} <= _PRINTED or plain == _IA5 else _UTF8, content
    )


def _equal(one: Part, other: Part) -> bool:
    if one.oid != other.oid:
        return False
    caseless = (_PRINTABLE, _IA5) if one.oid == _EMAIL else (_PRINTABLE,)
    if one.tag == other.tag and one.tag in caseless:
        return one.value.lower() == other.value.lower()
    return one.value == other.value


def prints_otherwise(identity: str, printed: str) -> bool:
    """Say whether what charon prints is surely not this identity: what is not plain it prints otherwise."""
    if identity.startswith("@"):
        return printed != identity[1:]
    try:
        name = parse(identity)
    except ValueError:
        return False
    if not all(attribute in _PLAIN and {*value.encode()} <= _PRINTED for attribute, value in name):
        return False
    return printed != ", ".join(f"{attribute}={value}" for attribute, value in name)


def render(name: Name) -> str:
    """Return a name as strongSwan prints it, in the order of the certificate."""
    separator = "/" if any("," in value for _, value in name) else ", "
    text = separator.join(f"{attribute}={value}" for attribute, value in name)
    return f"/{text}" if separator == "/" else text or "(empty)"


def is_pattern(name: Name) -> bool:
    """Say whether strongSwan takes a name, where it looks for one, for others as well (identification.c)."""
    return any(value == "*" for _, value in name)


def apart(parts: Sequence[Part]) -> str:
    """Return a name as strongSwan takes it: each attribute is a part of its own."""
    return render(
        tuple((ATTRIBUTE_OIDS.get(oid, oid), value.decode("utf-8", "replace")) for oid, _, value in parts)
    )


def differing(found: Name, wanted: Name, parts: Sequence[Part] = ()) -> str:
    """Say in what two names differ that look alike; nothing where they are others.

    ``parts`` are those of the name that was found, as encoded.
    """
    if any("+" in attribute for attribute, _ in found):
        own = "which strongSwan takes for parts of their own"
        return f" (a part of it has several attributes, {own}: '{apart(parts)}')"
    if found == wanted:
        return " (they read the same and are encoded otherwise: issue it with UTF8String or PrintableString)"
    if sorted(found) == sorted(wanted):
        return " (the same parts in another order, which strongSwan tells apart)"
    if render(found).lower() == render(wanted).lower():
        return " (upper and lower case differ)"
    return ""
