"""The proposals of ``ike`` and ``esp``: checked, and read as charon reads them.

A text is a comma list of proposals, each of keywords joined by ``-``; a final ``!`` leaves
charon's own default proposals out (stroke_config.c add_proposals, proposal.c check_proposal).
Where charon would drop a keyword without a word, or encrypt without authenticating, this is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

from ..affixes import without_prefix, without_suffix
from ..errors import nearest
from . import algorithms

ENCRYPTION, INTEGRITY, PRF, KEY_EXCHANGE, SEQUENCE_NUMBERS = (
    *("encryption algorithm", "integrity algorithm", "PRF"),
    *("key exchange", "kind of sequence numbers"),
)


class Algorithm(NamedTuple):
    """What a keyword stands for: ``aes128gcm16`` is ENCR_AES_GCM_ICV16 of 128 bits."""

    kind: str
    name: str
    bits: int


class Geometry(NamedTuple):
    """What ESP adds to a packet, in bytes; padding fills up to ``block``."""

    block: int
    iv: int
    icv: int


def _keywords(kind: str, table: str) -> Iterator[tuple[str, Algorithm]]:
    for line in table.splitlines():
        name, bits, *words = line.split()
        for word in words:
            yield word, Algorithm(kind, name, int(bits))


KEYWORDS: Mapping[str, Algorithm] = {
    **dict(_keywords(ENCRYPTION, algorithms.ENCRYPTION)),
    **dict(_keywords(INTEGRITY, algorithms.INTEGRITY)),
    **dict(_keywords(PRF, algorithms.PRF)),
    **dict(_keywords(KEY_EXCHANGE, algorithms.KEY_EXCHANGE)),
    **dict(_keywords(SEQUENCE_NUMBERS, algorithms.SEQUENCE_NUMBERS)),
}
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    name: tuple(plugins.split())
    for names, plugins in (line.split(":") for line in algorithms.PROVIDERS.splitlines())
    for name in names.split()
}


class Proposal(NamedTuple):
    """One proposal: its algorithms in the order of the text."""

    algorithms: tuple[Algorithm, ...]

    def of(self, kind: str) -> tuple[Algorithm, ...]:
        """Return the algorithms of one kind."""
        return tuple(one for one in self.algorithms if one.kind == kind)

    @property
    def aead(self) -> bool:
        """Say whether all of the encryption authenticates as well."""
        encryption = self.of(ENCRYPTION)
        return bool(encryption) and all(map(is_aead, encryption))


def is_aead(algorithm: Algorithm) -> bool:
    """Say whether an encryption algorithm authenticates as well (crypter.c)."""
    return bool(re.search(r"_(CCM|GCM)_|GMAC|POLY1305", algorithm.name))


def _words(text: str) -> list[list[str]]:
    """Split at ``,`` and ``-``; charon takes blanks around both."""
    return [[word.strip() for word in one.split("-")] for one in without_suffix(text.strip(), "!").split(",")]


def algorithm(word: str) -> Optional[Algorithm]:
    """Return what a keyword stands for; ``ke1_`` to ``ke7_`` name additional key exchanges (6.0)."""
    found = re.fullmatch("ke([1-7])_(.+)", word)
    if not found:
        return KEYWORDS.get(word)
    base = KEYWORDS.get(found.group(2))
    known = base and base.kind == KEY_EXCHANGE
    return Algorithm(f"{KEY_EXCHANGE} {found.group(1)}", base.name, 0) if base and known else None


def parse(text: str) -> tuple[Proposal, ...]:
    """Return the proposals of a text that :func:`faults` finds right."""
    return tuple(_proposal(words) for words in _words(text))


def _proposal(words: Sequence[str]) -> Proposal:
    return Proposal(tuple(known for word in words if (known := algorithm(word))))


# Checking ------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """One thing wrong in a text, and what would be right."""

    found: str
    allowed: str


def faults(text: str, protocol: str) -> list[Fault]:
    """Return what charon would refuse or drop in the text of option ``ike`` or ``esp``."""
    return [fault for words in _words(text) for fault in _faults(words, protocol)]


def _faults(words: Sequence[str], protocol: str) -> Iterator[Fault]:
    single = "-".join(words)
    unknown = [word for word in words if not algorithm(word)]
    if unknown:
        yield from (_unknown(word, single) for word in unknown)
    else:
        check = _ike_faults if protocol == "ike" else _esp_faults
        yield from (Fault(f"{single!r} {found}", allowed) for found, allowed in check(_proposal(words)))


def _unknown(word: str, single: str) -> Fault:
    if not word:
        found = f"an empty algorithm in {single!r}" if single else "an empty proposal"
        return Fault(found, "algorithms joined by '-', proposals joined by ','")
    return Fault(f"unknown algorithm {word!r} in {single!r}", nearest(word.lower(), KEYWORDS))


def _ike_faults(proposal: Proposal) -> Iterator[Fault]:
    yield from _encryption_faults(proposal)
    if not proposal.of(PRF) and not _derived(proposal):
        yield Fault("has no PRF", "a PRF, such as prfsha384")
    if not any(one.kind == KEY_EXCHANGE for one in _exchanges(proposal)):
        yield Fault("has no key exchange", "a key exchange, such as ecp384bp")
    if proposal.aead and proposal.of(PRF) and proposal.of(INTEGRITY):
        yield Fault("has an integrity algorithm, which its AEAD cipher replaces", "none beside a PRF")
    if proposal.of(SEQUENCE_NUMBERS):
        yield Fault("has 'esn' or 'noesn', which are of ESP", "these in 'esp' only")


def _esp_faults(proposal: Proposal) -> Iterator[Fault]:
    yield from _encryption_faults(proposal)
    if proposal.of(PRF):
        yield Fault("has a PRF, which is of IKE", "PRFs in 'ike' only")
    if proposal.aead and proposal.of(INTEGRITY):
        yield Fault("has an integrity algorithm, which its AEAD cipher replaces", "none beside AEAD ciphers")


def _encryption_faults(proposal: Proposal) -> Iterator[Fault]:
    encryption = proposal.of(ENCRYPTION)
    if not encryption:
        yield Fault("has no encryption algorithm", "one, such as aes128gcm16")
    elif any(map(is_aead, encryption)) and not proposal.aead:
        yield Fault("mixes AEAD with other ciphers", "a proposal for each, joined by ','")
    elif not proposal.aead and not proposal.of(INTEGRITY):
        yield Fault(
            "has no integrity algorithm", "one, such as sha384, or an AEAD cipher such as aes128gcm16"
        )


# Plugins -------------------------------------------------------------------------------------


def missing_plugins(ike: str, loaded: Collection[str]) -> list[str]:
    """Say which algorithms of option ``ike`` no loaded plugin has, and which plugins have them.

    Returns ``["AES_GCM_16_128 needs plugin aesni, botan, gcm, openssl or wolfssl"]``; ``loaded`` are
    the plugins that charon names, as in ``ipsec statusall``.
    """
    return _missing((one for proposal in parse(ike) for one in _ike(proposal)), loaded)


def missing_esp_plugins(esp: str, loaded: Collection[str]) -> list[str]:
    """Say the same of option ``esp``: its key exchange is charon's, the rest is the kernel's."""
    return _missing((one for proposal in parse(esp) for one in _exchanges(proposal)), loaded)


def _missing(algorithms: Iterable[Algorithm], loaded: Collection[str]) -> list[str]:
    lacking = {one for one in algorithms if not {*PROVIDERS.get(one.name, ())} & {*loaded}}
    return sorted(f"{shown(one)} {_needs(PROVIDERS.get(one.name, ()))}" for one in lacking)


def _needs(plugins: Sequence[str]) -> str:
    return f"needs plugin {_either(plugins)}" if plugins else "is in no plugin"


def _either(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


# As charon reads and shows them ------------------------------------------------------------------

# the PRF that charon takes where only an integrity algorithm is given (proposal.c integ_prf_map)
_PRF_OF = {
    "AUTH_HMAC_SHA1_96": "PRF_HMAC_SHA1",
    "AUTH_HMAC_SHA1_160": "PRF_HMAC_SHA1",
    "AUTH_HMAC_SHA2_256_128": "PRF_HMAC_SHA2_256",
    "AUTH_HMAC_SHA2_384_192": "PRF_HMAC_SHA2_384",
    "AUTH_HMAC_SHA2_512_256": "PRF_HMAC_SHA2_512",
    "AUTH_HMAC_MD5_96": "PRF_HMAC_MD5",
    "AUTH_HMAC_MD5_128": "PRF_HMAC_MD5",
    "AUTH_AES_XCBC_96": "PRF_AES128_XCBC",
    "AUTH_CAMELLIA_XCBC_96": "PRF_CAMELLIA128_XCBC",
    "AUTH_AES_CMAC_96": "PRF_AES128_CMAC",
}
_SHOWN = {
    "ENCR_DES": "DES_CBC",
    "ENCR_3DES": "3DES_CBC",
    "ENCR_CAST": "CAST_CBC",
    "ENCR_BLOWFISH": "BLOWFISH_CBC",
    "ENCR_NULL_AUTH_AES_GMAC": "NULL_AES_GMAC",
    "NH_128_BIT": "NEWHOPE_128",
}


def shown(algorithm: Algorithm) -> str:
    """Return charon's name of an algorithm, with its key size: ``AES_GCM_16_128``."""
    plain = re.sub(r"^(ENCR|AUTH)_|_BIT$", "", algorithm.name).replace("_ICV", "_")
    number = without_prefix(algorithm.kind, KEY_EXCHANGE).strip() if _is_exchange(algorithm) else ""
    prefix, suffix = f"KE{number}_" if number else "", f"_{algorithm.bits}" if algorithm.bits else ""
    return f"{prefix}{_SHOWN.get(algorithm.name, plain)}{suffix}"


