"""The algorithms of option ``esp`` as the kernel calls them, and the modules that have them.

Names are those that charon hands over (kernel_netlink_ipsec.c encryption_algs, integrity_algs), so a
kernel that takes one here takes it from charon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

from ..strongswan import proposals
from ..strongswan.proposals import Algorithm


class Transform(NamedTuple):
    """One choice of algorithms, as ``ip xfrm state add`` takes it, with keys of the right length."""

    name: str  # as charon shows it, AES_GCM_16_128
    words: tuple[str, ...]  # ("aead", "rfc4106(gcm(aes))", "0x4242...", "128")
    modules: tuple[str, ...]  # without which the kernel cannot: ("gcm",)


class _Known(NamedTuple):
    name: str  # the kernel's
    key: int  # bytes, where the proposal has no size
    salt: int  # bytes that follow the key (RFC 4106, 4309, 3686, 7634)
    modules: tuple[str, ...]


# Without the end of the name that tells the length of the check value
_AEAD: Mapping[str, _Known] = {
    "ENCR_AES_CCM": _Known("rfc4309(ccm(aes))", 16, 3, ("ccm",)),
    "ENCR_AES_GCM": _Known("rfc4106(gcm(aes))", 16, 4, ("gcm",)),
    "ENCR_CHACHA20_POLY1305": _Known("rfc7539esp(chacha20,poly1305)", 32, 4, ("chacha20poly1305",)),
    "ENCR_NULL_AUTH_AES_GMAC": _Known("rfc4543(gcm(aes))", 16, 4, ("gcm",)),
}
_CIPHERS: Mapping[str, _Known] = {
    "ENCR_3DES": _Known("des3_ede", 24, 0, ("des_generic", "cbc")),
    "ENCR_AES_CBC": _Known("aes", 16, 0, ("cbc",)),
    "ENCR_AES_CTR": _Known("rfc3686(ctr(aes))", 16, 4, ("ctr",)),
    "ENCR_BLOWFISH": _Known("blowfish", 16, 0, ("blowfish_generic", "cbc")),
    "ENCR_CAMELLIA_CBC": _Known("cbc(camellia)", 16, 0, ("camellia_generic", "cbc")),
    "ENCR_CAST": _Known("cast5", 16, 0, ("cast5_generic", "cbc")),
    "ENCR_DES": _Known("des", 8, 0, ("des_generic", "cbc")),
    "ENCR_NULL": _Known("cipher_null", 0, 0, ("crypto_null",)),
    "ENCR_SERPENT_CBC": _Known("serpent", 16, 0, ("serpent_generic", "cbc")),
    "ENCR_TWOFISH_CBC": _Known("twofish", 16, 0, ("twofish_generic", "cbc")),
}
_INTEGRITY: Mapping[str, _Known] = {
    "AUTH_AES_CMAC_96": _Known("cmac(aes)", 16, 0, ("cmac",)),
    "AUTH_AES_XCBC_96": _Known("xcbc(aes)", 16, 0, ("xcbc",)),
    "AUTH_HMAC_MD5_128": _Known("hmac(md5)", 16, 0, ("hmac", "md5")),
    "AUTH_HMAC_MD5_96": _Known("md5", 16, 0, ("hmac", "md5")),
    "AUTH_HMAC_SHA1_160": _Known("hmac(sha1)", 20, 0, ("hmac", "sha1_generic")),
    "AUTH_HMAC_SHA1_96": _Known("sha1", 20, 0, ("hmac", "sha1_generic")),
    "AUTH_HMAC_SHA2_256_128": _Known("hmac(sha256)", 32, 0, ("hmac", "sha256_generic")),
    "AUTH_HMAC_SHA2_256_96": _Known("sha256", 32, 0, ("hmac", "sha256_generic")),
    "AUTH_HMAC_SHA2_384_192": _Known("hmac(sha384)", 48, 0, ("hmac", "sha512_generic")),
    "AUTH_HMAC_SHA2_512_256": _Known("hmac(sha512)", 64, 0, ("hmac", "sha512_generic")),
}

# Needs no algorithm worth the name: tells whether there is ESP at all
NULL = Transform("NULL", ("enc", "cipher_null", "", "auth", "digest_null", ""), ("crypto_null", "authenc"))


def transforms(esp: str) -> tuple[Transform, ...]:
    """Return every choice that option ``esp`` leaves to the peer, in the order of its text."""
    found = (one for proposal in proposals.parse(esp) for one in _transforms(proposal))
    return tuple(dict.fromkeys(found))


def unknown(esp: str) -> tuple[str, ...]:
    """Return the algorithms of option ``esp`` that charon cannot hand to a kernel."""
    every = (
        one
        for proposal in proposals.parse(esp)
        for kind in (proposals.ENCRYPTION, proposals.INTEGRITY)
        for one in proposal.of(kind)
    )
    return tuple(dict.fromkeys(proposals.shown(one) for one in every if _known(one) is None))


def _transforms(proposal: proposals.Proposal) -> Iterator[Transform]:
    for cipher in proposal.of(proposals.ENCRYPTION):
        if proposals.is_aead(cipher):
            yield from _aead(cipher)
        else:
            for integrity in proposal.of(proposals.INTEGRITY):
                yield from _pair(cipher, integrity)


def _aead(cipher: Algorithm) -> Iterator[Transform]:
    known = _known(cipher)
    if known:
        icv = proposals.icv(cipher) * 8
        yield Transform(
            proposals.shown(cipher), ("aead", known.name, _key(known, cipher), str(icv)), known.modules
        )


def _pair(cipher: Algorithm, integrity: Algorithm) -> Iterator[Transform]:
    first, second = _known(cipher), _known(integrity)
    if first and second:
        icv = proposals.icv(integrity) * 8
        yield Transform(
            f"{proposals.shown(cipher)}/{proposals.shown(integrity)}",
            (
                *("enc", first.name, _key(first, cipher)),
                *("auth-trunc", second.name, _key(second, integrity), str(icv)),
            ),
            ("authenc", *first.modules, *second.modules),
        )


def _known(algorithm: Algorithm) -> Optional[_Known]:
    plain = algorithm.name.partition("_ICV")[0]
    tables = (_INTEGRITY,) if algorithm.kind == proposals.INTEGRITY else (_AEAD, _CIPHERS)
    return next((table[plain] for table in tables if plain in table), None)


def _key(known: _Known, algorithm: Algorithm) -> str:
    """Return some key of the right length; that of nothing is an empty word."""
    length = (algorithm.bits // 8 or known.key) + known.salt if known.key else 0
    return "0x" + "42" * length if length else ""
