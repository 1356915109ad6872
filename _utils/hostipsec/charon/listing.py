"""The algorithms that a charon lists, of whatever kind, by its own names: ``AES_GCM_16``, ``ECP_384_BP``.

Of strongSwan 6 ``abilities.ADDITIONAL`` is among them. Read from ``ipsec listalgs`` and from vici's
``get-algorithms`` of strongSwan 5.9.1 to 6.1.0. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..strongswan.abilities import ADDITIONAL

_SIX = 6
_ALGORITHM = re.compile(r"(?<=\s)(\w+)\[[\w-]+\]", re.ASCII)


def of_text(text: str, version: str) -> frozenset[str]:
    """Return ``{"AES_CBC", "PRF_HMAC_SHA1"}`` of ``encryption: AES_CBC[aesni] ...`` and so on."""
    major = version.partition(".")[0]
    more = {ADDITIONAL} if major.isdecimal() and int(major) >= _SIX else set()
    return frozenset({*_ALGORITHM.findall(text), *more})


def of_answer(answer: Mapping[str, object]) -> frozenset[str]:
    """Return them of ``{"encryption": {"AES_CBC": b"aesni"}, ...}``; strongSwan 6 has ``ke`` for ``dh``."""
    names = {str(name) for kind in answer.values() if isinstance(kind, Mapping) for name in kind}
    return frozenset({*names, ADDITIONAL} if "ke" in answer else names)