def listed(algorithm: Algorithm) -> str:
    """Return charon's name of an algorithm as it lists them: of any key size, and of any exchange."""
    kind = KEY_EXCHANGE if _is_exchange(algorithm) else algorithm.kind
    return shown(Algorithm(kind, algorithm.name, 0))


def needs(name: str) -> str:
    """Say which plugins have an algorithm that charon lists by this name."""
    known = next((one.name for one in KEYWORDS.values() if listed(one) == name), name)
    return f"{name} {_needs(PROVIDERS.get(known, ()))}"


def _is_exchange(algorithm: Algorithm) -> bool:
    return algorithm.kind.startswith(KEY_EXCHANGE)


def derived(integrity: Algorithm) -> tuple[str, ...]:
    """Return the name of the PRF that charon derives from an integrity algorithm, where it does."""
    return (_PRF_OF[integrity.name],) if integrity.name in _PRF_OF else ()


def _derived(proposal: Proposal) -> tuple[Algorithm, ...]:
    found = (_PRF_OF.get(one.name) for one in proposal.of(INTEGRITY))
    return tuple(Algorithm(PRF, name, 0) for name in found if name)


def _exchanges(proposal: Proposal) -> tuple[Algorithm, ...]:
    """Return the key exchanges: the one of old first, then the additional ones by number."""
    found = filter(_is_exchange, proposal.algorithms)
    return tuple(sorted((one for one in found if one.name != "KE_NONE"), key=lambda one: one.kind))


