"""Identities in strongSwan's words: ``CN=a, O=b``, ``@host.example``, ``10.0.0.1``. Pure.

identification.c tells them apart by how they begin and by ``=``. A name and an address are confirmed by what
a certificate has beside its subject (subjectAltName); a ``*`` fits whatever stands there.
"""

from __future__ import annotations

import re
from typing import Optional

from .. import unicast
from . import rdn
from .kinds import shown

DN, NAME, ADDRESS = "a distinguished name", "a name", "an address"
_HOST = re.compile(r"@[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
_IP = "ip:"
_LONGEST = 450  # of a distinguished name: identification.c prints 511 bytes, with blanks between the parts


def kind(text: str) -> str:
    """Return what an identity is: :data:`DN`, :data:`NAME`, :data:`ADDRESS`; empty for none of them."""
    if text.startswith("@"):
        return NAME if _HOST.match(text) else ""
    if "=" in text:
        return DN
    try:
        unicast.parse(text)
    except ValueError:
        return ""
    return ADDRESS


def written(subject: str) -> str:
    """Return a subject of the pillar as strongSwan writes it: of ``ip:192.0.2.1`` the address alone."""
    return str(unicast.parse(subject[len(_IP) :])) if _is_address(subject) else subject


def _is_address(subject: str) -> bool:
    return subject.startswith(_IP) and kind(subject[len(_IP) :]) == ADDRESS


def plain(identity: str) -> str:
    """Return one text for all that charon, or a reader, takes for the same identity."""
    return rdn.plain(identity) if kind(identity) == DN else identity.casefold()


def wrong(subject: str) -> Optional[str]:
    """Return what is to be said of a subject of the pillar that is no identity; None for one that is."""
    if "*" in subject:
        return ", whose * fits whatever stands there"
    if _is_address(subject):  # to strongSwan 0.0.0.0 and :: are whoever comes (identification.c)
        why = unicast.misfit(unicast.parse(subject[len(_IP) :]))
        return f", {why}" if why else None
    if kind(subject) == NAME:
        return None
    if kind(subject) != DN or subject.startswith(_IP):
        return ""
    if len(subject.encode("utf-8", "surrogatepass")) > _LONGEST:
        return f", of more than {_LONGEST} bytes: charon does not print the whole of it, by which it is known"
    parts = rdn.unknown(subject)
    if parts:
        meant = rdn.meant(parts[0])
        wanted = f" to strongSwan: write {shown(meant)}" if meant else ""
        return f", of which {shown(parts[0])} is no attribute with a value{wanted}"
    one, several = rdn.joined(subject)
    if one:
        return f", of which {shown(one)} is one part with one value to strongSwan: write {shown(several)}"
    return f", of more than {rdn.MOST} parts" if len(rdn.parts(subject)) > rdn.MOST else None
