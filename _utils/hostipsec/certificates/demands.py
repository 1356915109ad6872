"""What peers demand of a host's certificates and signatures, since options are the same at both ends. Pure.

auth_cfg.c, ``add_pubkey_constraints`` and ``complies``: bits are the least of each RSA or ECDSA key up to
the root, of one kind alone where only that kind is named; hashes are those of every signature of the chain
but the root's own, and of what an end signs itself. pubkey_authenticator.c: an end signs by the first that
its own ``leftauth`` or the size of its key has, of the hashes that the peer says it takes. Who answers does
not say them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Optional

from ..affixes import without_prefix
from . import chains, names
from .facts import Asked, CertificateFacts, Facts, Scheme
from .findings import Finding, a_warning, an_error

RSA, PSS, ECDSA, EDWARDS = "RSA", "RSA/PSS", "ECDSA", ("Ed25519", "Ed448")
_IKE = "ike:"
_HASHES = {
    RSA: ("sha224", "sha256", "sha384", "sha512"),
    ECDSA: ("sha256", "sha384", "sha512"),
    **dict.fromkeys(EDWARDS, ("identity",)),
}
# the kinds of keys that a word stands for
_KINDS = {"pubkey": (*_HASHES,), "rsa": (RSA,), "rsa/pss": (PSS,), "ecdsa": (ECDSA,), "ed25519": EDWARDS[:1]}
_KINDS["ed448"] = EDWARDS[1:]
# up to which bits an end signs by a hash of its own accord (public_key.c, scheme_map)
_OF_SIZE = {RSA: ((3072, "sha256"), (7680, "sha384")), ECDSA: ((256, "sha256"), (384, "sha384"))}
_ANY_POLICY = "2.5.29.32.0"


class Demands(NamedTuple):
    """What a word as ``rsa-4096-sha256`` demands; nothing is demanded where a field is empty."""

    bits: tuple[tuple[str, int], ...] = ()  # the least of a kind of key
    chain: tuple[Scheme, ...] = ()  # signatures of certificates
    signing: tuple[Scheme, ...] = ()  # of an end itself


def parse(text: str, asked: Asked) -> Demands:
    """Return what a value of ``leftauth`` or ``rightauth`` demands."""
    bits: list[tuple[str, int]] = []
    found: dict[bool, list[Scheme]] = {True: [], False: []}  # after ike:, or not
    ike, word, sized = False, "", False
    for token in text.split("-"):
        if without_prefix(token, _IKE) in _KINDS:
            ike, word = token.startswith(_IKE), without_prefix(token, _IKE)
            sized = word.startswith(("rsa", "ecdsa"))
            continue
        if sized and token.isdecimal():
            bits.append((ECDSA if word == "ecdsa" else RSA, int(token)))
        else:
            found[ike] += _schemes(word, token, asked.rsa_pss)
        sized = False
    chain = tuple(found[False])
    return Demands(tuple(bits), chain, tuple(found[True]) or (chain if asked.signing else ()))


def _schemes(word: str, hash_: str, pss: bool) -> Iterator[Scheme]:
    kinds = _KINDS.get(word, ())
    if PSS in kinds or (pss and RSA in kinds):
        yield Scheme(PSS, hash_)
    yield from (Scheme(kind, hash_) for kind in kinds if hash_ in _HASHES.get(kind, ()))


def judge(facts: Facts, now: datetime) -> Iterator[Finding]:
    """Yield for what every peer refuses a host, though its files are right."""
    own, above = facts.certificate, chains.chain(facts, now)
    if own is None or not above:
        return
    every, asked = (own, *above), facts.asked
    right, left = parse(asked.rightauth, asked), parse(asked.leftauth, asked)
    yield from _first(_short(facts, every, right.bits))
    yield from _first(_signed_otherwise(facts, every[:-1], right.chain))
    yield from _signing(facts, own, left.signing, right.signing)
    yield from _first(_without_policy(facts, every))


def _first(found: Iterator[Finding]) -> Iterator[Finding]:
    """Yield one finding of several that have one cure."""
    one = next(found, None)
    if one:
        yield one


def _short(
    facts: Facts, every: Sequence[CertificateFacts], least: Collection[tuple[str, int]]
) -> Iterator[Finding]:
    for one in every:
        kind, bits = one.key
        if least and kind in (RSA, ECDSA) and not any(kind == k and b <= bits for k, b in least):
            yield _unmet(
                "key-demanded",
                "rightauth",
                facts.asked.rightauth,
                f"{_called(facts, one)} has a key of {kind}, {bits} bits",
                " or ".join(f"{k} of at least {b} bits" for k, b in least),
            )


def _signed_otherwise(
    facts: Facts, signed: Sequence[CertificateFacts], wanted: Collection[Scheme]
) -> Iterator[Finding]:
    for one in signed:
        if wanted and one.scheme.kind and one.scheme not in wanted:
            yield _unmet(
                "signature-demanded",
                "rightauth",
                facts.asked.rightauth,
                f"{_called(facts, one)} is signed by {one.scheme}",
                f"{_listed(wanted)}, or 'ike:' before it, which leaves certificates alone",
            )


def _signing(
    facts: Facts, own: CertificateFacts, mine: Sequence[Scheme], wanted: Sequence[Scheme]
) -> Iterator[Finding]:
    """See what a host signs by where it starts, and knows no hashes of the peer, and where it answers."""
    if not own.key[0]:
        return
    key, text = f"{own.key[0]}, {own.key[1]} bits", facts.asked.rightauth
    starting = _chosen(own.key, mine, (), facts.asked.rsa_pss)
    answering = _chosen(own.key, mine, wanted, facts.asked.rsa_pss)
    if starting is None:
        yield _unmet(
            "signing-demanded",
            "leftauth",
            facts.asked.leftauth,
            f"the key of {_called(facts, own)} ({key}) makes no such signature",
            f"signatures of {own.key[0]}, or none named",
        )
    elif wanted and answering not in wanted:
        by = f"{answering or starting} by the key of {_called(facts, own)} ({key})"
        yield _unmet("signing-demanded", "rightauth", text, f"this host signs with {by}", _listed(wanted))
    elif wanted and starting not in wanted:
        yield a_warning(
            "signing-demanded",
            found=f"ipsec:connection:rightauth: found {text!r}, and this host signs with {starting} where it "
            "starts a connection: peers refuse it then",
            expected=_listed(wanted),
            action=f"write 'leftauth: {text}' beside it",
        )


def _chosen(
    key: tuple[str, int], mine: Sequence[Scheme], wanted: Sequence[Scheme], pss: bool
) -> Optional[Scheme]:
    """Return by what an end signs; None for nothing. Where nothing is ``wanted``, each hash will do."""
    kinds = (RSA, PSS) if key[0] == RSA else (key[0],)
    every = [one for one in mine if one.kind in kinds] if mine else _of_its_own(*key, pss)
    hashes = {one.hash for one in wanted}
    return next((one for one in every if not hashes or one.hash in hashes), None)


def _of_its_own(kind: str, bits: int, pss: bool) -> list[Scheme]:
    """Return what an end signs by of which ``leftauth`` says nothing, the first before others."""
    if kind in EDWARDS:
        return [Scheme(kind, "identity")]
    sized = [hash_ for most, hash_ in _OF_SIZE.get(kind, ()) if bits <= most] + ["sha512"]
    before = [Scheme(PSS, one) for one in sized] if kind == RSA and pss else []
    more = ["sha384", "sha256"] if kind == RSA else []
    return [*before, *(Scheme(kind, one) for one in dict.fromkeys((*sized, *more)))]


def _without_policy(facts: Facts, every: Sequence[CertificateFacts]) -> Iterator[Finding]:
    """See that each policy is that of the certificate and of all its CAs, the root as well."""
    text = facts.asked.rightcertpolicy
    every_policies = [chains.policies(one, facts) for one in every]
    for wanted in filter(None, (word.strip() for word in text.split(","))):
        for at, (one, told) in enumerate(zip(every, every_policies)):
            if wanted in told.own or (at and (_ANY_POLICY in told.own or told.maps)):
                continue
            if any(below.maps for below in every_policies[:at]):
                break  # it is called otherwise up there
            has = ", ".join(told.own) or "none"
            lacks = f"{_called(facts, one)} has policies: {has}"
            yield _unmet("policy-demanded", "rightcertpolicy", text, lacks, f"{wanted} there")


def _called(facts: Facts, one: CertificateFacts) -> str:
    own = one == facts.certificate
    return f"certificate {facts.certificate_path}" if own else f"its CA '{names.render(one.subject)}'"


def _listed(schemes: Collection[Scheme]) -> str:
    return " or ".join(dict.fromkeys(map(str, schemes)))


def _unmet(code: str, option: str, text: str, why: str, expected: str) -> Finding:
    return an_error(
        code,
        found=f"ipsec:connection:{option}: found {text!r}, and {why}: every peer refuses this host",
        expected=expected,
        action=f"correct {option}, or have certificates issued that fit",
    )