def _integrity(proposal: Proposal) -> tuple[Algorithm, ...]:
    return () if proposal.aead else proposal.of(INTEGRITY)


def _ike(proposal: Proposal) -> tuple[Algorithm, ...]:
    """Return what charon makes of an IKE proposal, in the order in which it shows it."""
    prf = proposal.of(PRF) or _derived(proposal)
    return (*proposal.of(ENCRYPTION), *_integrity(proposal), *prf, *_exchanges(proposal))


def choices(proposal: Proposal, protocol: str) -> tuple[tuple[str, ...], ...]:
    """Return what a proposal of ``ike`` or ``esp`` leaves to be chosen, as charon shows it, by kind.

    From the fourth on they are the key exchanges: that of old, then the additional ones, of which all have to
    be done. An empty one says that it may be left out.
    """
    prf = (proposal.of(PRF) or _derived(proposal)) if protocol == "ike" else ()
    kinds = (proposal.of(ENCRYPTION), _integrity(proposal), prf)
    exchanges: dict[str, list[str]] = {}
    for one in sorted(filter(_is_exchange, proposal.algorithms), key=lambda one: one.kind):
        exchanges.setdefault(one.kind, []).append("" if one.name == "KE_NONE" else shown(one))
    return (*(tuple(map(shown, kind)) for kind in kinds), *map(tuple, exchanges.values()))


def rendered_esp(esp: str) -> tuple[str, ...]:
    """Return each proposal of option ``esp`` as charon shows it for a rekeyed CHILD SA.

    Returns ``("AES_GCM_16_128/ECP_384_BP",)``; the first CHILD SA takes its keys from IKE_AUTH, and has
    no key exchange in what charon shows.
    """
    return tuple("/".join(_esp_names(proposal)) for proposal in parse(esp))


def _esp_names(proposal: Proposal) -> Iterator[str]:
    yield from map(shown, (*proposal.of(ENCRYPTION), *_integrity(proposal), *_exchanges(proposal)))
    if any(one.name == "EXT_SEQ_NUMBERS" for one in proposal.of(SEQUENCE_NUMBERS)):
        yield "ESN"


def canonical(text: str) -> tuple[object, ...]:
    """Return the meaning of a text: ``aes128gcm`` is ``aes128gcm16``."""
    return (*parse(text), text.endswith("!"))


# ESP on the wire -------------------------------------------------------------------------------


def esp_geometry(esp: str) -> Geometry:
    """Return block size, IV and ICV length of the first proposal of option ``esp``."""
    proposal = parse(esp)[0]
    cipher = proposal.of(ENCRYPTION)[0]
    block, iv = next(value for key, value in _BLOCK_IV if key in cipher.name)
    return Geometry(block, iv, icv(cipher) if proposal.aead else icv(proposal.of(INTEGRITY)[0]))


# ESP pads to 4 bytes at least (RFC 4303, 2.4); counter modes need no more
_BLOCK_IV = (
    *((mode, (4, 8)) for mode in ("_CCM_", "_GCM_", "GMAC", "CHACHA20", "_CTR")),
    ("NULL", (4, 0)),
    *((cipher, (8, 8)) for cipher in ("DES", "BLOWFISH", "CAST")),
    ("_CBC", (16, 16)),
)


def icv(algorithm: Algorithm) -> int:
    """Return the bytes of the check value, from names such as AES_GCM_ICV16 and HMAC_SHA2_384_192."""
    if algorithm.kind == INTEGRITY:
        return _last_number(algorithm.name) // 8
    return _last_number(algorithm.name) if "_ICV" in algorithm.name else 16


def _last_number(name: str) -> int:
    return int(re.findall("[0-9]+", name)[-1])
