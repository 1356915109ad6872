"""What an SA of the kernel is worth, by the kernel's own names of its algorithms. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from ..strongswan import strength

# as the kernel writes them (net/xfrm/xfrm_algo.c), and which algorithms of charon each is
_WEAK = {
    r"\bdes3_ede\b": frozenset({"ENCR_3DES"}),
    r"\bdes\b": frozenset({"ENCR_DES"}),
    r"\bblowfish\b": frozenset({"ENCR_BLOWFISH"}),
    r"\bcast5\b": frozenset({"ENCR_CAST"}),
    r"\bmd5\b": frozenset({"AUTH_HMAC_MD5_96", "AUTH_HMAC_MD5_128"}),
}
_WORTHLESS = re.compile(r"cipher_null|rfc4543")
_CIPHER, _INTEGRITY = re.compile(r"(cbc|ctr|rfc3686)\("), re.compile(r"(hmac|xcbc|cmac)\(")


def wrong(algorithm: str, allowed: Collection[str]) -> str:
    """Say what is wrong with the algorithms of an SA (``KernelState.algorithm``); empty for nothing.

    ``allowed`` are words of the pillar. Names that nobody here knows are charon's to say.
    """
    if _WORTHLESS.search(algorithm) or algorithm == "digest_null":
        return f"{algorithm} encrypts nothing"
    parts = algorithm.split("/")
    if any(map(_CIPHER.match, parts)) and not any(map(_INTEGRITY.match, parts)):
        return f"{algorithm} has no integrity"
    if all(map(_INTEGRITY.match, parts)):
        return f"{algorithm} encrypts nothing"
    named = strength.named(allowed)
    for pattern, names in _WEAK.items():
        if re.search(pattern, algorithm) and not names & named:
            return f"{algorithm} is broken by its age"
    return ""
