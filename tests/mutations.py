"""Files with a few bytes changed, as transport, editors and faulty CAs leave them."""

from __future__ import annotations

import random

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

import authorities
from hostipsec.certificates import pem


def changed(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with some changed, lost or doubled."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 9))):
        at, kind = chance.randrange(len(found) + 1), chance.random()
        if kind < 0.6:
            found[at : at + 1] = bytes((chance.randrange(256),))
        elif kind < 0.75:
            del found[at : at + chance.choice((1, 2, 9, 99))]
        elif kind < 0.9:
            found[at:at] = chance.randbytes(chance.choice((1, 2, 9)))
        else:
            del found[at:]
    return bytes(found)


def file(content: bytes, chance: random.Random) -> bytes:
    """Return a PEM file with the DER of one block changed, or anything in it."""
    blocks = [*pem._blocks(content)]
    if chance.random() < 0.3:
        return changed(content, chance)
    hit = chance.randrange(len(blocks))
    ders = [changed(one.der(), chance) if number == hit else one.der() for number, one in enumerate(blocks)]
    return b"".join(authorities.armour(one.label, der) for one, der in zip(blocks, ders))


def signed(content: bytes, key, chance: random.Random) -> bytes:
    """Return the DER of a certificate or list with bytes changed before it was signed, by RSA."""
    size = key.key_size // 8
    start, length = authorities.first_item(content)
    body = bytearray(content[start : start + length])
    for _ in range(chance.choice((1, 1, 2))):
        body[chance.randrange(4, len(body))] = chance.randrange(256)
    signature = key.sign(bytes(body), padding.PKCS1v15(), hashes.SHA256())
    return content[:start] + bytes(body) + content[start + length : -size] + signature


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate as it is signed."""
    return certificate.public_bytes(authorities.serialization.Encoding.DER)
