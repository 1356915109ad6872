"""What charon makes of the extensions of certificates: what it loads, and what CAs may vouch for. Pure.

A critical extension that neither of its parsers knows makes charon refuse the certificate (x509_cert.c,
openssl_x509.c). Name constraints are those of RFC 5280 from strongSwan 5.9.14 on; before, each permitted
subtree has to match, each CA below has to have them as well, and one for addresses cannot be loaded
(constraints_validator.c).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, Optional, Union

from . import der

_ANY = "2.5.29.32.0"
NAME_CONSTRAINTS = "2.5.29.30"
_BOTH = frozenset(  # key identifiers, alternative names, constraints, CRL points, usages, OCSP, addresses
    ("2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.31", "2.5.29.35", "2.5.29.37")
) | {"1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.1.7"}
X509 = _BOTH | {NAME_CONSTRAINTS, "2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54"}
X509 |= {f"2.16.840.1.113730.1.{number}" for number in (3, 4, 8, 13)}  # Netscape's
CRL = frozenset(f"2.5.29.{number}" for number in (20, 27, 28, 35, 46))  # x509_crl.c, parse
OPENSSL = _BOTH | {"2.5.29.18"}
# the parts of a name that constraints compare (identification.c, rdn_part_enumerate)
_COMPARED = frozenset(f"2.5.4.{number}" for number in (3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 41, 42, 43, 45, 46))
_COMPARED |= {"2.5.4.54", "2.5.4.65", "1.2.840.113549.1.9.1", "2.16.840.1.113730.3.1.3"}


class GeneralName(NamedTuple):
    """A name of a kind: ``dns``, ``email``, ``dn``, ``ip`` (or a network of them), or ``other``."""

    kind: str
    value: Union[str, tuple[der.Part, ...]]

    def __str__(self) -> str:
        """Return it as sentences have it."""
        if isinstance(self.value, str):
            return self.value
        return ", ".join(part.value.decode("utf-8", "replace") for part in self.value)


class Constraints(NamedTuple):
    """The names that a CA may vouch for, and those it may not."""

    permitted: tuple[GeneralName, ...] = ()
    excluded: tuple[GeneralName, ...] = ()

    @property
    def both(self) -> tuple[GeneralName, ...]:
        """Return all of them."""
        return (*self.permitted, *self.excluded)


class Policies(NamedTuple):
    """The policies of a certificate by object identifier, and what it says of those below it."""

    own: tuple[str, ...] = ()
    no_any: Optional[int] = None  # inhibitAnyPolicy: of so many CAs between; None where nothing is said
    maps: bool = False  # it calls policies of those below it by other names


class Named(NamedTuple):
    """What constraints are about: the names of a certificate, whether it is a CA, and its own constraints."""

    names: tuple[GeneralName, ...]  # the subject first
    is_ca: bool
    constraints: Constraints


def unknown(critical: Collection[str], constraints: Constraints, by_rfc: bool) -> frozenset[str]:
    """Return the critical extensions for which charon does not load a certificate."""
    known = X509 if by_rfc or is_read_before(constraints) else OPENSSL
    openssl = OPENSSL | {NAME_CONSTRAINTS} if by_rfc else OPENSSL
    critical = frozenset(critical)
    return frozenset() if critical <= openssl else critical - known


def is_read_before(constraints: Constraints) -> bool:
    """Say whether strongSwan before 5.9.14 can read name constraints, as its own parser does."""
    return all(one.kind in ("dns", "email", "dn") for one in constraints.both)


def violated(chain: Sequence[Named], by_rfc: bool) -> str:
    """Say which name a chain, from a host's certificate up to the root, may not have; empty where it may."""
    judge = _violations if by_rfc else _violations_before
    return next(judge(chain), "")


def _violations(chain: Sequence[Named]) -> Iterator[str]:
    """Yield what RFC 5280 forbids: each CA's constraints hold for all that is below it."""
    for depth, issuer in enumerate(chain):
        for below in chain[:depth]:
            yield from _forbidden(below, issuer.constraints)


def _forbidden(below: Named, constraints: Constraints) -> Iterator[str]:
    for name in below.names:
        alike = [one for one in constraints.permitted if one.kind == name.kind]
        if alike and not any(_matches(one, name) for one in alike):
            yield f"{name} is none of the names that are permitted ({'; '.join(map(str, alike))})"
        if any(_matches(one, name) for one in constraints.excluded):
            yield f"{name} is a name that is excluded"


def _violations_before(chain: Sequence[Named]) -> Iterator[str]:
    """Yield what strongSwan before 5.9.14 refuses."""
    for below, issuer in zip(chain, chain[1:]):
        for one in issuer.constraints.permitted:
            alike = [name for name in below.names if name.kind == one.kind]
            yield from (
                f"{name} is not below {one}, and this strongSwan wants each permitted one to match"
                for name in alike
                if not _matches(one, name)
            )
            yield from _not_inherited(one, below, below.constraints.permitted, lambda a, b: _matches(a, b))
        for one in issuer.constraints.excluded:
            excluded = (name for name in below.names if _matches(one, name))
            yield from (f"{name} is below {one}, which is excluded" for name in excluded)
            yield from _not_inherited(one, below, below.constraints.excluded, lambda a, b: _matches(b, a))


def _not_inherited(
    one: GeneralName,
    below: Named,
    theirs: Collection[GeneralName],
    within: Callable[[GeneralName, GeneralName], bool],
) -> Iterator[str]:
    if below.is_ca and not any(within(one, other) for other in theirs):
        yield f"the CA below lacks the constraint {one}, which this strongSwan wants there as well"


def breached(chain: Sequence[Policies]) -> str:
    """Say which policy a chain may not have, as charon looks at it (``check_policy_constraints``).

    What a CA says of explicit and of mapped policies stopped no chain that was tried with strongSwan 5.9.8.
    """
    for at, issuer in enumerate(chain):
        if issuer.no_any is not None and any(_ANY in one.own for one in chain[: max(0, at - issuer.no_any)]):
            return "there is anyPolicy, and inhibitAnyPolicy of a CA forbids it"
    return ""


def _matches(constraint: GeneralName, name: GeneralName) -> bool:
    """Say whether a name is below a constraint of its kind, or one constraint below another."""
    if constraint.kind != name.kind:
        return False
    if isinstance(constraint.value, str) or isinstance(name.value, str):
        judge = {"dns": _dns, "email": _email, "ip": _ip}.get(constraint.kind)
        return judge is not None and judge(str(constraint.value), str(name.value))
    mine = [(part.oid, part.value) for part in constraint.value if part.oid in _COMPARED]
    return mine == [(part.oid, part.value) for part in name.value if part.oid in _COMPARED][: len(mine)]


def _dns(constraint: str, name: str) -> bool:
    if not constraint or not name.endswith(constraint):
        return False
    before = name[: -len(constraint)]
    return not before or constraint.startswith(".") or before.endswith(".")


def _email(constraint: str, name: str) -> bool:
    if "@" in constraint or not constraint:
        return bool(constraint) and constraint == name
    before = name[: -len(constraint)]
    return bool(before) and name.endswith(constraint) and (constraint.startswith(".") or before.endswith("@"))


def _ip(constraint: str, name: str) -> bool:
    try:
        network, other = ipaddress.ip_network(constraint), ipaddress.ip_network(name)
    except ValueError:
        return False
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]
