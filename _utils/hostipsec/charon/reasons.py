"""Why a connection did not come up, from what charon said meanwhile (strongSwan 5.9.1, 5.9.8, 6.0.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

REFUSED = (
    "the peer refused (NO_PROPOSAL_CHOSEN): it does not have this host, holds it down, or shares no IKE "
    "proposal with it"
)
_UNTRUSTED = "no trusted certificate here"
_UNFIT = "the peer's signature does not fit its certificate"
# pattern over charon's message -> what it means; the first that fits the message is taken
_MEANINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (r"received NO_PROPOSAL_CHOSEN notify error", REFUSED),
        (
            r"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
            "the peer accepts none of the ESP proposals (NO_PROPOSAL_CHOSEN)",
        ),
        (
            r"received AUTHENTICATION_FAILED notify error",
            "the peer refused to authenticate this host (AUTHENTICATION_FAILED): it does not trust this "
            "certificate, or expects another identity",
        ),
        (r"received TS_UNACCEPTABLE notify", "the peer expects other addresses (TS_UNACCEPTABLE)"),
        (
            r"received (?P<what>[A-Z_]*(?:INVALID|FAILURE|FAILED|UNSUPPORTED)[A-Z_]*) notify",
            "the peer refused ({what})",
        ),
        (
            r"subject certificate invalid \(valid from (?P<start>.*) to (?P<end>.*)\)",
            "the peer's certificate is valid from {start} to {end} only",
        ),
        (
            r"issuer certificate invalid \(valid from (?P<start>.*) to (?P<end>.*)\)",
            "the peer's CA certificate is valid from {start} to {end} only",
        ),
        (r"no issuer certificate found for \"?(?P<who>[^\"]*)\"?", "no CA here for the certificate of {who}"),
        (r"no trusted \S+ public key found for '(?P<who>.*)'", _UNTRUSTED + " for {who}"),
        (
            r"constraint check failed: identity '(?P<who>.*)' required",
            "the peer is not who it should be: {who} is expected",
        ),
        (
            r"constraint check failed: peer not authenticated by CA '(?P<who>.*)'",
            "the peer's certificate is of another CA than {who}, to which peers are bound",
        ),
        (r"no private key found for '(?P<who>.*)'", "this host has no private key for {who}"),
        (
            r"signature validation failed|invalid (?:\S+ )?signature",
            _UNFIT,
        ),
        (
            r"certificate was revoked",
            "the peer's certificate is revoked",
        ),
        (
            r"IDr '(?P<found>.*)' not acceptable|deny.*identity '(?P<other>.*)'",
            "the peer has another identity than the one configured",
        ),
        (r"no acceptable (?:ENCRYPTION|INTEGRITY|PSEUDO|KEY).*found", "no common proposal"),
        (
            r"giving up after (?P<tries>\d+) retransmits",
            "no answer from the peer ({tries} tries): off, unreachable, or UDP 500/4500 is filtered",
        ),
        (
            r"retransmit (?P<tries>\d+) of request",
            "no answer from the peer yet ({tries} tries): off, unreachable, or UDP 500/4500 is filtered",
        ),
        (r"unable to resolve|no route to|unable to find.*address", "there is no way to the peer's address"),
    )
)


@dataclass(frozen=True)
class Message:
    """What charon said of an IKE SA: ``connection`` is its name, empty where it has none yet."""

    connection: str
    text: str


def explain(messages: Iterable[Message]) -> dict[str, str]:
    """Return ``{connection: why it is not up}``, each from the last message that tells a reason.

    After what is wrong with a certificate charon says that none is trusted, or tries one that it knew before,
    which the signature does not fit: that tells nothing more.
    """
    found: dict[str, str] = {}
    for message in messages:
        meaning = meaning_of(message.text)
        follows = meaning.startswith((_UNTRUSTED, _UNFIT)) and "certificate" in found.get(
            message.connection, ""
        )
        if meaning and message.connection and not follows:
            found[message.connection] = meaning
    return found


def meaning_of(text: str) -> str:
    """Return what a message of charon means for the connection; empty where it is no trouble."""
    for pattern, meaning in _MEANINGS:
        fits = pattern.search(text)
        if fits:
            return meaning.format_map({key: value or "" for key, value in fits.groupdict().items()})
    return ""
