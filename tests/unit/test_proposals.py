"""Proposals as charon's parser takes them (proposal.c), and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostipsec.charon import statusall
from hostipsec.strongswan import algorithms, catalog, defaults, proposals

RECORDED = sorted((Path(__file__).parent / "data/charon").glob("*-up.txt"))
DEBIAN = "aesni aes rc2 sha2 sha1 md5 openssl gcrypt gmp curve25519 chapoly xcbc cmac hmac kdf ctr ccm gcm"
BARE = "aes sha2 sha1 md5 random nonce x509 pubkey pem gmp hmac kdf xcbc stroke vici updown"


def found(text: str, protocol: str) -> str:
    return " | ".join(f"{fault.found}; {fault.allowed}" for fault in proposals.faults(text, protocol))


@pytest.mark.parametrize(
    "text",
    [
        defaults.CONNECTION["ike"],
        "aes128gcm16-prfsha384-ecp384bp",
        "aes256-sha256-modp2048",  # the PRF is that of the integrity algorithm
        "aes128gcm16-sha256-x25519",  # likewise, with an AEAD cipher that replaces the integrity algorithm
        "aes128-aes256-sha256-sha384-modp2048-ecp256!",
        "aes128gcm16-prfsha256-ecp256 , aes128-sha256-ecp256 !",
        "aes256gcm16-prfsha384-x25519-ke1_mlkem768",
        "chacha20poly1305-prfaesxcbc-curve448",
    ],
)
def test_ike_proposals_that_charon_takes(text):
    assert proposals.faults(text, "ike") == []


@pytest.mark.parametrize(
    "text",
    [
        defaults.CONNECTION["esp"],
        "aes128gcm16",
        "aes128-sha256",
        "aes128gcm16-ecp384bp-noesn!",
        "aes256-sha512-modp4096-esn-noesn",
        "aes128gmac",
        "aes128gcm16-none",
        "null-sha256",
    ],
)
def test_esp_proposals_that_charon_takes(text):
    assert proposals.faults(text, "esp") == []


@pytest.mark.parametrize(
    ("protocol", "text", "words"),
    [
        ("ike", "", ["an empty proposal"]),
        ("ike", "!", ["an empty proposal"]),
        ("ike", "aes128gcm16-prfsha384-ecp384bp,", ["an empty proposal", "joined by ','"]),
        ("ike", "aes128--sha256", ["an empty algorithm in 'aes128--sha256'"]),
        ("ike", "aes128gcm17-prfsha384-ecp384bp", ["unknown algorithm 'aes128gcm17'", "'aes128gcm16'"]),
        ("ike", "AES128GCM16-prfsha384-ecp384bp", ["unknown algorithm 'AES128GCM16'", "'aes128gcm16'"]),
        ("ike", "aes128gcm16!-prfsha384", ["unknown algorithm 'aes128gcm16!'"]),
        ("ike", "aes128gcm16-ecp384bp", ["has no PRF", "prfsha384"]),
        ("ike", "aes128gcm16-prfsha384", ["has no key exchange", "ecp384bp"]),
        ("ike", "aes128gcm16-prfsha384-none", ["has no key exchange"]),
        ("ike", "aes128gcm16-prfsha384-ke1_ecp256", ["has no key exchange"]),
        ("ike", "aes128-prfsha384-ecp384bp", ["has no integrity algorithm", "sha384", "AEAD"]),
        ("ike", "prfsha384-sha384-ecp384bp", ["has no encryption algorithm"]),
        ("ike", "aes128-aes128gcm16-sha256-ecp256", ["mixes AEAD", "joined by ','"]),
        ("ike", "aes128gcm16-sha384-prfsha384-ecp384", ["which its AEAD cipher replaces"]),
        ("ike", "aes128gcm16-prfsha384-ecp384bp-noesn", ["'esp' only"]),
        ("ike", "aes256-sha256_96-ecp256", ["has no PRF"]),  # charon derives none from the 96 bit form
        ("ike", "aes128gcm16-prfsha384-ecp384-ke8_ecp256", ["unknown algorithm 'ke8_ecp256'"]),
        ("ike", "aes128gcm16-prfsha384-ecp384-ke1_aes128", ["unknown algorithm 'ke1_aes128'"]),
        ("esp", "aes128", ["has no integrity algorithm"]),
        ("esp", "aes128gcm16-sha384", ["which its AEAD cipher replaces"]),
        ("esp", "aes128gcm16-prfsha384-ecp384bp", ["has a PRF", "'ike' only"]),
        ("esp", "sha256-ecp256", ["has no encryption algorithm"]),
        ("esp", "aes128gcm16-ecp385bp", ["unknown algorithm 'ecp385bp'", "'ecp384bp'"]),
    ],
)
def test_each_fault_is_told_once_with_what_is_allowed(protocol, text, words):
    said = found(text, protocol)
    assert not [word for word in words if word not in said], said
    assert len(proposals.faults(text, protocol)) == 1


def test_faults_of_several_proposals_are_all_told():
    assert len(proposals.faults("aes129-sha256-ecp256,aes128-sha255-ecp256", "ike")) == 2


@given(st.text("aes128gcm-,!_kpr 1\n\x00é", max_size=30), st.sampled_from(["ike", "esp"]))
def test_any_text_is_faulty_or_can_be_used(text, protocol):
    if not proposals.faults(text, protocol):
        assert protocol == "ike" or all(proposals.rendered_esp(text))
        proposals.missing_plugins(text, ())
        proposals.canonical(text)
        assert protocol == "ike" or proposals.esp_geometry(text).block


# As charon shows them ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_charon_shows_the_proposals_of_the_defaults_as_we_do(file):
    sas = statusall.parse(file.read_text()).ike_sas
    (first,) = proposals.rendered_esp(defaults.CONNECTION["esp"])
    assert {child.proposal for sa in sas for child in sa.children if child.proposal} <= {
        first,
        first.partition("/")[0],
    }


def test_esp_proposals_in_charons_words():
    text = "aes128gcm16-ecp384bp-noesn,aes256-sha384-esn,aes128gmac"
    assert proposals.rendered_esp(text) == (
        "AES_GCM_16_128/ECP_384_BP",
        "AES_CBC_256/HMAC_SHA2_384_192/ESN",
        "NULL_AES_GMAC_128",
    )


def test_aliases_mean_the_same_and_a_final_mark_does_not():
    assert proposals.canonical("aes128gcm-prfsha256-x25519") == proposals.canonical(
        "aes128gcm16 - prfsha256-curve25519"
    )
    assert proposals.canonical("aes128-sha256") != proposals.canonical("aes128-sha256!")


# Plugins -----------------------------------------------------------------------------------------


def test_debians_charon_has_what_the_defaults_need():
    assert proposals.missing_plugins(defaults.CONNECTION["ike"], DEBIAN.split()) == []
    assert proposals.missing_esp_plugins(defaults.CONNECTION["esp"], DEBIAN.split()) == []


def test_charon_without_the_recommended_package_lacks_gcm_and_brainpool():
    """The charon package alone can do neither AES-GCM nor Brainpool groups, and says so nowhere."""
    bare = BARE.split()
    assert proposals.missing_plugins(defaults.CONNECTION["ike"], bare) == [
        "AES_GCM_16_128 needs plugin aesni, botan, gcm, openssl or wolfssl",
        "ECP_384_BP needs plugin botan, openssl or wolfssl",
    ]
    assert proposals.missing_esp_plugins(defaults.CONNECTION["esp"], bare) == [
        "ECP_384_BP needs plugin botan, openssl or wolfssl"
    ]


def test_one_plugin_of_several_is_enough():
    assert proposals.missing_plugins("aes128gcm16-prfsha256-x25519", ["gcm", "hmac", "curve25519"]) == []


def test_what_no_plugin_has_is_said():
    lacking = proposals.missing_plugins("aes256gcm16-prfsha384-gost256", DEBIAN.split())
    assert lacking == ["GOST3410_256 is in no plugin"]


def test_only_known_algorithms_and_plugins_are_named():
    known = {algorithm.name for algorithm in proposals.KEYWORDS.values()}
    assert set(proposals.PROVIDERS) <= known
    assert {name for names in proposals.PROVIDERS.values() for name in names} <= set(catalog.PLUGINS)


def test_no_keyword_stands_for_two_algorithms():
    tables = (
        algorithms.ENCRYPTION,
        algorithms.INTEGRITY,
        algorithms.PRF,
        algorithms.KEY_EXCHANGE,
        algorithms.SEQUENCE_NUMBERS,
    )
    words = [word for table in tables for line in table.splitlines() for word in line.split()[2:]]
    assert len(words) == len(set(words)) == len(proposals.KEYWORDS)


# ESP on the wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("esp", "geometry"),
    [
        ("aes128gcm16-ecp384bp-noesn!", (4, 8, 16)),
        ("aes256gcm8", (4, 8, 8)),
        ("aes128ccm12", (4, 8, 12)),
        ("chacha20poly1305", (4, 8, 16)),
        ("aes128gmac", (4, 8, 16)),
        ("aes128-sha1", (16, 16, 12)),
        ("aes128-sha1_160", (16, 16, 20)),
        ("aes256-sha256", (16, 16, 16)),
        ("aes256-sha256_96", (16, 16, 12)),
        ("aes256-sha384", (16, 16, 24)),
        ("aes256-sha512", (16, 16, 32)),
        ("aes256ctr-aesxcbc", (4, 8, 12)),
        ("aes256-aescmac", (16, 16, 12)),
        ("camellia256-md5", (16, 16, 12)),
        ("3des-md5_128", (8, 8, 16)),
        ("blowfish256-sha512", (8, 8, 32)),
        ("null-sha256", (4, 0, 16)),
        ("aes128gcm16,aes256-sha512", (4, 8, 16)),
    ],
)
def test_what_esp_adds_to_a_packet(esp, geometry):
    """RFC 4303, 4106, 4309, 7634, 4543, 3602, 4868, 2404, 3566, 2451."""
    assert proposals.esp_geometry(esp) == geometry


def test_every_cipher_has_a_geometry():
    for word, algorithm in proposals.KEYWORDS.items():
        if algorithm.kind == proposals.ENCRYPTION:
            text = word if proposals.is_aead(algorithm) else f"{word}-sha256"
            assert proposals.esp_geometry(text).icv in (8, 12, 16), word


def test_recordings_are_of_three_releases():
    assert [file.name[:5] for file in RECORDED] == ["5.9.1", "5.9.8", "6.0.1"]
    assert json.loads(RECORDED[0].with_suffix(".json").read_text())["version"]
